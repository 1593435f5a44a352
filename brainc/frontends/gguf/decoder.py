"""A decoder as a graph: two entries over the same weights and the same memory of what was said.

Knocks: the frontend, with a header and the sizes that the user chose. Leaves: a graph of ordinary ops.

    prefill(tokens i32[B], pos i32[1], count i32[1]) -> logits of the last of the first `count` tokens
    decode(token i32[1], pos i32[1]) -> logits

`pos` is how many tokens came before. The layers' keys and values are states of `context` positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np

from brainc.dtypes import F32, I32, K8, K16, V8, V16
from brainc.errors import ModelError, UnsupportedError, at
from brainc.frontends.gguf.blocks import constant
from brainc.frontends.gguf.facts import Facts, facts_of
from brainc.frontends.gguf.reader import Header
from brainc.ir import Attr, Attrs, Entry, Graph, Node, Role, TensorType, Value, attrs, const_value
from brainc.lanes import BLOCK, ROWS, turns
from brainc.ops import get

REALS = ("f32", "f16", "bf16")
NOTHING = attrs()
KINDS = {16: (K16, V16), 8: (K8, V8)}
NUMBERS = (1 << 31) - 1  # of a tensor that kernels find by an index of 32 bits


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the user may choose: positions, tokens that are read at a time, and bits of a number that is kept."""

    context: int
    block: int = 64
    kv: int = 16  # | 8


class _Builder:
    """The graph under construction: constants and states once, nodes for each entry."""

    def __init__(self, header: Header, facts: Facts, sizes: Sizes) -> None:
        self.header, self.facts, self.sizes = header, facts, sizes
        self.values: dict[str, Value] = {}
        self.used: set[str] = set()
        units, blocks = -(-sizes.context // ROWS), -(-facts.width // BLOCK)
        row = facts.groups * blocks * BLOCK
        _countable("a layer's cache of keys", row * sizes.context, f"choose a context of at most {NUMBERS // row:,}")
        for layer in range(facts.layers):
            for name, kind in zip(("keys", "values"), KINDS[sizes.kv], strict=True):
                cache = TensorType(kind, (facts.groups, units, blocks))
                self.values[f"blk.{layer}.{name}"] = Value(f"blk.{layer}.{name}", cache, Role.STATE)
        self._turns()

    def _turns(self) -> None:
        """The tables of rotary positions: one, and one for the layers with a window."""
        facts, factors = self.facts, self.weight("rope_freqs.weight", (self.facts.rotated // 2,), optional=True)
        slower = [facts.slower * float(f) for f in factors.array()] if factors else [facts.slower]
        if not all(1e-6 < f < 1e6 for f in slower):
            raise ModelError("the factors of rotary positions make no sense", fix="convert the model once more")
        tables = {"turns": turns(self.sizes.context, facts.rotated, facts.base, slower if factors else facts.slower)}
        if facts.window:
            tables["turns.local"] = turns(self.sizes.context, facts.rotated, facts.local_base)
        self.values |= {name: const_value(name, table, F32) for name, table in tables.items()}

    def weight(self, name: str, shape: Sequence[int], optional: bool = False) -> Value | None:
        """A tensor of the file, which must have this shape; None if it may be missing and is."""
        self.used.add(name)
        if optional and name not in self.header.tensors:
            return None
        if name not in self.values:
            found = constant(self.header, name)
            have = self.header.tensors[name].shape
            if have != tuple(shape):
                raise ModelError(f"tensor {name} is {list(have)}, not {list(shape)}", fix="convert the model once more")
            self.values[name] = found
        return self.values[name]

    def entry(self, name: str, rows: int) -> Entry:
        """One of the two functions."""
        walk = _Walk(self, name, rows)
        ports = [("tokens", rows), ("pos", 1), ("count", 1)] if rows > 1 else [("token", 1), ("pos", 1)]
        for port, size in ports:
            self.values[port] = Value(port, TensorType(I32, (size,)), Role.INPUT)
        walk.text(ports[0][0])
        return Entry(name, tuple(port for port, _ in ports), (f"{name}/logits",), tuple(walk.nodes))

    def check_all_used(self) -> None:
        """Every tensor of the file has its place; one that has none means a decoder that does more."""
        if left := sorted(self.header.tensors.keys() - self.used):
            fix = "choose a model without; please report it if the model is a common one"
            raise UnsupportedError(f"brainc does not know what tensor {left[0]} is for ({len(left)} such)", fix=fix)


class _Walk:
    """Nodes of one entry, in order. A value is named by the entry and by what it is."""

    def __init__(self, builder: _Builder, entry: str, rows: int) -> None:
        self.builder, self.facts, self.entry, self.rows = builder, builder.facts, entry, rows
        self.count = "count" if rows > 1 else ""
        self.nodes: list[Node] = []

    def add(self, name: str, op: str, inputs: Sequence[str], given: Attrs = NOTHING, role: Role = Role.TEMP) -> str:
        """A node; the operands left out at the end are not there."""
        ins = list(inputs)
        while not ins[-1]:
            ins.pop()
        wanted = f"{self.entry}/{name}"
        values = self.builder.values
        types = get(op).infer([values[i].type if i else None for i in ins], given)
        if types:
            _countable(wanted, types[0].size * types[0].dtype.block, "choose a smaller block")
            values[wanted] = Value(wanted, types[0], role)
        self.nodes.append(Node(wanted, op, tuple(ins), (wanted,) if types else (), given))
        return wanted

    def weight(self, name: str, *shape: int) -> str:
        found = self.builder.weight(name, shape)
        assert found is not None
        return found.name

    def maybe(self, name: str, *shape: int) -> str:
        found = self.builder.weight(name, shape, optional=True)
        return found.name if found else ""

    def product(
        self, name: str, stem: str, x: _Seen, sizes: tuple[int, int], more: str = "", role: Role = Role.TEMP
    ) -> str:
        """x times a weight [N,K] of the file, with its bias if there is one, plus `more`."""
        weight, bias = self.weight(f"{stem}.weight", *sizes), self.maybe(f"{stem}.bias", sizes[0])
        real = self.builder.values[weight].type.dtype.name in REALS
        if real:  # blocks are found by their rows
            _countable(f"tensor {weight}", prod(sizes), "quantise the model, such as to Q8_0")
        count = self.count if self.builder.values[x.source].type.shape[0] > 1 else ""
        inputs = [x.real() if real else x.blocks(), weight, bias, more, count]
        return self.add(name, "densef" if real else "dense8", inputs, role=role)

    def text(self, tokens: str) -> None:
        """From tokens to logits."""
        facts, values = self.facts, self.builder.values
        table = "token_embd.weight"
        vocabulary = self.builder.header.tensors[table].shape[0] if table in self.builder.header.tensors else 0
        embedded = [self.weight(table, vocabulary, facts.model), tokens, self.count]
        scale = float(np.float32(sqrt(facts.model))) if facts.architecture.scaled else 1.0
        x = self.add("x", "embed", embedded, attrs(scale=scale))
        for layer in range(facts.layers):
            with at(node=f"blk.{layer}"):
                x = self.layer(layer, x)
        if self.count:
            x = self.add("x.last", "last", [x, self.count])
        seen = _Normed(self, "end", x, self.weight("output_norm.weight", facts.model))
        own = "output.weight" in self.builder.header.tensors
        self.product("logits", "output" if own else "token_embd", seen, (vocabulary, facts.model), role=Role.OUTPUT)
        assert values[f"{self.entry}/logits"].type.shape == (1, vocabulary)

    def layer(self, i: int, x: str) -> str:
        facts, stem = self.facts, f"blk.{i}"
        seen = _Normed(self, f"{stem}/seen", x, self.weight(f"{stem}.attn_norm.weight", facts.model))
        y = _Given(self, f"{stem}/heard", self.attention(i, seen))
        x = self.joined(f"{stem}/x", f"{stem}.attn_output", y, "post_attention_norm", x, facts.heads * facts.width)
        seen = _Normed(self, f"{stem}/thought", x, self.weight(f"{stem}.ffn_norm.weight", facts.model))
        gate = f"{stem}.ffn_gate.weight"
        hidden = self.builder.header.tensors[gate].shape[0] if gate in self.builder.header.tensors else 0
        wide = (hidden, facts.model)
        pair = (self.product(f"{stem}/{n}", f"{stem}.ffn_{n}", seen, wide) for n in ("gate", "up"))
        return self.joined(
            f"{stem}/y", f"{stem}.ffn_down", _Gated(self, f"{stem}/middle", *pair), "post_ffw_norm", x, hidden
        )

    def joined(self, name: str, stem: str, x: _Seen, norm: str, more: str, width: int) -> str:
        """more + x times a weight, or more + the norm of that."""
        facts = self.facts
        behind = self.maybe(f"{stem.rpartition('.')[0]}.{norm}.weight", facts.model)
        if not behind:
            return self.product(name, stem, x, (facts.model, width), more)
        inner = self.product(f"{name}.inner", stem, x, (facts.model, width))
        return self.add(name, "rms", [inner, behind, more, self.count], attrs(eps=facts.eps))

    def attention(self, i: int, x: _Seen) -> str:
        facts, stem, local = self.facts, f"blk.{i}", self.facts.is_local(i)
        wide, narrow = facts.heads * facts.width, facts.groups * facts.width
        sizes = {"q": (wide, facts.heads), "k": (narrow, facts.groups), "v": (narrow, facts.groups)}
        made = {
            n: self.product(f"{stem}/{n}", f"{stem}.attn_{n}", x, (size, facts.model)) for n, (size, _) in sizes.items()
        }
        table = "turns.local" if local and "turns.local" in self.builder.values else "turns"
        for n in "qk":
            norm = self.maybe(f"{stem}.attn_{n}_norm.weight", facts.width)
            inputs = [made[n], table, "pos", norm, self.count]
            given = attrs(heads=sizes[n][1], far=int(facts.architecture.far), eps=facts.eps)
            made[n] = self.add(f"{stem}/{n}.turned", "rope", inputs, given)
        for n, cache in (("k", "keys"), ("v", "values")):
            self.add(f"{stem}/{cache}.kept", "keep", [f"{stem}.{cache}", made[n], "pos", self.count])
        window = facts.window if local else 0
        inputs = [made["q"], f"{stem}.keys", f"{stem}.values", "pos", self.count]
        given = attrs(heads=facts.heads, scale=facts.scale, window=window)
        return self.add(f"{stem}/mixed", "attend", inputs, given)


class _Seen:
    """What layers read, as reals or in blocks of 8 bits: each made once, when first asked for."""

    ops: tuple[str, str]  # that make the reals, and the blocks

    def __init__(self, walk: _Walk, name: str, source: str, *more: str, **given: Attr) -> None:
        self.walk, self.name, self.source, self.more, self.given = walk, name, source, more, attrs(**given)
        self.made: dict[str, str] = {}

    def real(self) -> str:
        return self._made(self.ops[0], self.name)

    def blocks(self) -> str:
        return self._made(self.ops[1], f"{self.name}.blocks")

    def _made(self, op: str, name: str) -> str:
        if op not in self.made:
            count = self.walk.count if self.walk.builder.values[self.source].type.shape[0] > 1 else ""
            gap = [""] if op == "rms" else []  # no residual
            inputs = [self.source, *self.more, *gap, count]
            self.made[op] = self.walk.add(name, op, inputs, self.given) if op else self.source
        return self.made[op]


class _Normed(_Seen):
    ops = ("rms", "rms8")

    def __init__(self, walk: _Walk, name: str, source: str, weight: str) -> None:
        super().__init__(walk, name, source, weight, eps=walk.facts.eps)


class _Given(_Seen):
    ops = ("", "block8")


class _Gated(_Seen):
    ops = ("glu", "glu8")

    def __init__(self, walk: _Walk, name: str, gate: str, up: str) -> None:
        super().__init__(walk, name, gate, up, act=walk.facts.architecture.act)


def _countable(what: str, numbers: int, fix: str) -> None:
    if numbers > NUMBERS:
        raise UnsupportedError(f"{what} has {numbers:,} numbers, more than the {NUMBERS:,} that kernels count", fix=fix)


def decoder(header: Header, name: str, sizes: Sizes) -> Graph:
    """The graph of a decoder, called `name`."""
    builder = _Builder(header, facts_of(header), sizes)
    entries = (builder.entry("prefill", sizes.block), builder.entry("decode", 1))
    builder.check_all_used()
    return Graph(name, builder.values, entries).replaced()

"""Reads kernel files and chooses one for each node.

A kernel is one file, `templates/<op>/<name>.c.j2` or `targets/<t>/kernels/<op>/<name>.c.j2`; its head is
a C comment holding TOML, its contract. `KernelTable` knows all that a target may use; `choose` tests each
candidate against a node (types, features, `where`) and takes the cheapest that passes, the most specific
target breaking ties. `explain` keeps what failed first for those that did not.

`rows` and `reads` say how far a result may lie over an operand. A row is what the head takes for one: a line of a
picture, a pixel, an element. While row r of the result is written, the operand's rows before first(r) are not read any
more by that row; running down, those behind last(r). `inplace`: element i is read before element i is written.

`split` says of how many shares a call is made: it then takes `first` and `end` and does the shares from one to before
the other, whoever does the rest. A share writes only what is its own, so threads may have some each.

A part is functions that kernels share, `kernels/_parts/<name>.c.j2`: a kernel's head names it (`parts`), its own head
says only what is baked in and its own parts; layers for which those are the same have one copy of it in the C.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from brainc import ops
from brainc.dtypes import DType
from brainc.errors import KernelError, UnsupportedError, at
from brainc.expressions import evaluate, unmet
from brainc.ir import Attr, Const, Graph, Node, TensorType
from brainc.ranges import FOUR, accumulator_bits, largest_group
from brainc.resources import templates_dir
from brainc.spec import CHANNEL, MOVES
from brainc.target import PORTABLE, Accent, Target

_SCALARS = {
    "strides": ("SH", "SW"),
    "pads": ("PT", "PL", "PB", "PR"),
    "dilations": ("DH", "DW"),
    "kernel": ("KH", "KW"),
    "factors": ("FH", "FW"),
    "residual": tuple(f"ADD_{name.upper()}" for name in ops.RESIDUAL),
}
_OPEN, _CLOSE = "/*--- kernel", "---*/"
_KEYS = {"op", "types", "args", "bake", "needs", "let", "where", "pack", "parts", "scratch", "rows", "reads"}
_KEYS |= {"inplace", "split", "cost"}
_PART = "/*--- part"
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel file: its contract (see architecture, "Kernels") and its body."""

    name: str  # <target>/<op>/<file>, `templates` being the target `c`
    path: Path
    rank: int  # 0 for the target itself, growing towards the portable templates
    body: str
    op: str
    ins: tuple[str, ...]
    outs: tuple[str, ...]
    args: tuple[str, ...]
    bake: tuple[str, ...]
    needs: frozenset[str]
    let: Mapping[str, str]  # names for formulas, each of which may use the ones before it
    where: str
    pack: Mapping[str, str]
    parts: Mapping[str, str]  # what the body calls a shared function, and the function's file
    scratch: str
    rows: str
    reads: Mapping[str, tuple[str, ...]]  # per operand: how many rows, first(r) and, if they may run down, last(r)
    inplace: tuple[str, ...]
    cost: str
    split: str = ""  # shares of a call; "": it is one

    @property
    def stem(self) -> str:
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Choice:
    """A kernel bound to a node: every dim and attribute it may mention, and what it needs."""

    kernel: Kernel
    env: Mapping[str, Any]
    scratch: int
    cost: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a candidate: `failed` is the first test it did not pass, empty if it passed all.

    `merit` is what candidates that passed are compared by, the smaller the better.
    """

    kernel: Kernel
    failed: str
    cost: float = 0.0
    scratch: int = 0
    merit: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Part:
    """Functions that several kernels share: their file, its body, the values it is made for, and its own parts."""

    name: str
    path: Path
    body: str
    bake: tuple[str, ...]
    parts: Mapping[str, str]


def shown(kernel: Kernel | Part, env: Mapping[str, Any]) -> dict[str, Any]:
    """What a template may mention: what is baked in and, in a kernel, which operands are there, and the lists of a
    variadic one."""
    more = isinstance(kernel, Kernel)
    told = [k for k in env if more and (k.startswith("has_") or k.endswith(("_names", "_shapes")))]
    return {k: v for k, v in env.items() if k in kernel.bake or k in told}


@cache
def load_part(path: Path) -> Part:
    """The part in a file; a broken head is a `KernelError`."""
    text = path.read_text(encoding="utf-8")
    with at(file=str(path)):
        head, body = _split(text, _PART)
        if set(head) - {"parts"} != {"bake"}:
            raise KernelError("a part's head says what is baked in, and its parts", fix="write bake = [...] and parts")
    return Part(path.name.removesuffix(".c.j2"), path, body, tuple(head["bake"]), head.get("parts", {}))


def _split(text: str, opening: str) -> tuple[dict[str, Any], str]:
    """A file's head, which is TOML in a C comment, and what follows it."""
    end = text.find(_CLOSE)
    if not text.startswith(opening) or end < 0:
        raise KernelError("this kernel has no head", fix=f"begin the file with {opening!r} … {_CLOSE!r}")
    try:
        return tomllib.loads(text[len(opening) : end]), text[end + len(_CLOSE) :].lstrip("\n")
    except tomllib.TOMLDecodeError as error:
        raise KernelError(f"the kernel's head is not TOML: {error}", fix="mend the head") from error


def parse(text: str, name: str, path: Path, rank: int = 0) -> Kernel:
    """A kernel file's text to a `Kernel`; a broken head is a `KernelError`."""
    with at(file=str(path)):
        head, body = _split(text, _OPEN)
        unknown = set(head) - _KEYS
        missing = {"op", "types", "args", "cost"} - set(head)
        if unknown or missing:
            raise KernelError(
                f"the kernel's head has unknown or missing keys: {', '.join(sorted(unknown | missing))}",
                fix="keys are " + ", ".join(sorted(_KEYS)),
            )
        ins, _, outs = head["types"].partition("->")
        return Kernel(
            name=name,
            path=path,
            rank=rank,
            body=body,
            op=head["op"],
            ins=tuple(ins.split()),
            outs=tuple(outs.split()),
            args=tuple(head["args"]),
            bake=tuple(head.get("bake", ())),
            needs=frozenset(head.get("needs", ())),
            let=head.get("let", {}),
            where=head.get("where", ""),
            pack=head.get("pack", {}),
            parts=head.get("parts", {}),
            scratch=str(head.get("scratch", "0")),
            rows=str(head.get("rows", "")),
            reads={k: tuple(map(str, v)) for k, v in head.get("reads", {}).items()},
            inplace=tuple(head.get("inplace", ())),
            cost=str(head["cost"]),
            split=str(head.get("split", "")),
        )


@cache
def scan(folder: Path, label: str, rank: int) -> tuple[Kernel, ...]:
    """All kernels below `folder` (`<op>/<name>.c.j2`), in order of their names."""
    found = []
    for path in sorted(folder.glob("*/*.c.j2")):
        if not path.name.startswith("_") and not path.parent.name.startswith("_"):
            name = f"{label}/{path.parent.name}/{path.name.removesuffix('.c.j2')}"
            found.append(parse(path.read_text(encoding="utf-8"), name, path, rank))
    return tuple(found)


class KernelTable:
    """All kernels that a target may use, by op."""

    def __init__(
        self,
        target: Target,
        pins: Mapping[str, str] | None = None,
        *,
        portable: bool = False,
        optimize: str = "speed",
        accent: Accent | None = None,
    ) -> None:
        """`pins` maps node names to kernel names; `portable` leaves only plain C kernels, as that accent does, while
        another has features of its own in place of the target's.

        `optimize` says what is compared first: "flash" how little is baked in (functions that more layers can
        share), else the cost; what "ram" trades for it afterwards, the compiler sees from whole plans.
        """
        self.target = target
        self.optimize = optimize
        self.pins = pins or {}
        self.features = target.features if accent is None else accent.features
        self._by_op: dict[str, list[Kernel]] = {}
        chain = () if portable or accent is PORTABLE else zip(target.folders, target.chain, strict=True)
        own = [(folder / "kernels", name) for folder, name in chain]
        for rank, (folder, name) in enumerate([*own, (templates_dir(), "c")]):
            for kernel in scan(folder, name, rank):
                self._by_op.setdefault(kernel.op, []).append(kernel)

    def candidates(self, op: str) -> list[Kernel]:
        return self._by_op.get(op, [])

    def environment(self, graph: Graph, node: Node) -> dict[str, Any]:
        """What the formulas and templates of this table's kernels may mention of a node."""
        return {**environment(graph, node), "optimize": self.optimize}

    def explain(self, graph: Graph, node: Node, facts: Mapping[str, Any] = NOTHING) -> list[Verdict]:
        """Every candidate for a node with the first test it failed."""
        known = {**self.environment(graph, node), **facts}
        verdicts = []
        for kernel in self.candidates(node.op):
            env = _with_let(kernel, known)
            failed = self._first_failure(kernel, graph, node, env)
            verdicts.append(Verdict(kernel, failed) if failed else self._passed(kernel, env))
        return verdicts

    def _first_failure(self, kernel: Kernel, graph: Graph, node: Node, env: Mapping[str, Any]) -> str:
        pinned = self.pins.get(node.name)
        if pinned and pinned != kernel.name:
            return f"pinned to {pinned}"
        if mismatch := _type_mismatch(kernel, graph, node):
            return mismatch
        if absent := kernel.needs - self.features:
            return f"needs {', '.join(sorted(absent))}"
        if kernel.where and not evaluate(kernel.where, env):
            return f"where {unmet(kernel.where, env)}"
        return ""

    def choose(self, graph: Graph, node: Node) -> Choice:
        """The best kernel that fits; none: an `UnsupportedError` that lists the near misses."""
        if found := self.fitting(graph, node):
            return found[0]
        types = ", ".join(str(graph.type(i)) for i in node.operands)
        near = "".join(f"\n  {v.kernel.name}: {v.failed}" for v in self.explain(graph, node))
        with at(node=node.name, op=node.op):
            raise UnsupportedError(
                f"{self.target.name} has no kernel for {node.op}({types}){near}",
                fix=f"write targets/{self.target.name}/kernels/{node.op}/NAME.c.j2, or choose another target",
            )

    def fitting(self, graph: Graph, node: Node, facts: Mapping[str, Any] = NOTHING) -> list[Choice]:
        """Every kernel that fits, bound to the node, the best first; `facts` are what is known better than here."""
        passed = [v for v in self.explain(graph, node, facts) if not v.failed]
        passed.sort(key=lambda v: (*v.merit, v.kernel.rank, v.kernel.name))
        known = {**self.environment(graph, node), **facts} if passed else {}
        return [self._bound(v, known) for v in passed]

    def _bound(self, verdict: Verdict, known: Mapping[str, Any]) -> Choice:
        env = {name: v() if callable(v) else v for name, v in _with_let(verdict.kernel, known).items()}
        return Choice(verdict.kernel, env, verdict.scratch, verdict.cost)

    def _passed(self, kernel: Kernel, env: Mapping[str, Any]) -> Verdict:
        cost, scratch = float(evaluate(kernel.cost, env)), int(evaluate(kernel.scratch, env))
        first = float(len(kernel.bake)) if self.optimize == "flash" else 0.0
        return Verdict(kernel, "", cost, scratch, (first, cost))

    def has(self, graph: Graph, node: Node) -> bool:
        """Whether some kernel fits (a view needs none)."""
        return node.op == "reshape" or any(not v.failed for v in self.explain(graph, node))


def _with_let(kernel: Kernel, known: Mapping[str, Any]) -> dict[str, Any]:
    """The environment with a kernel's own names in it."""
    env = dict(known)
    for name, formula in kernel.let.items():
        env[name] = evaluate(formula, env)
    return env


def environment(graph: Graph, node: Node) -> dict[str, Any]:
    """What a kernel's formulas and template may mention of a node: dims, attributes, shapes.

    `acc_bits`, the bits that hold every partial sum, costs something to find: it is a function until a formula asks;
    so do `group_max`, what a group of 4-bit weights adds up to at most with unsigned inputs, and `resting`.
    """
    op = ops.get(node.op)
    ins: list[TensorType | None] = [graph.type(i) if i else None for i in node.inputs]
    outs = [graph.type(o) for o in node.outputs]
    env: dict[str, Any] = dict(op.bind(ins, outs))
    given = {op.operand_at(index).name for index, type_ in enumerate(ins) if type_ is not None}
    env.update({f"has_{o.name}": o.name in given for o in op.inputs if o.optional})
    env.update(_facts_of(graph, node))
    env["acc_bits"] = lambda: accumulator_bits(graph, node)
    env |= {"group_max": lambda: largest_group(graph, node)} if node.op in FOUR else {}
    env["resting"] = lambda: bool(node.inputs) and _resting(graph, node.inputs[0])
    env["ESZ"] = (outs or [t for t in ins if t])[0].dtype.nbytes
    for index, type_ in enumerate(ins):
        if type_ is not None and not op.operand_at(index).variadic:
            env[f"{op.inputs[index].name}_shape"] = type_.shape
    for operand, out in zip(op.outputs, outs, strict=True):
        env[f"{operand.name}_shape"] = out.shape
    for name, value in op.full(node.attrs).items():
        env.update(_scalars(name, value))
    if op.inputs and op.inputs[-1].variadic:
        tail = [t for t in ins[len(op.inputs) - 1 :] if t is not None]
        name = op.inputs[-1].name
        env[f"{name}_names"] = [f"{name}{i}" for i in range(len(tail))]
        env[f"{name}_shapes"] = [t.shape for t in tail]
    return env


def _resting(graph: Graph, name: str) -> bool:
    """Whether a value was computed and has its zero at -128, as behind a ReLU: much of it may be just that."""
    quant = graph.type(name).quant
    if quant is None or quant.zero != (-128,):
        return False
    makers = graph.producers()
    while name in makers and makers[name].op in MOVES and makers[name].inputs:
        name = makers[name].inputs[0]
    return name in makers


def _facts_of(graph: Graph, node: Node) -> Mapping[str, int]:
    """What is known of the constants of a filtering q op: see `_facts`."""
    axis = CHANNEL.get(node.op.removeprefix("q")) if node.op.startswith("q") else None
    constants = [graph.values[name].const if name else None for name in node.inputs[1:5]]
    if axis is None or len(constants) < 4 or None in constants:
        return {}
    return _facts(axis, *(c for c in constants if c is not None))


@cache
def _facts(axis: int, w: Const, b: Const, mult: Const, shift: Const) -> Mapping[str, int]:
    """Bounds that a tile may rely on, over all channels.

    w_min: the smallest weight; w_sum: the largest sum of a filter's magnitudes; acc_max: no accumulator over int8
    inputs has a larger magnitude; mult_min, shift_min, shift_max: of the scales that are not zero.
    """
    weights = np.moveaxis(w.load(), axis, 0).astype(np.int64)
    sums = np.abs(weights.reshape(len(weights), -1)).sum(axis=1)
    factors = mult.load().astype(np.int64)
    used = shift.load()[factors > 0].astype(np.int64)
    return {
        "w_min": int(weights.min(initial=0)),
        "w_sum": int(sums.max(initial=0)),
        "acc_max": int((np.abs(b.load().astype(np.int64)) + 128 * sums).max(initial=0)),
        "mult_min": int(factors[factors > 0].min(initial=(1 << 31) - 1)),
        "shift_min": int(used.min(initial=62)),
        "shift_max": int(used.max(initial=1)),
    }


def _scalars(name: str, value: Attr) -> dict[str, Any]:
    names = _SCALARS.get(name)
    if names and isinstance(value, tuple):
        return dict(zip(names, value, strict=True)) if value else {}
    return {name: value}


def _type_mismatch(kernel: Kernel, graph: Graph, node: Node) -> str:
    """Empty, or why the operand types do not fit the head's `types`."""
    inputs = ops.get(node.op).inputs
    more = len(node.inputs) - len(kernel.ins) if inputs and inputs[-1].variadic else 0
    tail = [kernel.ins[-1]] * more
    wanted = (*kernel.ins, *tail)
    have = [graph.type(i).dtype if i else None for i in node.inputs]
    have += [None] * sum(w.endswith("?") for w in wanted[len(have) :])
    outs = [graph.type(o).dtype for o in node.outputs]
    pairs = list(zip((*wanted, *kernel.outs), (*have, *outs), strict=False))
    if len(wanted) != len(have) or not all(_fits(w, h) for w, h in pairs):
        text = " ".join(str(h) if h else "-" for h in have)
        return f"types are {text} -> {' '.join(map(str, outs))}"
    generic = {str(h) for w, h in pairs if w == "any"}
    return "" if len(generic) <= 1 else f"element types differ: {', '.join(sorted(generic))}"


def _fits(wanted: str, have: DType | None) -> bool:
    """Whether an operand of this type, or none, is what a head asks for; `i8?` takes both."""
    if have is None:
        return wanted == "-" or wanted.endswith("?")
    return wanted.removesuffix("?") in (have.name, "any")

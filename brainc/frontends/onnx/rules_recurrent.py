"""Rules for recurrent layers: GRU, LSTM and RNN, step after step in brainc's ordinary ops.

The importer finds these by their names. A sequence has a fixed length and is unrolled; the steps share weights, and
where kernels bake nothing else in also their C. Gates of one kind are one dense layer on input and state together, so
that quantising rounds them once. A model of one step, its state wired back in `brain.toml`, is the form for a stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from brainc.dtypes import Array
from brainc.frontends.moves import cut, refuse
from brainc.frontends.onnx.importer import Importer
from brainc.frontends.onnx.rules import Call, rule
from brainc.frontends.reals import binary
from brainc.ir import Attr

LONGEST = 1024  # steps that are unrolled
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ACTIVATIONS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
# name to the function and the alpha and beta that it has where the model does not say
FUNCTIONS: dict[str, tuple[str, tuple[float, ...]]] = {
    "sigmoid": ("sigmoid", ()),
    "tanh": ("tanh", ()),
    "relu": ("relu", ()),
    "leakyrelu": ("leaky_relu", (0.01,)),
    "hardsigmoid": ("hard_sigmoid", (0.2, 0.5)),
    "elu": ("elu", (1.0,)),
    "softsign": ("softsign", ()),
    "softplus": ("softplus", ()),
}
States = tuple[str, ...]  # h, and c of an LSTM


@dataclass(frozen=True, slots=True)
class Function:
    """An activation with its parameters."""

    fn: str
    parameters: tuple[float, ...]

    def of(self, g: Importer, x: str) -> str:
        if self.fn == "relu":
            return g.emit("clamp", x, lo=0.0)
        given: dict[str, Attr] = dict(zip(("alpha", "beta"), self.parameters, strict=False))
        return g.emit("unary", x, fn=self.fn, **given)


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights [N,K] and bias [N] as constants that every step reads."""

    w: str
    b: str

    def of(self, g: Importer, x: str) -> str:
        return g.emit("dense", x, self.w, self.b)


class Cell(ABC):
    """One direction: what its gates weigh, and one step of it."""

    def __init__(self, g: Importer, c: Call, number: int, functions: Sequence[Function]) -> None:
        self.g, self.functions = g, functions
        count, hidden = GATES[c.op], g.shape(c.inputs[2])[2]
        w, r = (self._gates(g.array(c.inputs[i], what)[number], count, hidden) for i, what in ((1, "W"), (2, "R")))
        b = self._bias(c, number, 2 * count, hidden)
        self.w, self.r, self.wb, self.rb, self.hidden, self.name = (
            w,
            r,
            b[:count],
            b[count:],
            hidden,
            f"{c.name}/{number}",
        )

    def _gates(self, array: Array, count: int, hidden: int) -> Array:
        """[count, H, K]"""
        return array.astype(np.float32).reshape(count, hidden, -1)

    def _bias(self, c: Call, number: int, count: int, hidden: int) -> Array:
        given = self.g.array(c.inputs[3], "B")[number] if c.input(3) else np.zeros(count * hidden)
        return given.astype(np.float32).reshape(count, hidden)

    def layer(self, name: str, w: Array, b: Array) -> Layer:
        hint = f"{self.name}/{name}"
        k = w.shape[-1]
        return Layer(self.g.constant(w.reshape(-1, k), f"{hint}/w"), self.g.constant(b.reshape(-1), f"{hint}/b"))

    def both(self, name: str, *gates: int) -> Layer:
        """Gates that weigh input and state, one beside the other."""
        rows = list(gates)
        return self.layer(name, np.concatenate([self.w[rows], self.r[rows]], 2), self.wb[rows] + self.rb[rows])

    def join(self, x: str, h: str) -> str:
        return self.g.emit("concat", x, h, axis=1)

    def part(self, x: str, index: int) -> str:
        return cut(self.g, x, {1: range(index * self.hidden, (index + 1) * self.hidden)})

    @abstractmethod
    def step(self, x: str, states: States) -> States:
        """The states after x."""


class Rnn(Cell):
    """h' = f(W x + R h + b)"""

    def __init__(self, g: Importer, c: Call, number: int, functions: Sequence[Function]) -> None:
        super().__init__(g, c, number, functions)
        self.all = self.both("all", 0)

    def step(self, x: str, states: States) -> States:
        return (self.functions[0].of(self.g, self.all.of(self.g, self.join(x, states[0]))),)


class Gru(Cell):
    """h' = n + z * (h - n); r closes what of h the candidate n sees, before or behind its weights."""

    def __init__(self, g: Importer, c: Call, number: int, functions: Sequence[Function]) -> None:
        super().__init__(g, c, number, functions)
        self.gates, self.behind = self.both("gates", 0, 1), bool(c.attrs.get("linear_before_reset", 0))
        if self.behind:
            self.new, self.old = (self.layer(n, w[2], b[2]) for n, w, b in self._candidates())
        else:
            self.new = self.both("new", 2)

    def _candidates(self) -> Iterator[tuple[str, Array, Array]]:
        yield "new", self.w, self.wb
        yield "old", self.r, self.rb

    def step(self, x: str, states: States) -> States:
        g, (h,), (f, tanh) = self.g, states, self.functions
        gates = f.of(g, self.gates.of(g, self.join(x, h)))
        z, r = self.part(gates, 0), self.part(gates, 1)
        if self.behind:
            seen = binary(g, "add", self.new.of(g, x), binary(g, "mul", r, self.old.of(g, h)))
        else:
            seen = self.new.of(g, self.join(x, binary(g, "mul", r, h)))
        return (g.emit("lerp", tanh.of(g, seen), h, z),)


class Lstm(Cell):
    """c' = f * c + i * new, h' = o * tanh(c'); peepholes let the gates see c."""

    def __init__(self, g: Importer, c: Call, number: int, functions: Sequence[Function]) -> None:
        super().__init__(g, c, number, functions)
        self.gates, self.new = self.both("gates", 0, 1, 2), self.both("new", 3)
        holes = g.array(c.inputs[7], "P")[number].reshape(3, self.hidden) if c.input(7) else None
        self.holes = None if holes is None else [g.constant(p.astype(np.float32), f"{self.name}/p") for p in holes]

    def step(self, x: str, states: States) -> States:
        g, (h, old), (f, tanh, last) = self.g, states, self.functions
        together = self.join(x, h)
        gates = self.gates.of(g, together)
        if self.holes is None:
            open_ = f.of(g, gates)
            i, o, forget = (self.part(open_, n) for n in range(3))
        else:
            i, forget = (f.of(g, self._seeing(gates, n, old)) for n in (0, 2))
        new = tanh.of(g, self.new.of(g, together))
        c = binary(g, "add", binary(g, "mul", forget, old), binary(g, "mul", i, new))
        if self.holes is not None:
            o = f.of(g, self._seeing(gates, 1, c))
        return binary(g, "mul", o, last.of(g, c)), c

    def _seeing(self, gates: str, number: int, c: str) -> str:
        assert self.holes is not None
        return binary(self.g, "add", self.part(gates, number), binary(self.g, "mul", c, self.holes[number]))


CELLS: dict[str, type[Cell]] = {"RNN": Rnn, "GRU": Gru, "LSTM": Lstm}


@rule(*CELLS)
def recurrent(g: Importer, c: Call) -> tuple[str, ...]:
    """Y, Y_h and (of an LSTM) Y_c."""
    batch_first = bool(c.attrs.get("layout", 0))
    sizes = g.shape(c.inputs[0])
    count, batch = (sizes[1], sizes[0]) if batch_first else (sizes[0], sizes[1])
    _check(g, c, count)
    ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[_word(c, "direction", "forward")]
    functions = _functions(c, len(ways))
    every, lasts = [], []
    for number, backwards in enumerate(ways):
        cell = CELLS[c.op](g, c, number, functions[number])
        states = tuple(_start(g, c, i, number, (batch, cell.hidden)) for i in ((5, 6) if c.op == "LSTM" else (5,)))
        told: dict[int, str] = {}
        for t in reversed(range(count)) if backwards else range(count):
            x = cut(g, c.inputs[0], {1 if batch_first else 0: range(t, t + 1)})
            states = cell.step(g.reshape(x, (batch, sizes[2])), states)
            told[t] = states[0]
        every.append([told[t] for t in range(count)])
        lasts.append(states)
    y = _sequence(g, every, batch_first) if c.outputs[0] else ""
    return y, *(_joined(g, list(last), batch_first) for last in zip(*lasts, strict=True))


def _word(c: Call, key: str, default: str) -> str:
    word = c.attrs.get(key, default)
    return word.decode() if isinstance(word, bytes) else str(word)


def _check(g: Importer, c: Call, count: int) -> None:
    """Refuses what a sequence of fixed length with these cells cannot say."""
    if "clip" in c.attrs:
        raise refuse("it has the attribute clip", "export it without clip")
    if c.attrs.get("input_forget", 0):
        raise refuse("its forget gate is coupled (input_forget)", "train it with a forget gate of its own")
    if c.input(4) and any(n != count for n in g.ints(c.inputs[4], "sequence_lens")):
        raise refuse("its sequence_lens are not the length of the sequence", "run it on whole sequences")
    if count > LONGEST:
        what = f"it runs over {count} steps, more than {LONGEST} unrolled"
        raise refuse(what, "export one step and wire its state back in brain.toml")


def _functions(c: Call, ways: int) -> list[list[Function]]:
    """The activations of each direction."""
    default = ACTIVATIONS[c.op]
    given = c.attrs.get("activations") or [*default] * ways
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in given]
    rest = [list(c.attrs.get(f"activation_{name}", ())) for name in ("alpha", "beta")]
    made = []
    for word in words:
        if word.lower() not in FUNCTIONS:
            raise refuse(f"its activation is {word}", f"use one of {', '.join(FUNCTIONS)}")
        fn, defaults = FUNCTIONS[word.lower()]
        taken = (own.pop(0) if own else usual for own, usual in zip(rest, defaults, strict=False))
        made.append(Function(fn, tuple(map(float, taken))))
    if len(made) != len(default) * ways:
        raise ValueError(f"{len(made)} activations")
    return [made[i * len(default) : (i + 1) * len(default)] for i in range(ways)]


def _start(g: Importer, c: Call, index: int, number: int, shape: tuple[int, int]) -> str:
    """A direction's first state [B,H]: the model's, or zeros."""
    name = c.input(index)
    axis = 1 if c.attrs.get("layout", 0) else 0
    if not name or name in g.known:
        start = g.array(name, "its state").take(number, axis) if name else np.zeros(shape)
        return g.constant(start.astype(np.float32).reshape(shape), f"{c.name}/{number}/start")
    return g.reshape(cut(g, name, {axis: range(number, number + 1)}), shape)


def _sequence(g: Importer, every: list[list[str]], batch_first: bool) -> str:
    """Y [T,D,B,H], or [B,T,D,H]."""
    batch, hidden = g.shape(every[0][0])
    shape, axis = ((batch, 1, 1, hidden), 1) if batch_first else ((1, 1, batch, hidden), 0)
    ways = [_concat(g, [g.reshape(h, shape) for h in one], axis) for one in every]
    return _concat(g, ways, axis + 1)


def _joined(g: Importer, last: list[str], batch_first: bool) -> str:
    """Y_h [D,B,H], or [B,D,H]."""
    batch, hidden = g.shape(last[0])
    shape, axis = ((batch, 1, hidden), 1) if batch_first else ((1, batch, hidden), 0)
    return _concat(g, [g.reshape(h, shape) for h in last], axis)


def _concat(g: Importer, parts: list[str], axis: int) -> str:
    return parts[0] if len(parts) == 1 else g.emit("concat", *parts, axis=axis)

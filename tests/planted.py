"""Random integer networks with channels planted in them that say nothing: constant ones, and dead ones.

A channel has a number of its own, from the layer that makes it through all that passes it on (pools, tables,
sums, depthwise layers). What is planted is put into `gone`; a layer must end with the rows and columns that are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import numpy as np
from graphs import Builder

from brainc import interp
from brainc.dtypes import I8
from brainc.ir import Attr, Graph, Stage
from brainc.numerics import sum_multipliers, tflite_multiplier

FAR = 1 << 22  # a bias no other term makes up for


@dataclass
class Flow:
    """A value on its way: its name, zero point, and the number of each channel."""

    name: str
    zero: int
    ids: list[int]


@dataclass
class Layer:
    """A weighted node, with the numbers of its rows and of its columns (a depthwise one has none)."""

    node: str
    rows: list[int]
    columns: list[int]


@dataclass
class Planted:
    """The network in the making."""

    b: Builder
    round: str
    layers: list[Layer] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)
    heard: set[int] = field(default_factory=set)  # channels that something surely needs
    last: int = 0

    def fresh(self, count: int) -> list[int]:
        self.last += count
        return list(range(self.last - count, self.last))

    def some(self, ids: list[int]) -> set[int]:
        """A few of these that may be planted; at least two stay."""
        free = [i for i in dict.fromkeys(ids) if i not in self.gone | self.heard]
        alive = len(set(ids) - self.gone)
        count = int(self.b.rng.integers(0, 4))
        return set(map(int, self.b.rng.permutation(free)[: max(0, min(count, alive - 2))]))

    def input(self, shape: tuple[int, ...]) -> Flow:
        ids = self.fresh(shape[-1])
        self.heard |= set(ids)
        return Flow(self.b.input("x", shape, I8), int(self.b.rng.integers(-128, 128)), ids)

    def scales(self, count: int, terms: int) -> tuple[np.ndarray, np.ndarray]:
        rng = self.b.rng
        shift = np.full(count, 31 + round(np.log2(90 * np.sqrt(terms)))) + rng.integers(-1, 2, count)
        return rng.integers(1 << 30, (1 << 31) - 1, count).astype(np.int32), shift.astype(np.int8)

    def layer(self, op: str, x: Flow, w: np.ndarray, ids: list[int], planted: set[int], **given: Attr) -> Flow:
        """A layer whose rows in `planted` always answer the zero point, for one of three reasons."""
        rng, axis = self.b.rng, 2 if op == "qdwconv2d" else 0
        rows = np.moveaxis(w, axis, 0)
        self.speak(rows, x.ids, axis == 2)
        mult, shift = self.scales(len(ids), w.size // len(ids))
        bias = rng.integers(0, 2000, len(ids)) - x.zero * rows.reshape(len(ids), -1).astype(np.int64).sum(axis=1)
        for row in (n for n, i in enumerate(ids) if i in planted):
            why = rng.choice(["silent", "idle", "far"])
            if why == "silent":
                mult[row] = 0
            elif why == "idle":
                rows[row], bias[row] = 0, 0
            else:
                bias[row] = -FAR
        zero = int(rng.integers(-128, 0))
        constants = [self.b.const(a) for a in (w, bias.astype(np.int32), mult, shift)]
        given = given if op == "qdense" else {"zx": x.zero, **given}
        y = self.b.add(op, x.name, *constants, zy=zero, lo=zero, round=self.round, **given)
        columns = [] if op == "qdwconv2d" else x.ids
        self.layers.append(Layer(f"n_{y}", ids, columns))
        return Flow(y, zero, ids)

    def speak(self, rows: np.ndarray, columns: list[int], depthwise: bool) -> None:
        """No row is constant by chance: one live column (or, of a depthwise layer, the middle) weighs much."""
        live = [n for n, i in enumerate(columns) if i not in self.gone]
        for row in rows:
            heavy = row[1, 1:2] if depthwise else row[..., int(self.b.rng.choice(live))]
            heavy[...] = self.b.rng.integers(64, 128, heavy.shape)

    def weights(self, *shape: int) -> np.ndarray:
        """Never zero."""
        magnitude = self.b.rng.integers(1, 128, shape)
        return (magnitude * self.b.rng.choice([-1, 1], shape)).astype(np.int8)

    def silence(self, x: Flow, w: np.ndarray) -> None:
        """Nobody listens to some channels of x: the weights of its only reader are zero there."""
        dead = self.some(x.ids)
        self.gone |= dead
        w[..., [n for n, i in enumerate(x.ids) if i in dead]] = 0

    def conv(self, x: Flow, k: int, *, alone: bool = True, like: list[int] | None = None) -> Flow:
        """alone: nobody else reads x; like: the result's channels are these, for a sum."""
        rng = self.b.rng
        ids = like or self.fresh(int(rng.integers(3, 9)))
        w = self.weights(len(ids), k, k, len(x.ids))
        if alone:
            self.silence(x, w)
        else:
            self.heard |= set(x.ids)
        self.gone |= set() if like else self.some(ids)
        small = min(self.b.shape(x.name)[1:3]) < 4
        pads = (k // 2,) * 4 if like or small or rng.random() < 0.7 else (0,) * 4
        still = not alone or min(self.b.shape(x.name)[1:3]) < 6
        strides = (1, 1) if still else tuple(map(int, rng.integers(1, 3, 2)))
        return self.layer("qconv2d", x, w, ids, self.gone, pads=pads, strides=strides)

    def depth(self, x: Flow) -> Flow:
        self.gone |= self.some(x.ids)
        w = self.weights(3, 3, len(x.ids))
        return self.layer("qdwconv2d", x, w, x.ids, self.gone, pads=(1,) * 4)

    def dense(self, x: Flow, count: int) -> Flow:
        flat = Flow(self.b.add("reshape", x.name, shape=(1, prod(self.b.shape(x.name)))), x.zero, x.ids)
        flat.ids = x.ids * (self.b.shape(flat.name)[1] // len(x.ids))
        w = self.weights(count, len(flat.ids))
        dead = self.some(x.ids)
        self.gone |= dead
        w[:, [n for n, i in enumerate(flat.ids) if i in dead]] = 0
        ids = self.fresh(count)
        self.gone |= self.some(ids)
        return self.layer("qdense", flat, w, ids, self.gone)

    def residual(self, x: Flow) -> Flow:
        y, zero = self.conv(x, 3, alone=False, like=x.ids), int(self.b.rng.integers(-128, 0))
        given: dict[str, Attr] = {"za": x.zero, "zb": y.zero, "zy": zero, "lo": zero}
        if self.round == "once":
            ma, mb, shift = sum_multipliers(0.7, 0.6)
            return Flow(self.b.add("qadd", x.name, y.name, ma=ma, mb=mb, shift=shift, **given), zero, x.ids)
        (ma, sa), (mb, sb), (mult, shift) = map(tflite_multiplier, (0.5, 0.4, 1.4 / (1 << 20)))
        each = {"ma": ma, "sa": sa, "mb": mb, "sb": sb, "left": 20, "mult": mult, "shift": shift}
        return Flow(self.b.add("qadd", x.name, y.name, round="tflite", **each, **given), zero, x.ids)

    def joined(self, x: Flow) -> Flow:
        y = self.conv(x, 1, alone=False)
        table = self.b.const(np.roll(np.arange(-128, 128), x.zero - y.zero).astype(np.int8))
        moved = self.b.add("qlut", x.name, table)
        return Flow(self.b.add("concat", moved, y.name, axis=3), int(self.table(table, x.zero)), [*x.ids, *y.ids])

    def table(self, name: str, x: int) -> int:
        return int(self.b.values[name].array()[x + 128])

    def looked_up(self, x: Flow) -> Flow:
        table = self.b.const(self.b.rng.permutation(np.arange(-128, 128)).astype(np.int8))
        return Flow(self.b.add("qlut", x.name, table), self.table(table, x.zero), x.ids)

    def pooled(self, x: Flow) -> Flow:
        if min(self.b.shape(x.name)[1:3]) < 4:
            return x
        if self.b.rng.random() < 0.5:
            return Flow(self.b.add("maxpool2d", x.name, kernel=(2, 2), strides=(2, 2)), x.zero, x.ids)
        if self.round == "tflite":
            y = self.b.add("qavgpool2d", x.name, kernel=(2, 2), strides=(2, 2), round="tflite")
            return Flow(y, x.zero, x.ids)
        mult, shift = (self.b.const(a) for a in (np.array([1 << 30], np.int32), np.array([32], np.int8)))
        zero = int(self.b.rng.integers(-128, 0))
        y = self.b.add("qavgpool2d", x.name, mult, shift, kernel=(2, 2), strides=(2, 2), zx=x.zero, zy=zero)
        return Flow(y, zero, x.ids)

    def halved(self, x: Flow) -> Flow:
        """A part of the channels; the rest is dead if it may be."""
        count = len(x.ids) // 2
        if not set(x.ids[:count]) - self.gone or set(x.ids[count:]) & (self.heard | set(x.ids[:count])):
            return x
        self.gone |= set(x.ids[count:])
        shape = self.b.shape(x.name)
        given: dict[str, Attr] = {"starts": (0,) * 4, "steps": (1,) * 4, "sizes": (*shape[:3], count)}
        return Flow(self.b.add("slice", x.name, **given), x.zero, x.ids[:count])

    def framed(self, x: Flow) -> Flow:
        edge = (0, 1, 0, 0)
        return Flow(self.b.add("pad", x.name, before=edge, after=edge, value=float(x.zero)), x.zero, x.ids)


KINDS = ("conv", "point", "depth", "residual", "joined", "looked_up", "pooled", "halved", "framed")


def hard_inputs(graph: Graph, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Inputs that are all lowest, all highest, and twice anything."""
    for number in range(4):
        inputs = interp.random_inputs(graph, None, seed + number)
        yield inputs if number > 1 else {k: np.full_like(v, (-128, 127)[number]) for k, v in inputs.items()}


def planted_network(seed: int) -> tuple[Graph, Planted]:
    """An int8 network, as imported, and what was planted in it."""
    b = Builder(seed)
    p = Planted(b, "tflite" if seed % 2 else "once")
    x = p.conv(p.input((1, 8, 7, 3)), 3)
    for kind in b.rng.choice(KINDS, int(b.rng.integers(3, 9))):
        made = {"conv": lambda v: p.conv(v, 3), "point": lambda v: p.conv(v, 1)}.get(str(kind))
        x = made(x) if made else getattr(p, str(kind))(x)
    hidden = p.dense(x, int(b.rng.integers(4, 9)))
    last = p.dense(hidden, 5)
    p.gone -= set(last.ids)  # a port keeps its shape
    return b.graph(last.name, stage=Stage.IMPORTED), p

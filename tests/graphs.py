"""Graphs for tests: a small builder, and random networks as a frontend would write them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from brainc import ops
from brainc.dtypes import DTYPES, F32, Array, DType
from brainc.ir import Attr, Entry, Graph, Node, Quant, Role, Stage, TensorType, Value, attrs, const_value

TO_ROWS, FROM_ROWS = (0, 2, 3, 1), (0, 3, 1, 2)


class Builder:
    """Writes one entry, `step`, a node at a time; result types are those the ops derive."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.values: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []

    def input(self, name: str, shape: Sequence[int], dtype: DType = F32, quant: Quant | None = None) -> str:
        self.values[name] = Value(name, TensorType(dtype, tuple(shape), quant), Role.INPUT)
        self.inputs.append(name)
        return name

    def const(self, array: Array, quant: Quant | None = None, name: str = "") -> str:
        dtype = next(d for d in DTYPES.values() if d.numpy == array.dtype)
        name = name or f"c{len(self.values)}"
        self.values[name] = const_value(name, array, dtype, quant)
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        """A constant of normal floats."""
        return self.const((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def add(self, op: str, *inputs: str, name: str = "", quant: Quant | None = None, **given: Attr) -> str:
        name = name or f"{op}{len(self.nodes)}"
        types = [self.values[i].type if i else None for i in inputs]
        seen = [None if t is None else TensorType(F32 if t.quant else t.dtype, t.shape) for t in types]
        raw = op.startswith("q") or op in ("to_int", "from_int", "argmax") or quant is None
        made = ops.get(op).infer(types if raw else seen, given)[0]
        if op in ("add", "sub", "mul", "div", "maximum", "minimum", "power"):
            made = TensorType(made.dtype, np.broadcast_shapes(*(t.shape for t in types if t)))
        dtype = types[0].dtype if quant and types[0] else made.dtype
        self.values[name] = Value(name, TensorType(dtype, made.shape, quant))
        self.nodes.append(Node(f"n_{name}", op, inputs, (name,), attrs(**given)))
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].type.shape

    def graph(self, *outputs: str, stage: Stage = Stage.IMPORTED) -> Graph:
        for name in outputs:
            old = self.values[name]
            self.values[name] = Value(name, old.type, Role.OUTPUT)
        entry = Entry("step", tuple(self.inputs), outputs, tuple(self.nodes))
        return Graph("test", self.values, (entry,), stage)

    def spatial(self, op: str, x: str, *rest: str, channels_first: bool, **given: Attr) -> str:
        """An op on images; in a channels-first model between two transpositions."""
        if not channels_first:
            return self.add(op, x, *rest, **given)
        y = self.add(op, self.add("transpose", x, perm=TO_ROWS), *rest, **given)
        return self.add("transpose", y, perm=FROM_ROWS)


def random_network(seed: int, *, channels_first: bool) -> Graph:
    """A float image network of convolutions, pools, sums, concats and dense layers, as imported."""
    b = Builder(seed)
    rng = b.rng
    c, h, w = (int(n) for n in rng.integers((1, 5, 5), (5, 10, 10)))
    x = b.input("x", (1, c, h, w) if channels_first else (1, h, w, c))
    x = _layer(b, x, "conv", channels_first)
    for _ in range(int(rng.integers(3, 9))):
        x = _layer(b, x, str(rng.choice(list(LAYERS))), channels_first)
    flat = b.add("reshape", x, shape=(1, prod(b.shape(x))))
    if rng.random() < 0.5:
        flat = b.add("clamp", flat, lo=0.0)
    size = b.shape(flat)[1]
    y = b.add("dense", flat, b.normal(7, size, scale=size**-0.5), b.normal(7))
    if rng.random() < 0.5:
        y = b.add("softmax", y)
    return b.graph(y, x) if rng.random() < 0.2 else b.graph(y)


LAYERS = ("conv", "point", "depth", "pool", "mean", "relu", "norm", "residual", "concat", "unary", "border", "gate")


def _layer(b: Builder, x: str, kind: str, first: bool) -> str:
    axis = 1 if first else 3
    c = b.shape(x)[axis]
    high, wide = b.shape(x)[2:] if first else b.shape(x)[1:3]
    per_channel = (c, 1, 1) if first else (c,)
    if kind in ("conv", "point"):
        k = 3 if kind == "conv" else 1
        weights = b.normal(int(b.rng.integers(1, 7)), k, k, c, scale=(k * k * c) ** -0.5)
        bias = (b.normal(b.shape(weights)[0]),) if b.rng.random() < 0.5 else ()
        return b.spatial("conv2d", x, weights, *bias, channels_first=first, pads=(k // 2,) * 4)
    if kind == "depth":
        return b.spatial("conv2d", x, b.normal(c, 3, 3, 1), channels_first=first, pads=(1,) * 4, group=c)
    if kind in ("pool", "mean") and min(high, wide) >= 4:
        op = "maxpool2d" if kind == "pool" else "avgpool2d"
        return b.spatial(op, x, channels_first=first, kernel=(2, 2), strides=(2, 2))
    if kind == "norm":
        return b.add("add", b.add("mul", x, b.normal(*per_channel)), b.normal(*per_channel))
    if kind == "residual":
        same = b.spatial("conv2d", x, b.normal(c, 1, 1, c), channels_first=first)
        return b.add("add", same, x)
    if kind == "concat":
        return b.add("concat", x, b.add("clamp", x, lo=-0.5, hi=0.5), axis=axis)
    if kind == "border":
        edge = (0, 0, 1, 1) if first else (0, 1, 1, 0)
        return b.add("pad", x, before=edge, after=edge)
    if kind == "gate":
        gate = b.add("unary", b.spatial("avgpool2d", x, channels_first=first, kernel=(high, wide)), fn="sigmoid")
        return b.add("mul", x, gate)
    return b.add("unary", x, fn="tanh") if kind == "unary" else b.add("clamp", x, lo=0.0)

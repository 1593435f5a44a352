"""The workbench of the integer forms: nodes and values that grow together, and numbers between reals and integers.

Knocks: `integer.py` and the files of forms beside it. A form is `(build, node) -> bool`: it writes the integer node
and says True, or says False and has written nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from brainc import numerics
from brainc.dtypes import F32, I8, Array, DType
from brainc.ir import Attr, Graph, Node, Quant, Role, TensorType, Value, attrs, const_value, fresh_name
from brainc.spec import bounds

WINDOW = ("strides", "pads", "dilations")


def quantise(real: Array, quant: Quant, lo: int = -128, hi: int = 127) -> Array:
    """float64 to integers, rounded half to even and clamped; NaN becomes the zero point. int64."""
    scale, zero = (quant.along(part, real.shape, np.float64) for part in (quant.scale, quant.zero))
    steps = np.nan_to_num(np.asarray(real, np.float64) / scale, nan=0.0, posinf=1e9, neginf=-1e9)
    return np.asarray(np.clip(np.rint(steps) + zero, lo, hi)).astype(np.int64)


def dequantise(array: Array, quant: Quant | None) -> Array:
    """Integers to the reals that they stand for (None: themselves), float64."""
    if quant is None:
        return array.astype(np.float64)
    scale, zero = (quant.along(part, array.shape, np.float64) for part in (quant.scale, quant.zero))
    return np.asarray((array.astype(np.float64) - zero) * scale)


def real_constant(value: Value) -> Array:
    """What a constant stands for, float64."""
    return dequantise(value.array(), value.type.quant)


def affine(lo: float, hi: float) -> Quant:
    """The int8 quantisation whose 255 steps span lo..hi (stretched to hold 0, which it hits exactly)."""
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    scale = (hi - lo) / 255 or 1.0
    return Quant.tensor(scale, round(min(max(-128 - lo / scale, -128), 127)))


def multipliers(reals: Array) -> tuple[Array, Array]:
    """Requantising factors [N] to (mult int32 [S], shift int8 [S]); S is 1 where all are equal."""
    unique = reals[:1] if np.all(reals == reals[0]) else reals
    pairs = [numerics.multiplier(float(r)) for r in unique]
    return np.array([m for m, _ in pairs], np.int32), np.array([s for _, s in pairs], np.int8)


class Build:
    """Nodes written so far, the values they use, and the helpers that every integer form needs."""

    def __init__(self, graph: Graph) -> None:
        self.values: dict[str, Value] = dict(graph.values)
        self.begin()

    def begin(self) -> None:
        """A new entry: nothing that another one computed may be read."""
        self.nodes: list[Node] = []
        self.writers: dict[str, Node] = {}  # the nodes of this entry, by what they write
        self._made: dict[tuple[str, Quant | None], str] = {}

    def add(self, node: Node) -> None:
        self.nodes.append(node)
        self.writers.update(dict.fromkeys(node.outputs, node))

    def emit(self, old: Node, op: str, inputs: tuple[str, ...], **given: Attr) -> bool:
        """`old` as another op with other operands, writing the same values. True."""
        self.add(Node(old.name, op, inputs, old.outputs, attrs(**given), old.where))
        return True

    def value(self, wanted: str, type_: TensorType, node: Node) -> str:
        """A new TEMP; its name."""
        name = fresh_name(wanted, self.values)
        self.values[name] = Value(name, type_, Role.TEMP, where=node.where)
        return name

    def const(self, wanted: str, array: Array, dtype: DType, node: Node, quant: Quant | None = None) -> str:
        """A new constant; its name."""
        name = fresh_name(wanted, self.values)
        self.values[name] = const_value(name, array, dtype, quant, node.where)
        return name

    def type(self, name: str) -> TensorType:
        return self.values[name].type

    def tensor(self, name: str) -> tuple[float, int]:
        """Scale and zero point of an edge that has one of each."""
        quant = self.values[name].type.quant
        assert quant is not None
        return quant.scale[0], quant.zero[0]

    def is_const(self, name: str) -> bool:
        return self.values[name].role is Role.CONST

    def is_i8(self, name: str) -> bool:
        """An int8 edge with one scale: what the q ops read and write."""
        type_ = self.values[name].type
        return type_.dtype is I8 and type_.quant is not None and type_.quant.axis is None

    def result(self, node: Node) -> dict[str, Attr]:
        """Zero point and bounds of the result, in its steps."""
        scale, zero = self.tensor(node.outputs[0])
        lo, hi = quantise(np.array(bounds(node)), Quant.tensor(scale, zero))
        return {"zy": zero, "lo": int(lo), "hi": int(hi)}

    def i8_operand(self, name: str, node: Node) -> str:
        """`name` as a q op may read it: int8 with one scale; a constant is made so if it is not."""
        if self.is_i8(name):
            return name
        real = real_constant(self.values[name])
        quant = affine(float(real.min()), float(real.max()))
        return self.const(f"{name}/q", quantise(real, quant), I8, node, quant)

    def table(self, wanted: str, x: Quant, y: Quant, function: Callable[[Array], Array], node: Node) -> str:
        """The 256 answers of a function of one variable, worked out in float64, rounded half to even."""
        with np.errstate(all="ignore"):
            answers = function(dequantise(np.arange(-128, 128), x))
        return self.const(wanted, quantise(answers, y), I8, node)

    def requantised(self, name: str, wanted: TensorType, node: Node) -> str:
        """`name` with the quantisation of `wanted`, through a table where it has another; a constant at once."""
        old, new = self.type(name), wanted.quant
        if old.quant == new or new is None:
            return name
        if self.is_const(name):
            return self.const(f"{name}/q", quantise(real_constant(self.values[name]), new), I8, node, new)
        if old.quant is None:
            return name
        if (name, new) not in self._made:
            table = self.table(f"{name}/table", old.quant, new, lambda x: x, node)
            made = self._made[name, new] = self.value(f"{name}/rescaled", TensorType(I8, old.shape, new), node)
            self.add(Node(f"{made}/qlut", "qlut", (name, table), (made,), where=node.where))
        return self._made[name, new]

    def real(self, name: str, node: Node) -> str:
        """The float32 twin of a quantised value or constant (itself where it stands for no reals)."""
        value = self.values[name]
        if value.type.quant is None:
            return name
        if (name, None) not in self._made:
            if value.role is Role.CONST:
                twin = self.const(f"{name}/real", real_constant(value), F32, node)
            else:
                scale, zero = self.tensor(name)
                twin = self.value(f"{name}/real", TensorType(F32, value.type.shape), node)
                given = attrs(scale=scale, zero=zero)
                self.add(Node(f"{twin}/from_int", "from_int", (name,), (twin,), given, node.where))
            self._made[name, None] = twin
        return self._made[name, None]

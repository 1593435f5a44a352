"""The workbench of `lower_to_integers`: a list of nodes and a table of values that grow together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from brainc import numerics
from brainc.dtypes import F32, I8, Array, DType
from brainc.errors import UnsupportedError
from brainc.ir import Attr, Graph, Node, Quant, Role, TensorType, Value, attrs, const_value, fresh_name

I8_VALUES = np.arange(-128, 128)
INT32 = np.iinfo(np.int32)


def quantised(type_: TensorType) -> bool:
    """Do the integers of this edge stand for real numbers?"""
    return type_.quant is not None


def quantise(real: Array, quant: Quant, lo: int, hi: int) -> Array:
    """float64 to integers, rounded half to even and clamped; NaN becomes the zero point. int64."""
    scale, zero = per_axis(quant, real.ndim)
    steps = np.nan_to_num(np.asarray(real, np.float64) / scale, nan=0.0, posinf=1e9, neginf=-1e9)
    return np.asarray(np.clip(np.rint(steps) + zero, lo, hi)).astype(np.int64)


def dequantise(array: Array, quant: Quant) -> Array:
    """Integers to the reals that they stand for, float64."""
    scale, zero = per_axis(quant, array.ndim)
    return np.asarray((array.astype(np.float64) - zero) * scale)


def per_axis(quant: Quant, rank: int) -> tuple[Array, Array]:
    """Scale and zero point in a shape that broadcasts over a tensor of `rank` axes."""
    shape = [1] * rank
    if quant.axis is not None:
        shape[quant.axis] = len(quant.scale)
    return np.reshape(quant.scale, shape), np.reshape(quant.zero, shape)


def real_constant(value: Value) -> Array:
    """What a constant stands for, float64."""
    array = value.array()
    return array.astype(np.float64) if value.type.quant is None else dequantise(array, value.type.quant)


class Build:
    """Nodes written so far, the values they use, and the helpers that every integer form needs."""

    def __init__(self, graph: Graph) -> None:
        self.values: dict[str, Value] = dict(graph.values)
        self.nodes: list[Node] = []
        self._made: dict[tuple[object, ...], str] = {}
        self._writers: dict[str, Node] = {}

    def begin(self) -> None:
        """A new entry: nothing that another one computed may be read."""
        self.nodes = []
        self._made.clear()
        self._writers.clear()

    def add(self, node: Node) -> None:
        self.nodes.append(node)
        self._writers.update(dict.fromkeys(node.outputs, node))

    def writer(self, name: str) -> Node | None:
        """The node of this entry, written so far, that makes `name`."""
        return self._writers.get(name)

    def emit(self, old: Node, op: str, inputs: tuple[str, ...], **given: Attr) -> None:
        """`old` as another op with other operands, writing the same values."""
        self.add(Node(old.name, op, inputs, old.outputs, attrs(**given), old.where))

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

    def i32(self, array: Array, node: Node) -> Array:
        """int64 as int32; UnsupportedError where it does not fit."""
        if array.size and (array.max() > INT32.max or array.min() < INT32.min):
            raise UnsupportedError(
                f"a bias of {node.name} does not fit into 32 bits",
                fix="quantise the layer with larger scales, or leave it in float",
            )
        return array.astype(np.int32)

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

    def i8_operand(self, name: str, node: Node) -> str | None:
        """`name` as a q op may read it: int8 with one scale; a constant is made so if it is not."""
        if self.is_i8(name):
            return name
        if not self.is_const(name):
            return None
        real = real_constant(self.values[name])
        quant = tensor_quant(float(real.min()), float(real.max()))
        return self.const(f"{name}/q", quantise(real, quant, -128, 127), I8, node, quant)

    def table(self, wanted: str, x: Quant, y: Quant, function: Callable[[Array], Array], node: Node) -> str:
        """The 256 answers of a function of one variable, worked out in float64, rounded half to even."""
        with np.errstate(all="ignore"):
            answers = function(dequantise(I8_VALUES, x))
        return self.const(wanted, quantise(answers, y, -128, 127), I8, node)

    def requantised(self, name: str, wanted: TensorType, node: Node) -> str:
        """`name` with the quantisation of `wanted`, through a table where it has another."""
        value = self.values[name]
        old, new = value.type.quant, wanted.quant
        if old == new or old is None or new is None:
            return name
        key = (name, new)
        if key not in self._made:
            table = self.table(f"{name}/table", old, new, lambda x: x, node)
            self._made[key] = self.value(f"{name}/rescaled", TensorType(I8, value.type.shape, new), node)
            made = self._made[key]
            self.add(Node(f"{made}/qlut", "qlut", (name, table), (made,), where=node.where))
        return self._made[key]

    def real(self, name: str, node: Node) -> str:
        """The float32 twin of a quantised value or constant (itself where it stands for no reals)."""
        value = self.values[name]
        quant = value.type.quant
        if quant is None:
            return name
        if (name,) not in self._made:
            if value.role is Role.CONST:
                twin = self.const(f"{name}/real", real_constant(value), F32, node)
            else:
                twin = self.value(f"{name}/real", TensorType(F32, value.type.shape), node)
                given = attrs(scale=quant.scale[0], zero=quant.zero[0])
                self.add(Node(f"{twin}/from_int", "from_int", (name,), (twin,), given, node.where))
            self._made[(name,)] = twin
        return self._made[(name,)]


def tensor_quant(lo: float, hi: float) -> Quant:
    """The int8 quantisation whose 256 steps span lo..hi and hit 0 exactly."""
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    scale = (hi - lo) / 255 or 1.0
    return Quant.tensor(scale, round(min(max(-128 - lo / scale, -128), 127)))


def multipliers(reals: Array) -> tuple[Array, Array]:
    """Requantising factors [N] to (mult int32 [S], shift int8 [S]); S is 1 where all are equal."""
    unique = reals[:1] if np.all(reals == reals[0]) else reals
    pairs = [numerics.multiplier(float(r)) for r in unique]
    return np.array([m for m, _ in pairs], np.int32), np.array([s for _, s in pairs], np.int8)


def bounds(given: Mapping[str, Attr], scale: float, zero: int) -> dict[str, Attr]:
    """The clamp of a real op, in steps of its result."""
    limits = [float(given.get("lo", -np.inf)), float(given.get("hi", np.inf))]  # type: ignore[arg-type]
    lo, hi = quantise(np.array(limits), Quant.tensor(scale, zero), -128, 127)
    return {"lo": int(lo), "hi": int(hi)}

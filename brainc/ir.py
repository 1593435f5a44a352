"""The one language inside brainc: tensor-sized ops over named values.

Frontends write it, passes turn one graph into the next, kernels and the planner read it. Everything is
frozen: a stage never changes a graph, it returns a new one. Facts live here, decisions (which kernel,
which address) do not; they meet in `program.py`.

    graph kws @INTEGER
      const conv/w : i8[64,10,4,1]          (2.5 kB, sha 91ab…)
      entry step(audio: i8[1,49,10,1]) -> (scores: i8[1,12])
        h0 : i8[1,25,5,64] = qconv2d(audio, conv/w, conv/b, conv/mult, conv/shift) {strides=(2, 2) …}
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from types import MappingProxyType

import numpy as np

from brainc.dtypes import Array, DType
from brainc.errors import Where

Attr = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
Attrs = Mapping[str, Attr]
NOWHERE = Where()


class Role(enum.Enum):
    """What a value is to the brain: one word instead of six flags."""

    INPUT = "input"
    OUTPUT = "output"
    CONST = "const"
    STATE = "state"
    TEMP = "temp"


class Stage(enum.IntEnum):
    """How far a graph has come; `spec.py` says what is legal at each."""

    IMPORTED = 0
    CANONICAL = 1
    QUANTIZED = 2
    INTEGER = 3
    READY = 4


@dataclass(frozen=True, slots=True)
class Quant:
    """Affine quantisation: real = (q - zero) * scale, per tensor (`axis` None), per slice of `axis`, or in blocks.

    With a `block`, every run of so many numbers along `axis` has its own scale (the last run may be short), and each
    index of the other axes has its own runs: the scales lie as `grid` says, its last axis fastest.
    """

    scale: tuple[float, ...]
    zero: tuple[int, ...]
    axis: int | None = None
    block: int = 0

    @staticmethod
    def tensor(scale: float, zero: int) -> Quant:
        return Quant((float(scale),), (int(zero),))

    def grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The scales of a tensor of `shape` as an array of as many axes."""
        if self.block:
            return tuple(-(-n // self.block) if i == self.axis else n for i, n in enumerate(shape))
        return tuple(n if i == self.axis else 1 for i, n in enumerate(shape))

    def along(self, numbers: tuple[float, ...], shape: tuple[int, ...], dtype: type = np.float32) -> Array:
        """`numbers` (the scales or the zeros) shaped to broadcast against a tensor of `shape`."""
        array: Array = np.asarray(numbers, dtype).reshape(self.grid(shape))
        if not self.block or self.axis is None:
            return array
        return array.repeat(self.block, self.axis).take(range(shape[self.axis]), self.axis)

    def transposed(self, perm: Sequence[int], shape: tuple[int, ...]) -> Quant:
        """That of a tensor of `shape` whose axes are put in the order `perm`."""
        if self.axis is None:
            return self
        scale, zero = (np.reshape(part, self.grid(shape)).transpose(perm) for part in (self.scale, self.zero))
        return self._with(scale, zero, list(perm).index(self.axis))

    def reshaped(self, before: tuple[int, ...], after: tuple[int, ...]) -> Quant | None:
        """That of the same tensor under another shape; None if its axis does not survive."""
        if self.axis is None:
            return self
        head, size = prod(before[: self.axis]), before[self.axis]
        fits = (axis for axis in range(len(after)) if after[axis] == size and prod(after[:axis]) == head)
        axis = next(fits, None)
        return None if axis is None else replace(self, axis=axis)

    def taken(self, axis: int, order: Array, shape: tuple[int, ...]) -> Quant:
        """That of a tensor of `shape` with these slices of `axis` only; blocks run along another axis."""
        if self.grid(shape)[axis] == 1 or self.axis is None:
            return self
        scale, zero = (np.reshape(part, self.grid(shape)).take(order, axis) for part in (self.scale, self.zero))
        return self._with(scale, zero, self.axis)

    def _with(self, scale: Array, zero: Array, axis: int) -> Quant:
        return Quant(tuple(scale.reshape(-1).tolist()), tuple(zero.reshape(-1).tolist()), axis, self.block)


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type, static shape, and what the integers mean (None: they are just numbers)."""

    dtype: DType
    shape: tuple[int, ...]
    quant: Quant | None = None

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of it as it is stored; numbers of 4 bits lie two to a byte."""
        return -(-self.size * self.dtype.bits // 8)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Const:
    """A constant's passport: `key` (sha256 of type, shape and bytes) and how to get the numbers."""

    key: str
    load: Callable[[], Array] = field(compare=False, repr=False)

    @staticmethod
    def of(array: Array) -> Const:
        fixed = np.array(array, order="C")
        fixed.setflags(write=False)
        return Const(_digest(fixed), lambda: fixed)


def _digest(array: Array) -> str:
    sha = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
    return sha.hexdigest()


@dataclass(frozen=True, slots=True)
class Value:
    """A named tensor."""

    name: str
    type: TensorType
    role: Role = Role.TEMP
    const: Const | None = None
    where: Where = NOWHERE

    def array(self) -> Array:
        """The numbers of a constant (or the initial value of a state)."""
        if self.const is None:
            raise ValueError(f"{self.name} has no constant")
        return self.const.load()


@dataclass(frozen=True, slots=True)
class Node:
    """One operation; an empty string among `inputs` is an optional operand left out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Attrs = field(default_factory=lambda: MappingProxyType({}))
    where: Where = NOWHERE

    @property
    def operands(self) -> tuple[str, ...]:
        """The inputs that are there."""
        return tuple(i for i in self.inputs if i)


@dataclass(frozen=True, slots=True)
class Entry:
    """One C function of the brain: its ports, in order, and its nodes, in a topological order."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole brain: values by name, entries over them, and the stage it has reached."""

    name: str
    values: Mapping[str, Value]
    entries: tuple[Entry, ...]
    stage: Stage = Stage.IMPORTED

    def nodes(self) -> Iterator[Node]:
        for entry in self.entries:
            yield from entry.nodes

    def type(self, name: str) -> TensorType:
        return self.values[name].type

    def is_const(self, name: str) -> bool:
        return bool(name) and self.values[name].role is Role.CONST

    def array(self, name: str) -> Array:
        return self.values[name].array()

    def producers(self) -> dict[str, Node]:
        """Value name to the node that writes it."""
        return {out: node for node in self.nodes() for out in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """Value name to the nodes that read it, in order (a node twice if it reads twice)."""
        users: dict[str, list[Node]] = {}
        for node in self.nodes():
            for name in node.operands:
                users.setdefault(name, []).append(node)
        return users

    def at(self, stage: Stage) -> Graph:
        return replace(self, stage=stage)

    def replaced(self, *, values: Mapping[str, Value] | None = None, entries: tuple[Entry, ...] | None = None) -> Graph:
        """A copy with other values or entries; values that nothing mentions any more are dropped."""
        new = replace(self, values=values or self.values, entries=self.entries if entries is None else entries)
        return new._swept()

    def _swept(self) -> Graph:
        used = {name for e in self.entries for name in (*e.inputs, *e.outputs)}
        used |= {name for node in self.nodes() for name in (*node.operands, *node.outputs)}
        used |= {name for name, value in self.values.items() if value.role is Role.STATE}
        if len(used) == len(self.values):
            return self
        return replace(self, values={n: v for n, v in self.values.items() if n in used})

    def text(self) -> str:
        """The debugger: the whole graph as readable lines."""
        return "\n".join(_text(self)) + "\n"


def attrs(**items: Attr) -> Attrs:
    """A frozen attribute table."""
    return MappingProxyType(dict(items))


def const_value(name: str, array: Array, dtype: DType, quant: Quant | None = None, where: Where = NOWHERE) -> Value:
    """A constant named `name` holding `array` as `dtype`."""
    fixed = np.asarray(array).astype(dtype.numpy, copy=False)
    return Value(name, TensorType(dtype, tuple(fixed.shape), quant), Role.CONST, Const.of(fixed), where)


def fresh_name(wanted: str, taken: Mapping[str, object] | set[str]) -> str:
    """`wanted`, or `wanted.2`, `wanted.3` … if it is taken."""
    if wanted not in taken:
        return wanted
    number = 2
    while f"{wanted}.{number}" in taken:
        number += 1
    return f"{wanted}.{number}"


def _size(nbytes: int) -> str:
    return f"{nbytes} B" if nbytes < 1000 else f"{nbytes / 1000:.1f} kB"


def type_text(type_: TensorType) -> str:
    """A type with its quantisation, as a manifest writes it."""
    quant = type_.quant
    if quant is None:
        return str(type_)
    if quant.axis is None:
        return f"{type_} scale={quant.scale[0]:.6g} zero={quant.zero[0]}"
    blocks = f" in blocks of {quant.block}" if quant.block else ""
    return f"{type_} scale=<{len(quant.scale)} along {quant.axis}{blocks}>"


def _text(graph: Graph) -> Iterator[str]:
    yield f"graph {graph.name} @{graph.stage.name}"
    for value in graph.values.values():
        if value.role in (Role.CONST, Role.STATE):
            sha = f", sha {value.const.key[:4]}…" if value.const else ""
            head = f"  {value.role.value} {value.name} : {type_text(value.type)}"
            yield f"{head}  ({_size(value.type.nbytes)}{sha})"
    for entry in graph.entries:
        ports = ", ".join(f"{n}: {type_text(graph.type(n))}" for n in entry.inputs)
        outs = ", ".join(f"{n}: {type_text(graph.type(n))}" for n in entry.outputs)
        yield f"  entry {entry.name}({ports}) -> ({outs})"
        for node in entry.nodes:
            outs = ", ".join(f"{n} : {type_text(graph.type(n))}" for n in node.outputs)
            attrs_text = " ".join(f"{k}={v}" for k, v in sorted(node.attrs.items()))
            attrs_text = f" {{{attrs_text}}}" if attrs_text else ""
            yield f"    {outs} = {node.op}({', '.join(i or '-' for i in node.inputs)}){attrs_text}"

"""Opening a TFLite file that nobody vouches for.

The importer knocks; a `Model` of plain records and numpy arrays leaves. The `tflite` package, generated from the
schema, finds the fields; here every count is weighed against the size of the file before it is followed, so that
a broken file is a ModelError, soon and without a traceback.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tflite

from brainc.dtypes import Array
from brainc.errors import ModelError, UnsupportedError
from brainc.ir import Quant

DAMAGED = "the file is damaged or was written by a faulty tool; convert the model again"
FORMAT = 3  # the version of the schema that all converters write
MAX_ELEMENTS = 2**31 - 1  # of one tensor
# what the accessors run into where an offset or a count leads out of the file
ASTRAY: tuple[type[Exception], ...] = (struct.error, ArithmeticError, AttributeError, AssertionError, LookupError)
ASTRAY += (TypeError, ValueError)
NUMPY = {
    **{"FLOAT32": "f4", "FLOAT16": "f2", "FLOAT64": "f8", "BOOL": "?", "INT4": "i1"},
    **{f"{kind}INT{bits}": f"{kind.lower() or 'i'}{bits // 8}" for kind in ("", "U") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the file: `type` in the schema's words, `data` if its numbers are known.

    With `sparsity` (the schema's record) data is one axis of what is stored; 4-bit integers come one a byte. `open`
    are the axes whose size the file only gives an example of.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    quant: Quant | None
    data: Array | None
    sparsity: Any = None
    open: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Operator:
    """A node; tensors by index, -1 where left out. `options` is the schema's record of its op, or None."""

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True, slots=True)
class Subgraph:
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """The first subgraph is the network; `ports` are the names that a signature gives to its tensors."""

    subgraphs: tuple[Subgraph, ...]
    ports: dict[int, str]


def read_model(path: Path) -> Model:
    """The whole file; ModelError if it is none or leads out of itself."""
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise ModelError(f"{path.name} is not a TFLite model", fix="the file is damaged or of another kind")
    try:
        return _Reader(data).model()
    except ASTRAY as error:
        raise ModelError(f"{path.name} leads out of itself", fix=DAMAGED) from error


def words(schema: Any) -> dict[int, str]:
    """Numbers of an enumeration of the schema to their names."""
    return {number: name for name, number in vars(schema).items() if isinstance(number, int)}


TYPES, OPERATORS, OPTIONS = words(tflite.TensorType), words(tflite.BuiltinOperator), words(tflite.BuiltinOptions)


class _Reader:
    """Follows the file from its root; what it may still follow is `left`, a few times the file's size."""

    def __init__(self, data: bytes) -> None:
        self.data, self.left = data, 8 * len(data)

    def spend(self, count: int) -> int:
        self.left -= count
        if count < 0 or self.left < 0:
            raise ValueError("counts add up to more than the file holds")
        return count

    def each(self, count: int, item: Callable[[int], Any]) -> Iterator[Any]:
        return (item(i) for i in range(self.spend(count)))

    def numbers(self, count: int, vector: Callable[[], Any]) -> tuple[Any, ...]:
        """A vector of numbers (none if it is not there)."""
        return tuple(vector().tolist()) if self.spend(count) else ()

    def text(self, raw: bytes | None) -> str:
        self.spend(len(raw or b""))
        return (raw or b"").decode()

    def model(self) -> Model:
        root = tflite.Model.GetRootAs(self.data, 0)
        if root.Version() != FORMAT:
            what = f"the file has version {root.Version()} of the format; brainc reads version {FORMAT}"
            raise UnsupportedError(what, fix="convert the model with a converter of today")
        self.buffers = list(self.each(root.BuffersLength(), root.Buffers))
        self.codes = [self.code(c) for c in self.each(root.OperatorCodesLength(), root.OperatorCodes)]
        subgraphs = tuple(self.subgraph(s) for s in self.each(root.SubgraphsLength(), root.Subgraphs))
        if not subgraphs:
            raise ValueError("no subgraphs")
        ports: dict[int, str] = {}
        for signature in self.each(root.SignatureDefsLength(), root.SignatureDefs):
            if signature.SubgraphIndex() == 0 and not ports:
                maps = [*self.each(signature.InputsLength(), signature.Inputs)]
                maps += self.each(signature.OutputsLength(), signature.Outputs)
                ports = {m.TensorIndex(): self.text(m.Name()) for m in maps}
        return Model(subgraphs, ports)

    def code(self, code: Any) -> str:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = self.text(code.CustomCode()) if number == tflite.BuiltinOperator.CUSTOM else ""
        return f"custom op {custom}" if custom else OPERATORS.get(number, f"op {number}")

    def subgraph(self, graph: Any) -> Subgraph:
        tensors = tuple(self.tensor(t) for t in self.each(graph.TensorsLength(), graph.Tensors))
        operators = tuple(self.operator(o, len(tensors)) for o in self.each(graph.OperatorsLength(), graph.Operators))
        ends = [(graph.InputsLength(), graph.InputsAsNumpy), (graph.OutputsLength(), graph.OutputsAsNumpy)]
        inputs, outputs = (self.indices(*end, len(tensors)) for end in ends)
        if -1 in (*inputs, *outputs):
            raise IndexError("a port without a tensor")
        return Subgraph(tensors, inputs, outputs, operators)

    def indices(self, count: int, vector: Callable[[], Any], tensors: int) -> tuple[int, ...]:
        found = self.numbers(count, vector)
        if any(not -1 <= i < tensors for i in found):
            raise IndexError("no such tensor")
        return found

    def operator(self, node: Any, tensors: int) -> Operator:
        inputs = self.indices(node.InputsLength(), node.InputsAsNumpy, tensors)
        outputs = self.indices(node.OutputsLength(), node.OutputsAsNumpy, tensors)
        kind, table, options = OPTIONS.get(node.BuiltinOptionsType(), "NONE"), node.BuiltinOptions(), None
        if kind != "NONE" and table is not None:
            options = getattr(tflite, kind)()
            options.Init(table.Bytes, table.Pos)
        return Operator(self.codes[node.OpcodeIndex()], inputs, outputs, options)

    def tensor(self, tensor: Any) -> Tensor:
        shape = self.numbers(tensor.ShapeLength(), tensor.ShapeAsNumpy)
        name, type_, sparsity = self.text(tensor.Name()), TYPES[tensor.Type()], tensor.Sparsity()
        if any(n < 0 for n in shape) or prod(shape) > MAX_ELEMENTS:
            raise ValueError(f"shape {shape}")
        sizes = self.numbers(tensor.ShapeSignatureLength(), tensor.ShapeSignatureAsNumpy)
        open_ = frozenset(axis for axis, n in enumerate(sizes[: len(shape)]) if n < 0)
        data = self.buffer(tensor.Buffer())
        array = None if data is None or type_ not in NUMPY else _array(data, type_, shape, sparse=sparsity is not None)
        quant = self.quant(tensor.Quantization(), shape) if "INT" in type_ else None
        return Tensor(name, shape, type_, quant, array, sparsity, open_)

    def buffer(self, index: int) -> Array | None:
        """The bytes of a buffer, inside the records or (in large files) behind them; None if it has none."""
        buffer = self.buffers[index]
        start, size = buffer.Offset(), buffer.Size()
        if start > 1:  # 0 and 1: not behind
            return np.frombuffer(self.data, np.uint8, size, start)
        found: Array | None = None if buffer.DataIsNone() else buffer.DataAsNumpy()
        return found

    def quant(self, record: Any, shape: tuple[int, ...]) -> Quant | None:
        """What the integers mean, or None."""
        if record is None or not record.ScaleLength():
            return None
        scale = self.numbers(record.ScaleLength(), record.ScaleAsNumpy)
        zero = self.numbers(record.ZeroPointLength(), record.ZeroPointAsNumpy) or (0,)
        zero = zero * len(scale) if len(zero) == 1 else zero
        axis = record.QuantizedDimension() if len(scale) > 1 else None
        if len(zero) != len(scale) or (axis is not None and shape[axis] != len(scale)):
            raise ValueError("scales do not fit the shape")
        if not all(0 < s < float("inf") for s in scale):
            raise ValueError("a scale is not a positive number")
        return Quant(scale, zero, axis)


def _array(data: Array, type_: str, shape: tuple[int, ...], *, sparse: bool) -> Array | None:
    """The bytes of a buffer as numbers; None where there are none."""
    count = prod(shape)
    if type_ == "INT4":
        data = np.stack([data << 4, data], axis=-1).reshape(-1)[: data.size * 2 if sparse else count]
        data = (data.view(np.int8) >> 4).view(np.uint8)
    array = data.view(NUMPY[type_])
    if not array.size and count:
        return None
    return array if sparse else array.reshape(shape)

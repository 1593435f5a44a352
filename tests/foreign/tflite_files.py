"""Small TFLite files for tests: tensors and nodes as records in, the bytes of a model out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

Builder = flatbuffers.Builder
NUMPY = {
    "FLOAT32": "f4",
    "INT4": "i1",
    "INT8": "i1",
    "UINT8": "u1",
    "INT16": "i2",
    "INT32": "i4",
    "INT64": "i8",
    "FLOAT16": "f2",
}


@dataclass(frozen=True)
class T:
    """A tensor; `data` makes it a constant, several scales are those of slices of `axis`.

    `sparse` says how data (then one axis) is stored: (order of axes, axes that blocks are of, levels), a level being
    the size of its axis and, where not every cell is there, the two lists of those that are. `sizes` of -1 are open.
    """

    name: str
    shape: tuple[int, ...]
    type: str = "INT8"
    scale: float | Sequence[float] | None = None
    zero: int = 0
    axis: int = 0
    data: Any = None
    sparse: tuple[Any, Any, Any] | None = None
    sizes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class N:
    """A node: op, names of its tensors ("" left out), the record of its options and what stands in it."""

    op: str
    ins: Sequence[str]
    outs: Sequence[str]
    kind: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def vector(b: Builder, numbers: Any, dtype: str) -> int:
    return int(b.CreateNumpyVector(np.asarray(list(numbers), dtype)))


def offsets(b: Builder, items: Sequence[int]) -> int:
    b.StartVector(4, len(items), 4)
    for item in reversed(items):
        b.PrependUOffsetTRelative(item)
    return int(b.EndVector())


def record(b: Builder, kind: str, **values: Any) -> int:
    """A table of the schema; texts are made of strings."""
    made = {k: b.CreateString(v) if isinstance(v, str) else v for k, v in values.items()}
    getattr(tflite, f"{kind}Start")(b)
    for key, value in made.items():
        getattr(tflite, f"{kind}Add{key}")(b, value)
    return int(getattr(tflite, f"{kind}End")(b))


def tensor(b: Builder, t: T, buffer: int) -> int:
    given: dict[str, Any] = {"Name": b.CreateString(t.name), "Shape": vector(b, t.shape, "i4"), "Buffer": buffer}
    if t.scale is not None:
        scales = [t.scale] if isinstance(t.scale, float) else [float(s) for s in t.scale]
        scale, zero = vector(b, scales, "f4"), vector(b, [t.zero] * len(scales), "i8")
        quant = {"Scale": scale, "ZeroPoint": zero, "QuantizedDimension": t.axis}
        given["Quantization"] = record(b, "QuantizationParameters", **quant)
    if t.sparse is not None:
        given["Sparsity"] = sparsity(b, *t.sparse)
    if t.sizes is not None:
        given["ShapeSignature"] = vector(b, t.sizes, "i4")
    return record(b, "Tensor", Type=getattr(tflite.TensorType, t.type), **given)


def sparsity(b: Builder, order: Sequence[int], blocks: Sequence[int], levels: Sequence[Any]) -> int:
    """How a sparse tensor is stored."""
    made = []
    for size, *lists in levels:
        given: dict[str, Any] = {"DenseSize": size}
        for key, numbers in zip(("ArraySegments", "ArrayIndices"), lists, strict=False):
            given |= {"Format": 1, f"{key}Type": tflite.SparseIndexVector.Int32Vector}
            given[key] = record(b, "Int32Vector", Values=vector(b, numbers, "i4"))
        made.append(record(b, "DimensionMetadata", **given))
    lists = {"TraversalOrder": vector(b, order, "i4"), "BlockMap": vector(b, blocks, "i4")}
    return record(b, "SparsityParameters", DimMetadata=offsets(b, made), **lists)


def subgraph(b: Builder, tensors: Sequence[T], nodes: Sequence[N], ins: Sequence[str], outs: Sequence[str],
             ops: list[str], buffers: list[int]) -> int:  # fmt: skip
    index = {t.name: i for i, t in enumerate(tensors)} | {"": -1}
    made = []
    for t in tensors:
        buffer = 0
        if t.data is not None:
            raw = np.ascontiguousarray(np.asarray(t.data, NUMPY[t.type])).reshape(-1).view(np.uint8)
            if t.type == "INT4":  # two a byte, the first in the low half
                pairs = np.append(raw, np.zeros(raw.size % 2, np.uint8)).reshape(-1, 2) & 15
                raw = pairs[:, 0] | pairs[:, 1] << 4
            buffer, data = len(buffers), b.CreateNumpyVector(raw)
            buffers.append(record(b, "Buffer", Data=data))
        made.append(tensor(b, t, buffer))
    steps = []
    for n in nodes:
        ends = {"Inputs": vector(b, (index[i] for i in n.ins), "i4")}
        ends["Outputs"] = vector(b, (index[o] for o in n.outs), "i4")
        if n.op not in ops:
            ops.append(n.op)
        options = {}
        if n.kind:
            options = {"BuiltinOptions": record(b, n.kind, **n.options)}
            options["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, n.kind)
        steps.append(record(b, "Operator", OpcodeIndex=ops.index(n.op), **ends, **options))
    ends = {key: vector(b, (index[name] for name in part), "i4") for key, part in (("Inputs", ins), ("Outputs", outs))}
    lists = {"Tensors": offsets(b, made), "Operators": offsets(b, steps)}
    return record(b, "SubGraph", **lists, **ends)


def model(*graphs: tuple[Sequence[T], Sequence[N], Sequence[str], Sequence[str]]) -> bytes:
    """A file of these subgraphs: (tensors, nodes, names of inputs, names of outputs) each."""
    b, ops = Builder(1024), list[str]()
    buffers = [record(b, "Buffer")]
    made = [subgraph(b, *graph, ops, buffers) for graph in graphs]
    codes = []
    for name in ops:
        number = getattr(tflite.BuiltinOperator, name, tflite.BuiltinOperator.CUSTOM)
        given: dict[str, Any] = {"CustomCode": name} if number == tflite.BuiltinOperator.CUSTOM else {}
        given |= {"BuiltinCode": number, "DeprecatedBuiltinCode": min(number, 127), "Version": 1}
        codes.append(record(b, "OperatorCode", **given))
    lists = {"OperatorCodes": offsets(b, codes), "Subgraphs": offsets(b, made), "Buffers": offsets(b, buffers)}
    b.Finish(record(b, "Model", Version=3, **lists), file_identifier=b"TFL3")
    return bytes(b.Output())


def broken(data: bytes, count: int, seed: int = 1) -> Iterator[bytes]:
    """The file with some bits flipped and some words replaced, `count` times."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        bad = np.frombuffer(data, np.uint8).copy()
        for at in rng.integers(8, len(data), int(rng.integers(1, 4))).tolist():
            if rng.integers(0, 2):
                bad[at] ^= 1 << rng.integers(0, 8)
            else:
                words = [
                    0xFFFFFFFF,
                    0x7FFFFFFF,
                    0x80000000,
                    0,
                    1,
                    1 << 20,
                    rng.integers(0, 200),
                    rng.integers(0, 2**32),
                ]
                start = at // 4 * 4
                raw = np.array([words[rng.integers(0, len(words))]], np.uint32).view(np.uint8)
                bad[start : start + 4] = raw[: len(bad) - start]
        yield bad.tobytes()

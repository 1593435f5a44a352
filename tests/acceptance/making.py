"""Small ONNX models made on the spot, and the ways the tests of this folder run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from brainc import check, samples
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.program import Program

Array = npt.NDArray[Any]
Port = tuple[str, Sequence[int]]
TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.uint8): TensorProto.UINT8}


def numbers(*shape: int, seed: int = 0) -> Array:
    """Seeded reals of about one."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Array],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    dtype: Any = np.float32,
) -> Path:
    """A model of these nodes at `path`; all its ports are of one type."""
    kind = TYPES[np.dtype(dtype)]
    ins, outs = ([helper.make_tensor_value_info(n, kind, s) for n, s in p] for p in (inputs, outputs))
    tensors = [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()]
    graph = helper.make_graph(list(nodes), "g", ins, outs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def compiled(source: Path, target: str = "c99", **options: Any) -> Program:
    return compile_job(prepare(Request(source, **options), target))


def proven(program: Program, vectors: Mapping[str, Array] | None = None) -> dict[str, Array]:
    """The outputs of the C code under sanitizers, which must be those of the reference: [samples, *shape]."""
    given = samples.random(ports(program.graph), 3, 0).arrays if vectors is None else vectors
    rung = check.prove(program, given, sanitize=True)
    assert rung.equal, rung.first_difference
    rows = check.reference(program.graph, given)
    return {port: np.stack([row[port] for row in rows]) for port in rows[0]}


def noise(want: Array, got: Array) -> float:
    """Noise over signal."""
    return float(np.square(got - want).sum() / np.square(want).sum())

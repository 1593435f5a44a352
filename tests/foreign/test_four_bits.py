"""Weights of 4 bits in ONNX files, against onnxruntime with its optimisations off.

They prove that blocks, channels and zero points mean here what they mean there, that the integers of a file are those
of the packed bytes, and that a layer of bytes answers as the file's reals do, to one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from brainc import frontends, interp, passes
from brainc.dtypes import I4
from brainc.ir import Graph, Stage
from brainc.packs.nibbles import nibbles
from brainc.passes.context import Context, Options

ort = pytest.importorskip("onnxruntime")
RNG = np.random.default_rng(4)


@dataclass(frozen=True)
class Weights:
    """A constant of 4 bits: its shape, the shape of its scales, its zero points (None: signed), how it is read."""

    shape: tuple[int, ...]
    scales: tuple[int, ...]
    zero: int | None
    read: dict[str, int]

    def integers(self) -> np.ndarray:
        low, high = (-8, 8) if self.zero is None else (max(self.zero - 8, 0), min(self.zero + 8, 16))
        return np.asarray(RNG.integers(low, high, self.shape))


CASES: dict[str, tuple[str, tuple[int, ...], Weights, dict[str, Any]]] = {
    # name: (op, shape of x, weights, attributes of the op)
    "blocks of a matrix": ("MatMul", (3, 12), Weights((12, 5), (3, 5), None, {"axis": 0, "block_size": 4}), {}),
    "a short last block": ("MatMul", (2, 13), Weights((13, 5), (3, 5), None, {"axis": 0, "block_size": 6}), {}),
    "blocks of rows": ("Gemm", (1, 12), Weights((5, 12), (5, 2), None, {"axis": 1, "block_size": 8}), {"transB": 1}),
    "one block": ("MatMul", (1, 7), Weights((7, 4), (1, 4), None, {"axis": 0, "block_size": 64}), {}),
    "channels": ("Gemm", (1, 12), Weights((5, 12), (5,), None, {"axis": 0}), {"transB": 1}),
    "a tensor": ("MatMul", (1, 12), Weights((12, 5), (), None, {}), {}),
    "unsigned": ("MatMul", (1, 12), Weights((12, 5), (3, 5), 8, {"axis": 0, "block_size": 4}), {}),
    "unsigned, off centre": ("MatMul", (1, 12), Weights((12, 5), (3, 5), 5, {"axis": 0, "block_size": 4}), {}),
    "a pixel": ("Conv", (1, 12, 3, 2), Weights((5, 12, 1, 1), (5, 3, 1, 1), None, {"axis": 1, "block_size": 4}), {}),
    "a window": ("Conv", (1, 3, 5, 6), Weights((4, 3, 3, 3), (4,), None, {"axis": 0}), {"pads": [1, 0, 1, 2]}),
    "a window in blocks": ("Conv", (1, 8, 5, 4), Weights((4, 8, 2, 3), (4, 2, 2, 3), None,
                           {"axis": 1, "block_size": 4}), {"strides": [2, 1]}),
}  # fmt: skip


def model(case: str, *, dtype: str = "", w: np.ndarray | None = None) -> tuple[bytes, np.ndarray]:
    """The case as a file, its input and result quantised to `dtype` if asked; and the integers of its weights."""
    op, shape, weights, attributes = CASES[case]
    kind = TensorProto.INT4 if weights.zero is None else TensorProto.UINT4
    w = weights.integers() if w is None else w
    scales = RNG.uniform(0.02, 0.06, weights.scales).astype(np.float32)
    tensors = [helper.make_tensor("w", kind, w.shape, w.reshape(-1).tolist()), numpy_helper.from_array(scales, "ws")]
    names = ["w", "ws"]
    if weights.zero is not None:
        tensors.append(helper.make_tensor("wz", kind, scales.shape, [weights.zero] * scales.size))
        names.append("wz")
    nodes = [helper.make_node("DequantizeLinear", names, ["wr"], **weights.read)]
    x, y, port = "x", "y", TensorProto.FLOAT
    if dtype:
        x, y, port = "xr", "yr", helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        constants = {"xs": 0.05, "ys": 0.04}
        tensors += [numpy_helper.from_array(np.float32(a), n) for n, a in constants.items()]
        zeros = {"xz": 5, "yz": -3} if dtype == "int8" else {"xz": 133, "yz": 125}
        tensors += [numpy_helper.from_array(np.array(a, dtype), n) for n, a in zeros.items()]
        nodes.append(helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["xr"]))
    nodes.append(helper.make_node(op, [x, "wr"], [y], name="layer", **attributes))
    if dtype:
        nodes.append(helper.make_node("QuantizeLinear", ["yr", "ys", "yz"], ["y"]))
    ports = helper.make_tensor_value_info("x", port, shape), helper.make_empty_tensor_value_info("y")
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made).SerializeToString(), w


def theirs(file: bytes, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": x})[0])


def load(file: bytes, folder: Path) -> Graph:
    (folder / "one.onnx").write_bytes(file)
    return frontends.load(folder / "one.onnx", name="model")


def four(graph: Graph) -> Sequence[str]:
    return [n for n, v in graph.values.items() if v.type.dtype is I4]


@pytest.mark.parametrize("case", CASES)
def test_reals(case: str, tmp_path: Path) -> None:
    """What the weights stand for is what onnxruntime says, as the file lies and in canonical form."""
    file, _ = model(case)
    graph, x = load(file, tmp_path), RNG.standard_normal(CASES[case][1]).astype(np.float32)
    want = theirs(file, x)
    for given in (graph, passes.run(graph, Context(), until=Stage.INTEGER)):
        np.testing.assert_allclose(interp.outputs(given, None, {"x": x})["y"], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("case", CASES)
def test_between_quantised_values(case: str, dtype: str, tmp_path: Path) -> None:
    """The exact layer answers within one step of the file's reals, and its numbers are the file's."""
    file, w = model(case, dtype=dtype)
    graph = passes.run(load(file, tmp_path), Context(), until=Stage.INTEGER)
    (layer,) = (n for n in graph.nodes() if n.op in ("qdense4", "qconv4"))
    low = np.iinfo(dtype).min
    x = RNG.integers(low, low + 256, CASES[case][1], dtype)
    want, got = theirs(file, x), interp.outputs(graph, None, {"x": x})["y"]
    assert np.abs(want.astype(int) - got).max() <= 1 and len(np.unique(want)) > 2
    zero = CASES[case][2].zero or 0
    rows = {"MatMul": w.T, "Gemm": w}.get(CASES[case][0], np.moveaxis(w, 1, -1)) - zero
    kept = graph.array(layer.inputs[1]).reshape(rows.shape)
    np.testing.assert_array_equal(kept, rows)
    stored = nibbles(kept, layer.attrs)
    halves = np.stack([stored << 4 >> 4, stored >> 4], axis=-1).reshape(len(rows), -1)
    np.testing.assert_array_equal(np.sort(halves[halves != 0]), np.sort(kept[kept != 0]))


@pytest.mark.parametrize("case", ["blocks of a matrix", "channels", "a pixel"])
def test_weights_only(case: str, tmp_path: Path) -> None:
    """A float model whose weights have 4 bits: its activations are calibrated, its weights keep their grid."""
    file, w = model(case)
    x = RNG.standard_normal((40, *CASES[case][1])).astype(np.float32)
    graph = passes.run(load(file, tmp_path), Context(Options("int8"), {"x": x}), until=Stage.INTEGER)
    (layer,) = (n for n in graph.nodes() if n.op == "qdense4")
    assert sorted(graph.array(layer.inputs[1]).reshape(-1)) == sorted(w.reshape(-1))
    want, got = (np.stack(list(ys)) for ys in ((theirs(file, one) for one in x),
                 (interp.outputs(graph, None, {"x": one})["y"] for one in x)))  # fmt: skip
    assert np.square(got - want).sum() < 1e-3 * np.square(want).sum()


def test_what_no_four_bits_hold(tmp_path: Path) -> None:
    """Unsigned numbers far off centre stand for reals all the same, which are quantised anew."""
    op, shape, weights, attributes = CASES["unsigned"]
    CASES["far off"] = (op, shape, Weights(weights.shape, weights.scales, 1, weights.read), attributes)
    file, _ = model("far off", w=RNG.integers(0, 16, weights.shape))
    del CASES["far off"]
    graph, x = load(file, tmp_path), RNG.standard_normal(shape).astype(np.float32)
    assert not four(graph)
    np.testing.assert_allclose(interp.outputs(graph, None, {"x": x})["y"], theirs(file, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("constant", [False, True])
def test_rows_that_are_turned(constant: bool, tmp_path: Path) -> None:
    """Weights as a Constant node, or not, in blocks along the rows of a matrix that a Transpose turns."""
    w, s = RNG.integers(-8, 8, (5, 12)), RNG.uniform(0.1, 0.5, (5, 3)).astype(np.float32)
    tensor = helper.make_tensor("w", TensorProto.INT4, w.shape, w.reshape(-1).tolist())
    nodes = [helper.make_node("Constant", [], ["w"], value=tensor)] if constant else []
    nodes += [
        helper.make_node("DequantizeLinear", ["w", "s"], ["wr"], axis=1, block_size=4),
        helper.make_node("Transpose", ["wr"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "wt"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, size)) for n, size in (("x", 12), ("y", 5))]
    tensors = [numpy_helper.from_array(s, "s"), *([] if constant else [tensor])]
    made = helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors),
                             opset_imports=[helper.make_opsetid("", 21)], ir_version=10)  # fmt: skip
    graph, x = load(made.SerializeToString(), tmp_path), RNG.standard_normal((1, 12)).astype(np.float32)
    (name,) = four(graph)
    np.testing.assert_array_equal(graph.array(name), w)
    want = theirs(made.SerializeToString(), x)
    np.testing.assert_allclose(interp.outputs(graph, None, {"x": x})["y"], want, rtol=1e-4, atol=1e-5)

"""Imported graphs against onnxruntime with its optimisations off.

They prove that whole models mean here what they mean there: float models to 1e-4 relative, quantised ones
to one step, on real samples where there are some; and every quantised op by itself, to one step.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from brainc import frontends, interp, spec
from brainc.ir import Graph

ort = pytest.importorskip("onnxruntime")
MODELS = Path(os.environ.get("BRAINC_MODELS", ""))
needs_models = pytest.mark.skipif(not os.environ.get("BRAINC_MODELS"), reason="BRAINC_MODELS is not set")
FLOAT = ["mlperf-tiny/onnx/ad01_fp32", "mlperf-tiny/onnx/ic_resnet8_fp32", "mlperf-tiny/onnx/kws_dscnn_fp32"]
FLOAT += ["mlperf-tiny/onnx/kws_dscnn_purefp32", "mlperf-tiny/onnx/sww_dscnn1d_fp32"]
FLOAT += ["mlperf-tiny/onnx/vww_mobilenetv1_025_fp32", "onnx2c/atmega_mnist", "onnx2c/mnist_pytorch"]
FLOAT += ["onnx2c/mnist_zoo", "onnx2c/tfl_helloworld"]
QUANTISED = ["ad01", "ic_resnet8", "kws_dscnn", "sww_dscnn1d", "vww_mobilenetv1_025"]
Arrays = Mapping[str, np.ndarray]


def theirs(model: str | bytes, feed: Arrays) -> dict[str, np.ndarray]:
    """onnxruntime's outputs, node by node as the file says."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feed)), strict=True))


def load(file: Path) -> Graph:
    graph = frontends.load(file, name="model")
    spec.verify(graph)
    return graph


@needs_models
@pytest.mark.parametrize("name", FLOAT)
def test_float_models(name: str) -> None:
    """Random inputs of the whole range; ports keep their names, order and shapes."""
    file = MODELS / f"{name}.onnx"
    graph = load(file)
    for seed in range(2):
        feed = interp.random_inputs(graph, "step", seed)
        ours, wanted = interp.outputs(graph, "step", feed), theirs(str(file), feed)
        assert list(ours) == list(wanted)
        for port, array in wanted.items():
            assert ours[port].shape == array.shape
            np.testing.assert_allclose(ours[port], array, rtol=1e-4, atol=1e-4 * np.abs(array).max())


def samples(name: str, graph: Graph) -> list[np.ndarray]:
    """A few real inputs of a model, as its port wants them."""
    data, port = MODELS / "mlperf-tiny" / "data", graph.entries[0].inputs[0]
    file, key = {"ad01": ("ad01", "x"), "ic_resnet8": ("ic01", "x"), "kws_dscnn": ("kws01", "x")}.get(
        name, ("sww_fixed_inputs", "x") if name.startswith("sww") else ("vww01", "x")
    )
    raw = np.load(data / f"{file}.npz")[key][:3]
    if raw.dtype == np.uint8:  # pictures: int8 is the byte less 128
        raw = (raw.astype(np.int16) - 128).astype(np.int8)
    if raw.dtype == np.float32:  # spectra: five frames side by side, on the scale of the port
        (door,) = (n for n in graph.nodes() if n.op == "from_int" and n.inputs[0] == port)
        frames = raw[:, :5].reshape(-1, 640) / door.attrs["scale"] + door.attrs["zero"]
        raw = np.clip(np.rint(frames), -128, 127).astype(np.int8)
    return [sample.reshape(graph.type(port).shape) for sample in raw]


@needs_models
@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_models(name: str) -> None:
    """Real samples through the graph as imported: at most one step of difference anywhere at the outputs."""
    file = MODELS / f"mlperf-tiny/onnx/{name}_int8.onnx"
    graph = load(file)
    (port,), (out,) = graph.entries[0].inputs, graph.entries[0].outputs
    for sample in samples(name, graph):
        ours = interp.outputs(graph, "step", {port: sample})[out].astype(int)
        wanted = theirs(str(file), {port: sample})[out].astype(int)
        assert np.abs(ours - wanted).max() <= 1


# single quantised ops, made here

RNG = np.random.default_rng(7)
SCALES = np.float32([0.02, 0.03, 0.011, 0.05])


def whole(dtype: str, *shape: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)


def q(scale: float, zero: int, dtype: str) -> list[np.ndarray]:
    return [np.float32(scale), np.array(zero, dtype)]


def model_of(nodes: list[onnx.NodeProto], constants: Arrays, feed: Arrays, outputs: list[str], dtype: str) -> bytes:
    kind = helper.np_dtype_to_tensor_dtype
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info(n, kind(a.dtype), a.shape) for n, a in feed.items()],
        [helper.make_tensor_value_info(n, kind(np.dtype(dtype)), None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    imports = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()


def agree(model: bytes, feed: Arrays, folder: Path) -> None:
    """At most one step between the two."""
    (folder / "one.onnx").write_bytes(model)
    graph = load(folder / "one.onnx")
    ours, wanted = interp.outputs(graph, None, feed), theirs(model, feed)
    for port, array in wanted.items():
        assert (ours[port].dtype, ours[port].shape) == (array.dtype, array.shape)
        step = 1 if array.dtype.kind in "iu" else 1e-4 * np.abs(array).max()
        assert np.abs(ours[port].astype(float) - array).max() <= step
        assert len(np.unique(array)) > 2, "a test that sees only clamped values proves nothing"


X8, X8U, Y8 = whole("int8", 1, 6, 7, 6), whole("uint8", 1, 6, 7, 6), whole("int8", 1, 6, 7, 6)
W8, W8U, DEEP = whole("int8", 4, 6, 3, 3), whole("uint8", 4, 6, 3, 3), whole("int8", 6, 1, 3, 3)
ROWS, ROWSU, TALL = whole("int8", 3, 10), whole("uint8", 3, 10), whole("int8", 4, 10)
BIAS = RNG.integers(-3000, 3000, 4, "int32")
EACH = [SCALES, np.zeros(4, "int8")]  # per channel
Q8, Q8U = q(0.1, 3, "int8"), q(0.1, 120, "uint8")
WIDE = {"pads": [1, 1, 1, 1], "strides": [2, 1]}
POOL = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}
QLINEAR: dict[str, tuple[str, list[np.ndarray], dict[str, object]]] = {
    # name: (op, operands (the first activation is the input, the rest constant), attributes)
    "conv": ("Conv", [X8, *Q8, W8, *EACH, *q(9.0, -3, "int8"), BIAS], WIDE),
    "conv uint8": ("Conv", [X8U, *Q8U, W8U, *q(0.02, 120, "uint8"), *q(9.0, 128, "uint8")], {"dilations": [1, 2]}),
    "conv in groups": ("Conv", [X8, *Q8, DEEP, *q(0.02, 0, "int8"), *q(4.0, 0, "int8")], {"group": 6}),
    "matmul uint8": ("MatMul", [ROWSU, *Q8U, ROWSU.T, *q(0.02, 128, "uint8"), *q(0.4, 128, "uint8")], {}),
    "matmul": ("MatMul", [ROWS, *Q8, TALL.T, *EACH, *q(0.5, -2, "int8")], {}),
    "gemm": ("QGemm", [ROWS, *Q8, TALL, *q(0.02, 0, "int8"), BIAS, *q(0.3, 1, "int8")], {"transB": 1}),
    "add": ("Add", [X8, *Q8, Y8[0, :, :1, :1], *q(0.2, -5, "int8"), *q(0.25, 2, "int8")], {}),
    "mul": ("Mul", [X8U, *Q8U, X8U[0, 0], *q(0.2, 99, "uint8"), *q(1.5, 128, "uint8")], {}),
    "average pool": ("AveragePool", [X8U, *Q8U, *q(0.05, 90, "uint8")], POOL),
    "global pool": ("GlobalAveragePool", [X8, *Q8, *q(0.05, -9, "int8")], {"channels_last": 0}),
    "global pool, last": ("GlobalAveragePool", [X8U, *Q8U, *q(0.05, 128, "uint8")], {"channels_last": 1}),
    "sigmoid": ("Sigmoid", [X8, *q(0.05, 0, "int8"), *q(1 / 256, -128, "int8")], {}),
    "leaky relu": ("LeakyRelu", [X8, *q(0.05, 9, "int8"), *q(0.04, -40, "int8")], {"alpha": 0.2}),
    "softmax": ("Softmax", [ROWSU, *q(0.05, 9, "uint8"), *q(1 / 256, 0, "uint8")], {"axis": 1, "opset": 13}),
    "concat": ("Concat", [*q(0.2, -7, "int8"), X8, *Q8, Y8, *q(0.05, 4, "int8")], {"axis": 1}),
}


@pytest.mark.parametrize("name", QLINEAR)
def test_qlinear(name: str, tmp_path: Path) -> None:
    """One quantised node: the standard's two, and those that onnxruntime's quantiser writes."""
    op, operands, attributes = QLINEAR[name]
    domain = "" if op in ("Conv", "MatMul") else "com.microsoft"
    first = 2 if op == "Concat" else 0
    names = [f"i{n}" for n in range(len(operands))]
    constants = {n: a for i, (n, a) in enumerate(zip(names, operands, strict=True)) if i != first}
    kind = op if op == "QGemm" else f"QLinear{op}"
    node = helper.make_node(kind, names, ["y"], name="node", domain=domain, **attributes)
    feed = {names[first]: operands[first]}
    agree(model_of([node], constants, feed, ["y"], str(operands[first].dtype)), feed, tmp_path)


QDQ: dict[str, tuple[str, list[tuple[int, ...]], dict[str, object], float]] = {
    # name: (op, shapes of x and of the weights or second activation, attributes, scale of y)
    "conv": ("Conv", [(1, 6, 7, 6), (4, 6, 3, 3)], {"pads": [1, 1, 1, 1]}, 2.0),
    "conv of a sequence": ("Conv", [(1, 6, 9), (4, 6, 3)], {"strides": [2]}, 1.0),
    "gemm": ("Gemm", [(3, 10), (4, 10)], {"transB": 1}, 0.5),
    "add": ("Add", [(1, 6, 7, 6), (1, 6, 7, 6)], {}, 0.1),
    "average pool": ("AveragePool", [(1, 6, 7, 6)], {"kernel_shape": [2, 2]}, 0.02),
    "max pool": ("MaxPool", [(1, 6, 7, 6)], {"kernel_shape": [2, 3]}, 0.05),
    "sigmoid": ("Sigmoid", [(3, 10)], {}, 1 / 256),
    "concat": ("Concat", [(1, 6, 7, 6), (1, 2, 7, 6)], {"axis": 1}, 0.06),
}


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("name", QDQ)
def test_qdq(name: str, dtype: str, tmp_path: Path) -> None:
    """Dequantise, a real op, quantise: activations of either type, weights per channel."""
    op, shapes, attributes, scale = QDQ[name]
    zero = np.array(5 if dtype == "int8" else 131, dtype)
    weighted = op in ("Conv", "Gemm")
    constants = {"s": np.float32(0.05), "z": zero, "ys": np.float32(scale), "yz": zero}
    nodes, feed, operands = [], {}, []
    for index, shape in enumerate(shapes):
        name_, extra = f"x{index}", {}
        if index and weighted:
            constants |= {name_: whole("int8", *shape), "ws": SCALES, "wz": np.zeros(4, "int8"), "b": BIAS}
            constants["bs"], extra = np.float32(0.05) * SCALES, {"axis": 0}
            nodes.append(helper.make_node("DequantizeLinear", ["b", "bs"], ["br"], axis=0))
        else:
            feed[name_] = whole(dtype, *shape)
        qs = ["ws", "wz"] if extra else ["s", "z"]
        nodes.append(helper.make_node("DequantizeLinear", [name_, *qs], [f"r{index}"], **extra))
        operands.append(f"r{index}")
    nodes.append(helper.make_node(op, operands + ["br"] * weighted, ["yr"], name="node", **attributes))
    nodes.append(helper.make_node("QuantizeLinear", ["yr", "ys", "yz"], ["y"]))
    agree(model_of(nodes, constants, feed, ["y"], dtype), feed, tmp_path)


def test_weights_quantised_in_the_model(tmp_path: Path) -> None:
    """As quantisation-aware training exports them: float weights, QuantizeLinear and back, per channel."""
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], axis=0),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wr"], axis=0),
        helper.make_node("DequantizeLinear", ["x", "s"], ["r"]),
        helper.make_node("Conv", ["r", "wr"], ["h"]),
        helper.make_node("QuantizeLinear", ["h", "ys", "yz"], ["y"]),
    ]
    w = RNG.standard_normal((4, 6, 3, 3)).astype(np.float32)
    constants = {"w": w, "ws": SCALES, "wz": EACH[1], "s": np.float32(0.05), "ys": np.float32(0.4)}
    constants["yz"] = np.array(3, "int8")
    model = model_of(nodes, constants, {"x": X8}, ["y"], "int8")
    agree(model, {"x": X8}, tmp_path)
    graph = load(tmp_path / "one.onnx")
    (conv,) = (n for n in graph.nodes() if n.op == "conv2d")
    assert graph.type(conv.inputs[1]).quant is not None, "the weights are integers"


def test_float_output_of_a_quantised_model(tmp_path: Path) -> None:
    """int8 in, float32 out: only one door."""
    nodes = [helper.make_node("DequantizeLinear", ["x", "s"], ["r"]), helper.make_node("Tanh", ["r"], ["y"])]
    feed = {"x": ROWS}
    agree(model_of(nodes, {"s": np.float32(0.02)}, feed, ["y"], "float32"), feed, tmp_path)

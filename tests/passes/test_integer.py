"""Integers mean what the quantised model means: every integer form by itself, and whole networks.

The judge of single nodes is onnxruntime (optimisations off) on random shapes, scales and zero points: no
output may be more than one step away. Ties between steps, and the last bit of a float sum, may fall apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from brains.feeding import QDQ, int8_samples
from graphs import Builder
from onnx import TensorProto, helper, numpy_helper

from brainc import frontends, interp, passes
from brainc.dtypes import F32, I8
from brainc.errors import UnsupportedError
from brainc.ir import Graph, Quant, Stage
from brainc.passes import Context, batch

ort = pytest.importorskip("onnxruntime")
Array = np.ndarray[Any, Any]
Rng = np.random.Generator
SEEDS = range(6)


@dataclass
class Model:
    """A float node between QuantizeLinear and DequantizeLinear, as an ONNX model under way."""

    rng: Rng
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def const(self, name: str, array: Array) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def activation(self, name: str, *shape: int, scale: float | None = None) -> str:
        """An int8 input with a random scale and zero point; the name of its reals."""
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.INT8, shape))
        step = self.rng.uniform(0.003, 0.12) if scale is None else scale
        zero = self.const(f"{name}_z", np.array(self.rng.integers(-128, 128), np.int8))
        given = [name, self.const(f"{name}_s", np.array(step, np.float32)), zero]
        self.nodes.append(helper.make_node("DequantizeLinear", given, [f"{name}_r"]))
        return f"{name}_r"

    def weights(self, name: str, *shape: int, axis: int, per_channel: bool) -> str:
        """Symmetric int8 weights, dequantised."""
        count = (shape[axis],) if per_channel else ()
        w = self.const(name, self.rng.integers(-127, 128, shape).astype(np.int8))
        scale = self.const(f"{name}_s", self.rng.uniform(0.001, 0.02, count).astype(np.float32))
        zero = self.const(f"{name}_z", np.zeros(count, np.int8))
        given = {"axis": axis} if per_channel else {}
        self.nodes.append(helper.make_node("DequantizeLinear", [w, scale, zero], [f"{name}_r"], **given))
        return f"{name}_r"

    def node(self, op: str, *inputs: str, **given: Any) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **given))
        return name

    def finish(self, y: str, scale: float | None = None, zero: int | None = None) -> onnx.ModelProto:
        """Quantises y to the output port; the scale is that of the answers to random inputs, or given."""
        if scale is None:
            scale = self._range(y) / 255
        z = int(self.rng.integers(-40, 40)) if zero is None else zero
        given = [y, self.const("y_s", np.array(scale, np.float32)), self.const("y_z", np.array(z, np.int8))]
        self.nodes.append(helper.make_node("QuantizeLinear", given, ["y"]))
        return self._model("y", TensorProto.INT8)

    def _range(self, y: str) -> float:
        probe = self._model(y, TensorProto.FLOAT)
        answers = session(probe).run(None, self.feed(probe))[0]
        return float(np.ptp(answers)) * float(self.rng.uniform(0.7, 1.3)) or 1.0

    def _model(self, y: str, kind: int) -> onnx.ModelProto:
        out = helper.make_tensor_value_info(y, kind, None)
        graph = helper.make_graph(self.nodes, "one", self.inputs, [out], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        return onnx.shape_inference.infer_shapes(model)

    def feed(self, model: onnx.ModelProto) -> dict[str, Array]:
        shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
        return {n: self.rng.integers(-128, 128, shape).astype(np.int8) for n, shape in shapes.items()}


def session(model: onnx.ModelProto) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def conv(m: Model, *, depthwise: bool) -> onnx.ModelProto:
    r = m.rng
    groups = int(r.integers(2, 7)) if depthwise else int(r.integers(1, 3))
    c = groups if depthwise else groups * int(r.integers(1, 6))
    f = groups if depthwise else groups * int(r.integers(1, 6))
    kernel = [int(k) for k in r.integers(1, 4, 2)]
    x = m.activation("x", 1, c, *(int(n) for n in r.integers(6, 11, 2)))
    w = m.weights("w", f, c // groups, *kernel, axis=0, per_channel=bool(r.integers(2)))
    b = m.const("b", r.normal(0, 0.5, f).astype(np.float32))
    window = {"strides": r.integers(1, 3, 2).tolist(), "dilations": r.integers(1, 3, 2).tolist()}
    pads = [int(p) for p in r.integers(0, 2, 4)]
    y = m.node("Conv", x, w, b, kernel_shape=kernel, pads=pads, group=groups, **window)
    return m.finish(m.node("Relu", y) if r.integers(2) else y)


def gemm(m: Model) -> onnx.ModelProto:
    k, n = int(m.rng.integers(3, 300)), int(m.rng.integers(1, 20))
    x = m.activation("x", int(m.rng.integers(1, 4)), k)
    w = m.weights("w", n, k, axis=0, per_channel=bool(m.rng.integers(2)))
    return m.finish(m.node("Gemm", x, w, m.const("b", m.rng.normal(0, 1, n).astype(np.float32)), transB=1))


def odd_weights(m: Model) -> onnx.ModelProto:
    """uint8 weights whose zero point is not quite in the middle, as old quantisers left them.

    Channels that do not fit int8 around it are rounded once more, so this is the one kind that can be further
    off: 2 steps in one of 80 seeds.
    """
    k, n = int(m.rng.integers(3, 200)), int(m.rng.integers(1, 20))
    w = m.const("w", m.rng.integers(0, 256, (n, k)).astype(np.uint8))
    scale = m.const("w_s", np.array(m.rng.uniform(0.001, 0.02), np.float32))
    zero = m.const("w_z", np.array(m.rng.integers(118, 139), np.uint8))
    m.nodes.append(helper.make_node("DequantizeLinear", [w, scale, zero], ["w_r"]))
    x = m.activation("x", 2, k)
    return m.finish(m.node("Gemm", x, "w_r", m.const("b", m.rng.normal(0, 1, n).astype(np.float32)), transB=1))


def binary(m: Model, op: str) -> onnx.ModelProto:
    shape = (1, *(int(n) for n in m.rng.integers(2, 6, 3)))
    other = shape if m.rng.integers(2) else shape[-1:]
    y = m.node(op, m.activation("a", *shape), m.activation("b", *other))
    return m.finish(m.node("Relu", y) if m.rng.integers(2) else y)


def with_constant(m: Model, op: str) -> onnx.ModelProto:
    size = 1 if m.rng.integers(2) else 7
    number = m.const("k", m.rng.uniform(0.3, 2.0, size).astype(np.float32))
    return m.finish(m.node(op, m.activation("x", 1, 5, 7), number))


def function(m: Model, op: str, **given: Any) -> onnx.ModelProto:
    return m.finish(m.node(op, m.activation("x", 3, 90, scale=0.03), **given))


def average(m: Model) -> onnx.ModelProto:
    x = m.activation("x", 1, 3, *(int(n) for n in m.rng.integers(5, 9, 2)))
    pads = [int(p) for p in m.rng.integers(0, 2, 4)]
    given = {"strides": m.rng.integers(1, 3, 2).tolist(), "count_include_pad": int(m.rng.integers(2))}
    return m.finish(m.node("AveragePool", x, kernel_shape=[3, 2], pads=pads, **given))


def reduce(m: Model, op: str) -> onnx.ModelProto:
    x = m.activation("x", 2, 5, 4)
    axes = [int(m.rng.integers(1, 3))]
    if op == "ReduceSum":
        return m.finish(m.node(op, x, m.const("axes", np.array(axes, np.int64)), keepdims=0))
    return m.finish(m.node(op, x, axes=axes, keepdims=0))


def softmax(m: Model) -> onnx.ModelProto:
    x = m.activation("x", 4, int(m.rng.integers(2, 40)))
    return m.finish(m.node("Softmax", x, axis=-1), scale=1 / 256, zero=-128)


def matmul(m: Model) -> onnx.ModelProto:
    k = int(m.rng.integers(2, 40))
    return m.finish(m.node("MatMul", m.activation("a", 2, 3, k), m.activation("b", 2, k, 5)))


def concat(m: Model) -> onnx.ModelProto:
    parts = [m.activation(name, 1, 4, 3) for name in "abc"]
    return m.finish(m.node("Concat", *parts, axis=1))


CASES: dict[str, Callable[[Model], onnx.ModelProto]] = {
    "conv": lambda m: conv(m, depthwise=False),
    "depthwise": lambda m: conv(m, depthwise=True),
    "gemm": gemm,
    "odd_weights": odd_weights,
    **{op.lower(): (lambda m, op=op: binary(m, op)) for op in ("Add", "Sub", "Mul")},
    **{f"{op.lower()}_const": (lambda m, op=op: with_constant(m, op)) for op in ("Add", "Sub", "Mul", "Div")},
    **{
        op.lower(): (lambda m, op=op: function(m, op))
        for op in ("Sigmoid", "Tanh", "HardSigmoid", "LeakyRelu", "Elu", "Exp", "Erf", "Relu", "HardSwish")
    },
    "average": average,
    "mean": lambda m: reduce(m, "ReduceMean"),
    "sum": lambda m: reduce(m, "ReduceSum"),
    "max": lambda m: reduce(m, "ReduceMax"),
    "softmax": softmax,
    "matmul": matmul,
    "concat": concat,
}


@pytest.mark.parametrize("name", CASES)
def test_single_nodes_are_within_one_step_of_onnxruntime(name: str, tmp_path: Path) -> None:
    for seed in SEEDS:
        builder = Model(np.random.default_rng(seed))
        model = CASES[name](builder)
        onnx.save(model, str(tmp_path / "one.onnx"))
        graph = passes.run(frontends.load(tmp_path / "one.onnx", name="one"), Context(), until=Stage.INTEGER)
        assert all_integer(graph), graph.text()
        for _ in range(3):
            feed = builder.feed(model)
            (want,) = session(model).run(None, feed)
            got = interp.outputs(graph, None, feed)[graph.entries[0].outputs[0]]
            assert int(np.abs(got.astype(int) - want).max()) <= 1, (seed, graph.text())


def all_integer(graph: Graph) -> bool:
    return not any(graph.type(out).dtype is F32 for node in graph.nodes() for out in node.outputs)


@pytest.mark.parametrize("name", QDQ)
def test_whole_networks_are_integers_and_agree_with_onnxruntime(name: str, models: Path) -> None:
    """Before softmax, on 20 real samples; `ALIKE` has the exceptions."""
    path = models / "mlperf-tiny" / "onnx" / f"{name}.onnx"
    graph = passes.run(frontends.load(path, name="m"), Context(), until=Stage.INTEGER)
    assert all_integer(graph)
    entry, producers = graph.entries[0], graph.producers()
    last = producers[entry.outputs[0]]
    x = int8_samples(models, name, 20)
    wanted = onnx_logits(path, x)
    name_of = last.inputs[0] if last.op == "qsoftmax" else entry.outputs[0]
    got = np.concatenate([run[name_of] for run in batch.runs(graph, entry, {entry.inputs[0]: x})])
    gap = np.abs(got.astype(int) - wanted)
    least, most = ALIKE.get(name, (0.995, 2))
    assert (gap == 0).mean() >= least and gap.max() <= most, (float((gap == 0).mean()), int(gap.max()))


# Where the order of a float sum decides between two steps, onnxruntime's choice cannot be repeated in
# integers: in ic the mean of 8 by 8 cells is a tie once a sample (41 of the 48 of 200 samples that differ start
# there, the others at a cell nearly between two steps); in vww one early cell in 100,000 is near.
ALIKE = {"ic_resnet8_int8": (0.75, 3), "vww_mobilenetv1_025_int8": (0.9, 2)}


def onnx_logits(path: Path, x: Array) -> Array:
    model = onnx.load(str(path))
    makers = {out: node for node in model.graph.node for out in node.output}
    before = [makers[n.input[0]].input[0] for n in model.graph.node if n.op_type == "Softmax"]
    name = before[0] if before else model.graph.output[0].name
    if before:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.INT8, None))
    judge = session(model)
    return np.concatenate([judge.run([name], {judge.get_inputs()[0].name: one[None]})[0] for one in x])


def test_what_has_no_integer_form_stays_real_between_doors() -> None:
    b = Builder()
    x = b.input("x", (1, 6), I8, Quant.tensor(0.05, 3))
    a = b.add("unary", x, fn="abs", quant=Quant.tensor(0.05, -128))
    y = b.add("power", a, x, quant=Quant.tensor(0.1, 0))
    graph = passes.run(b.graph(y, stage=Stage.QUANTIZED), Context(), until=Stage.INTEGER)
    assert [n.op for n in graph.nodes()] == ["qlut", "from_int", "from_int", "power", "to_int"]
    old = b.graph(y, stage=Stage.QUANTIZED)
    feed = interp.random_inputs(old, None, 1)
    with np.errstate(all="ignore"):
        want, got = (interp.outputs(g, None, feed)[y] for g in (old, graph))
    np.testing.assert_array_equal(want, got)


def test_a_clamp_of_the_same_quantisation_becomes_bounds() -> None:
    b = Builder()
    q = Quant.tensor(0.1, -20)
    x = b.input("x", (1, 5), I8, Quant.tensor(0.05, 3))
    y = b.add("clamp", b.add("mul", x, x, quant=q), lo=0.0, hi=3.0, quant=q)
    graph = passes.run(b.graph(y, stage=Stage.QUANTIZED), Context(), until=Stage.INTEGER)
    (node,) = graph.nodes()
    assert (node.op, node.attrs["lo"], node.attrs["hi"]) == ("qmul", -20, 10)


def test_moves_between_scales_get_a_table() -> None:
    b = Builder()
    x = b.input("x", (1, 4), I8, Quant.tensor(0.05, 3))
    y = b.add("reshape", x, shape=(4,), quant=Quant.tensor(0.1, 0))
    graph = passes.run(b.graph(y, stage=Stage.QUANTIZED), Context(), until=Stage.INTEGER)
    assert [n.op for n in graph.nodes()] == ["qlut", "reshape"]
    got = interp.outputs(graph, None, {"x": np.array([[-128, 3, 13, 127]], np.int8)})[y]
    np.testing.assert_array_equal(got, [-66, 0, 5, 62])


def test_a_bias_beyond_int32_is_an_error_with_a_way_out() -> None:
    b = Builder()
    x = b.input("x", (1, 2), I8, Quant.tensor(1e-6, 0))
    w = b.const(np.ones((1, 2), np.int8), Quant.tensor(1e-6, 0))
    bias = b.const(np.array([100.0], np.float32))
    y = b.add("dense", x, w, bias, quant=Quant.tensor(1.0, 0))
    with pytest.raises(UnsupportedError, match="32 bits") as caught:
        passes.run(b.graph(y, stage=Stage.QUANTIZED), Context(), until=Stage.INTEGER)
    assert "scales" in caught.value.fix

"""The ONNX frontend by itself: names, shapes, folding, old opsets, lazy weights, and every refusal's words.

That the numbers are right is proved against others in `tests/foreign`.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from brainc import frontends, interp, spec
from brainc.errors import BraincError, ModelError, UnsupportedError, Where
from brainc.ir import Graph

F, I64 = TensorProto.FLOAT, TensorProto.INT64
Nodes = list[onnx.NodeProto]
RNG = np.random.default_rng(3)


def node(op: str, ins: str, outs: str = "y", name: str = "", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, ins.split(), outs.split(), name=name, **attributes)


def model(
    nodes: Nodes,
    ins: dict[str, list[int | str | None]],
    outs: str = "y",
    opset: int = 13,
    elem: int = F,
    **constants: np.ndarray | list[int],
) -> onnx.ModelProto:
    """A model; ints among the constants are int64."""
    tensors = [
        numpy_helper.from_array(np.asarray(a, np.int64) if isinstance(a, list) else a, n) for n, a in constants.items()
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, elem, s) for n, s in ins.items()],
        [helper.make_tensor_value_info(n, F, None) for n in outs.split()],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def load(proto: onnx.ModelProto, folder: Path, **shapes: int) -> Graph:
    file = folder / "m.onnx"
    file.write_bytes(proto.SerializeToString())
    graph = frontends.load(file, name="m", shapes=shapes)
    spec.verify(graph)
    return graph


def says(proto: onnx.ModelProto | bytes, folder: Path, **shapes: int) -> str:
    """The text of the error, with the file's folder left out."""
    file = folder / "m.onnx"
    file.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    with pytest.raises((ModelError, UnsupportedError)) as caught:
        frontends.load(file, name="m", shapes=shapes)
    return str(caught.value).replace(f"{folder}{os.sep}", "")


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    (port,), (out,) = graph.entries[0].inputs, graph.entries[0].outputs
    return interp.outputs(graph, None, {port: x.astype(np.float32)})[out]


# names and places


def test_names_and_places_are_the_model_s(tmp_path: Path) -> None:
    """Values and nodes are called as in the file (`names.tidy` comes later); every node says where it was."""
    w = RNG.standard_normal((4, 2, 3, 3)).astype(np.float32)
    proto = model([node("Conv", "x w", "h", name="conv1"), node("Relu", "h", "y")], {"x": [1, 2, 5, 5]}, w=w)
    file = tmp_path / "m.onnx"
    file.write_bytes(proto.SerializeToString())
    graph = frontends.all_frontends()["onnx"].load(file, "m", {})
    (entry,) = graph.entries
    assert (entry.name, entry.inputs, entry.outputs) == ("step", ("x",), ("y",))
    conv, relu = (n for n in entry.nodes if n.op in ("conv2d", "clamp"))
    assert (conv.name, relu.name, relu.inputs, relu.outputs) == ("conv1", "y", ("h",), ("y",))
    assert graph.is_const(conv.inputs[1]) and graph.type(conv.inputs[1]).shape == (4, 3, 3, 2)
    assert conv.where == Where(str(file), node="conv1", op="Conv")


def test_ports_keep_their_names_when_nothing_happens_to_them(tmp_path: Path) -> None:
    """An output that is an alias, or constant, still is a value of that name."""
    nodes = [node("Identity", "x", "y"), node("Dropout", "x", "z"), node("Identity", "c", "k")]
    graph = load(model(nodes, {"x": [2, 3]}, "y z k", c=np.ones(3, np.float32)), tmp_path)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    outs = interp.outputs(graph, None, {"x": x})
    assert list(outs) == ["y", "z", "k"]
    np.testing.assert_array_equal(outs["z"], x)
    np.testing.assert_array_equal(outs["k"], np.ones(3))


def test_nodes_in_any_order_and_dead_ones_left_out(tmp_path: Path) -> None:
    nodes = [node("Relu", "h"), node("Loop", "x", "nobody"), node("Neg", "x", "h")]
    assert [n.op for n in load(model(nodes, {"x": [2]}), tmp_path).nodes()] == ["unary", "clamp"]


# shapes


def test_a_batch_axis_is_one(tmp_path: Path) -> None:
    for first in ("N", None, 0):
        graph = load(model([node("Relu", "x")], {"x": [first, 3]}), tmp_path)
        assert graph.type("x").shape == (1, 3)
    assert load(model([node("Relu", "x")], {"x": ["N", 3]}), tmp_path, N=4).type("y").shape == (4, 3)


def test_other_axes_need_a_size(tmp_path: Path) -> None:
    proto = model([node("Relu", "x")], {"x": ["N", "time", None]})
    assert says(proto, tmp_path) == (
        "the model leaves sizes open: axis 1 of input 'x' (time), axis 2 of input 'x' (x.2)\n"
        "  where  m.onnx\n"
        "  fix    fix them: --shape time=N --shape x.2=N"
    )
    graph = load(proto, tmp_path, **{"time": 7, "x.2": 2})
    assert graph.type("y").shape == (1, 7, 2)
    assert says(proto, tmp_path, tine=7) == (
        "the model has no symbolic axis tine\n  where  m.onnx\n  fix    its symbolic axes: N, time, x.2"
    )
    assert "cannot be 0" in says(proto, tmp_path, **{"time": 0, "x.2": 2})


def test_index_arithmetic_folds_away(tmp_path: Path) -> None:
    """The usual way to flatten: Shape, Gather, Unsqueeze, Concat, Reshape."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 rest", "target", axis=0),
        node("Reshape", "x target"),
    ]
    proto = model(nodes, {"x": ["N", 3, 4]}, zero=np.array(0), axes=[0], rest=[-1])
    graph = load(proto, tmp_path)
    assert [n.op for n in graph.nodes()] == ["reshape"]
    assert graph.type("y").shape == (1, 12)


def test_a_folded_result_has_a_limit(tmp_path: Path) -> None:
    nodes = [node("ConstantOfShape", "s", "big"), node("ReduceSum", "big", "t"), node("Add", "x t")]
    assert says(model(nodes, {"x": [2]}, s=[100000, 100000]), tmp_path).startswith(
        "brainc cannot compile these nodes of the model:\n"
        "  ConstantOfShape: 1 node (big): its constant result is too large, or of unknown size\n"
    )


@pytest.mark.parametrize("flag", [True, False])
def test_a_constant_condition_is_taken(flag: bool, tmp_path: Path) -> None:
    out = [helper.make_tensor_value_info("r", F, None)]
    branches = [helper.make_graph([node(op, "x", "r")], op, [], out) for op in ("Neg", "Abs")]
    choose = node("If", "c", name="if", then_branch=branches[0], else_branch=branches[1])
    graph = load(model([choose], {"x": [2]}, c=np.array(flag)), tmp_path)
    np.testing.assert_array_equal(run(graph, np.array([1, -2])), [-1, 2] if flag else [1, 2])


# old opsets

X = RNG.standard_normal((2, 3, 4)).astype(np.float32)
OLD: dict[str, tuple[int, onnx.NodeProto, dict[str, Any], np.ndarray]] = {
    "softmax flattens": (
        9, node("Softmax", "x", axis=1), {},
        (np.exp(X) / np.exp(X).sum(axis=(1, 2), keepdims=True)),
    ),
    "clip": (7, node("Clip", "x", min=-0.5, max=0.5), {}, X.clip(-0.5, 0.5)),
    "pad": (7, node("Pad", "x", pads=[0, 0, 1, 0, 0, -1], value=2.0), {},
            np.pad(X, ((0, 0), (0, 0), (1, 0)), constant_values=2)[:, :, :-1]),
    "slice": (9, node("Slice", "x", starts=[1], ends=[-1], axes=[2]), {}, X[:, :, 1:-1]),
    "unsqueeze": (11, node("Unsqueeze", "x", axes=[0, 4]), {}, X[None, ..., None]),
    "squeeze": (11, node("Squeeze", "x1", axes=[0]), {}, X),
    "reduce": (11, node("ReduceMean", "x", axes=[0, 2], keepdims=0), {}, X.mean(axis=(0, 2))),
    "upsample": (7, node("Upsample", "x", scales=[1.0, 1.0, 2.0]), {}, X.repeat(2, axis=2)),
    "upsample 9": (9, node("Upsample", "x s"), {"s": np.float32([1, 1, 3])}, X.repeat(3, axis=2)),
    "resize 10": (10, node("Resize", "x s"), {"s": np.float32([1, 2, 1])}, X.repeat(2, axis=1)),
    "dropout": (7, node("Dropout", "x", ratio=0.5), {}, X),
    "batch norm": (
        7, node("BatchNormalization", "x g b m v"),
        {"g": np.float32([1, 2, 3]), "b": np.float32([0, 1, 2]), "m": np.float32([0, 0, 1]),
         "v": np.float32([1, 4, 1])},
        (X - np.float32([0, 0, 1])[:, None]) / np.sqrt(np.float32([1, 4, 1])[:, None] + 1e-5)
        * np.float32([1, 2, 3])[:, None] + np.float32([0, 1, 2])[:, None],
    ),
    "converted up": (6, node("Add", "x c", broadcast=1), {"c": np.float32([1, 2, 3, 4])},
                     X + np.float32([1, 2, 3, 4])),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_old_opsets(name: str, tmp_path: Path) -> None:
    opset, the_node, constants, wanted = OLD[name]
    port = the_node.input[0]
    shape = list(X.shape) if port == "x" else [1, *X.shape]
    graph = load(model([the_node], {port: shape}, opset=opset, **constants), tmp_path)
    np.testing.assert_allclose(run(graph, X.reshape(shape)), wanted, rtol=1e-5, atol=1e-6)


def test_initializers_listed_as_inputs_are_no_ports(tmp_path: Path) -> None:
    proto = model([node("Add", "x c")], {"x": [3], "c": [3]}, opset=8, c=np.ones(3, np.float32))
    assert load(proto, tmp_path).entries[0].inputs == ("x",)


def test_an_opset_that_cannot_be_converted_up(tmp_path: Path) -> None:
    text = says(model([node("Scan", "x")], {"x": [3]}, opset=5), tmp_path)
    assert text.startswith("the model's opset cannot be converted up: ")
    assert text.endswith("fix    export the model with opset 7 or later (13 is a good choice)")


# constants


def test_other_floats_become_float32(tmp_path: Path) -> None:
    for dtype in (np.float16, np.float64):
        nodes = [node("Cast", "c", "f", to=F), node("Mul", "x f")] if dtype == np.float16 else [node("Mul", "x c")]
        graph = load(model(nodes, {"x": [2]}, c=np.array([0.5, 2], dtype)), tmp_path)
        np.testing.assert_array_equal(run(graph, np.array([2, 3])), [1, 6])


def test_quantised_weights_stay_integers_through_moves(tmp_path: Path) -> None:
    """Per-channel scales follow their axis through Transpose and into `dense`."""
    nodes = [
        node("DequantizeLinear", "w s z", "wr", axis=0),
        node("Transpose", "wr", "wt", perm=[1, 0]),
        node("MatMul", "x wt"),
    ]
    w, s = RNG.integers(-9, 9, (3, 4), "int8"), np.float32([0.5, 0.25, 2])
    graph = load(model(nodes, {"x": [2, 4]}, w=w, s=s, z=np.zeros(3, "int8")), tmp_path)
    (dense,) = (n for n in graph.nodes() if n.op == "dense")
    type_ = graph.type(dense.inputs[1])
    assert str(type_.dtype) == "i8" and type_.quant is not None
    assert (type_.quant.axis, type_.quant.scale) == (0, (0.5, 0.25, 2.0))
    x = RNG.standard_normal((2, 4)).astype(np.float32)
    np.testing.assert_allclose(run(graph, x), x @ (w * s[:, None]).T, rtol=1e-5)


def with_data(folder: Path, location: str = "m.data", **entries: str) -> onnx.ModelProto:
    """x * w, w in another file."""
    proto = model([node("Mul", "x w")], {"x": [4]}, w=np.arange(4, dtype=np.float32))
    (tensor,) = proto.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "m.data").write_bytes(np.arange(-1, 4, dtype=np.float32).tobytes())
    return proto


def test_external_data_is_read_lazily(tmp_path: Path) -> None:
    graph = load(with_data(tmp_path, offset="4", length="16"), tmp_path)
    (mul,) = graph.nodes()
    first = graph.array(mul.inputs[1])
    np.testing.assert_array_equal(first, [0, 1, 2, 3])
    assert np.shares_memory(first, graph.array(mul.inputs[1])) and _mapped(first), "a copy is kept in memory"


def _mapped(array: np.ndarray | None) -> bool:
    """Whether the numbers lie in a file."""
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


def test_external_data_stays_in_the_model_s_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "out.data").write_bytes(bytes(64))
    (home / "link.data").symlink_to(tmp_path / "out.data")
    for location in ("../out.data", str(tmp_path / "out.data"), "link.data", "a/../../out.data", ""):
        text = says(with_data(home, location), home)
        assert text.startswith(f"tensor 'w' keeps its numbers in {location!r}, outside the model's folder\n")
        assert text.endswith("fix    put the data file into the model's folder, and no link to elsewhere")
    assert "'gone.data' is missing" in says(with_data(home, "gone.data"), home)


def test_external_data_that_is_too_short(tmp_path: Path) -> None:
    for entries in ({"offset": "8"}, {"length": "12"}, {"offset": "-4"}, {"offset": "x"}):
        text = says(with_data(tmp_path, **entries), tmp_path)
        assert "w" in text and ("needs 16 bytes" in text or "does not hold" in text)


# refusals and damage


def test_all_unsupported_nodes_are_told_at_once(tmp_path: Path) -> None:
    nodes = [
        node("Hardmax", "x", "a", name="hard_1"),
        node("Hardmax", "a", "b", name="hard_2"),
        node("Det", "b", "c", name="det"),
        node("Resize", "c none s", "d", name="up", mode="linear"),
        node("Resize", "x none s", "e", name="up2", mode="cubic"),
        node("Add", "d e"),
    ]
    proto = model(nodes, {"x": [1, 2, 3]}, none=np.ones(0, np.float32), s=np.float32([1, 1, 2]))
    assert says(proto, tmp_path) == (
        "brainc cannot compile these nodes of the model:\n"
        "  Hardmax: 2 nodes (hard_1, hard_2)\n"
        "  Resize: 1 node (up2): its mode is cubic; brainc knows nearest\n"
        "  Det: 1 node (det)\n"
        "  where  m.onnx\n"
        "  fix    express it by other ops before export, or cut the model there and do the rest outside"
    )


def test_a_second_output_that_is_used(tmp_path: Path) -> None:
    nodes = [node("MaxPool", "x", "p i", name="pool", kernel_shape=[2, 2]), node("Cast", "i", "y", to=F)]
    assert says(model(nodes, {"x": [1, 1, 4, 4]}), tmp_path).splitlines()[1] == (
        "  Cast: 1 node (y): its operand 'i' is a further output of MaxPool, which brainc leaves out"
    )


EMPTY = helper.make_graph([], "none", [], [])
REFUSED: dict[str, tuple[Nodes, dict[str, Any], str]] = {
    "Where": ([node("Where", "c x x")], {"c": np.array([True, False])},
              "Where: 1 node (y): its operands depend on the input"),
    "dynamic weights": ([node("Conv", "x x")], {}, "Conv: 1 node (y): its weights depend on the input"),
    "dynamic shape": ([node("Cast", "x", "i", to=I64), node("Reshape", "x i")], {},
                      "Reshape: 1 node (y): shape depends on the input: it must be constant"),
    "integer arithmetic": ([node("Cast", "x", "i", to=TensorProto.INT32), node("Add", "i i")], {},
                           "Add: 1 node (y): it works on i32 values"),
    "int64 constant": ([node("Mul", "x c")], {"c": [1]}, "Mul: 1 node (y): a constant operand is i64"),
    "scales per channel": ([node("QuantizeLinear", "x s z")],
                           {"s": np.float32([1, 2]), "z": np.int8([0, 0])}, "a scale for every channel"),
    "no such type": ([node("Cast", "x", to=TensorProto.FLOAT8E4M3FN)], {}, "brainc has no type FLOAT8E4M3FN"),
    "training": ([node("Dropout", "x r t")], {"r": np.float32(0.5), "t": np.array(True)}, "training mode"),
    "other domain": ([helper.make_node("Magic", ["x"], ["y"], domain="com.acme")], {}, "Magic: 1 node (y)\n"),
    "condition": ([node("If", "x", then_branch=EMPTY, else_branch=EMPTY)], {},
                  "If: 1 node (y): its condition depends on the input"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str, tmp_path: Path) -> None:
    nodes, constants, text = REFUSED[name]
    assert text in says(model(nodes, {"x": [2]}, **constants), tmp_path)


def test_int64_is_for_indices(tmp_path: Path) -> None:
    """Such a port is taken as it is; arithmetic on it is not."""
    assert "it works on i64 values" in says(model([node("Neg", "x")], {"x": [2]}, elem=I64), tmp_path)


BROKEN: dict[str, tuple[Nodes, dict[str, Any], str]] = {
    "missing operand": ([node("Add", "x q")], {},
                        "nothing produces its operand 'q'\n  where  m.onnx, node y, op Add"),
    "cycle": ([node("Add", "x y", "z"), node("Neg", "z", "y")], {}, "waits for its own result"),
    "made twice": ([node("Neg", "x"), node("Abs", "x")], {}, "the name 'y' is made twice"),
    "input made again": ([node("Neg", "x", "x"), node("Abs", "x")], {}, "waits for its own result"),
    "too few operands": ([node("Add", "x")], {}, "its operands or attributes are not those of Add"),
    "attribute missing": ([node("Concat", "x x")], {}, "its operands or attributes are not those of Concat"),
    "shapes differ": ([node("Add", "x c")], {"c": np.ones(3, np.float32)}, "not those of Add"),
    "reshape": ([node("Reshape", "x c")], {"c": [3, 5]}, "[2] cannot take the shape [3, 5]"),
    "nothing left": ([node("Slice", "x c c")], {"c": [1]}, "would have the shape [0]"),
    "folding": ([node("Gather", "c c", "k"), node("Reshape", "x k")], {"c": [1]},
                "its constant operands do not fit it"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_models(name: str, tmp_path: Path) -> None:
    nodes, constants, text = BROKEN[name]
    assert text in says(model(nodes, {"x": [2]}, **constants), tmp_path)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    wanted = "m.onnx is not an ONNX model\n  where  m.onnx\n  fix    the file is damaged or of another kind"
    for content in (b"", b"\x1c\0\0\0TFL3" + bytes(40), b"not a model", b"\xff" * 100):
        assert says(content, tmp_path) == wanted
    with pytest.raises(ModelError, match="there is no model file"):
        frontends.load(tmp_path / "gone.onnx", name="m")
    with pytest.raises(ModelError, match=r"model\.bin has no suffix that tells its kind"):
        frontends.load(tmp_path / "model.bin", name="m")
    with pytest.raises(ModelError, match="there is no model kind 'onxn'"):
        frontends.load(tmp_path / "m.onnx", name="m", kind="onxn")


def test_a_tensor_that_lies_about_its_size(tmp_path: Path) -> None:
    for dims in ([5], [-4], [2**40, 2**40]):
        proto = model([node("Mul", "x w")], {"x": [4]}, w=np.arange(4, dtype=np.float32))
        del proto.graph.initializer[0].dims[:]
        proto.graph.initializer[0].dims.extend(dims)
        assert "tensor 'w'" in says(proto, tmp_path)


def test_no_damage_makes_a_traceback(tmp_path: Path) -> None:
    """Bytes changed, cut off and inserted anywhere: a graph or an error of ours, nothing else."""
    w = RNG.standard_normal((4, 2, 3, 3)).astype(np.float32)
    nodes = [
        node("Conv", "x w", "h", pads=[1, 1, 1, 1], group=1),
        node("MaxPool", "h", "p", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("Reshape", "p s", "f"),
        node("Slice", "f b e", "g"),
        node("Softmax", "g", axis=1),
    ]
    good = model(nodes, {"x": [1, 2, 5, 5]}, w=w, s=[0, -1], b=[0, 2], e=[1, 9]).SerializeToString()
    rng, file, loaded = random.Random(5), tmp_path / "m.onnx", 0
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(bad))
            if rng.random() < 0.8:
                bad[place] = rng.randrange(256)
            else:
                bad[place : place + rng.randint(0, 8)] = rng.randbytes(rng.randint(0, 8))
        file.write_bytes(bad)
        try:
            frontends.load(file, name="m")
            loaded += 1
        except BraincError as error:
            assert error.fix and error.exit_code == 2, error
    assert loaded < 300


def test_the_tree_ensemble_is_refused(models: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        frontends.load(models / "onnx2c" / "treeensembleclassifier.onnx", name="m")
    assert caught.value.what == (
        "brainc cannot compile these nodes of the model:\n  TreeEnsembleClassifier: 1 node (TreeEnsembleClassifier)"
    )

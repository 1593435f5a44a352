"""The TFLite frontend as a user meets it: names of ports, refusals by name, and broken files."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from brainc import frontends, interp, manifest, spec
from brainc.errors import ModelError, UnsupportedError, UserError
from brainc.frontends.tflite.ports import port_names
from brainc.frontends.tflite.reader import Model, Subgraph, Tensor
from brainc.ir import Role
from brainc.link import load_brain

sys.path.append(str(Path(__file__).parents[1] / "foreign"))
from tflite_files import N, T, broken, model

X, Y = T("x", (1, 4), "INT8", 0.1, 3), T("y", (1, 4), "INT8", 0.2, -5)


def layer() -> bytes:
    """A layer, a constant added, a table: every part of a file that the reader follows."""
    rng = np.random.default_rng(0)
    w = T("w", (4, 4), "INT8", [0.01, 0.02, 0.03, 0.04], 0, 0, rng.integers(-127, 128, (4, 4)))
    b = T("b", (4,), "INT32", 0.001, 0, 0, [1, 2, 3, 4])
    h, k = T("h", (1, 4), "INT8", 0.3, 0), T("k", (4,), "INT8", 0.1, 0, 0, [1, 2, 3, 4])
    s = T("s", (1, 4), "INT8", 0.3, 0)
    nodes = [N("FULLY_CONNECTED", ["x", "w", "b"], ["h"], "FullyConnectedOptions", {"FusedActivationFunction": 1})]
    nodes += [N("ADD", ["h", "k"], ["s"], "AddOptions"), N("RELU", ["s"], ["y"])]
    return model(([X, w, b, h, k, s, Y], nodes, ["x"], ["y"]))


def load(data: bytes, folder: Path) -> frontends.Graph:
    file = folder / "model.tflite"
    file.write_bytes(data)
    return frontends.load(file, name="model")


@pytest.mark.parametrize(
    ("tensors", "signature", "names"),
    [
        (["input_1", "Identity"], {}, ["input", "output"]),
        (
            ["serving_default_input_6:0", "StatefulPartitionedCall:0"],
            {0: "input_6", 1: "dense_5"},
            ["input_6", "dense_5"],
        ),
        (["serving_default_audio:0", "StatefulPartitionedCall_1:0"], {}, ["audio", "output"]),
        (["input_1_int8", "Identity_int8"], {}, ["input", "output"]),
        (["mobilenet_0.25_96_input", "Identity"], {}, ["input", "output"]),
        (["input", "regressors", "Identity", "Identity_1"], {}, ["input", "regressors", "output", "output_2"]),
        (["image", "model/conv2d_20/BiasAdd"], {}, ["image", "BiasAdd"]),
        (["", "int"], {}, ["input", "int_"]),
        (["x", "Identity", "Identity", "Identity_7"], {}, ["x", "output", "output_2", "output_3"]),
    ],
)
def test_ports_have_names_that_a_person_would_choose(
    tensors: list[str], signature: dict[int, str], names: list[str]
) -> None:
    made = tuple(Tensor(name, (1,), "INT8", None, None) for name in tensors)
    graph = Subgraph(made, (0,), tuple(range(1, len(tensors))), ())
    ins, outs = port_names(Model((graph,), signature))
    assert [*ins, *outs] == names


def test_ports_carry_their_scale(tmp_path: Path) -> None:
    graph = load(layer(), tmp_path)
    spec.verify(graph)
    x, y = graph.entries[0].inputs[0], graph.entries[0].outputs[0]
    assert (x, y) == ("x", "y")
    assert [graph.type(n).quant.zero for n in (x, y)] == [(3,), (-5,)]  # type: ignore[union-attr]
    assert [graph.values[n].role for n in (x, y)] == [Role.INPUT, Role.OUTPUT]
    assert [n.op for n in graph.nodes()] == ["qdense", "qadd", "qlut"]


def test_a_node_is_called_what_it_is_where_its_result_says_nothing(tmp_path: Path) -> None:
    """`Identity` is what exporters call the last tensor; the layer before it has a name of its own."""
    inner = "model/gate/Relu;model/gate/BiasAdd"
    tensors = [X, T(inner, (1, 4), "INT8", 0.1, 3), T("Identity", (1, 4), "INT8", 0.2, -5)]
    nodes = [N("RELU", ["x"], [inner]), N("ABS", [inner], ["Identity"])]
    graph = load(model((tensors, nodes, ["x"], ["Identity"])), tmp_path)
    assert [n.name for n in graph.nodes()] == ["model/gate", "abs"]
    assert graph.entries[0].outputs == ("output",)


def test_what_is_known_is_worked_out(tmp_path: Path) -> None:
    """SHAPE, STRIDED_SLICE and PACK only say what a RESHAPE is to make."""
    ints = {"at": [0], "end": [1], "step": [1], "four": 4}
    known = [T(k, np.shape(v), "INT32", data=v) for k, v in ints.items()]
    inner = [T("s", (2,), "INT32"), T("n", (), "INT32"), T("p", (2,), "INT32")]
    nodes = [N("SHAPE", ["x"], ["s"], "ShapeOptions", {"OutType": 2})]
    nodes += [N("STRIDED_SLICE", ["s", "at", "end", "step"], ["n"], "StridedSliceOptions", {"ShrinkAxisMask": 1})]
    nodes += [N("PACK", ["n", "four"], ["p"], "PackOptions", {"ValuesCount": 2, "Axis": 0})]
    nodes += [N("RESHAPE", ["x", "p"], ["r"]), N("ABS", ["r"], ["y"])]
    tensors = [X, *known, *inner, T("r", (1, 4), "INT8", 0.1, 3), Y]
    assert [n.op for n in load(model((tensors, nodes, ["x"], ["y"])), tmp_path).nodes()] == ["qlut"]


def test_all_that_is_not_there_is_refused_by_name_at_once(tmp_path: Path) -> None:
    nodes = [N("GELU", ["x"], ["h"]), N("ABS", ["h"], ["k"]), N("LSH_PROJECTION", ["x"], ["y"])]
    tensors = [X, T("h", (1, 4), "INT8", 0.1, 3), T("k", (1, 4), "INT8", 0.1, 3), Y]
    with pytest.raises(UnsupportedError) as caught:
        load(model((tensors, nodes, ["x"], ["k", "y"])), tmp_path)
    assert "GELU: 1 node (h)" in caught.value.what
    assert "LSH_PROJECTION: 1 node (y)" in caught.value.what
    assert "ABS" not in caught.value.what


def test_a_type_that_an_op_lacks_is_named(tmp_path: Path) -> None:
    tensors = [T("x", (1, 4), "UINT8", 0.1, 3), T("y", (1, 4), "UINT8", 0.1, 3)]
    with pytest.raises(UnsupportedError, match=r"ELU: 1 node .y.: it works on UINT8; brainc knows it for .*INT8"):
        load(model((tensors, [N("ELU", ["x"], ["y"])], ["x"], ["y"])), tmp_path)


def test_an_output_that_is_the_input_or_a_constant_is_copied(tmp_path: Path) -> None:
    k = T("k", (1, 4), "INT8", 0.1, 0, 0, [1, 2, 3, 4])
    graph = load(model(([X, k], [], ["x"], ["k", "x"])), tmp_path)
    spec.verify(graph)
    assert len(graph.entries[0].outputs) == 2


def remembering(assigned_first: bool) -> bytes:
    """y = what the variable holds; the variable becomes x. It begins as 7 7 7 7."""
    handle, start = T("v", (), "RESOURCE"), T("start", (1, 4), "INT8", 0.1, 3, 0, [7] * 4)
    read = T("r", (1, 4), "INT8", 0.1, 3)
    var = N("VAR_HANDLE", [], ["v"], "VarHandleOptions", {"SharedName": "memory"})
    steps = [N("READ_VARIABLE", ["v"], ["r"]), N("ASSIGN_VARIABLE", ["v", "x"], [])]
    steps = steps[::-1] if assigned_first else steps
    nodes = [N("CALL_ONCE", [], [], "CallOnceOptions", {"InitSubgraphIndex": 1}), var, *steps, N("ABS", ["r"], ["y"])]
    init = ([handle, start], [var, N("ASSIGN_VARIABLE", ["v", "start"], [])], [], [])
    return model(([X, handle, read, Y], nodes, ["x"], ["y"]), init)


@pytest.mark.parametrize("assigned_first", [False, True])
def test_a_variable_is_a_state(assigned_first: bool, tmp_path: Path) -> None:
    """Reading gives what was there; after an assignment in the same call, what was assigned."""
    graph = load(remembering(assigned_first), tmp_path)
    spec.verify(graph)
    state, x = interp.fresh_state(graph), np.array([[1, 2, 3, 4]], np.int8)
    assert [s.tolist() for s in state.values()] == [[[7] * 4]]
    first, second = (interp.run(graph, None, {"x": x}, state)["y"] for _ in range(2))
    assert np.array_equal(first, second) is assigned_first


@pytest.mark.parametrize("whole", [layer(), remembering(False)], ids=["layer", "variable"])
def test_a_broken_file_is_a_model_error_and_soon(whole: bytes, tmp_path: Path) -> None:
    """Every one loads or is refused as the user's; none takes long, none ends in a traceback."""
    told = 0
    for data in (*(whole[:n] for n in range(0, len(whole), 37)), *broken(whole, 500)):
        begun = time.perf_counter()
        try:
            spec.verify(load(data, tmp_path))
        except UserError:
            told += 1
        assert time.perf_counter() - begun < 5
    assert told > 200


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a TFLite model"):
        load(b"not a model at all", tmp_path)


def test_modules_of_a_brain_are_wired_on_their_scales(tmp_path: Path) -> None:
    """Two files, one behind the other: the ports between them are int8 of one scale."""
    middle = T("m", (1, 4), "INT8", 0.5, 7)
    for name, x, y in (("first", X, middle), ("second", middle, Y)):
        (tmp_path / f"{name}.tflite").write_bytes(model(([x, y], [N("RELU", [x.name], [y.name])], [x.name], [y.name])))
    wires = '"first.x" = "in.x"\n"second.m" = "first.m"\n"out.y" = "second.y"\n'
    modules = '[modules.first]\nfile = "first.tflite"\nin = { x = "i8[1,4] scale=0.1 zero=3" }\n'
    modules += '[modules.second]\nkind = "tflite"\nfile = "second.tflite"\n'
    (tmp_path / "brain.toml").write_text(f'[brain]\nname = "two"\n{modules}[wires]\n{wires}')
    graph = load_brain(manifest.load(tmp_path))
    spec.verify(graph)
    assert [n.op for n in graph.nodes()] == ["qlut", "qlut"]
    assert (graph.entries[0].inputs, graph.entries[0].outputs) == (("x",), ("y",))

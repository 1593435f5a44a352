"""GRU, LSTM and RNN nodes of odd sizes against onnxruntime, and quantised on small machines.

They prove that the unrolled steps mean what the nodes mean, in every direction, layout and variant; and that an int8
GRU whose state is wired back gives the same bytes on an AVR, on Cortex-M and on the desktop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from brainc import check, frontends, interp
from brainc.compiler import Request, compile_job, prepare
from brainc.errors import UnsupportedError

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FLOAT = TensorProto.FLOAT
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "behind": {"linear_before_reset": 1},
    "reverse": {"direction": "reverse"},
    "both ways": {"direction": "bidirectional"},
    "both, behind": {"direction": "bidirectional", "linear_before_reset": 1},
    "other functions": {"activations": {"RNN": ["Relu"], "GRU": ["HardSigmoid", "Softsign"]}},
}


def layer(
    op: str, t: int, b: int, i: int, h: int, attributes: dict[str, Any], *, start: bool = True, seed: int = 0
) -> onnx.ModelProto:
    """One node with ports X, h (and c); Y, Y_h (and Y_c)."""
    rng, d, n = np.random.default_rng(seed), 1 + (attributes.get("direction") == "bidirectional"), GATES[op]
    shapes = {"W": (d, n * h, i), "R": (d, n * h, h), "B": (d, 2 * n * h)}
    constants = {
        k: (rng.standard_normal(s) / np.sqrt(s[-1] if k != "B" else 4)).astype(np.float32) for k, s in shapes.items()
    }
    states = (["h", "c"] if op == "LSTM" else ["h"]) if start else []
    node = helper.make_node(
        op,
        ["X", "W", "R", "B", "", *states],
        ["Y", *(f"Y_{s}" for s in ("h", "c")[: 1 + (op == "LSTM")])],
        hidden_size=h,
        **attributes,
    )
    ports = {"X": (t, b, i), **dict.fromkeys(states, (d, b, h))}
    outs = {"Y": (t, d, b, h), **dict.fromkeys(node.output[1:], (d, b, h))}
    sides = [[helper.make_tensor_value_info(k, FLOAT, s) for k, s in side.items()] for side in (ports, outs)]
    graph = helper.make_graph([node], "g", *sides, [numpy_helper.from_array(a, k) for k, a in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("start", [True, False])
def test_floats_are_onnxruntimes(op: str, variant: str, start: bool, tmp_path: Path) -> None:
    """To 1e-5."""
    ort = pytest.importorskip("onnxruntime")
    attributes = dict(VARIANTS[variant])
    if "activations" in attributes:
        attributes["activations"] = attributes["activations"].get(op)
    if attributes.get("activations", ()) is None or ("linear_before_reset" in attributes and op != "GRU"):
        pytest.skip(f"no variant of {op}")
    for number, (t, b, i, h) in enumerate(((1, 1, 3, 2), (4, 1, 5, 7), (3, 2, 1, 9))):
        model = layer(op, t, b, i, h, attributes, start=start, seed=number)
        file = tmp_path / f"{number}.onnx"
        onnx.save(model, file)
        rng = np.random.default_rng(number)
        feed = {
            p.name: rng.standard_normal([x.dim_value for x in p.type.tensor_type.shape.dim]) for p in model.graph.input
        }
        feed = {k: v.astype(np.float32) for k, v in feed.items()}
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        got = interp.outputs(frontends.load(file, name="m", shapes={}), None, feed)
        for name, want in zip(names, session.run(names, feed), strict=True):
            np.testing.assert_allclose(got[name], want, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("attributes", "what"),
    [({"clip": 3.0}, "clip"), ({"activations": ["Sigmoid", "Affine"]}, "its activation is Affine")],
)
def test_what_is_refused(attributes: dict[str, Any], what: str, tmp_path: Path) -> None:
    onnx.save(layer("GRU", 2, 1, 3, 4, attributes), tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError, match=what):
        frontends.load(tmp_path / "m.onnx", name="m", shapes={})


def stream(folder: Path, op: str, attributes: dict[str, Any], steps: int = 2) -> tuple[Path, np.ndarray]:
    """A layer of odd sizes as a brain that keeps its state from call to call, and 30 calls of input."""
    onnx.save(layer(op, steps, 1, 5, 11, attributes), folder / "net.onnx")
    states = "".join(f'"net.{s}" = "net.Y_{s}"\n' for s in ("h", "c")[: 1 + (op == "LSTM")])
    (folder / "brain.toml").write_text(
        '[brain]\nname = "stream"\n[modules.net]\nkind = "onnx"\nfile = "net.onnx"\n'
        f'[wires]\n"net.X" = "in.x"\n{states}"out.y" = "net.Y"\n'
    )
    x = np.random.default_rng(7).uniform(-1, 1, (30, steps, 1, 5)).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    return folder, x


@pytest.mark.parametrize("target", ["c99", "uno", "cortex-m0plus", "cortex-m4"])
def test_an_int8_gru_gives_the_same_bytes_everywhere(target: str, tmp_path: Path) -> None:
    folder, x = stream(tmp_path, "GRU", {"linear_before_reset": 1})
    request = Request(folder, quantize="int8", calibrate=str(folder / "x.npz"), io="int8")
    program = compile_job(prepare(request, target))
    assert check.is_exact(program.graph)
    port = program.graph.type("x")
    rung = check.prove(program, {"x": interp.from_real(x, port)[:8]}, sanitize=target == "c99")
    assert rung.equal, rung.first_difference


@pytest.mark.parametrize(
    ("op", "attributes"), [("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("LSTM", {}), ("RNN", {})]
)
def test_quantised_it_is_near_the_floats(op: str, attributes: dict[str, Any], tmp_path: Path) -> None:
    """Over 30 calls, and the steps of a call read one copy of the weights."""
    folder, x = stream(tmp_path, op, attributes)
    request = Request(folder, quantize="int8", calibrate=str(folder / "x.npz"))
    job = prepare(request, "c99")
    program = compile_job(job)
    want, got = (np.stack([row["y"] for row in check.reference(g, {"x": x})]) for g in (job.graph, program.graph))
    assert np.square(want - got).sum() / np.square(want).sum() < 4e-3
    weights = [n.inputs[1] for n in program.graph.nodes() if n.op == "qdense"]
    assert len(weights) == 2 * len(set(weights))


@pytest.mark.parametrize("op", GATES)
def test_a_sequence_from_nothing_is_exact(op: str, tmp_path: Path) -> None:
    """Without a first state zeros are joined to the input: integers, too."""
    onnx.save(layer(op, 3, 1, 4, 5, {"direction": "bidirectional"}, start=False), tmp_path / "m.onnx")
    x = np.random.default_rng(1).uniform(-1, 1, (20, 3, 1, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", X=x)
    request = Request(tmp_path / "m.onnx", quantize="int8", calibrate=str(tmp_path / "x.npz"), io="int8")
    program = compile_job(prepare(request, "c99"))
    assert check.is_exact(program.graph)
    rung = check.prove(program, {"X": interp.from_real(x, program.graph.type("X"))}, sanitize=True)
    assert rung.equal, rung.first_difference

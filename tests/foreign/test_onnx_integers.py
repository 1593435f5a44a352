"""Integer layers of ONNX against onnxruntime: the same int32 sums."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from brainc import frontends, interp, spec
from brainc.errors import UnsupportedError

ort = pytest.importorskip("onnxruntime")
sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import avr_models  # noqa: E402


def same(path: Path, seeds: int = 3) -> None:
    graph = frontends.load(path, name="model")
    spec.verify(graph)
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for seed in range(seeds):
        feed = interp.random_inputs(graph, "step", seed)
        (ours,), (theirs,) = interp.outputs(graph, "step", feed).values(), session.run(None, dict(feed))
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype == np.int32


@pytest.mark.parametrize("seed", range(3))
def test_sums_with_biases(seed: int, tmp_path: Path) -> None:
    same(avr_models.dense_sums(tmp_path / "sums.onnx", seed, terms=17 + seed, rows=6))


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("zeros", ["none", "one", "each"])
def test_zero_points_of_both_sides(kind: type, zeros: str, tmp_path: Path) -> None:
    """uint8 and int8 inputs of three axes; weights of uint8 around 128, one zero point or one a column."""
    rng = np.random.default_rng(3)
    w = rng.integers(70, 180, (9, 4)).astype(np.uint8)
    names, arrays = ["x", "w"], {"w": w if zeros != "none" else (w.astype(int) - 128).astype(np.int8)}
    if zeros != "none":
        names += ["x_zero", "w_zero"]
        arrays |= {"x_zero": np.array(77, kind), "w_zero": np.full(() if zeros == "one" else 4, 125, np.uint8)}
    _save(tmp_path / "m.onnx", [helper.make_node("MatMulInteger", names, ["y"])], arrays, kind)
    same(tmp_path / "m.onnx")


def test_weights_too_far_from_their_zero_point_are_refused(tmp_path: Path) -> None:
    arrays = {"w": np.full((9, 4), 255, np.uint8), "x_zero": np.array(0, np.int8), "w_zero": np.array(3, np.uint8)}
    _save(tmp_path / "m.onnx", [helper.make_node("MatMulInteger", ["x", *arrays], ["y"])], arrays, np.int8)
    with pytest.raises(UnsupportedError, match="within int8"):
        frontends.load(tmp_path / "m.onnx", name="model")


def _save(path: Path, nodes: list, arrays: dict, kind: type) -> None:
    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    x = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), (2, 3, 9))
    y = helper.make_tensor_value_info("y", TensorProto.INT32, (2, 3, 4))
    graph = helper.make_graph(nodes, "g", [x], [y], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())

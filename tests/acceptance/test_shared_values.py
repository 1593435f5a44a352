"""Several ports of one value, constants and inputs handed through: as the model has them, int8 or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making import compiled, noise, numbers, proven, save
from onnx import helper

X = numbers(20, 1, 6)


def test_two_outputs_of_one_value(tmp_path: Path) -> None:
    """Two equal clamps become one value; quantised, both ports read it, as floats or as int8."""
    w = numbers(6, 4, seed=1)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Identity", ["x"], ["same"])]
    nodes += [helper.make_node("Clip", ["a", "lo", "hi"], [name]) for name in ("y", "z")]
    outputs = [("y", [1, 4]), ("z", [1, 4]), ("same", [1, 6])]
    constants = {"w": w, "lo": np.float32(0), "hi": np.float32(6)}
    source = save(tmp_path / "twice.onnx", nodes, constants, [("x", [1, 6])], outputs)
    np.savez(tmp_path / "x.npz", x=X)
    want = np.clip(X @ w, 0, 6)
    got = proven(compiled(source, quantize="int8", calibrate=str(tmp_path / "x.npz")), {"x": X})
    assert noise(want, got["y"]) < 1e-3
    assert np.array_equal(got["y"], got["z"])
    assert noise(X, got["same"]) < 1e-3
    program = compiled(source, quantize="int8", io="int8", calibrate=str(tmp_path / "x.npz"))
    assert {program.graph.type(p).dtype.name for p in ("x", "y", "z", "same")} == {"i8"}
    raw = proven(program)
    assert np.array_equal(raw["y"], raw["z"])


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_an_output_that_is_constant(tmp_path: Path, quantize: str) -> None:
    """The input goes unused; the port still holds the numbers."""
    c = numbers(2, 3)
    nodes = [helper.make_node("Neg", ["c"], ["y"]), helper.make_node("Relu", ["x"], ["z"])]
    ports = [("x", [1, 6])], [("y", [2, 3]), ("z", [1, 6])]
    source = save(tmp_path / "constant.onnx", nodes, {"c": c}, *ports)
    got = proven(compiled(source, quantize=quantize, calibrate="random"))
    assert np.array_equal(got["y"][0], -c)

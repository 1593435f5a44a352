"""Numbers at the edge: not a number, weights off centre, windows of one row, options that must arrive."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from making import compiled, numbers, proven, save
from onnx import helper

from brainc import cli, compiler
from brainc.compiler import Request
from brainc.errors import ModelError

ort = pytest.importorskip("onnxruntime")


def dense(folder: Path, w: np.ndarray, *after: str) -> Path:
    """x W, then functions one after the other."""
    names = ["x", *(f"v{i}" for i in range(len(after))), "y"]
    ops = [helper.make_node("MatMul", ["x", "w"], [names[1]])]
    ops += [helper.make_node(op, [a], [b]) for op, a, b in zip(after, names[1:], names[2:], strict=False)]
    return save(folder / "net.onnx", ops, {"w": w}, [("x", [1, 6])], [("y", [1, 4])])


def test_not_a_number_equals_not_a_number(tmp_path: Path) -> None:
    """The logarithm of what is below zero, the reciprocal of zero: C and the reference agree."""
    got = proven(compiled(dense(tmp_path, numbers(6, 4), "Log")))["y"]
    assert np.isnan(got).any()
    assert np.isfinite(got).any()
    assert np.isinf(proven(compiled(dense(tmp_path, numbers(6, 4), "Relu", "Reciprocal")))["y"]).any()


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    """They cannot be quantised, and that is the file's fault."""
    w = numbers(6, 4)
    w[2, 2] = np.nan
    with pytest.raises(ModelError, match="not a number") as caught:
        compiled(dense(tmp_path, w), quantize="int8", calibrate="random")
    assert caught.value.where.file


def test_unsigned_weights_off_centre(tmp_path: Path) -> None:
    """uint8 weights whose zero point is far from 128: within a step of onnxruntime, and mostly the same.

    Channels that fit int8 around zero stay exact; the others get a wider step.
    """
    rng = np.random.default_rng(3)
    w = rng.integers(0, 256, (16, 3, 3, 3)).astype(np.uint8)
    w[:12] = np.clip(w[:12], 30, 200)  # with zero point 90: -60..110
    constants = {"sx": np.float32(0.02), "zx": np.uint8(120), "sw": np.float32(0.01), "zw": np.uint8(90), "w": w}
    constants |= {"sy": np.float32(0.1), "zy": np.uint8(128)}
    names = ["x", "sx", "zx", "w", "sw", "zw", "sy", "zy"]
    nodes = [helper.make_node("QLinearConv", names, ["y"], kernel_shape=[3, 3], pads=[1] * 4)]
    ports = [("x", [1, 3, 9, 9])], [("y", [1, 16, 9, 9])]
    source = save(tmp_path / "conv.onnx", nodes, constants, *ports, dtype=np.uint8)
    x = rng.integers(0, 256, (4, 1, 3, 9, 9)).astype(np.uint8)
    session = ort.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    want = np.stack([session.run(None, {"x": sample})[0] for sample in x]).astype(np.int32)
    got = proven(compiled(source), {"x": x})["y"]
    gap = np.abs(got.astype(np.int32) - want)
    assert gap.max() <= 1
    assert not gap[:, :, :12].any()


def test_a_long_window_over_one_row(tmp_path: Path) -> None:
    """gcc sees through all of it, and must not see a NULL: a convolution over a sequence of one channel."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], strides=[4])]
    ports = [("x", [1, 1, 100])], [("y", [1, 8, 21])]
    source = save(tmp_path / "row.onnx", nodes, {"w": numbers(8, 1, 20)}, *ports)
    proven(compiled(source, quantize="int8", calibrate="random"))


def test_optimize_reaches_the_choice_of_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = compiler.KernelTable

    def table(*args: object, **options: object) -> object:
        seen.append(options["optimize"])
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(compiler, "KernelTable", table)
    source = dense(tmp_path, numbers(6, 4))
    compiler.compile_job(compiler.prepare(Request(source, optimize="flash"), "c99"))
    assert seen == ["flash"]


def test_out_of_memory_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(cli.actions, "targets", fail)
    monkeypatch.setattr(sys, "argv", ["brainc", "targets"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 3
    assert "not enough memory" in capsys.readouterr().err

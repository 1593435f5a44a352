"""Two modules from two files: one brain answers as the two alone do, in less memory than the two together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainc import check, samples
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.dtypes import Array
from brainc.program import Program
from brainc.resources import examples_dir

SORTER = examples_dir() / "sorter"


def answers(program: Program, x: Array) -> Array:
    """All outputs of a one-port brain on x [n, ...]."""
    (port, type_), *_ = ports(program.graph)
    rows = check.reference(program.graph, {port: x.reshape(len(x), *type_.shape).astype(type_.dtype.numpy)})
    return np.concatenate([next(iter(row.values())).reshape(1, -1) for row in rows])


@pytest.fixture(scope="module")
def held_out() -> tuple[Array, Array]:
    data = np.load(SORTER / "test.npz")
    return data["image"], data["y"]


def alone(folder: Path, quantize: str, target: str) -> tuple[Program, Program]:
    """Eyes and judge compiled each for itself; the judge calibrated on what the float eyes see."""
    eyes_float = compile_job(prepare(Request(SORTER / "eyes.onnx", quantize="none"), "c99"))
    seen = answers(eyes_float, np.load(SORTER / "calibration.npz")["image"])
    np.savez(folder / "seen.npz", features=seen.reshape(len(seen), 1, -1))
    images = str(SORTER / "calibration.npz")
    eyes = Request(SORTER / "eyes.onnx", quantize=quantize, calibrate=images)
    judge = Request(SORTER / "judge.onnx", quantize=quantize, calibrate=str(folder / "seen.npz"))
    return compile_job(prepare(eyes, target)), compile_job(prepare(judge, target))


def test_floats_are_those_of_the_two_alone(held_out: tuple[Array, Array], tmp_path: Path) -> None:
    both = compile_job(prepare(Request(SORTER, quantize="none"), "c99"))
    eyes, judge = alone(tmp_path, "none", "c99")
    images = held_out[0]
    np.testing.assert_allclose(answers(both, images), answers(judge, answers(eyes, images)), rtol=1e-4, atol=1e-5)


def test_integers_decide_as_the_two_alone(held_out: tuple[Array, Array], tmp_path: Path) -> None:
    """Quantised apart the scales differ a little, so the decision is compared, not the last bit."""
    both = compile_job(prepare(Request(SORTER), "c99"))
    eyes, judge = alone(tmp_path, "int8", "c99")
    images, trays = held_out
    one, two = answers(both, images).argmax(1), answers(judge, answers(eyes, images)).argmax(1)
    assert (one == two).mean() >= 0.98
    assert (one == trays).mean() >= 0.96


@pytest.mark.parametrize("target", ["uno", "cortex-m4", "c99"])
def test_one_plan_needs_less_than_two(target: str, tmp_path: Path) -> None:
    both = compile_job(prepare(Request(SORTER), target))
    eyes, judge = alone(tmp_path, "int8", target)
    assert both.plan.nbytes < eyes.plan.nbytes + judge.plan.nbytes


def test_the_small_judge_is_one_line_away(held_out: tuple[Array, Array], tmp_path: Path) -> None:
    """Swapping a module: the variant under the target's `use`, the eyes untouched."""
    text = (SORTER / "brain.toml").read_text(encoding="utf-8")
    for file in SORTER.glob("*.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    swapped = text.replace("[target.uno]", '[target.uno]\nuse = { judge = "small" }')
    (tmp_path / "brain.toml").write_text(swapped, encoding="utf-8")
    program = compile_job(prepare(Request(tmp_path), "uno"))
    images, trays = held_out
    loaded = samples.load(tmp_path / "test.npz", ports(program.graph))
    assert loaded.count == len(images)
    assert (answers(program, images).argmax(1) == trays).mean() >= 0.95

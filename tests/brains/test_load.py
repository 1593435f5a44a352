"""`brainc.load`: a built brain in Python gives what the reference gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import brainc
from brainc import interp
from brainc.compiler import Request, compile_job, prepare
from brainc.errors import UserError
from brainc.resources import examples_dir


def built(example: str, target: str, folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "brainc.cli",
        "build",
        str(examples_dir() / example),
        "-t",
        target,
        "-o",
        str(folder),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("target", ["c99", "x86-avx2"])
def test_a_brain_answers_as_the_reference(target: str, tmp_path: Path) -> None:
    handle = brainc.load(built("digits", target, tmp_path))
    graph = compile_job(prepare(Request(examples_dir() / "digits"), target)).graph
    for seed in range(3):
        inputs = interp.random_inputs(graph, None, seed)
        wanted = interp.outputs(graph, None, inputs)
        found = handle.step(**inputs)
        assert found.keys() == wanted.keys()
        for port, array in wanted.items():
            np.testing.assert_allclose(found[port], array, rtol=1e-5, atol=1e-6)


def test_a_state_goes_on_is_forgotten_and_is_its_own(tmp_path: Path) -> None:
    folder = built("scribe", "c99", tmp_path)
    first, second = brainc.load(folder), brainc.load(folder)
    inputs = {"token": np.array([5], np.int32), "temperature": np.array([0], np.int32), "seed": np.array([0], np.int32)}

    def said(brain: brainc.native.Brain, count: int) -> list[int]:
        return [int(next(iter(brain.step(**inputs).values()))[0]) for _ in range(count)]

    text = said(first, 12)
    assert said(second, 12) == text and len(set(text)) > 1
    first.forget()
    assert said(first, 12) == text


def test_wrong_calls_are_told(tmp_path: Path) -> None:
    handle = brainc.load(built("digits", "c99", tmp_path))
    (port,) = handle.inputs
    with pytest.raises(UserError, match="takes"):
        handle.step(**{port.name: np.zeros(3, np.float64)})
    with pytest.raises(UserError, match="takes"):
        handle.step(other=np.zeros(port.shape, np.float32))
    with pytest.raises(UserError, match="no built brain"):
        brainc.load(tmp_path / "nowhere")


def test_a_brain_for_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not for this machine"):
        brainc.load(built("digits", "cortex-m4", tmp_path))

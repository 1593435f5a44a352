"""Weights beyond 64 KB and arrays beyond 32 KB on the Mega: read across the line, byte for byte."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from brainc import check, samples, toolchain
from brainc.compiler import Request, compile_job, ports, prepare

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import avr_models


@pytest.mark.sim
@pytest.mark.parametrize("widths", [(300, 300, 10), (200, 200, 330, 40), (509, 140, 11), (460, 302, 10)])
@pytest.mark.parametrize("portable", [False, True])
def test_far_weights_give_the_reference_bytes(widths: tuple[int, ...], portable: bool, tmp_path: Path) -> None:
    if toolchain.locate("avr-gcc") is None or toolchain.locate("libsimavr") is None:
        pytest.skip("needs avr-gcc and libsimavr")
    request = Request(
        avr_models.wide(tmp_path / "wide.onnx", widths, relu=len(widths) < 4),
        calibrate="random",
        io="int8",
        portable=portable,
    )
    program = compile_job(prepare(request, "mega"))
    rung = check.prove(program, samples.random(ports(program.graph), 3, 5).arrays)
    assert rung.first_difference is None

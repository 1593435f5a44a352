"""Layers on the Arduino keep their published figures: cycles of simavr, exact, with the Arduino tools' -Os."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from brainc import toolchain

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import avr


@pytest.mark.sim
@pytest.mark.parametrize("row", avr.LAYERS[:3], ids=lambda row: row.title)
def test_a_layer_takes_no_more_than_is_published(row: avr.Row, tmp_path: Path) -> None:
    if toolchain.locate("avr-gcc") is None or toolchain.locate("libsimavr") is None:
        pytest.skip("needs avr-gcc and libsimavr")
    (layer,) = avr.figures(row.request(tmp_path / "model.onnx"), row.board)["layers"]
    assert layer["cycles"] <= row.goal * layer["macs"]

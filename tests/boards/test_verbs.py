"""The verbs of boards where there is nothing to flash or no board to ask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from brainc import actions, board, flash, toolchain
from brainc.compiler import Request
from brainc.errors import DeviceError, ToolMissing, UserError
from brainc.resources import examples_dir

DIGITS = Request(examples_dir() / "digits", quantize="int8")


def check(targets: Sequence[str]) -> None:
    actions.check(DIGITS, targets, None, 1, False, None, "/dev/ttyX", lambda _: None)


def flashed(target: str, folder: Path, port: str | None = None) -> None:
    actions.flash(DIGITS, target, port, folder, lambda _: None)


def test_only_boards_are_flashed_or_asked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="c99 is no board") as caught:
        flashed("c99", tmp_path / "out")
    assert "nano33ble" in caught.value.fix and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="c99 is no board"):
        check(["c99"])
    with pytest.raises(UserError, match="one board at a port"):
        check(["uno", "mega"])


def test_without_platformio_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "locate", lambda name: None if name == "pio" else "/bin/true")
    with pytest.raises(ToolMissing, match="pio is not installed") as caught:
        flash.upload(tmp_path, "uno", None, lambda _: None)
    assert caught.value.fix == "pip install platformio" and caught.value.exit_code == 3


def test_a_board_without_a_serial_port_is_flashed_but_not_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Blue Pill takes its firmware from a probe: no port is needed for that, and none is asked for."""
    asked: list[object] = []
    monkeypatch.setattr(flash, "upload", lambda *words: asked.append(words[:3]))
    monkeypatch.setattr(board, "WAKE", 0.1)
    monkeypatch.setattr(board.list_ports, "comports", lambda: [SimpleNamespace(device="/dev/ttyS0", vid=None)])
    with pytest.raises(DeviceError, match="flashed, but the board cannot prove itself"):
        flashed("bluepill", tmp_path)
    assert asked == [(tmp_path, "bluepill", None)]
    with pytest.raises(DeviceError, match="no serial port has a board"):
        flashed("uno", tmp_path)
    assert len(asked) == 1


def test_a_sketch_of_its_own_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brain" / "project" / "src").mkdir(parents=True)
    for name in ("brain.toml", "digits.onnx", "calibration.npz", "test.npz"):
        (tmp_path / "brain" / name).write_bytes((DIGITS.source / name).read_bytes())
    (tmp_path / "brain" / "project" / "src" / "main.cpp").write_text("")
    monkeypatch.setattr(flash, "upload", lambda *_: None)
    data, lines = actions.flash(Request(tmp_path / "brain"), "nucleo", "/dev/ttyX", tmp_path / "out", lambda _: None)
    assert data["equal"] is None and "sketch of its own" in " ".join(map(str, lines))

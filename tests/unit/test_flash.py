"""What PlatformIO says when a board cannot be flashed, and what the user is told then."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainc import flash
from brainc.errors import DeviceError, ToolFailed, ToolMissing, WorldError


def say(folder: Path, text: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a program in PlatformIO's place that says this and ends like that."""
    (folder / "said").write_text(text)
    script = folder / "pio"
    script.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\ncat {folder}/said\nexit {status}\n')
    script.chmod(0o755)
    monkeypatch.setattr(flash, "find_tool", lambda *_, **__: str(script))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


# Lines of PlatformIO, avrdude, ld and pyserial as they print them.
FAILURES: list[tuple[str, type[WorldError], str, str]] = [
    (
        "Error: The program size (40960 bytes) is greater than maximum allowed (32256 bytes)",
        ToolFailed,
        "too large for the board: Error: The program size",
        "--optimize flash",
    ),
    ("ld: region `text' overflowed by 123 bytes", ToolFailed, "too large for the board", "--memory"),
    (
        'avrdude: ser_open(): can\'t open device "/dev/ttyACM0": Permission denied',
        DeviceError,
        "may not be opened by you",
        "dialout",
    ),
    (
        'avrdude: ser_open(): can\'t open device "/dev/ttyACM9": No such file or directory',
        DeviceError,
        "there is no board at the port",
        "--port",
    ),
    (
        "avrdude: stk500_getsync() attempt 10 of 10: not in sync: resp=0x00",
        DeviceError,
        "does not answer the uploader",
        "reset button",
    ),
    ("avrdude: stk500_recv(): programmer is not responding", DeviceError, "does not answer the uploader", "cable"),
    (
        "[Errno 16] could not open port /dev/ttyACM0: [Errno 16] Device or resource busy: '/dev/ttyACM0'",
        DeviceError,
        "another program uses the port",
        "serial monitor",
    ),
    (
        "Error: Please specify `upload_port` for environment or use global `--upload-port` option.",
        DeviceError,
        "there is no board at the port",
        "--port",
    ),
    ("HTTPClientError: ", ToolMissing, "cannot fetch what it needs", "network"),
    ("*** [.pio/build/uno/src/main.cpp.o] Error 1", ToolFailed, "could not flash the board:\n.*Error 1", "whole log"),
]


@pytest.mark.parametrize(("said", "kind", "what", "fix"), FAILURES, ids=[f[2][:30] for f in FAILURES])
def test_failures_are_read(
    said: str, kind: type[WorldError], what: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(tmp_path, f"Processing uno\n{said}\n=== [FAILED] Took 1.00 seconds ===\n", 1, monkeypatch)
    with pytest.raises(kind, match=f"(?s){what}") as caught:
        flash.upload(tmp_path, "uno", None, lambda _: None)
    assert fix in caught.value.fix and caught.value.exit_code == 3
    assert said in (tmp_path / "cache" / "brainc" / "flash.log").read_text()


def test_progress_is_told_in_a_few_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["Compiling .pio/a.o", "RAM:   [===  ]  35.6% (used 730 bytes)", "avrdude: 10634 bytes of flash verified"]
    say(tmp_path, "\n".join(lines) + "\n", 0, monkeypatch)
    told: list[str] = []
    flash.upload(tmp_path, "uno", "/dev/ttyACM0", told.append)
    assert told == lines[1:]
    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["run", "-d", str(tmp_path), "-e", "uno", "-t", "upload", "--upload-port", "/dev/ttyACM0"]

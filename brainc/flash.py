"""A project onto its board: PlatformIO builds it and uploads it, and what it says is told in a few lines.

`actions.flash` comes with a folder that holds a project. PlatformIO is called as a program; what it needs for a
board it fetches itself, the first time from the network.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from brainc.errors import DeviceError, ToolFailed, ToolMissing, WorldError
from brainc.toolchain import cache_dir, find_tool

# Of all that PlatformIO and the uploaders say, what a person waits for.
_TELLING = re.compile(r"(RAM|Flash): +\[|Linking |Uploading |Auto-detected: |.* flash (written|verified)")
_QUIET = {"PLATFORMIO_NO_ANSI": "1", "PLATFORMIO_DISABLE_PROGRESSBAR": "true", "PYTHONUNBUFFERED": "1"}
DIALOUT = "on Linux: sudo usermod -a -G dialout $USER, then log in again"
_ANSWER = "see that the board is the one named by -t, press its reset button, use another cable"
# (what PlatformIO or an uploader says, whose fault, what that means, what to do), the first that is found.
_FAILURES: tuple[tuple[str, type[WorldError], str, str], ...] = (
    (
        r"greater than maximum allowed|region .* overflowed|will not fit in region",
        ToolFailed,
        "the whole sketch is too large for the board",
        "see what needs most: brainc show --memory, --cost; try --optimize flash or --optimize ram",
    ),
    (r"[Pp]ermission denied|Access is denied", DeviceError, "the port may not be opened by you", DIALOUT),
    (
        r"not in sync|not responding|[Tt]imed? ?out|(Invalid|Expected) (device )?signature|No device found|no Teensy",
        DeviceError,
        "the board does not answer the uploader",
        _ANSWER,
    ),
    (
        r"[Dd]evice or resource busy",
        DeviceError,
        "another program uses the port",
        "close it: a serial monitor, or the Arduino IDE",
    ),
    (
        r"[Nn]o such file or directory: '?/dev|can't open device|could not open port|specify `upload_port`",
        DeviceError,
        "there is no board at the port",
        "connect it, and name its port: --port",
    ),
    (
        r"HTTPClientError|InternetConnection|UnknownPackage|Could not (find|install) the",
        ToolMissing,
        "PlatformIO cannot fetch what it needs for this board",
        "connect to the network once, or install it: pio pkg install -d PROJECT",
    ),
)


def upload(folder: Path, environment: str, port: str | None, note: Callable[[str], None]) -> None:
    """Builds the project in `folder` and flashes it; `note` hears how it goes.

    Raises ToolMissing, ToolFailed or DeviceError, each with what to do; the whole log is kept in the cache.
    """
    command = [find_tool("pio", packages=()), "run", "-d", str(folder), "-e", environment, "-t", "upload"]
    command += ["--upload-port", port] if port else []
    said: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **_QUIET},
        encoding="utf-8",
        errors="replace",
    ) as pio:
        for line in pio.stdout or ():
            said.append(line)
            if _TELLING.match(line):
                note(line.strip())
    if pio.returncode:
        raise _failure("".join(said))


def _failure(said: str) -> WorldError:
    """What went wrong, as far as it can be read from what was said."""
    log = cache_dir() / "flash.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(said, encoding="utf-8")
    for pattern, kind, what, fix in _FAILURES:
        if found := re.search(rf"^.*(?:{pattern}).*$", said, re.MULTILINE):
            return kind(f"{what}: {found[0].strip()}", fix=f"{fix}\nthe whole log is {log}")
    tail = "\n".join(said.strip().splitlines()[-12:])
    return ToolFailed(f"PlatformIO could not flash the board:\n{tail}", fix=f"the whole log is {log}")

"""The scribe's own sketch through the real PlatformIO: it fits an Uno, and types over the serial line what this
computer types for the same prompt, seed and temperature.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import serial
from conftest import Plug, Run
from writing import PROMPT, SEED, TEMPERATURE, desktop, text, write

from brainc import actions, bench, board, toolchain

pytestmark = pytest.mark.sim
FLASH, RAM = 31 * 1024, 1800  # of the whole sketch; the stack counts as RAM
PATIENCE = 60.0  # seconds


def spoken(port: Path, lines: str, length: int) -> str:
    """That many characters of the board's text from the prompt on, once it was told these lines."""
    heard, until = b"", time.monotonic() + PATIENCE
    wanted = f"\r\n{PROMPT.lower()}".encode()
    with serial.Serial(str(port), board.BAUD, timeout=0.5) as line:
        while not heard and time.monotonic() < until:  # it starts, and then types for an empty line
            line.write(b"\n")
            heard += line.read(1)
        line.write(lines.encode())
        while time.monotonic() < until:
            heard += line.read(64)
            _, found, after = heard.partition(wanted)
            if found and len(after) >= length:
                return after[:length].decode()
    raise AssertionError(f"no text; heard {heard!r}")


def test_the_sketch_fits_and_types_the_same_text(pio: Run, plug: Plug, tmp_path: Path) -> None:
    actions.build(write.BRAIN, "uno", tmp_path / "uno", "project", lambda _: None)
    said = pio(tmp_path / "uno", "-e", "uno")
    assert "warning" not in said
    image = tmp_path / "uno" / ".pio" / "build" / "uno" / "firmware.elf"
    linked = toolchain.read_elf(image)
    inputs = write.vectors("", desktop()[:2], SEED, TEMPERATURE)
    stack = bench.measure(write.compiled("uno"), inputs)["ram_bytes"]["stack"]
    assert linked.flash_bytes <= FLASH and linked.ram_bytes + stack <= RAM
    port, want = plug("atmega328p", image.with_suffix(".hex")), text().replace("\n", "\r\n")
    lines = f"@temperature {100 * TEMPERATURE:.0f}\n@seed {SEED}\n{PROMPT}\n"
    assert spoken(port, lines, len(want)) == want

"""Projects for AVR boards through the real PlatformIO, offline; then on simulated boards, over their serial line.

A Uno is flashed through its boot loader as `brainc flash` does it; what it then computes are the reference's bytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import offline
import pytest
import serial
from conftest import Plug, Run

from brainc import actions, board, cli, project, samples
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.emit import emit
from brainc.program import Program
from brainc.resources import examples_dir

pytestmark = pytest.mark.sim
DIGITS = examples_dir() / "digits"


def written(target: str, folder: Path) -> tuple[Program, Path]:
    actions.build(Request(DIGITS), target, folder, "project", lambda _: None)
    return compile_job(prepare(Request(DIGITS), target)), folder


def proof(program: Program, port: Path, count: int = 3) -> str | None:
    vectors = samples.load(DIGITS / "test.npz", ports(program.graph)).arrays
    some = {name: array[:count] for name, array in vectors.items()}
    return board.prove(program, project.digest(emit(program)), some, str(port))[0].first_difference


def first_line(port: Path) -> str:
    with serial.Serial(str(port), board.BAUD, timeout=20) as line:
        return str(line.readline().decode().strip())


def test_mega_with_weights_in_far_flash(pio: Run, plug: Plug, tmp_path: Path) -> None:
    program, folder = written("mega", tmp_path / "mega")
    said = pio(folder)
    assert "warning" not in said and "SUCCESS" in said
    port = plug("atmega2560", folder / ".pio" / "build" / "megaatmega2560" / "firmware.hex")
    assert proof(program, port) is None


@pytest.mark.slow
@pytest.mark.parametrize("target", ["leonardo", "nano"])
def test_the_others_build(target: str, pio: Run, tmp_path: Path) -> None:
    """Leonardo's USB is not simulated; its core is, by `brainc check -t leonardo`, as that of a Nano is an Uno's."""
    said = pio(written(target, tmp_path)[1])
    assert "warning" not in said and "SUCCESS" in said


def test_uno_tests_itself(pio: Run, plug: Plug, tmp_path: Path) -> None:
    """The self-test is an environment of its own; it has the same library, and passes."""
    _, folder = written("uno", tmp_path / "uno")
    pio(folder, "-e", "uno_selftest")
    image = folder / ".pio" / "build" / "uno_selftest" / "firmware.hex"
    assert first_line(plug("atmega328p", image)) == "BR selftest ok"


def boot_loader(folder: Path) -> Path:
    """Debian's optiboot, 512 bytes below where it was linked for.

    As packaged it is 20 bytes longer than its 512 and would start sketches from beyond the end of flash; it runs
    wherever it lies. Fuses for a boot section of 1 KB would let a real chip have it there, too.
    """
    move = ["avr-objcopy", "-I", "ihex", "-O", "ihex", "-R", ".sec2", "--change-addresses", "-0x200"]
    subprocess.run([*move, str(offline.OPTIBOOT), str(folder / "boot.hex")], check=True)
    return folder / "boot.hex"


def brainc(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str, str]:
    """A command line in this process: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["brainc", *map(str, words)])
    code = 0
    try:
        cli.main()
    except SystemExit as leave:
        code = int(leave.code or 0)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_a_uno_is_flashed_and_proves_itself(
    pio: Run, plug: Plug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way by the command line: project, build, boot loader, serial line; then `check --port`.

    What lies in its flash afterwards is the firmware.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    port = plug("atmega328p", boot_loader(tmp_path))
    folder = tmp_path / "uno"
    code, out, err = brainc(capsys, monkeypatch, "flash", DIGITS, "-t", "uno", "--port", port, "-o", folder)
    assert code == 0 and "5 samples: reference, board: the same" in out
    assert "bytes of flash verified" in err and "RAM:" in err and "Flash:" in err
    code, out, _ = brainc(capsys, monkeypatch, "check", DIGITS, "-t", "uno", "--port", port, "--limit", 2, "--json")
    rungs = json.loads(out)["targets"]["uno"]["rungs"]
    assert code == 0 and [r["name"] for r in rungs] == ["c99 with sanitizers", "uno", "board"]
    code, _, err = brainc(capsys, monkeypatch, "check", DIGITS, "-t", "nano", "--port", port, "--limit", 1)
    assert code == 3 and "runs another brain: digits" in err and "brainc flash" in err
    plug.stop()
    image = folder / ".pio" / "build" / "uno" / "firmware"
    subprocess.run(["avr-objcopy", "-I", "ihex", "-O", "binary", f"{image}.hex", f"{image}.bin"], check=True)
    firmware = image.with_suffix(".bin").read_bytes()
    assert (tmp_path / "flash.bin").read_bytes()[: len(firmware)] == firmware

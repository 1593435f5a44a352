"""`make demo`, what a visitor sees first: its figures are those promised, and it claims nothing untrue."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainc.compiler import compile_job, prepare
from brainc.errors import ToolMissing
from brainc.toolchain import locate

FOLDER = Path(__file__).parents[2] / "examples" / "digits"
TOOLS = ("gcc", "valgrind", "avr-gcc", "libsimavr", "arm-none-eabi-gcc", "qemu-system-arm")
UNO_FLASH, UNO_RAM, UNO_MS = 24 * 1024, 1400, 100  # of the whole firmware, stack included


@pytest.fixture
def demo() -> Any:
    """The script as a module, fresh."""
    spec = importlib.util.spec_from_file_location("digits_demo", FOLDER / "demo.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def machines(demo: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`machines(answer)`: no simulators; a target's answers are answer(target, the reference's bytes)."""
    program = compile_job(prepare(demo.INT8, "c99"))
    truth = demo.reference(program)

    def install(answer: Callable[[str, bytes], bytes | None]) -> None:
        def visit(target: str) -> Any:
            shown = replace(program, target=replace(program.target, title=target))
            return demo.Machine(shown, answer(target, truth), None)

        monkeypatch.setattr(demo, "visit", visit)
        monkeypatch.setattr(demo, "attempt", lambda work: None)

    return install


@pytest.mark.sim
def test_the_demo_keeps_its_promises_from_any_folder(tmp_path: Path) -> None:
    missing = [tool for tool in TOOLS if locate(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    shutil.copytree(FOLDER, tmp_path / "digits")
    script = tmp_path / "digits" / "demo.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "read by an Arduino Uno" in done.stdout and done.stdout.count("✓") == 16
    for space, limit in (("flash", UNO_FLASH), ("ram", UNO_RAM)):
        used = re.search(rf"{space} +([\d,]+) of", done.stdout)
        assert used is not None and 0 < int(used[1].replace(",", "")) <= limit
    taken = re.search(r"A digit takes (\d+) ms", done.stdout)
    assert taken is not None and 0 < int(taken[1]) <= UNO_MS
    assert "The bytes are the same on Arduino Uno, Arm Cortex-M4F, " in done.stdout
    right = re.search(r"reads (\d+) of all 360", done.stdout)
    assert right is not None and int(right[1]) >= 0.96 * 360


def test_a_machine_that_differs_is_named_and_the_exit_code_says_so(
    demo: Any, machines: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(target: str, truth: bytes) -> bytes:
        return truth[:37] + bytes([truth[37] ^ 1]) + truth[38:] if target == "cortex-m4" else truth

    machines(answer)
    assert demo.main() == 4
    told = capsys.readouterr().out
    assert "cortex-m4 DIFFERS from the numpy reference, first at byte 37" in told
    assert "the same on" not in told


def test_only_what_ran_is_called_the_same(
    demo: Any, machines: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    machines(lambda target, truth: truth if target == "cortex-m4" else None)
    assert demo.main() == 0
    told = capsys.readouterr().out
    assert "read by numpy" in told and "The bytes are the same on cortex-m4\n" in told


def test_where_nothing_runs_nothing_is_claimed(
    demo: Any, machines: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    machines(lambda target, truth: None)
    assert demo.main() == 3
    assert "the same on" not in capsys.readouterr().out


def test_a_missing_tool_is_told_with_the_way_to_get_it(demo: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise ToolMissing("avr-gcc is not installed", fix="apt-get install gcc-avr")

    assert demo.attempt(work) is None
    assert capsys.readouterr().out == "avr-gcc is not installed\n  apt-get install gcc-avr\n\n"


def test_pictures_are_two_pixels_to_a_character(demo: Any) -> None:
    image = np.zeros((8, 8), np.float32)
    image[0, 0] = image[1, 1] = image[2:4, 2] = 1
    lines = demo.picture(image).plain.split("\n")
    assert [len(line) for line in lines] == [8] * 4
    assert lines[0].startswith("▀▄ ") and lines[1].startswith("  █")


def test_a_wrong_answer_is_marked_with_the_truth(demo: Any) -> None:
    assert demo.verdict(3, 3).plain.strip() == "3 ✓" and demo.verdict(1, 8).plain == "1 ✗ is 8"

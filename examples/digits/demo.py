"""One network of 3,818 weights reads handwriting on three machines: what `make demo` runs.

Compiles this folder's brain for an Arduino Uno, a Cortex-M4 and this computer, runs the firmware in
simulators on digits that the network has never seen, and compares what they answer, byte for byte.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.align import Align
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from brainc import bench, check, samples
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.dtypes import Array
from brainc.errors import BraincError, ToolMissing
from brainc.program import Program

HERE = Path(__file__).resolve().parent
SHOWN, PER_ROW = 16, 8  # digits, of 8 x 8 pixels each
T = TypeVar("T")
console = Console(highlight=False, width=80)


@dataclass(frozen=True)
class Machine:
    """A machine, what it answered (None: it could not run here) and what it took."""

    program: Program
    answers: bytes | None
    figures: bench.Figures | None

    @property
    def title(self) -> str:
        return self.program.target.title


def main() -> int:
    """Exit codes are those of brainc: 0 done, 3 a tool failed, 4 the bytes differ."""
    console.print("\n[bold]brainc[/]  one network, three machines, the same bytes\n")
    digits = samples.load(HERE / "test.npz", [("image", prepare_for("uno").graph.type("image"))])
    assert digits.labels is not None
    chosen = np.linspace(0, digits.count - 1, SHOWN).astype(int)
    images, labels = digits.arrays["image"], digits.labels
    shown = {"image": images[chosen]}

    uno = visit("uno", shown)
    truth = reference(uno.program, shown)
    who = uno.title if uno.answers else "the numpy reference, since the Uno could not run"
    console.print(f"Handwriting that it has never seen, read by [bold]{who}[/]:\n")
    show_digits(images[chosen], labels[chosen], read(uno.program, uno.answers or truth))
    if uno.figures:
        show_board(uno)

    machines = [uno, visit("cortex-m4", shown), visit(this_machine(), shown)]
    show_machines(machines)
    same = compare(machines, truth)
    host = machines[-1].program
    if (answers := attempt(lambda: check.execute(host, {"image": images}).outputs)) is not None:
        right = int((read(host, answers) == labels).sum())
        console.print(f"Of all {len(labels)} digits kept for this, it reads {right}: {right / len(labels):.1%}.")
    console.print()
    return 0 if same else 4

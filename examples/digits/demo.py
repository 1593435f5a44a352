"""A small network reads handwriting on three machines: what `make demo` runs.

Compiles the brain in this folder for an Arduino Uno, a Cortex-M4 and this computer, runs the firmware of
the first two in simulators, and compares what the three answer, byte for byte.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
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
SHOWN = slice(0, 16 * 22, 22)  # sixteen of the 360 digits that the network has never seen
ROW = 8  # of them side by side
INT8 = Request(HERE, quantize="int8", io="int8")  # on every machine, also those that have floats
T = TypeVar("T")
console = Console(highlight=False, width=80)


@dataclass(frozen=True)
class Machine:
    """A machine with the brain compiled for it, what it answered and what that took (None: not run here)."""

    program: Program
    answers: bytes | None
    figures: bench.Figures | None

    @property
    def name(self) -> str:
        return self.program.target.title.split(" (")[0]


def main() -> int:
    """Exit codes are those of brainc: 0 done, 2 or 3 something is amiss here, 4 the bytes differ."""
    console.print("\n[bold]brainc[/]  one network, three machines, the same bytes\n")
    uno = visit("uno")
    truth = reference(uno.program)
    reader = f"an [bold]{uno.name}[/] (simulated)" if uno.answers else "numpy, since the Uno could not run"
    console.print(f"Handwriting, 8 x 8 pixels, read by {reader}:\n")
    show_digits(read(uno.program, uno.answers or truth))
    if uno.figures:
        show_board(uno)
    machines = [uno, visit("cortex-m4"), visit(this_machine())]
    if not any(machine.answers for machine in machines):
        return 3
    show_machines(machines)
    same = compare(machines, truth)
    host = machines[-1].program
    every = digits(host)
    if answers := attempt(lambda: check.execute(host, every.arrays).outputs):
        right = int((read(host, answers) == every.labels).sum())
        share = f"{right / every.count:.1%}"
        console.print(f"It reads {right} of all {every.count} held-out digits right: {share}\n")
    return 0 if same else 4


def visit(target: str) -> Machine:
    """Compiles for a target, runs it on the digits shown, and measures."""
    with console.status(f"compiling for {target}, running and measuring"):
        program = compile_job(prepare(INT8, target))
        vectors = {"image": digits(program).arrays["image"][SHOWN]}
        answers = attempt(lambda: check.execute(program, vectors).outputs)
        figures = attempt(lambda: bench.measure(program, vectors)) if answers else None
    return Machine(program, answers, figures)


def attempt(work: Callable[[], T]) -> T | None:
    """The result of `work`, or None if a tool is missing: then says how to get it."""
    try:
        return work()
    except ToolMissing as error:
        console.print(f"[yellow]{error.what}[/]\n  {error.fix}\n", soft_wrap=True)
        return None


def this_machine() -> str:
    """The target for the processor that this runs on."""
    cpu = Path("/proc/cpuinfo")
    return "x86-avx2" if cpu.is_file() and "avx2" in cpu.read_text().split() else "c99"


def digits(program: Program) -> samples.Samples:
    """All held-out digits as the brain takes them, and what they show."""
    return samples.load(HERE / "test.npz", ports(program.graph))


def reference(program: Program) -> bytes:
    """The answers of the definition, in numpy."""
    vectors = {"image": digits(program).arrays["image"][SHOWN]}
    return b"".join(row["scores"].tobytes() for row in check.reference(program.graph, vectors))


def read(program: Program, answers: bytes) -> Array:
    """The digit with the highest score, of each answer."""
    count = len(answers) // program.graph.type("scores").nbytes
    return np.array([row["scores"].argmax() for row in check.from_bytes(program.graph, answers, count)])


def show_digits(answers: Array) -> None:
    """The digits, and below each what was read: green if that is right."""
    with np.load(HERE / "test.npz") as file:
        images, labels = file["image"][SHOWN, 0], file["y"][SHOWN]
    for start in range(0, len(answers), ROW):
        table = Table.grid(padding=(0, 2, 0, 0), pad_edge=True)
        table.add_row(*(picture(image) for image in images[start : start + ROW]))
        marks = [verdict(a, b) for a, b in zip(answers, labels, strict=True)]
        table.add_row(*marks[start : start + ROW])
        console.print(table, "")


def picture(image: Array) -> Text:
    """An image [8,8] of ink 0..1, two pixels to a character: the upper and the lower half of it."""
    rows = []
    for upper, lower in zip(image[::2], image[1::2], strict=True):
        rows.append(Text())
        for a, b in zip(upper, lower, strict=True):
            if console.color_system:
                over, under = ("#" + f"{30 + int(225 * ink):02x}" * 3 for ink in (a, b))
                rows[-1].append("▀", f"{over} on {under}")
            else:
                rows[-1].append(" ▄▀█"[2 * (a > 0.4) + (b > 0.4)])
    return Text("\n").join(rows)


def verdict(answer: int, truth: int) -> Text:
    if answer == truth:
        return Text(f"{answer} ✓".center(8), "bold green")
    return Text(f"{answer} ✗ is {truth}", "bold red")


def show_board(uno: Machine) -> None:
    """The whole firmware beside what the board has."""
    assert uno.figures and uno.program.target.sim
    cycles, hz = uno.figures["entries"]["step"]["cycles"], uno.program.target.sim.hz
    stack, table = uno.figures["ram_bytes"]["stack"], Table.grid(padding=(0, 2))
    time = f"[bold]{1000 * cycles / hz:.0f} ms[/] ({cycles:,} cycles at {hz / 1e6:.0f} MHz)"
    console.print(f"A digit takes {time}, the whole firmware:\n")
    for space, note in (("flash", "code, weights"), ("ram", f"{stack} of it stack")):
        used, has = uno.figures["firmware"][space], uno.program.target.spaces[space].bytes
        bar = ProgressBar(has, used, width=24, complete_style="green")
        table.add_row("", space, f"{used:>6,} of {has:>6,} bytes", bar, f"{used / has:.0%}", note)
    console.print(table, "")


def show_machines(machines: Sequence[Machine]) -> None:
    """What one digit takes on each machine, and how many bytes, without the program around the brain."""
    table = Table(box=None, pad_edge=False)
    for title in ("one digit", "cycles", "instructions", "time", "flash", "arena", "stack"):
        table.add_column(title, justify="left" if title == "one digit" else "right")
    for machine in machines:
        if figures := machine.figures:
            cost, ram, sim = figures["entries"]["step"], figures["ram_bytes"], machine.program.target.sim
            time = cost["microseconds"] or (1e6 * cost["cycles"] / sim.hz if cost["cycles"] and sim else None)
            row = [cost["cycles"], cost["instructions"], time and f"{time:,.0f} µs"]
            row += [figures["flash_bytes"]["total"], ram["arena"], ram["stack"]]
            table.add_row(machine.name, *(f"{n:,}" if isinstance(n, int) else n or "" for n in row))
    if table.row_count:
        console.print(table, "")


def compare(machines: Sequence[Machine], truth: bytes) -> bool:
    """Says whether all that ran gave the reference's bytes."""
    ran = [m for m in machines if m.answers is not None]
    wrong = [m for m in ran if m.answers != truth]
    for machine in wrong:
        pairs = zip(machine.answers or b"", truth, strict=False)
        first = next((i for i, (got, want) in enumerate(pairs) if got != want), "the end")
        console.print(f"[bold red]{machine.name} DIFFERS from the numpy reference[/], first at byte {first}")
    if not wrong:
        console.print(f"[bold green]The bytes are the same[/] on {', '.join(m.name for m in ran)}")
        digest = hashlib.sha256(truth).hexdigest()[:16]
        console.print(f"and in the numpy reference: {len(truth)} of them, SHA-256 {digest}…")
    return not wrong


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BraincError as error:
        console.print(f"[bold red]{type(error).__name__}[/]  {error}")
        sys.exit(error.exit_code)

"""brainc beside its peers on Cortex-M: the README's tables, as Markdown, for this checkout.

    BRAINC_MODELS=… python tests/bench/cortex_m.py [ic kws vww ad] [--cores cortex-m4 …] [--levels O2 O3]

Instructions are QEMU's exact counts of one inference, the maximum over five random inputs; cycles of the M4 are
estimated from them by the table in its target.toml. Of -O2 and -O3 the one shown is -O2 unless -O3 saves 3 % of
the instructions; where RAM matters most, the one with less RAM.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from tiny import NETWORKS, folder, source

from brainc import bench, samples
from brainc.compiler import Request, compile_job, ports, prepare

SAMPLES, SEED = 5, 1
WORTH = 0.97  # of -O2's instructions: what -O3 must reach to be worth its size


@dataclass(frozen=True)
class Row:
    """What the others need, as text, and the most that brainc may, in the order of NETWORKS."""

    peers: tuple[str, str, str, str]
    goals: tuple[float, float, float, float]


# Measured on the same models in November 2026 with arm gcc 12.2.1, the better of -O2 and -O3, QEMU's counts:
# T: TFLite Micro 90b983c2 with CMSIS-NN 4ab83cc; B: BakeNN 1.0.0; E: TinyEngine 47bb283, whose outputs are wrong
# (cost only). S: the fastest published closed results on a NUCLEO-L4R5ZI at 120 MHz, cycles with wait states.
LEGEND = (
    "T: TFLite Micro (90b983c2) with CMSIS-NN; B: BakeNN 1.0.0; E: TinyEngine (47bb283), whose outputs are wrong; "
    "S: best published closed stack, cycles of a real 120 MHz M4 with wait states. "
    "All but S: same models, arm gcc 12.2.1, the better of -O2 and -O3, counted in QEMU."
)
INSTRUCTIONS = {
    "cortex-m4": Row(("29.86 T", "7.70 T", "19.71 E, 24.10 T", "0.576 B, 0.582 T"), (15.5e6, 4.2e6, 6.5e6, 0.36e6)),
    "cortex-m3": Row(("41.8 T", "10.5 T", "32.0 T", "0.956 T"), (28e6, 7.0e6, 11e6, 0.65e6)),
    "cortex-m0plus": Row(("97.6 T", "29.0 T", "86.9 T", "1.76 T"), (55e6, 15e6, 22e6, 1.2e6)),
    "cortex-m55": Row(("4.91 T", "1.81 T", "6.56 T", "0.150 T"), (2.8e6, 1.0e6, 1.8e6, 0.085e6)),
}
CYCLES = Row(("40.9 T, 19.8 S", "10.1 T, 5.2 S", "32.0 T, 10.7 S", "0.74 T, 0.49 S"), (18.5e6, 5.2e6, 8.7e6, 0.49e6))
RAM = Row(
    ("52,588 B, 56,168 T", "16,848 B, 23,992 T", "61,076 E, 101,880 T", "1,700 B, 3,360 T"),
    (34_500, 9_500, 38_200, 1_300),
)
FLASH = Row(
    ("88,128 B, 150,080 T", "35,560 B, 107,716 T", "245,960 E, 387,068 T", "275,776 B, 305,388 T"),
    (96_000, 40_000, 52_000, 276_500),
)
MEMORY = "cortex-m4"  # the core whose memory is told


@dataclass(frozen=True)
class Job:
    """One network for one core; `optimize` as on brainc's command line."""

    task: str
    core: str
    optimize: str = "speed"


@dataclass(frozen=True)
class Built:
    """What one optimisation level of the C compiler makes of a job."""

    level: str
    figures: Mapping[str, Any]

    @property
    def entry(self) -> Mapping[str, Any]:
        return next(iter(self.figures["entries"].values()))

    @property
    def instructions(self) -> int:
        return int(self.entry["instructions"])

    @property
    def cycles(self) -> int:
        return int(self.entry["cycles_estimated"])

    @property
    def ram(self) -> int:
        return int(self.figures["ram_bytes"]["total"])

    @property
    def flash(self) -> int:
        return int(self.figures["flash_bytes"]["total"])


Builds = Mapping[Job, Sequence[Built]]


def build(models: Path, levels: Sequence[str], job: Job) -> list[Built]:
    """A job at every level of the C compiler."""
    request = Request(source(models, job.task), io="int8", optimize=job.optimize)
    program = compile_job(prepare(request, job.core))
    vectors = samples.random(ports(program.graph), SAMPLES, SEED).arrays
    return [Built(v, bench.measure(program, vectors, sim="qemu", optimize=f"-{v}")) for v in levels]


def fast(builds: Sequence[Built]) -> Built:
    """The first level unless another is worth its size."""
    best = min(builds, key=lambda b: b.instructions)
    return best if best.instructions <= WORTH * builds[0].instructions else builds[0]


def small(builds: Sequence[Built]) -> Built:
    """The one with the least RAM."""
    return min(builds, key=lambda b: (b.ram, b.instructions))


def millions(value: float) -> str:
    return f"{value / 1e6:.3f}" if value < 1e6 else f"{value / 1e6:.2f}"


def limit(value: float) -> str:
    return f"{value / 1e6:g}"


def cell(value: float, goal: float, text: str, level: str) -> str:
    return f"**{text}** {'✓' if value <= goal else '✗'} {level}"


Shown = tuple[float, str, str]  # a figure, its text, the level it was built at


def rows(name: str, row: Row, told: Callable[[float], str], found: Mapping[str, Shown]) -> Iterator[str]:
    """Three lines of a table: the best of the others, the goal, and brainc."""
    index = {task: i for i, task in enumerate(NETWORKS)}
    yield f"| {name} | best peer | " + " | ".join(row.peers[index[t]] for t in found) + " |"
    yield "| | goal | " + " | ".join(f"≤ {told(row.goals[index[t]])}" for t in found) + " |"
    cells = (cell(value, row.goals[index[t]], text, level) for t, (value, text, level) in found.items())
    yield "| | brainc | " + " | ".join(cells) + " |"


def head(first: str, tasks: Sequence[str]) -> Iterator[str]:
    yield f"| {first} | | " + " | ".join(NETWORKS[t].title for t in tasks) + " |"
    yield "|---|---|" + "---|" * len(tasks)


def instruction_table(builds: Builds, tasks: Sequence[str], cores: Sequence[str]) -> Iterator[str]:
    yield "Instructions per inference, millions:\n"
    yield from head("core", tasks)
    for core in cores:
        best = {task: fast(builds[Job(task, core)]) for task in tasks}
        shown = {t: (b.instructions, millions(b.instructions), f"-{b.level}") for t, b in best.items()}
        yield from rows(core, INSTRUCTIONS[core], limit, shown)
        if core == MEMORY:
            shown = {t: (b.cycles, f"~{millions(b.cycles)}", f"-{b.level}") for t, b in best.items()}
            yield from rows(f"{core}, cycles estimated by class", CYCLES, limit, shown)


def memory_table(builds: Builds, tasks: Sequence[str]) -> Iterator[str]:
    quick = {task: fast(builds[Job(task, MEMORY)]) for task in tasks}
    least = {task: small(builds[Job(task, MEMORY, "ram")]) for task in tasks}
    yield f"\nMemory on the {MEMORY}, bytes, ports and stack included:\n"
    yield from head("", tasks)
    yield from rows("RAM", RAM, number, {t: (b.ram, number(b.ram), f"-{b.level}") for t, b in quick.items()})
    cells = (
        cell(b.ram, RAM.goals[list(NETWORKS).index(t)], number(b.ram), f"-{b.level}, {millions(b.instructions)} M")
        for t, b in least.items()
    )
    yield "| | brainc --optimize ram, at these instructions | " + " | ".join(cells) + " |"
    yield from rows("flash", FLASH, number, {t: (b.flash, number(b.flash), f"-{b.level}") for t, b in quick.items()})


def number(value: float) -> str:
    return f"{value:,.0f}"


def breakdown(builds: Builds, tasks: Sequence[str]) -> Iterator[str]:
    """Where the RAM of each build on the M4 goes."""
    yield "\nRAM of these builds: arena with scratch + state + static + stack\n"
    for what, choose in (("speed", fast), ("ram", small)):
        for task in tasks:
            built = choose(builds[Job(task, MEMORY, what)])
            parts = " + ".join(f"{built.figures['ram_bytes'][k]:,}" for k in ("arena", "state", "static", "stack"))
            proof = "" if built.figures["arena"]["optimal"] else f", bound {built.figures['arena']['lower_bound']:,}"
            yield f"- {NETWORKS[task].title}, {what}: {parts} = {built.ram:,}{proof}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", choices=[[], *NETWORKS], help="default: all four")
    parser.add_argument("--cores", nargs="+", choices=list(INSTRUCTIONS), default=list(INSTRUCTIONS))
    parser.add_argument("--levels", nargs="+", choices=["O2", "O3", "Os"], default=["O2", "O3"])
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--breakdown", action="store_true", help="also where the RAM of the M4 goes")
    given = parser.parse_args()
    models, tasks = folder(parser), [t for t in NETWORKS if t in given.tasks or not given.tasks]
    jobs = [Job(task, core) for core in given.cores for task in tasks]
    jobs += [Job(task, MEMORY, "ram") for task in tasks] if MEMORY in given.cores else []
    with ProcessPoolExecutor(given.jobs) as pool:
        builds: dict[Job, Sequence[Built]] = {}
        for job, built in zip(jobs, pool.map(partial(build, models, given.levels), jobs), strict=True):
            builds[job] = built
            print(f"{len(builds)} of {len(jobs)}: {job.task} on {job.core} for {job.optimize}", file=sys.stderr)
    print("\n".join(instruction_table(builds, tasks, given.cores)))
    if MEMORY in given.cores:
        print("\n".join(memory_table(builds, tasks)))
        if given.breakdown:
            print("\n".join(breakdown(builds, tasks)))
    toolchain = builds[jobs[0]][0].figures["toolchain"].split(" -")[0]
    print(f"\n{LEGEND}\nbrainc: {source(models, tasks[0]).suffix} files, {toolchain}.")


if __name__ == "__main__":
    main()

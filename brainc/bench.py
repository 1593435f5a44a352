"""What a brain costs on its target: cycles or instructions, RAM, flash and stack, per layer and in all.

Counts the entry alone, the maximum over the inputs given. Flash and RAM are those of the linked image less
the same harness with an empty step, so the library helpers that the brain pulls in are counted. Where the
target has a second simulator that knows cycles, it adds them; where its folder has a table of cycles by
instruction class, these are estimated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainc import __version__, check, runners
from brainc.errors import ToolMissing
from brainc.program import Program
from brainc.runners import Counts, Run
from brainc.toolchain import Firmware

Figures = Mapping[str, Any]
ROUNDS = 9  # of all samples, where time is measured
CYCLE_SAMPLES = 2  # run on a second simulator, which is slow: those with the most instructions


@dataclass(frozen=True, slots=True)
class _Seen:
    """Two runs of the same samples: of the brain as it is, and of its trace build."""

    whole: Run
    layers: Run


def measure(
    program: Program, vectors: check.Vectors, *, sim: str | None = None, optimize: str | None = None
) -> Figures:
    """The figures of `brainc bench --json` (contract.md); what the target cannot give is None."""
    with tempfile.TemporaryDirectory(prefix="brainc-") as folder:
        work = Path(folder)
        full = check.firmware(program, work / "full", sim=sim, optimize=optimize)
        bare = check.firmware(program, work / "bare", sim=sim, optimize=optimize, empty=True)
        traced = check.firmware(program, work / "traced", sim=sim, optimize=optimize, trace="marks")
        data, count = check.to_bytes(program.graph, vectors), check.count_of(vectors)
        seen = _Seen(_counted(full, data, count, work / "full"), _counted(traced, data, count, work / "traced"))
        times = runners.run(full, data * ROUNDS, count * ROUNDS).microseconds if seen.whole.microseconds else None
        timed = seen if sim or seen.whole.cycles else _on_another(program, vectors, seen, work / "cycles", optimize)
    plan, weights, whole = program.plan, program.constant_bytes, seen.whole
    flash, static = (getattr(full.image, k) - getattr(bare.image, k) for k in ("flash_bytes", "ram_bytes"))
    total = None if whole.stack is None else plan.nbytes + static + whole.stack
    return {
        "brain": program.name,
        "target": program.target.name,
        "toolchain": full.toolchain,
        "brainc": __version__,
        "optimize": program.optimize,
        "entries": {program.graph.entries[0].name: _entry(program, whole, timed, times)},
        "flash_bytes": {"code": flash - weights, "weights": weights, "total": flash},
        "ram_bytes": {
            "io": 0,
            "arena": plan.arena,
            "state": plan.state,
            "static": static,
            "stack": whole.stack,
            "total": total,
        },
        "arena": {"bytes": plan.arena, "lower_bound": plan.lower_bound, "optimal": plan.optimal},
        "layers": [_layer(program, index, seen.layers, timed.layers) for index, _ in enumerate(plan.entries[0].nodes)],
        "firmware": {"flash": full.image.flash_bytes, "ram": full.image.ram_bytes + (whole.stack or 0)},
    }


def _counted(firmware: Firmware, data: bytes, samples: int, work: Path) -> Run:
    """A run with instruction counts, or without them where only the counting tool is missing."""
    try:
        return runners.run(firmware, data, samples, count=True, work=work)
    except ToolMissing:
        return runners.run(firmware, data, samples, work=work)


def _on_another(program: Program, vectors: check.Vectors, seen: _Seen, work: Path, optimize: str | None) -> _Seen:
    """The same brain on the target's next simulator that knows cycles; without one, what was seen already."""
    chosen = _costliest(program, seen.whole, check.count_of(vectors))
    some = {port: array[chosen] for port, array in vectors.items()}
    data, count = check.to_bytes(program.graph, some), check.count_of(some)
    for other in program.target.sims[1:]:
        runs = []
        try:
            for trace in ("", "marks"):
                place = work / other.kind / (trace or "full")
                built = check.firmware(program, place, sim=other.kind, optimize=optimize, trace=trace)
                runs.append(runners.run(built, data, count, work=place))
        except ToolMissing:
            continue
        if runs[0].cycles:
            return _Seen(*runs)
    return seen


def _costliest(program: Program, run: Run, samples: int) -> list[int]:
    """The samples with the most instructions, in their order; the first ones where a state remembers others."""
    counts = None if program.plan.states else run.instructions
    order = sorted(range(samples), key=lambda i: -counts[i]) if counts else range(samples)
    return sorted(order[:CYCLE_SAMPLES])


def _entry(program: Program, whole: Run, timed: _Seen, times: Sequence[float] | None) -> Figures:
    """Maxima over the samples; of a sample's microseconds the best of its rounds counts, the rest is noise."""
    samples = len(times) // ROUNDS if times else 0
    return {
        **_costs(program, whole.counts, timed.whole.counts),
        "instruction_classes": dict(whole.classes) if whole.classes else None,
        "microseconds": max(min(times[i::samples]) for i in range(samples)) if times else None,
        "macs": program.work,
    }


def _layer(program: Program, index: int, run: Run, timed: Run) -> Figures:
    node = program.plan.entries[0].nodes[index]
    return {
        "name": node.name,
        "op": node.op,
        "kernel": program.choices[node.name].kernel.name,
        "macs": program.macs(node),
        **_costs(program, run.nodes.get(index, ()), timed.nodes.get(index, ())),
    }


def _costs(program: Program, counts: Sequence[Counts], timed: Sequence[Counts]) -> Figures:
    """The highest over the samples of what is counted, and of what a timing table makes of it."""
    timing = program.target.timing
    by_class = [c for c in counts if "registers" in c]
    return {
        "instructions": _highest(c["instructions"] for c in counts if "instructions" in c),
        "cycles": _highest(c["cycles"] for c in timed if "cycles" in c),
        "cycles_estimated": _highest(map(timing.cycles, by_class)) if timing else None,
    }


def _highest(values: Iterable[int]) -> int | None:
    return max(values, default=None)

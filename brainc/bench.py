"""What a brain costs on its target: cycles or instructions, RAM, flash and stack, per layer and in all.

Counts the entry alone, the maximum over the inputs given. Flash and RAM are those of the linked image less
the same harness with an empty step, so the library helpers that the brain pulls in are counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainc import __version__, check, runners
from brainc.errors import ToolMissing
from brainc.program import Program
from brainc.runners import Run
from brainc.toolchain import Firmware

Figures = Mapping[str, Any]
ROUNDS = 9  # of all samples, where time is measured


def measure(program: Program, vectors: check.Vectors, *, sim: str | None = None, optimize: str = "-O2") -> Figures:
    """The figures of `brainc bench --json` (contract.md); what the target cannot give is None."""
    with tempfile.TemporaryDirectory(prefix="brainc-") as folder:
        work = Path(folder)
        full = check.firmware(program, work / "full", sim=sim, optimize=optimize)
        bare = check.firmware(program, work / "bare", sim=sim, optimize=optimize, empty=True)
        traced = check.firmware(program, work / "traced", sim=sim, optimize=optimize, trace="marks")
        data, count = check.to_bytes(program.graph, vectors), check.count_of(vectors)
        whole = _counted(full, data, count, work / "full")
        layers = _counted(traced, data, count, work / "traced")
        times = runners.run(full, data * ROUNDS, count * ROUNDS).microseconds if whole.microseconds else None
    plan, weights = program.plan, program.constant_bytes
    flash, static = (getattr(full.image, k) - getattr(bare.image, k) for k in ("flash_bytes", "ram_bytes"))
    total = None if whole.stack is None else plan.nbytes + static + whole.stack
    return {
        "brain": program.name,
        "target": program.target.name,
        "toolchain": full.toolchain,
        "brainc": __version__,
        "entries": {program.graph.entries[0].name: _entry(program, whole, times)},
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
        "layers": [_layer(program, layers, index) for index in range(len(plan.entries[0].nodes))],
        "firmware": {"flash": full.image.flash_bytes, "ram": full.image.ram_bytes + (whole.stack or 0)},
    }


def _counted(firmware: Firmware, data: bytes, samples: int, work: Path) -> Run:
    """A run with instruction counts, or without them where only the counting tool is missing."""
    try:
        return runners.run(firmware, data, samples, count=True, work=work)
    except ToolMissing:
        return runners.run(firmware, data, samples, work=work)


def _entry(program: Program, run: Run, times: Sequence[float] | None) -> Figures:
    """Maxima over the samples; of a sample's microseconds the best of its rounds counts, the rest is noise."""
    samples = len(times) // ROUNDS if times else 0
    return {
        "instructions": max(run.instructions) if run.instructions else None,
        "instruction_classes": dict(run.classes) if run.classes else None,
        "cycles": max(run.cycles) if run.cycles else None,
        "cycles_estimated": None,
        "microseconds": max(min(times[i::samples]) for i in range(samples)) if times else None,
        "macs": program.work,
    }


def _layer(program: Program, run: Run, index: int) -> Figures:
    node, cost = program.plan.entries[0].nodes[index], (run.marks or {}).get(index)
    return {
        "name": node.name,
        "op": node.op,
        "kernel": program.choices[node.name].kernel.name,
        "macs": program.macs(node),
        "instructions": None if run.cycles else cost,
        "cycles": cost if run.cycles else None,
    }

"""What a brain costs on its target: cycles or instructions, RAM, flash and stack, per layer and in all.

Counts the entry alone, the maximum over the inputs given. Flash and RAM are those of the linked image less
the same harness with an empty step, so the library helpers that the brain pulls in are counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainc import __version__, check, runners
from brainc.errors import ToolMissing
from brainc.ir import Role
from brainc.program import Program
from brainc.runners import Run
from brainc.toolchain import Firmware

Figures = Mapping[str, Any]


def measure(program: Program, vectors: check.Vectors, *, sim: str | None = None, optimize: str = "-O2") -> Figures:
    """The figures of `brainc bench --json` (contract.md); what the target cannot give is None."""
    with tempfile.TemporaryDirectory(prefix="brainc-") as folder:
        work = Path(folder)
        full = check.firmware(program, work / "full", sim=sim, optimize=optimize)
        bare = check.firmware(program, work / "bare", sim=sim, optimize=optimize, empty=True)
        traced = check.firmware(program, work / "traced", sim=sim, optimize=optimize, trace="marks")
        data, count = check.to_bytes(program.graph, vectors), check.count_of(vectors)
        whole = _counted(full, data, count, work / "full")
        one = data[: len(data) // max(count, 1)]
        layers = _counted(traced, one, 1, work / "traced")
    return {
        "brain": program.name,
        "target": program.target.name,
        "toolchain": full.toolchain,
        "brainc": __version__,
        "entries": {program.graph.entries[0].name: _entry(program, whole)},
        "flash_bytes": _flash(program, full, bare),
        "ram_bytes": _ram(program, full, whole),
        "arena": {
            "bytes": program.plan.arena,
            "lower_bound": program.plan.lower_bound,
            "optimal": program.plan.optimal,
        },
        "layers": _layers(program, layers),
        "firmware": {"flash": full.image.flash_bytes, "ram": full.image.ram_bytes + (whole.stack or 0)},
    }


def _counted(firmware: Firmware, data: bytes, samples: int, work: Path) -> Run:
    """A run with instruction counts, or without them where only the counting tool is missing."""
    try:
        return runners.run(firmware, data, samples, count=True, work=work)
    except ToolMissing:
        return runners.run(firmware, data, samples, work=work)


def _entry(program: Program, run: Run) -> Figures:
    return {
        "instructions": max(run.instructions) if run.instructions else None,
        "instruction_classes": dict(run.classes) if run.classes else None,
        "cycles": max(run.cycles) if run.cycles else None,
        "cycles_estimated": None,
        "microseconds": min(run.microseconds) if run.microseconds else None,
        "macs": sum(program.macs(n) for n in program.graph.nodes()),
    }


def _flash(program: Program, full: Firmware, bare: Firmware) -> Figures:
    total = full.image.flash_bytes - bare.image.flash_bytes
    weights = sum(v.type.nbytes for v in program.graph.values.values() if v.role is Role.CONST)
    return {"code": total - weights, "weights": weights, "total": total}


def _ram(program: Program, full: Firmware, run: Run) -> Figures:
    plan, stack = program.plan, run.stack
    return {
        "io": 0,
        "arena": plan.arena,
        "state": plan.state,
        "static": 0,
        "stack": stack,
        "total": None if stack is None else plan.nbytes + stack,
    }


def _layers(program: Program, run: Run) -> list[Figures]:
    unit = "cycles" if run.cycles else "instructions"
    rows: list[Figures] = []
    for index, node in enumerate(program.plan.entries[0].nodes):
        cost = run.marks.get(index) if run.marks else None
        rows.append(
            {
                "name": node.name,
                "op": node.op,
                "kernel": program.choices[node.name].kernel.name,
                "macs": program.macs(node),
                unit: cost,
            }
        )
    return rows

"""The façade: a brain goes in, a `Program` comes out.

`compile_graph` is the whole compiler on one page: passes, kernels, memory. The door and the proof call it;
what does not fit is told here, with what peaks where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from brainc import memory, passes
from brainc.errors import FitError, at
from brainc.ir import Graph, Role
from brainc.kernels import KernelTable
from brainc.passes.context import Context
from brainc.program import Program
from brainc.target import Target


def compile_graph(
    graph: Graph, target: Target, context: Context, *, pins: Mapping[str, str] | None = None, portable: bool = False
) -> Program:
    """An imported (and linked) graph to a Program for `target`.

    `pins` maps node names to kernel names; `portable` leaves the target's own kernels out.
    """
    table = KernelTable(target, pins, portable)
    notes: list[str] = []
    inside = replace(context, has_kernel=table.has, flat=target.word > 8, note=notes.append)
    ready = passes.run(graph, inside)
    choices = {n.name: table.choose(ready, n) for n in ready.nodes() if n.op != "reshape"}
    plan = memory.plan(ready, choices, align=min(target.word // 8, 4))
    return Program(ready, target, choices, plan, tuple(notes))


def require_fit(program: Program) -> None:
    """Raises FitError where arena, state and constants alone are more than the machine has."""
    ram, flash = program.target.spaces["ram"], program.target.spaces["flash"]
    weights = sum(v.type.nbytes for v in program.graph.values.values() if v.role is Role.CONST)
    with at(module=program.name):
        if program.plan.nbytes > ram.bytes - ram.reserve:
            raise FitError(_ram_text(program, program.plan.nbytes), fix=_ram_fix(program))
        if weights > flash.bytes:
            raise FitError(
                f"{program.name} for {program.target.name}: its constants need {weights:,} bytes of flash, "
                f"the machine has {flash.bytes:,}",
                fix=_flash_fix(program, weights),
            )


def _ram_text(program: Program, need: int) -> str:
    ram = program.target.spaces["ram"]
    peak = memory.peak(program.graph, program.plan, program.choices)
    reserved = f" ({ram.bytes:,} - {ram.reserve:,} reserved)" if ram.reserve else ""
    return (
        f"{program.name} for {program.target.name}: needs {need:,} bytes of ram, "
        f"has {ram.bytes - ram.reserve:,}{reserved}\n  peak   {peak}"
    )

"""Does it fit? Asked after compiling and before anything is written; a no comes with the cheapest way out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from brainc import link, memory
from brainc.compiler import Job, compile_job, is_float
from brainc.errors import BraincError, FitError
from brainc.ir import Role
from brainc.program import Program
from brainc.target import all_targets


def require(job: Job, program: Program) -> None:
    """Raises FitError where arena and state, or the constants, are more than the machine (or budget) has."""
    ram, flash = limits(job)
    weights = constant_bytes(program)
    if program.plan.nbytes > ram:
        peak = memory.peak(program.graph, program.plan, program.choices)
        need = program.plan.nbytes
        what = f"{program.name} for {program.target.name}: needs {need:,} bytes of ram, has {_words(job, ram)}"
        raise FitError(f"{what}\n  peak   {peak}", fix=_advice(job, program))
    if weights > flash:
        raise FitError(
            f"{program.name} for {program.target.name}: its constants need {weights:,} bytes of flash, has {flash:,}",
            fix=_advice(job, program),
        )


def limits(job: Job) -> tuple[int, int]:
    """(ram, flash) in bytes that arena, state and constants may take: the machine's, or a smaller budget."""
    spaces, choice = job.target.spaces, job.brain.targets.get(job.target.name)
    ram, flash = spaces["ram"].bytes - spaces["ram"].reserve, spaces["flash"].bytes
    if choice is not None:
        ram = min(ram, choice.budget.ram or ram)
        flash = min(flash, choice.budget.flash or flash)
    return ram, flash


def constant_bytes(program: Program) -> int:
    """Bytes of all constants, before packing."""
    return sum(v.type.nbytes for v in program.graph.values.values() if v.role is Role.CONST)


def _words(job: Job, ram: int) -> str:
    space = job.target.spaces["ram"]
    if ram == space.bytes - space.reserve and space.reserve:
        return f"{ram:,} ({space.bytes:,} - {space.reserve:,} reserved for stack and board)"
    return f"{ram:,}"


def _advice(job: Job, program: Program) -> str:
    """What would make it fit, cheapest first, each tried before it is said."""
    lines = list(_variants(job, program))
    if is_float(job.graph) and job.context.options.quantize != "int8":
        lines.append("quantise it: --quantize int8 --calibrate samples.npz needs about a quarter")
    if job.request.io == "native" and any(program.graph.type(p).dtype.kind == "float" for p in _ports(program)):
        lines.append("--io int8 makes the ports int8 too")
    need, weights = program.plan.nbytes, constant_bytes(program)
    roomy = [
        t
        for t in all_targets()
        if need <= t.spaces["ram"].bytes - t.spaces["ram"].reserve and weights <= t.spaces["flash"].bytes
    ]
    boards = sorted((t for t in roomy if t.word < 64), key=lambda t: t.spaces["ram"].bytes)
    if boards:
        lines.append(f"a machine with more: {boards[0].name} ({boards[0].title})")
    return "\n".join(lines) or "a smaller model"


def _ports(program: Program) -> list[str]:
    entry = program.graph.entries[0]
    return [*entry.inputs, *entry.outputs]


def _variants(job: Job, program: Program) -> Iterator[str]:
    """Each variant of each module, compiled to see what it would save."""
    for name, module in job.brain.modules.items():
        for variant, other in module.variants.items():
            brain = replace(job.brain, modules={**job.brain.modules, name: other}, targets={})
            try:
                graph = link.load_brain(brain, None, job.request.shapes)
                smaller = compile_job(replace(job, brain=brain, graph=graph))
            except BraincError:
                continue
            saved = program.plan.nbytes - smaller.plan.nbytes
            less = constant_bytes(program) - constant_bytes(smaller)
            if saved > 0 or less > 0:
                yield f'use {name} variant "{variant}" ({-saved:+,} bytes of ram, {-less:+,} of flash)'

"""Does it fit? Asked after compiling and before anything is written; a no comes with the cheapest way out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from brainc import link, memory
from brainc.compiler import Job, compile_job, is_float
from brainc.errors import BraincError, FitError
from brainc.program import Program
from brainc.target import all_targets


def require(job: Job, program: Program, *, budget: bool = True) -> None:
    """Raises FitError where arena and state, or the constants, are more than the machine has (or its budget)."""
    needs = {"ram": ("needs", program.plan.nbytes), "flash": ("its constants need", program.constant_bytes)}
    for space, (words, need) in needs.items():
        room, told = _room(job, space, budget)
        if need > room:
            peak = f"\n  peak   {memory.peak(program.plan, program.choices)}" if space == "ram" else ""
            what = f"{program.name} for {program.target.name}: {words} {need:,} bytes of {space}, {told}{peak}"
            raise FitError(what, fix=_advice(job, program))


def budgets(job: Job, **used: int | None) -> dict[str, dict[str, Any]]:
    """What the manifest allows on this target against what is used (None: not measured); only what it limits."""
    limits = {name: getattr(job.choice.budget, name) for name in used}
    return {
        name: {"limit": limit, "used": used[name], "ok": None if used[name] is None else used[name] <= limit}
        for name, limit in limits.items()
        if limit is not None
    }


def _room(job: Job, name: str, budget: bool) -> tuple[int, str]:
    """(bytes, in words) of a space that may be taken: the machine's, or a smaller budget where that counts."""
    space, allowed = job.target.spaces[name], getattr(job.choice.budget, name)
    free = space.bytes - space.reserve
    if budget and allowed is not None and allowed < free:
        return allowed, f"its budget is {allowed:,}"
    reserved = f" ({space.bytes:,} - {space.reserve:,} reserved for stack and board)" if space.reserve else ""
    return free, f"has {free:,}{reserved}"


def _advice(job: Job, program: Program) -> str:
    """What would make it fit, cheapest first, each tried before it is said."""
    lines = [*_variants(job, program), *_other_kernels(job, program)]
    if is_float(job.graph) and job.context.options.quantize != "int8":
        lines.append("quantise it: --quantize int8 --calibrate samples.npz needs about a quarter")
    entry = program.graph.entries[0]
    kinds = {program.graph.type(port).dtype.kind for port in (*entry.inputs, *entry.outputs)}
    if job.request.io == "native" and "float" in kinds:
        lines.append("--io int8 makes the ports int8 too")
    need = {"ram": program.plan.nbytes, "flash": program.constant_bytes}
    boards = [t for t in all_targets() if t.word < 64]
    roomy = [t for t in boards if all(n <= t.spaces[s].bytes - t.spaces[s].reserve for s, n in need.items())]
    if job.target in roomy:
        lines.append(f"a larger budget in [target.{job.target.name}]: the machine itself has enough")
    elif roomy:
        best = min(roomy, key=lambda t: t.spaces["ram"].bytes)
        lines.append(f"a machine with more: {best.name} ({best.title})")
    return "\n".join(lines) or "a smaller model"


def _other_kernels(job: Job, program: Program) -> Iterator[str]:
    """Kernels that need less RAM, if choosing them makes the plan smaller."""
    if job.request.optimize != "ram":
        smaller = compile_job(replace(job, request=replace(job.request, optimize="ram")))
        if (saved := program.plan.nbytes - smaller.plan.nbytes) > 0:
            yield f"--optimize ram ({-saved:+,} bytes of ram)"


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
            less = program.constant_bytes - smaller.constant_bytes
            if saved > 0 or less > 0:
                yield f'use {name} variant "{variant}" ({-saved:+,} bytes of ram, {-less:+,} of flash)'

"""What matters most changes the choice of kernels: speed takes the cheapest, ram what makes the plan smaller."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from brainc import fit, footprint
from brainc.compiler import Job, Request, compile_job, prepare
from brainc.errors import FitError
from brainc.program import Program
from brainc.resources import examples_dir, templates_dir
from brainc.target import load_target


def toy(folder: Path, scratch: str, optimize: str) -> Program:
    return compile_job(toy_job(folder, scratch, optimize))


def toy_job(folder: Path, scratch: str, optimize: str) -> Job:
    """The digits for a machine whose own dense kernel is the plain one, but quick and with this much scratch."""
    kernels = folder / "toy" / "kernels" / "qdense"
    kernels.mkdir(parents=True, exist_ok=True)
    (folder / "toy" / "target.toml").write_text('extends = "c99"\ntitle = "a toy"\n')
    lines = (templates_dir() / "qdense" / "i8.c.j2").read_text().splitlines()
    lines = [f'scratch = "{scratch}"\ncost = "1"' if line.startswith("cost") else line for line in lines]
    (kernels / "quick.c.j2").write_text("\n".join(lines) + "\n")
    request = Request(examples_dir() / "digits", quantize="int8", io="int8", optimize=optimize)
    return replace(prepare(request, "c99"), target=load_target("toy", roots=(folder,)))


def dense(program: Program) -> set[str]:
    return {c.kernel.name for c in program.choices.values() if c.kernel.op == "qdense"}


@pytest.mark.parametrize(("scratch", "worth"), [("4", False), ("9000", True)])
def test_ram_gives_speed_away_only_where_the_plan_gets_smaller(tmp_path: Path, scratch: str, worth: bool) -> None:
    fast, frugal = toy(tmp_path, scratch, "speed"), toy(tmp_path, scratch, "ram")
    assert dense(fast) == {"toy/qdense/quick"}
    assert dense(frugal) == ({"c/qdense/i8"} if worth else {"toy/qdense/quick"})
    assert (frugal.plan.nbytes < fast.plan.nbytes) == worth
    assert frugal.optimize == "ram" and fast.optimize == "speed"


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "uno"])
def test_ram_never_needs_more_than_speed(target: str) -> None:
    sizes = {}
    for optimize in ("speed", "ram"):
        request = Request(examples_dir() / "digits", quantize="int8", io="int8", optimize=optimize)
        sizes[optimize] = compile_job(prepare(request, target)).plan.nbytes
    assert sizes["ram"] <= sizes["speed"]


@pytest.mark.parametrize(("scratch", "helps"), [("4", False), ("9000", True)])
def test_what_does_not_fit_is_told_of_kernels_that_need_less(tmp_path: Path, scratch: str, helps: bool) -> None:
    job = toy_job(tmp_path, scratch, "speed")
    spaces = {**job.target.spaces, "ram": replace(job.target.spaces["ram"], bytes=100)}
    job = replace(job, target=replace(job.target, spaces=spaces))
    with pytest.raises(FitError) as told:
        program = compile_job(job)
        fit.require(job, program, footprint.planned(program))
    assert ("--optimize ram: " in told.value.fix) == helps

"""The kernels for AVX-512 VNNI give the bits of their ops.

By the processor's own instructions where it has them, and on any machine with AVX2 by a twin of the few that they use
(vnni_twin.h)."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import pytest
from kernel_rig import Rig, jobs_of, wrappers
from test_kernels import Memory, apart, compare, has

from brainc import ops
from brainc.kernels import KernelTable
from brainc.target import Target, load_target

FEATURE, FLAG = "avx512vnni", "avx512_vnni"  # as kernels' heads call it, and the system
TWIN = Path(__file__).with_name("vnni_twin.h")


def _target() -> Target:
    target = load_target("x86-avx2")
    return replace(target, features=target.features | {FEATURE})


def _kernels() -> list[str]:
    table = KernelTable(_target())
    found = (k for op in ops.all_ops() for k in table.candidates(op))
    return [k.name for k in found if FEATURE in k.needs]


@pytest.fixture(scope="module", params=["twin", "own"])
def rig(request: pytest.FixtureRequest, cc) -> tuple[Rig, ctypes.CDLL]:  # type: ignore[no-untyped-def]
    if not has("avx2" if request.param == "twin" else FLAG):
        pytest.skip(f"this processor has no {FLAG}")
    jobs = jobs_of(_target(), only=lambda k: FEATURE in k.needs)
    twin = TWIN.read_text(encoding="utf-8") if request.param == "twin" else ""
    return jobs, cc(twin + jobs.source + wrappers(jobs), std=jobs.target.toolchain.std)


@pytest.mark.parametrize("kernel", _kernels())
def test_kernel_means_what_its_op_means(kernel: str, rig: tuple[Rig, ctypes.CDLL]) -> None:
    jobs = [j for j in rig[0].jobs if j.kernel.name == kernel]
    assert jobs, f"no sample case of its op fits {kernel}"
    for job in jobs:
        apart(job, rig[1])
        for lap in job.overlaps:
            compare(job, Memory(job, lap).run(job, rig[1]), f"at {lap}")

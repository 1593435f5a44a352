"""The portable kernels on a 64-bit Arm machine mean what they mean on every other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from arm64 import arm64 as arm64
from kernel_rig import Job, Rig, compare, jobs_of
from sim_rig import simulate

from brainc import ops
from brainc.target import Target


def _picked(rig: Rig) -> Iterator[Job]:
    """All cases of reals that are promised to the bit, and the first of every other kernel."""
    seen = set[str]()
    for job in rig.jobs:
        if ops.get(job.kernel.op).bits or job.kernel.name not in seen:
            seen.add(job.kernel.name)
            yield job


def test_kernels_mean_the_same_on_a_64_bit_arm(arm64: Target, tmp_path: Path) -> None:
    rig = jobs_of(arm64)
    rig = replace(rig, jobs=tuple(_picked(rig)))
    assert {"dense8", "qconv2d", "conv2d"} <= {job.kernel.op for job in rig.jobs}
    for job, result in zip(rig.jobs, simulate(rig, tmp_path, optimize="-O1")[1], strict=True):
        compare(job, result, "on a 64-bit Arm")

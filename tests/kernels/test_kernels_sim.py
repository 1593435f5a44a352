"""The kernels on simulated machines: the same bytes as numpy on every core.

All of a target's own kernels run on as many of their cases as its memory holds, and each integer kernel of
the portable ones on its first case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_rig import Job, Rig, jobs_of
from sim_rig import flash_bytes, ram_bytes, simulate

from brainc.errors import ToolMissing
from brainc.kernels import Kernel
from brainc.target import load_target

pytestmark = pytest.mark.sim

TARGETS = ("uno", "mega", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
LIBRARY, FUNCTION = 6_000, 700  # rough bytes of code: what all kernels share, and one kernel


def _picked(rig: Rig) -> Iterator[Job]:
    """Own kernels' cases in turn, and one for each portable kernel, as long as there is room."""
    target = rig.target
    ram = target.spaces["ram"].bytes - target.spaces["ram"].reserve
    flash = min(target.spaces["flash"].bytes, 40_000) - LIBRARY
    seen: set[str] = set()
    functions: set[str] = set()
    for job in sorted(rig.jobs, key=lambda j: (j.kernel.name in seen, flash_bytes(j))):
        portable_again = job.kernel.name.startswith("c/") and job.kernel.name in seen
        size = flash_bytes(job) + (0 if job.fn in functions else FUNCTION)
        if not portable_again and ram_bytes(job) <= ram and size <= flash:
            seen.add(job.kernel.name)
            functions.add(job.fn)
            flash -= size
            yield job


def _integer(kernel: Kernel) -> bool:
    return kernel.op.startswith("q") or kernel.op in ("maxpool2d", "concat", "transpose", "to_int", "argmax")


@pytest.mark.parametrize("name", TARGETS)
def test_kernels_mean_the_same_on_a_simulated_machine(name: str, tmp_path: Path) -> None:
    target = load_target(name)
    rig = jobs_of(target, only=_integer)
    rig = replace(rig, jobs=tuple(_picked(rig)))
    own = {j.kernel.name for j in rig.jobs if not j.kernel.name.startswith("c/")}
    assert own or name in ("cortex-m0plus", "cortex-m3")
    try:
        _, results = simulate(rig, tmp_path)
    except ToolMissing as missing:
        pytest.skip(str(missing))
    for job, result in zip(rig.jobs, results, strict=True):
        told = f"{job.kernel.name} {dict(job.node.attrs)} {[o.shape for o in job.operands]}"
        np.testing.assert_array_equal(result, job.expected, err_msg=told)

"""The AVR's own versions of fixed.h: the same numbers as numerics.py, for random and for extreme operands.

The kernels that are made of them meet their ops' cases in test_kernels_sim.py; here come the corners that layers
seldom have: every shift, the ends of 24 and of 32 bits, multipliers of all sizes, ties.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernel_rig import headers

from brainc import numerics, toolchain
from brainc.dtypes import Array
from brainc.errors import ToolMissing
from brainc.runners import run
from brainc.target import load_target

pytestmark = pytest.mark.sim

FEW, MANY = 4_000, 100_000

REQUANT = """
#include "harness.h"
%s
typedef struct {
    int32_t acc, mult;
    int8_t shift, zero, lo, hi;
} job;

int main(void)
{
    job j;
    int8_t y[3];
    br_host_open();
    while (br_host_read(&j, sizeof j)) {
        br_host_begin();
        y[0] = br_requant_once_i8(j.acc, j.mult, j.shift, j.zero, j.lo, j.hi);
        y[1] = br_requant_tflite_i8(j.acc, j.mult, j.shift, j.zero, j.lo, j.hi);
        y[2] = br_requant_even_i8(j.acc, j.mult, j.shift, j.zero, j.lo, j.hi);
        br_host_end();
        br_host_write(y, sizeof y);
    }
    br_host_close();
    return 0;
}
"""
JOB = np.dtype([("acc", "<i4"), ("mult", "<i4"), ("shift", "i1"), ("zero", "i1"), ("lo", "i1"), ("hi", "i1")])


def _jobs(count: int) -> Array:
    """Accumulators and multipliers of every size, most results near int8 or at a tie, some far beyond."""
    rng = np.random.default_rng(5)
    jobs = np.zeros(count, JOB)
    acc = rng.integers(-(1 << 31), 1 << 31, count) >> rng.integers(0, 32, count)
    ends = np.array([0, 1, -1, (1 << 23) - 1, 1 << 23, -(1 << 23), -(1 << 23) - 1, (1 << 31) - 1, 1 - (1 << 31)])
    acc[: 20 * ends.size] = np.tile(ends, 20)
    mult = rng.integers(1 << 30, 1 << 31, count) >> rng.choice([0, 0, 0, 7, 19, 30], count)
    mult[::7] = 1 << rng.integers(0, 31, mult[::7].size)  # ties
    fitting = np.log2(np.maximum(np.abs(acc.astype(float)), 1) * mult) - rng.integers(0, 9, count)
    shift = np.where(rng.random(count) < 0.7, fitting, rng.integers(1, 63, count))
    jobs["acc"], jobs["mult"], jobs["shift"] = acc, mult, np.clip(shift, 1, 62)
    jobs["zero"], jobs["lo"] = rng.integers(-128, 128, count), rng.integers(-128, 0, count)
    jobs["hi"] = rng.integers(0, 128, count)
    return jobs


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["uno", "mega"])
def test_requantisation_is_exact(name: str, count: int, tmp_path: Path) -> None:
    jobs = _jobs(count)
    source = tmp_path / "jobs.c"
    source.write_text(REQUANT % headers(load_target(name)))
    try:
        firmware = toolchain.build(load_target(name), [source], [], tmp_path, optimize="-Os")
        told = run(firmware, jobs.tobytes(), count)
    except ToolMissing as missing:
        pytest.skip(str(missing))
    results = np.frombuffer(told.outputs, np.int8).reshape(count, 3)
    acc, mult, shift = (jobs[k].astype(np.int64) for k in ("acc", "mult", "shift"))
    zero, lo, hi = (jobs[k].astype(np.int64) for k in ("zero", "lo", "hi"))

    def check(column: int, scaled: Array) -> None:
        np.testing.assert_array_equal(results[:, column], np.clip(scaled + zero, lo, hi))

    check(0, numerics.scaled_once(acc, mult, shift))
    check(1, numerics.scaled_twice(acc, mult, shift))
    up = numerics.scaled_once(acc, mult, shift)
    down = -numerics.scaled_once(-acc, mult, shift)
    check(2, np.where(up == down, up, up & ~1))

"""The AVR's own versions of fixed.h: the same numbers as numerics.py, for random and for extreme operands.

The kernels that are made of them meet their ops' cases in test_kernels_sim.py; here come the corners that layers
seldom have: every shift, the ends of 24 and of 32 bits, multipliers of all sizes, ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_rig import Bound, Rig, call, headers, one_node, rig_of
from sim_rig import simulate

from brainc import numerics, ops, toolchain
from brainc.dtypes import Array
from brainc.errors import ToolMissing
from brainc.ir import Entry, Graph, attrs
from brainc.kernels import KernelTable
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


def _streamed(rig: Rig, blocks: int) -> str:
    """A firmware that reads operands, runs a job and writes its result, `blocks` times for each job."""
    steps = []
    for job in rig.jobs:
        sizes = [o.nbytes for o in job.operands]
        places = [f"ram + {sum(sizes[:i])}" for i in range(len(sizes) + 1)]
        reads = "".join(f"br_host_read({p}, {n});" for p, n in zip(places, sizes, strict=False))
        run_it = f"br_host_begin(); {call(job, [f'(void *)({p})' for p in (*places, 'ram')])}; br_host_end();"
        steps.append(f"for (int16_t i = 0; i < {blocks}; i++) {{ {reads} {run_it} br_host_write({places[-1]}, 256); }}")
    head = f'#include "harness.h"\n{rig.source}\nstatic int8_t ram[1100];\n'
    return (
        head
        + "int main(void)\n{\n    br_host_open();\n"
        + "\n".join(steps)
        + "\n    br_host_close();\n    return 0;\n}\n"
    )


PRODUCTS = [  # ordinary factors, ties of powers of two, the least and largest shifts, zero points at the ends, clamps
    {"za": -20, "zb": 33, "mult": 1503238554, "shift": 39, "zy": -4},
    {"za": -128, "zb": 127, "mult": 1 << 30, "shift": 38, "zy": 3, "lo": -100, "hi": 90},
    {"za": 127, "zb": 127, "mult": 1 << 30, "shift": 35, "zy": -128},
    {"za": 0, "zb": -128, "mult": (1 << 31) - 1, "shift": 31, "zy": 127},
    {"za": 5, "zb": -5, "mult": 1987654321, "shift": 34, "zy": 0, "lo": 0, "hi": 6},
    {"za": -128, "zb": -128, "mult": 1073741825, "shift": 47, "zy": 10},
    {"za": 1, "zb": 2, "mult": 77, "shift": 55, "zy": 0},
]
SUMS = [  # both ends of the shifts, subtraction, one operand that hardly counts, ties, clamps
    {"za": -20, "zb": 33, "ma": 734003, "mb": 419430, "shift": 20, "zy": -4},
    {"za": -128, "zb": 127, "ma": (1 << 20) - 1, "mb": -(1 << 20), "shift": 17, "zy": -128},
    {"za": 127, "zb": -128, "ma": -(1 << 20), "mb": -(1 << 20), "shift": 22, "zy": 127, "lo": -128, "hi": 127},
    {"za": 0, "zb": 0, "ma": 1 << 19, "mb": 1 << 19, "shift": 20, "zy": 0},
    {"za": 3, "zb": -3, "ma": 1, "mb": (1 << 21) - 1, "shift": 22, "zy": -128, "lo": 0, "hi": 1},
]


def _bound(table: KernelTable, op: str, count: int, numbers: dict[str, Any]) -> Bound:
    """A layer of `count` operands of 256 elements, and the kernel that the table chooses for it."""
    node, values = one_node(ops.get(op), [np.zeros(256, np.int8)] * count, attrs(**numbers))
    graph = Graph("case", {v.name: v for v in values}, (Entry("step", (), (), (node,)),))
    return node, table.choose(graph, node), values


def _check(table: KernelTable, nodes: list[Bound], operands: Sequence[Array], work: Path) -> None:
    """Every node on the same operands [blocks, 256], in the simulator and in numpy."""
    blocks = len(operands[0])
    source = work / "jobs.c"
    source.write_text(_streamed(rig_of(table, nodes), blocks))
    fed = np.stack(operands, axis=1).tobytes()
    try:
        firmware = toolchain.build(table.target, [source], [], work, optimize="-Os")
        told = run(firmware, fed * len(nodes), blocks * len(nodes))
    except ToolMissing as missing:
        pytest.skip(str(missing))
    results = np.frombuffer(told.outputs, np.int8).reshape(len(nodes), blocks, 256)
    for (node, _, _), result in zip(nodes, results, strict=True):
        expected = ops.get(node.op).run(operands, node.attrs)[0]
        np.testing.assert_array_equal(result, expected, err_msg=f"{node.op} {dict(node.attrs)}")


@pytest.mark.parametrize("name", ["uno", "mega"])
def test_products_and_sums_are_exact_for_every_pair(name: str, tmp_path: Path) -> None:
    """All 65,536 pairs of a and b, for each set of numbers."""
    table = KernelTable(load_target(name))
    nodes = [_bound(table, "qmul", 2, {**p, "round": profile}) for p in PRODUCTS for profile in numerics.PROFILES]
    nodes += [_bound(table, "qadd", 2, numbers) for numbers in SUMS]
    own = [choice.kernel.name for _, choice, _ in nodes]
    assert own.count("avr/qmul/i8") == 2 * len(PRODUCTS) - 1 and own.count("avr/qadd/i8") == len(SUMS)
    a = np.tile(np.arange(-128, 128).astype(np.int8), (256, 1))
    _check(table, nodes, (a, np.ascontiguousarray(a.T)), tmp_path)


def test_places_between_two_are_exact(tmp_path: Path) -> None:
    """Every distance and share: b - a takes all values there are, and so does t."""
    table = KernelTable(load_target("uno"))
    node = _bound(table, "qlerp", 3, {"zt": -128, "mult": 1, "shift": 8})
    assert node[1].kernel.name == "avr/qlerp/i8"
    way = np.arange(-256, 256).clip(-255, 255)
    a = np.where(way < 0, 127, -128)
    a, b = (np.repeat(v, 256).reshape(512, 256).astype(np.int8) for v in (a, a + way))
    _check(table, [node], (a, b, np.tile(np.arange(-128, 128).astype(np.int8), (512, 1))), tmp_path)


def _depthwise(shifts: range, **more: Any) -> tuple[list[Array], dict[str, Any]]:
    """A channel for each shift, with weights that leave most results within int8, factors at both ends and one of 0."""
    rng = np.random.default_rng(9)
    shift = np.array([*shifts, 35, *shifts], np.int8)
    size = np.minimum(4 << (shift.astype(np.int64) - 33), 127)
    mult = rng.integers(1 << 30, 1 << 31, shift.size).astype(np.int32)
    mult[: len(shifts)], mult[len(shifts)], mult[-1] = 1 << 30, 0, (1 << 31) - 1  # powers of two: ties
    w = rng.integers(-size, size + 1, (3, 3, shift.size)).astype(np.int8)
    b = rng.integers(-9 * size, 9 * size + 1).astype(np.int32)
    x = rng.integers(-128, 128, (1, 6, 5, shift.size)).astype(np.int8)
    return [x, w, b, mult, shift], {"pads": (1, 1, 1, 1), "zx": -7, "zy": 3, **more}


@pytest.mark.parametrize("bounds", [{}, {"lo": 5, "hi": 9}, {"zy": -128, "lo": -128, "hi": 100}])
def test_depthwise_results_are_exact_at_every_scale(bounds: dict[str, Any], tmp_path: Path) -> None:
    table, nodes = KernelTable(load_target("mega")), []
    for profile in numerics.PROFILES:
        for shifts in (range(33, 39), range(33, 44)):
            operands, numbers = _depthwise(shifts, round=profile, **bounds)
            node, values = one_node(ops.get("qdwconv2d"), list(operands), attrs(**numbers))
            graph = Graph("case", {v.name: v for v in values}, (Entry("step", (), (), (node,)),))
            nodes.append((node, table.choose(graph, node), values))
    assert {choice.kernel.name for _, choice, _ in nodes} == {"avr/qdwconv2d/i8_depth"}
    rig = rig_of(table, nodes)
    try:
        _, results = simulate(rig, tmp_path, optimize="-Os")
    except ToolMissing as missing:
        pytest.skip(str(missing))
    for job, result in zip(rig.jobs, results, strict=True):
        np.testing.assert_array_equal(result, job.expected, err_msg=f"{dict(job.node.attrs)}")
        assert bounds or len(np.unique(result)) > 60

"""What a large layer with 4-bit weights costs on the AVR, in both copies of its tile, with the compiler's -Os.

They prove the bytes of the variant that only large layers take, at odd sizes too, and the cycles that were promised.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernel_rig import one_node, rig_of
from sim_rig import simulate

from brainc import ops
from brainc.errors import ToolMissing
from brainc.ir import Entry, Graph, attrs
from brainc.kernels import KernelTable
from brainc.target import load_target

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("target", ["uno", "mega"])
@pytest.mark.parametrize(
    ("k", "n", "group", "steps", "wide", "most"),
    [
        (120, 208, 64, 4, 0, 9.4),  # cycles a multiply, everything counted
        (120, 208, 64, 7, 1, 9.9),
        (149, 137, 53, 3, 0, 9.9),  # odd everywhere
        (600, 35, 600, 1, 1, 9.9),  # runs of 256 within a group
    ],
)
def test_large_layers(
    target: str, k: int, n: int, group: int, steps: int, wide: int, most: float, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    w = rng.integers(-min(steps + 1, 8), steps + 1, (n, k)).astype(np.int8)
    if not wide and k < 300:
        w[:, ::2] //= 2
    s = rng.integers(20, 90, (n, -(-k // group))).astype(np.uint8)
    b = rng.integers(-3000, 3000, n).astype(np.int16)
    given = attrs(group=group, up=6, mult=round(60 / (150 * 90 * np.sqrt(k)) * (1 << 32)), shift=32, zy=3)
    operands = [rng.integers(-128, 128, (1, k)).astype(np.int8), w, s, b]
    node, values = one_node(ops.get("qdense4"), operands, given)
    table = KernelTable(load_target(target))
    choice = table.choose(Graph("case", {v.name: v for v in values}, (Entry("step", (), (), (node,)),)), node)
    assert choice.kernel.name == "avr/qdense4/i8_pairs" and choice.env["WIDE"] == wide
    rig = rig_of(table, [(node, choice, values)])
    try:
        told, (result,) = simulate(rig, tmp_path, optimize="-Os")
    except ToolMissing as missing:
        pytest.skip(str(missing))
    np.testing.assert_array_equal(result, rig.jobs[0].expected)
    assert len(np.unique(result)) > min(n, 30) / 2 and told.marks[0] / (k * n) <= most

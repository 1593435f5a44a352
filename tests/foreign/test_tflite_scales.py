"""How scales become multipliers, where it shows: millions of results, and scales whose product rounds badly.

One multiplier of 2^31 that is off by some tens moves a result in a hundred thousand, which small tests miss.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tflite_files import N, T, model

from brainc import frontends, interp

runtime = pytest.importorskip("tflite_micro").runtime

ROWS, DEPTH, COLUMNS = 1500, 32, 1500
ARENA = 40_000_000


def awkward(rng: np.random.Generator) -> tuple[float, float]:
    """Two scales whose product in single precision is far from the true one."""
    pairs = rng.uniform(0.02, 0.03, (20_000, 2)).astype(np.float32)
    true = pairs.astype(np.float64).prod(axis=1)
    worst = int(np.abs(pairs.prod(axis=1, dtype=np.float32) / true - 1).argmax())
    return float(pairs[worst, 0]), float(pairs[worst, 1])


@pytest.mark.parametrize("op", ["FULLY_CONNECTED", "BATCH_MATMUL"])
def test_scales_are_multiplied_in_double_precision(op: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    sx, sw = awkward(rng)
    x = rng.integers(-128, 128, (1, ROWS, DEPTH)).astype(np.int8)
    w = rng.integers(-127, 128, (COLUMNS, DEPTH)).astype(np.int8)
    y = T("y", (1, ROWS, COLUMNS), scale=0.35)
    if op == "BATCH_MATMUL":
        weights, feeds = T("w", (1, DEPTH, COLUMNS), scale=sw), [x, np.ascontiguousarray(w.T)[None]]
        node = N(op, ["x", "w"], ["y"], "BatchMatMulOptions", {"AdjX": False, "AdjY": False})
    else:
        weights, feeds = T("w", w.shape, scale=sw, data=w), [x]
        node = N(op, ["x", "w"], ["y"], "FullyConnectedOptions", {"KeepNumDims": True})
    ports = ["x", "w"][: len(feeds)]
    file = tmp_path / "large.tflite"
    file.write_bytes(model(([T("x", x.shape, scale=sx), weights, y], [node], ports, ["y"])))
    theirs = runtime.Interpreter.from_file(str(file), arena_size=ARENA)
    for index, feed in enumerate(feeds):
        theirs.set_input(feed, index)
    theirs.invoke()
    graph = frontends.load(file, name="large")
    (entry,) = graph.entries
    ours = interp.run(graph, None, dict(zip(entry.inputs, feeds, strict=True)), interp.fresh_state(graph))
    assert int((ours[entry.outputs[0]] != theirs.get_output(0)).sum()) == 0


@pytest.mark.parametrize("op", ["RELU", "LEAKY_RELU"])
@pytest.mark.parametrize(
    "scales", [(0.130521759390831, 0.22819697856903076), (0.2675972282886505, 0.23947139084339142)]
)
def test_a_ratio_of_scales_is_of_double_precision(op: str, scales: tuple[float, float], tmp_path: Path) -> None:
    """One of these 256 products lies between two integers, and single precision takes the other one."""
    x, y = (T(name, (1, 256), "INT8", scale, -128) for name, scale in zip("xy", scales, strict=True))
    kind, options = ("LeakyReluOptions", {"Alpha": 0.5}) if op == "LEAKY_RELU" else ("", {})
    file, whole = tmp_path / "ratio.tflite", np.arange(-128, 128).astype(np.int8)[None]
    file.write_bytes(model(([x, y], [N(op, ["x"], ["y"], kind, options)], ["x"], ["y"])))
    theirs = runtime.Interpreter.from_file(str(file), arena_size=ARENA)
    theirs.set_input(whole, 0)
    theirs.invoke()
    ours = interp.outputs(frontends.load(file, name="ratio"), "step", {"x": whole})
    np.testing.assert_array_equal(ours["y"], theirs.get_output(0))

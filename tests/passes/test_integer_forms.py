"""Layers that come as integers: one pixel at a time is a dense layer, a border is the convolution's own. To the bit."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Builder

from brainc import interp, ops, passes
from brainc.dtypes import I8
from brainc.ir import Attr, Graph, Quant, Stage
from brainc.passes import Context

Q = Quant.tensor(0.1, 7)


def layer(op: str, w: tuple[int, ...], *, pad: int = 0, value: int = 7, **given: Attr) -> Graph:
    """x, perhaps a pad, and one integer layer `y` of weights `w`."""
    b = Builder(3)
    x = b.input("x", (1, 6, 5, 4), I8, Q)
    if pad:
        edge = (0, pad, pad, 0)
        x = b.add("pad", x, before=edge, after=edge, value=float(value), quant=Q)
    channels = w[-1] if op == "qdwconv2d" else w[0]
    weights = b.const(b.rng.integers(-127, 128, w).astype(np.int8))
    bias = b.const(b.rng.integers(-900, 900, channels).astype(np.int32))
    mult = b.const(b.rng.integers(1 << 30, (1 << 31) - 1, channels).astype(np.int32))
    shift = b.const(np.full(channels, 40, np.int8))
    y = b.add(op, x, weights, bias, mult, shift, name="y", zx=7, zy=-3, lo=-100, **given)
    return b.graph(y)


def settled(graph: Graph) -> Graph:
    """The canonical graph, once it is known to answer to the bit as before."""
    done = passes.run(graph, Context(), until=Stage.CANONICAL)
    for seed in range(3):
        inputs = interp.random_inputs(graph, None, seed)
        np.testing.assert_array_equal(interp.outputs(done, None, inputs)["y"], interp.outputs(graph, None, inputs)["y"])
    return done


@pytest.mark.parametrize("w", [(8, 1, 1, 4), (8, 6, 5, 4)])
def test_a_pixel_or_the_whole_picture_is_a_dense_layer(w: tuple[int, ...]) -> None:
    done = settled(layer("qconv2d", w))
    assert [n.op for n in done.nodes()] == ["reshape", "qdense", "reshape"]
    (dense,) = (n for n in done.nodes() if n.op == "qdense")
    assert dense.name == "n_y"  # the layer's own: what tables and errors show
    assert set(dense.attrs) <= set(ops.get("qdense").defaults)


@pytest.mark.parametrize("given", [{"strides": (2, 2)}, {"pads": (1, 0, 0, 0)}, {"group": 2}])
def test_other_points_stay_convolutions(given: dict[str, Attr]) -> None:
    depth = 2 if "group" in given else 4
    assert [n.op for n in settled(layer("qconv2d", (8, 1, 1, depth), **given)).nodes()] == ["qconv2d"]


@pytest.mark.parametrize(("op", "w"), [("qconv2d", (8, 3, 3, 4)), ("qdwconv2d", (3, 3, 4))])
def test_a_border_of_the_zero_point_is_the_window_s(op: str, w: tuple[int, ...]) -> None:
    (only,) = settled(layer(op, w, pad=1, pads=(0, 1, 1, 0))).nodes()
    assert only.attrs["pads"] == (1, 2, 2, 1)
    assert [n.op for n in settled(layer(op, w, pad=1, value=6)).nodes()] == ["pad", op]
    assert [n.op for n in settled(layer(op, w, pad=3)).nodes()] == ["pad", op]  # windows that see border alone

"""Sums that move into the layer before them: the same bytes, in both profiles, and only where a kernel takes them."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Builder
from planted import hard_inputs, planted_network

from brainc import interp
from brainc.dtypes import I8
from brainc.ir import Attr, Graph, Stage
from brainc.numerics import sum_multipliers, tflite_multiplier
from brainc.ops.qadd import RESIDUAL
from brainc.passes import Context
from brainc.passes.residual import fuse_residual

PROFILES = ("once", "tflite")


def numbers(profile: str) -> dict[str, Attr]:
    """A qadd of 0.7 * a + 0.4 * b."""
    zeros = {"za": -20, "zb": 33, "zy": -4, "lo": -100, "hi": 127, "round": profile}
    if profile == "once":
        ma, mb, shift = sum_multipliers(0.7, 0.4)
        return {**zeros, "ma": ma, "mb": mb, "shift": shift}
    (ma, sa), (mb, sb), (mult, shift) = (tflite_multiplier(r) for r in (0.5, 0.2, 1.4 / (1 << 20)))
    return {**zeros, "ma": ma, "sa": sa, "mb": mb, "sb": sb, "left": 20, "mult": mult, "shift": shift}


class Net(Builder):
    """Integer layers around a sum."""

    def layer(self, op: str, x: str, shape: tuple[int, ...], **given: Attr) -> str:
        w = self.const(self.rng.integers(-127, 128, shape).astype(np.int8))
        bias = self.const(self.rng.integers(-900, 900, shape[0]).astype(np.int32))
        mult, shift = np.full(shape[0], 1 << 30, np.int32), np.full(shape[0], 39, np.int8)
        return self.add(op, x, w, bias, self.const(mult), self.const(shift), zy=-20, **given)


def sums(graph: Graph) -> int:
    return sum(node.op == "qadd" for node in graph.nodes())


def agree(before: Graph, after: Graph) -> None:
    for inputs in hard_inputs(before, 0):
        want, got = (interp.outputs(g, None, inputs) for g in (before, after))
        for port, answer in want.items():
            np.testing.assert_array_equal(got[port], answer)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_the_sum_goes_into_the_layer(profile: str, swapped: bool, dense: bool) -> None:
    net = Net(5)
    x = net.input("x", (1, 6, 5, 8), I8)
    if dense:  # a layer of pixels between two views
        flat = net.add("reshape", x, shape=(30, 8))
        made = net.add("reshape", net.layer("qdense", flat, (8, 8), round=profile), shape=(1, 6, 5, 8))
    else:
        made = net.layer("qconv2d", x, (8, 3, 3, 8), zx=3, pads=(1, 1, 1, 1), round=profile)
    given = numbers(profile)
    before = net.graph(net.add("qadd", *((x, made) if swapped else (made, x)), **given), stage=Stage.INTEGER)
    after = fuse_residual(before, Context())
    assert (sums(before), sums(after)) == (1, 0)
    layer = next(n for n in after.nodes() if n.op in ("qconv2d", "qdense"))
    assert len(layer.inputs) == 6 and len(str(layer.attrs["residual"]).split(",")) == len(RESIDUAL)
    agree(before, after)


def test_a_sum_stays_where_nobody_takes_it() -> None:
    net = Net(6)
    x = net.input("x", (1, 4, 4, 8), I8)
    made = net.layer("qconv2d", x, (8, 1, 1, 8), zx=0, round="tflite")
    before = net.graph(net.add("qadd", made, x, **numbers("tflite")), stage=Stage.INTEGER)
    assert fuse_residual(before, Context(has_kernel=lambda graph, node: len(node.inputs) < 6)) is before


@pytest.mark.parametrize("why", ["read twice", "other profile", "its own operand"])
def test_a_sum_stays_where_it_would_change_something(why: str) -> None:
    net = Net(7)
    x = net.input("x", (1, 4, 4, 8), I8)
    made = net.layer("qconv2d", x, (8, 1, 1, 8), zx=0, round="once" if why == "other profile" else "tflite")
    outs = [net.add("qadd", made, made if why == "its own operand" else x, **numbers("tflite"))]
    if why == "read twice":
        outs.append(net.add("maxpool2d", made, kernel=(2, 2), strides=(2, 2)))
    before = net.graph(*outs, stage=Stage.INTEGER)
    assert fuse_residual(before, Context()) is before


def test_random_networks_keep_their_answers() -> None:
    fused = 0
    for seed in range(40):
        before = planted_network(seed)[0]
        after = fuse_residual(before, Context())
        fused += sums(before) - sums(after)
        agree(before, after)
    assert fused > 10

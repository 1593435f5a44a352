"""Channels that say nothing go, and not one bit of the answer changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from graphs import Builder
from planted import hard_inputs, planted_network

from brainc import frontends, interp, passes, spec
from brainc.dtypes import I8
from brainc.errors import UnsupportedError
from brainc.ir import Attr, Graph, Stage
from brainc.passes import Context, Options
from brainc.passes.channels import drop_channels
from brainc.passes.widths import prove_widths
from brainc.spec import number

SEEDS = range(200)
Array = np.ndarray


def prepared(graph: Graph, *without: str, notes: list[str] | None = None) -> Graph:
    note = [].append if notes is None else notes.append
    return passes.run(graph, Context(Options(without=frozenset(without)), note=note))


def same(one: Graph, other: Graph, seed: int = 0) -> None:
    """Equal to the byte on random inputs, and on the two ends of the range."""
    for inputs in hard_inputs(one, seed):
        want, got = (interp.outputs(g, None, inputs) for g in (one, other))
        for port, answer in want.items():
            np.testing.assert_array_equal(got[port], answer)


def weights(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {n.name: graph.type(n.inputs[1]).shape for n in graph.nodes() if n.op.startswith("q") and len(n.inputs) > 4}


@pytest.mark.parametrize("seed", SEEDS)
def test_planted_channels_go_and_nothing_changes(seed: int) -> None:
    graph, planted = planted_network(seed)
    small = prepared(graph)
    same(graph, small, seed)
    for left_out in ("drop_channels", "settle_forms", "fuse_residual"):
        same(graph, prepared(graph, left_out), seed)
    shapes = weights(small)
    for layer in planted.layers:
        rows, columns = ([i for i in ids if i not in planted.gone] for ids in (layer.rows, layer.columns))
        shape = shapes.get(layer.node, (0,))
        assert shape[0 if layer.columns else -1] == len(rows), layer
        assert not layer.columns or not rows or shape[-1] == len(columns), layer


class Net(Builder):
    """A builder of integer layers; a row of `values` makes that channel always this number (None: it speaks)."""

    def rows(self, shape: tuple[int, ...], values: Sequence[int | None], zero: int) -> tuple[Array, Array]:
        """Weights whose rows are on axis 0, and a bias that does it for a scale of 1/64 and a zero point."""
        w = self.rng.integers(40, 100, shape).astype(np.int8)
        bias = self.rng.integers(0, 900, shape[0]).astype(np.int32)
        for row, value in enumerate(values):
            if value is not None:
                w[row], bias[row] = 0, (value - zero) * 64
        return w, bias

    def layer(self, op: str, x: str, w: Array, bias: Array, **given: Attr) -> str:
        count = len(bias)
        mult, shift = np.full(count, 1 << 30, np.int32), np.full(count, 36, np.int8)
        return self.add(op, x, *(self.const(a) for a in (w, bias, mult, shift)), **{"zy": 0, **given})

    def conv(self, x: str, values: Sequence[int | None], k: int = 3, **given: Attr) -> str:
        w, bias = self.rows((len(values), k, k, self.shape(x)[-1]), values, int(number(given.get("zy", 0))))
        return self.layer("qconv2d", x, w, bias, **{"zx": 0, **given})

    def depth(self, x: str, **given: Attr) -> str:
        w = self.rng.integers(40, 100, (3, 3, self.shape(x)[-1])).astype(np.int8)
        return self.layer("qdwconv2d", x, w, np.zeros(w.shape[-1], np.int32), **{"zx": 0, "pads": EDGE, **given})

    def sum(self, a: str, b: str) -> str:
        return self.add("qadd", a, b, za=0, zb=0, ma=700_000, mb=600_000, shift=20, zy=0)

    def input8(self, channels: int = 2) -> str:
        return self.input("x", (1, 8, 7, channels), I8)


EDGE = (1, 1, 1, 1)
LIVE = None


def shrunk(b: Net, *outputs: str) -> Graph:
    """The integer graph without its silent channels, once it is known to be equal to the one before."""
    before = b.graph(*outputs, stage=Stage.INTEGER)
    spec.verify(before)
    after = drop_channels(before, Context())
    spec.verify(after)
    same(before, after)
    assert drop_channels(after, Context()) is after
    return after


def shapes(graph: Graph) -> list[tuple[int, ...]]:
    return list(weights(graph).values())


@pytest.mark.parametrize(("value", "pads", "left"), [(0, EDGE, 1), (5, EDGE, 2), (5, (0,) * 4, 1), (0, (0,) * 4, 1)])
def test_a_constant_that_differs_from_the_border_stays_under_one(value: int, pads: tuple[int, ...], left: int) -> None:
    b = Net()
    y = b.conv(b.conv(b.input8(), [LIVE, value]), [LIVE] * 3, pads=pads)
    assert shapes(shrunk(b, y)) == [(left, 3, 3, 2), (3, 3, 3, left)]


@pytest.mark.parametrize(("value", "left"), [(0, 1), (5, 2)])
def test_depthwise_keeps_a_constant_only_if_it_is_the_border_s(value: int, left: int) -> None:
    b = Net()
    y = b.conv(b.depth(b.conv(b.input8(), [LIVE, value])), [LIVE], k=1)
    assert shapes(shrunk(b, y)) == [(left, 3, 3, 2), (3, 3, left), (1, 1, 1, left)]


def test_a_chain_that_nobody_listens_to_goes_as_a_whole() -> None:
    b = Net()
    x = b.input8()
    first = b.conv(x, [LIVE] * 3)
    deep = b.conv(b.depth(b.conv(first, [LIVE] * 4)), [LIVE] * 2, k=1)
    w, bias = b.rows((2, 1, 1, 5), [LIVE] * 2, 0)
    w[..., 3:] = 0
    y = b.layer("qconv2d", b.add("concat", first, b.add("pad", deep, **LARGER), axis=3), w, bias, zx=0)
    after = shrunk(b, y)
    assert shapes(after) == [(3, 3, 3, 2), (2, 1, 1, 3)]
    assert [n.op for n in after.nodes()] == ["qconv2d", "qconv2d"]  # no concat of one


LARGER: dict[str, Attr] = {"before": (0, 1, 1, 0), "after": (0, 1, 1, 0), "value": 0.0}


def test_a_bias_keeps_its_31_bits() -> None:
    b = Net()
    h = b.conv(b.input8(), [LIVE, 127, -128], k=1)
    w, bias = b.rows((3, 1, 1, 3), [LIVE] * 3, 0)
    bias[1:] = (1 << 30, -(1 << 30))
    after = shrunk(b, b.layer("qconv2d", h, w, bias, zx=0))
    assert shapes(after) == [(1, 1, 1, 2), (3, 1, 1, 1)]
    folded = after.array(list(after.nodes())[-1].inputs[2]).astype(np.int64)
    assert np.all(np.abs(folded[1:]) > (1 << 30) - (1 << 15))


def test_a_graph_with_sums_beyond_32_bits_is_left_to_be_refused() -> None:
    b = Net()
    h = b.conv(b.input8(), [LIVE, 127], k=1)
    w, bias = b.rows((1, 1, 1, 2), [LIVE], 0)
    bias[:] = (1 << 31) - 100
    graph = b.graph(b.layer("qconv2d", h, w, bias, zx=0), stage=Stage.INTEGER)
    assert drop_channels(graph, Context()) is graph
    with pytest.raises(UnsupportedError, match="33 bits"):
        prove_widths(graph, Context())


@pytest.mark.parametrize(("other", "left"), [([LIVE, 9, LIVE], 2), ([LIVE, LIVE, LIVE], 3), ([9, 9, 9], 2)])
def test_a_constant_goes_through_a_sum_if_both_sides_agree(other: list[int | None], left: int) -> None:
    b = Net()
    x = b.input8()
    y = b.sum(b.conv(x, [LIVE, -7, LIVE]), b.conv(x, other))
    after = shrunk(b, b.conv(y, [LIVE] * 2, k=1))
    assert shapes(after)[0][0] == left and shapes(after)[-1] == (2, 1, 1, left)
    if other == [9, 9, 9]:  # a layer all of whose channels are constant is a constant
        assert len(shapes(after)) == 2


def test_branches_of_a_residual_that_disagree_stay() -> None:
    b = Net()
    first = b.conv(b.input8(), [LIVE, 0, LIVE])
    second = b.conv(first, [LIVE, LIVE, 0], pads=EDGE)
    after = shrunk(b, b.conv(b.sum(first, second), [LIVE], k=1))
    assert shapes(after) == [(3, 3, 3, 2), (3, 3, 3, 3), (1, 1, 1, 3)]
    deaf = next(n for n in after.nodes() if n.outputs == (second,))
    assert not after.array(deaf.inputs[1])[2].any()  # a constant row that stays weighs nothing


def test_half_of_a_concat_that_is_dead() -> None:
    b = Net()
    x = b.input8()
    joined = b.add("concat", b.conv(x, [LIVE] * 2), b.conv(x, [LIVE] * 3), axis=3)
    half = b.add("slice", joined, starts=(0, 0, 0, 1), sizes=(*b.shape(joined)[:3], 3), steps=(1, 1, 1, 1))
    after = shrunk(b, b.conv(half, [LIVE], k=1))
    assert shapes(after) == [(1, 3, 3, 2), (2, 3, 3, 2), (1, 1, 1, 3)]
    assert "slice" not in {n.op for n in after.nodes()}  # it takes all that is left


def test_channels_added_by_a_pad() -> None:
    b = Net()
    wide = b.add("pad", b.conv(b.input8(), [LIVE, 4]), before=(0, 0, 0, 1), after=(0, 0, 0, 2), value=4.0)
    after = shrunk(b, b.conv(wide, [LIVE], k=1))
    assert shapes(after) == [(1, 3, 3, 2), (1, 1, 1, 1)]
    assert {n.op for n in after.nodes()} == {"qconv2d"}


def test_a_port_keeps_its_shape_whatever_is_constant() -> None:
    b = Net()
    h = b.conv(b.input8(), [LIVE, 3, LIVE])
    y, z = b.conv(h, [LIVE, -100], k=1), b.conv(h, [50, 60], k=1)
    after = shrunk(b, h, y, z)
    assert [after.type(port).shape[-1] for port in (h, y, z)] == [3, 2, 2]
    assert shapes(after) == [(3, 3, 3, 2), (2, 1, 1, 3)]
    assert next(n for n in after.nodes() if n.outputs == (z,)).op == "load"


def test_constants_that_differ_along_the_border_are_still_constants() -> None:
    """A convolution of nothing but constants under a border of something else has one answer in each place."""
    b = Net()
    x = b.input8()
    odd = b.conv(b.conv(x, [5, 6], k=1), [LIVE, LIVE], pads=EDGE)
    after = shrunk(b, b.sum(b.conv(x, [LIVE, LIVE], k=1), odd))
    assert shapes(after) == [(2, 1, 1, 2)]
    assert after.is_const(list(after.nodes())[-1].inputs[1])


def test_sums_that_wrap_keep_no_order() -> None:
    """TFLite's shift to the left is one of 32 bits: both ends saturate alike, and between them is everything."""
    b = Net()
    w, bias = np.array([[[[100, 100]]], [[[90, 80]]]], np.int8), np.array([1 << 21, 1 << 8], np.int32)
    mult, shift = np.full(2, 1 << 30, np.int32), np.array([20, 36], np.int8)
    constants = (b.const(a) for a in (w, bias, mult, shift))
    h = b.add("qconv2d", b.input8(), *constants, zx=0, zy=0, round="tflite")
    assert shapes(shrunk(b, b.conv(h, [LIVE], k=1))) == [(2, 1, 1, 2), (1, 1, 1, 2)]


def test_one_scale_for_all_and_weights_of_two_layers() -> None:
    b = Net()
    x = b.input8()
    w, bias = b.rows((3, 1, 1, 2), [LIVE, 0, LIVE], 0)
    shared = [b.const(a) for a in (w, bias, np.full(1, 1 << 30, np.int32), np.full(1, 36, np.int8))]
    first = b.add("qconv2d", x, *shared, zx=0, zy=0)
    second = b.add("qconv2d", b.depth(x), *shared, zx=0, zy=0)
    narrow, bias = b.rows((1, 1, 1, 3), [LIVE], 0)
    narrow[..., 2] = 0
    after = shrunk(b, b.sum(b.conv(first, [LIVE], k=1), b.layer("qconv2d", second, narrow, bias, zx=0)))
    assert shapes(after)[:1] == [(2, 1, 1, 2)] and (1, 1, 1, 2) in shapes(after)


def test_groups_are_left_alone() -> None:
    b = Net()
    h = b.conv(b.input8(), [LIVE, 0, LIVE, LIVE])
    y = b.layer("qconv2d", h, *b.rows((4, 3, 3, 2), [LIVE, 0, LIVE, LIVE], 0), zx=0, group=2, pads=EDGE)
    assert shapes(shrunk(b, b.conv(y, [LIVE], k=1))) == [(4, 3, 3, 2), (4, 3, 3, 2), (1, 1, 1, 4)]


def test_what_was_saved_is_told_if_anything_was() -> None:
    b, notes = Net(), list[str]()
    x = b.input8()
    h = b.conv(x, [LIVE, 0, 0, LIVE])
    graph = b.graph(b.conv(h, [LIVE] * 3, k=1), stage=Stage.INTEGER)
    small = drop_channels(graph, Context(note=notes.append))
    assert notes == ["dropped 2 constant and dead channels: 84 -> 42 weights, 2,520 -> 1,260 MACs"]
    assert drop_channels(small, Context(note=notes.append)) is small and len(notes) == 1


def test_a_pass_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _ = planted_network(0)
    monkeypatch.setenv("BRAINC_WITHOUT", "drop_channels,prove_widths")
    assert weights(prepared(graph)) == weights(prepared(graph, "drop_channels"))


def test_person_detection_halves(models: Path) -> None:
    """Most of the last layers of this network say nothing."""
    notes: list[str] = []
    path = models / "mlperf-tiny" / "onnx" / "vww_mobilenetv1_025_int8.onnx"
    graph = frontends.load(path, name="vww")
    small = prepared(graph, notes=notes)
    wanted = "dropped 1724 constant and dead channels: 208,112 -> 29,066 weights, 7,489,664 -> 3,727,313 MACs"
    assert wanted in notes
    same(prepared(graph, "drop_channels"), small)

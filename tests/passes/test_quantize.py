"""Quantising float graphs: ranges, shared scales, weights, doors, equalisation, bias correction, accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import Builder, random_network

from brainc import frontends, interp, ops, passes, quality
from brainc.dtypes import F32, I8, I32, Array
from brainc.errors import BraincError, UnsupportedError
from brainc.ir import Graph, Quant, Stage, attrs, const_value
from brainc.passes import Context, Options, batch, calibrate
from brainc.passes.equalise import equalise, equalised, loss, pairs
from brainc.passes.quantize import ENOUGH, FIXED, assign_types, choose, corrected, shared, with_types
from brainc.spec import MOVES

RNG = np.random.default_rng(5)


def context(samples: Array, **options: str) -> Context:
    return Context(Options(quantize="int8", **options), {"x": samples})


def histogram(x: Array) -> calibrate.Histogram:
    h = calibrate.Histogram()
    for part in np.array_split(x, 7):
        h.add(part)
    return h


def two_layers(seed: int = 0, *, spread: float = 1.0) -> Graph:
    """conv, ReLU, depthwise, pool, dense, softmax, as canonical; `spread`: ratio of channel sizes."""
    b = Builder(seed)
    sizes = np.geomspace(1 / spread, 1.0, 8)[:, None, None, None].astype(np.float32)
    zeros = np.zeros(8, np.float32)
    x = b.input("x", (1, 8, 8, 3))
    w = b.const(b.rng.standard_normal((8, 3, 3, 3)).astype(np.float32) * sizes)
    h = b.add("conv2d", x, w, b.const(zeros), name="h", pads=(1, 1, 1, 1), lo=0.0)
    d = b.const(b.rng.standard_normal((3, 3, 8)).astype(np.float32) / sizes[:, 0, 0, 0])
    e = b.add("dwconv2d", h, d, b.const(zeros), name="e", lo=0.0)
    m = b.add("maxpool2d", e, kernel=(2, 2), strides=(2, 2), name="m")
    r = b.add("reshape", m, shape=(1, 72))
    y = b.add("dense", r, b.normal(5, 72, scale=0.05), b.normal(5), name="logits")
    return b.graph(b.add("softmax", y, name="p"), stage=Stage.CANONICAL)


IMAGES = RNG.standard_normal((40, 8, 8, 3)).astype(np.float32)


def test_histograms_do_not_depend_on_how_numbers_arrive() -> None:
    x = RNG.standard_normal(10_000) * np.geomspace(0.01, 50, 10_000)
    whole = calibrate.Histogram()
    whole.add(x)
    pieces = histogram(x)
    assert (pieces.lo, pieces.hi, pieces.width) == (whole.lo, whole.hi, whole.width)
    a, b = np.cumsum(pieces.counts), np.cumsum(whole.counts)
    assert a[-1] == b[-1] == len(x)
    assert (a[:-1] <= b[1:]).all() and (b[:-1] <= a[1:]).all()  # never further off than the next bin


def test_the_three_ranges() -> None:
    """min-max holds everything; percentile lets 1 in 10,000 go; least squares finds the best cut."""
    x = np.append(RNG.normal(0, 1, 100_000), [40.0, -30.0])
    lo, hi = calibrate.min_max(histogram(x))
    assert (lo, hi) == (-30.0, 40.0)
    lo, hi = calibrate.percentile(histogram(x))
    assert lo == pytest.approx(np.percentile(x, 0.01), rel=0.02) and hi == pytest.approx(
        np.percentile(x, 99.99), rel=0.02
    )
    chosen = _mse(x, *calibrate.least_squares(histogram(x)))
    assert chosen <= 1.01 * min(_mse(x, -s, s) for s in np.linspace(2, 40, 200))


def _mse(x: Array, lo: float, hi: float) -> float:
    quant = calibrate.affine(lo, hi)
    q = np.clip(np.rint(x / quant.scale[0]) + quant.zero[0], -128, 127)
    return float(np.square((q - quant.zero[0]) * quant.scale[0] - x).mean())


def test_ranges_have_ten_bits_and_hold_zero() -> None:
    assert calibrate.rounded(1 / 3) == 683 / 2048
    nudged = (calibrate.affine(-1.23456 * n, 2.34567 * n) for n in (1, 1 + 1e-6))
    assert len(set(nudged)) == 1
    assert calibrate.affine(3.0, 5.0).zero == (-128,) and calibrate.affine(-5.0, -3.0).zero == (127,)


def test_an_unknown_calibration_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="no calibration 'best'") as caught:
        assign_types(two_layers(), context(IMAGES, calibration="best"))
    assert "mse" in caught.value.fix


def test_what_values_look_like_afterwards() -> None:
    graph = passes.run(two_layers(), context(IMAGES), until=Stage.QUANTIZED)
    weights = {node.op: node for node in graph.nodes()}
    for op, axis in (("conv2d", 0), ("dwconv2d", 2), ("dense", 0)):
        x, w, b = (graph.type(n) for n in weights[op].inputs)
        assert (x.dtype, w.dtype, b.dtype) == (I8, I8, I32) and w.quant and x.quant and b.quant
        assert w.quant.axis == axis and not any(w.quant.zero)
        assert b.quant.scale == pytest.approx([s * x.quant.scale[0] for s in w.quant.scale])
        rows = np.moveaxis(np.abs(graph.array(weights[op].inputs[1]).astype(int)), axis, 0)
        assert (rows.reshape(len(rows), -1).max(axis=1) == 127).all()
    assert graph.type("p/q").quant == Quant.tensor(1 / 256, -128)
    assert next(n.op for n in graph.nodes()) == "to_int" and graph.type("x").dtype is F32
    assert [n.op for n in graph.nodes()][-1] == "from_int" and graph.type("p").dtype is F32


def test_moves_share_one_quantisation() -> None:
    b = Builder()
    x = b.input("x", (1, 4, 4, 2))
    y = b.add("unary", x, fn="sin")
    z = b.add("mul", x, x)
    c = b.add(
        "concat",
        b.add("maxpool2d", y, kernel=(2, 2)),
        b.add("slice", z, starts=(0, 0, 0, 0), sizes=(1, 3, 3, 2), steps=(1, 1, 1, 1)),
        axis=3,
    )
    p = b.add("pad", c, before=(0, 1, 0, 0), after=(0, 0, 0, 0), value=7.0)
    out = b.add("unary", b.add("unary", p, fn="sin"), fn="sigmoid")
    graph = b.graph(out, stage=Stage.CANONICAL)
    typed = assign_types(graph, context(RNG.uniform(-1.5, 1.5, (20, 4, 4, 2)).astype(np.float32)))
    assert len({typed.type(n).quant for n in (y, z, c, p)}) == 1
    quant = typed.type(p).quant
    assert quant and (127 - quant.zero[0]) * quant.scale[0] == pytest.approx(7.0, rel=0.05)
    (node,) = (n for n in typed.nodes() if n.op == "pad")
    assert node.attrs["value"] == 127
    assert typed.type(f"{out}/q").quant == Quant.tensor(1 / 256, -128)


def test_a_gate_may_be_a_part_of_what_a_sigmoid_made() -> None:
    b = Builder()
    x = b.input("x", (1, 8))
    gates = b.add("unary", x, fn="sigmoid")
    gate = b.add("slice", gates, starts=(0, 4), sizes=(1, 4), steps=(1, 1))
    parts = [b.add("slice", x, starts=(0, i), sizes=(1, 4), steps=(1, 1)) for i in (0, 4)]
    out = b.add("lerp", *(b.add("unary", part, fn="tanh") for part in parts), gate, name="mixed")
    typed = assign_types(
        b.graph(b.add("unary", out, fn="sin"), stage=Stage.CANONICAL), context(RNG.uniform(-1, 1, (20, 8)))
    )
    assert typed.type("mixed").quant == FIXED["tanh"]


def test_what_only_a_saturating_function_reads_spans_no_more_than_it_tells_apart() -> None:
    b = Builder()
    x = b.input("x", (1, 64))
    pre = {fn: b.add("mul", x, x, name=fn) for fn in ("sigmoid", "tanh", "sin")}
    both = b.add("mul", x, x, name="both")
    answers = [b.add("unary", name, fn=fn) for fn, name in pre.items()]
    outs = [*answers, b.add("unary", both, fn="tanh"), b.add("unary", both, fn="sin")]
    samples = np.linspace(-40, 40, 6400, dtype=np.float32).reshape(100, 64)
    typed = assign_types(b.graph(*outs, stage=Stage.CANONICAL), context(samples))
    for name, most in (("sigmoid", 5.14), ("tanh", 2.58), ("sin", 1600), ("both", 1600)):
        scale, zero = typed.type(name).quant.scale[0], typed.type(name).quant.zero[0]  # type: ignore[union-attr]
        assert (127 - zero) * scale == pytest.approx(most, rel=0.02)
    for fn, end in (("sigmoid", 127), ("tanh", 127)):  # the largest number still gives the function's last answer
        grid, (_, most) = FIXED[fn], ENOUGH[fn]
        answer = ops.get("unary").run([np.array([most])], attrs(fn=fn))[0]
        assert round(float(answer[0]) / grid.scale[0] + grid.zero[0]) >= end


def test_nothing_happens_unasked() -> None:
    graph = two_layers()
    assert assign_types(graph, Context()) is graph and equalise(graph, Context()) is graph


def test_no_samples_no_quantisation() -> None:
    with pytest.raises(BraincError, match="needs samples") as caught:
        assign_types(two_layers(), Context(Options(quantize="int8")))
    assert "--calibrate" in caught.value.fix and "x f32[1,8,8,3]" in caught.value.fix


@pytest.mark.parametrize(("samples", "text"), [({}, "no array for port 'x'"), ({"x": IMAGES[:, :4]}, "have shape")])
def test_samples_that_do_not_fit(samples: dict[str, Array], text: str) -> None:
    with pytest.raises(BraincError, match=text):
        assign_types(two_layers(), Context(Options(quantize="int8"), samples))


def test_a_large_bias_beside_tiny_weights_still_fits() -> None:
    b = Builder()
    x = b.input("x", (1, 4))
    w, bb = b.const(np.full((2, 4), 1e-9, np.float32)), b.const(np.array([3.0, -2.0], np.float32))
    graph = b.graph(b.add("dense", x, w, bb, name="y"), stage=Stage.CANONICAL)
    brain = passes.run(graph, context(RNG.standard_normal((9, 4)).astype(np.float32)), until=Stage.INTEGER)
    got = interp.outputs(brain, None, {"x": np.zeros((1, 4), np.float32)})["y"]
    np.testing.assert_allclose(got, [[3.0, -2.0]], atol=0.02)


def test_weights_that_are_integers_already_stay() -> None:
    """A model with quantised weights and float activations, as dynamic-range converters leave it."""
    b = Builder()
    x = b.input("x", (1, 6))
    w = b.const(b.rng.integers(-100, 101, (4, 6)).astype(np.int8), Quant.tensor(0.02, 0), name="w")
    graph = b.graph(b.add("dense", x, w, b.normal(4), name="y"), stage=Stage.CANONICAL)
    samples = RNG.standard_normal((64, 1, 6)).astype(np.float32)
    brain = passes.run(graph, context(samples), until=Stage.INTEGER)
    np.testing.assert_array_equal(brain.array("w"), graph.array("w"))
    assert quality.compare(graph, brain, {"x": samples}, None, None).layers[0].snr_db > 35


def test_batches_are_the_single_runs() -> None:
    """Random networks, float and integer: many samples at once give what each gives alone."""
    together = 0
    for seed in range(8):
        imported = random_network(seed, channels_first=bool(seed % 2))
        shape = imported.type("x").shape
        x = np.random.default_rng(seed).standard_normal((5, *shape)).astype(np.float32)
        float_graph = passes.run(imported, Context(), until=Stage.CANONICAL)
        brain = passes.run(imported, context(x), until=Stage.INTEGER)
        for graph, tolerance in ((float_graph, 1e-4), (brain, 0.0)):
            entry = graph.entries[0]
            together += batch.batched(graph, entry, 5) is not None
            runs = batch.run_batch(graph, entry, batch.samples_of(graph, entry, {"x": x}))
            for i, one in enumerate(x):
                for port, want in interp.outputs(graph, None, {"x": one}).items():
                    got = runs[port].reshape(5, -1)[i]
                    np.testing.assert_allclose(got, want.reshape(-1), rtol=tolerance, atol=tolerance)
    assert together == 16


def test_random_networks_become_integers_that_stay_close() -> None:
    for seed in range(8):
        imported = random_network(seed, channels_first=False)
        x = np.random.default_rng(seed).standard_normal((32, *imported.type("x").shape)).astype(np.float32)
        real = passes.run(imported, Context(), until=Stage.CANONICAL)
        brain = passes.run(imported, context(x), until=Stage.INTEGER)
        assert not [n.op for n in brain.nodes() if n.op not in MOVES | {"to_int", "from_int"} and n.op[0] != "q"]
        assert min(layer.snr_db for layer in quality.compare(real, brain, {"x": x}, None, None).layers) > 20


def test_bias_correction_takes_the_mean_shift_back() -> None:
    """Weights three steps too large, inputs around 1: the means come back to a small part of a step."""
    b = Builder()
    x = b.input("x", (1, 30))
    graph = b.graph(b.add("dense", x, b.normal(4, 30), b.normal(4), name="y"), stage=Stage.CANONICAL)
    samples = {"x": RNG.normal(1, 1, (500, 1, 30)).astype(np.float32)}
    typed = with_types(graph, choose(graph, shared(graph), samples, "mse"))
    w = typed.values[next(n for n in typed.nodes() if n.op == "dense").inputs[1]]
    tilted = const_value(w.name, np.clip(w.array().astype(int) + 3, -127, 127), I8, w.type.quant)
    crooked = typed.replaced(values={**typed.values, w.name: tilted})
    straight = corrected(graph, crooked, graph.entries[0], samples)
    quant = typed.type("y/q").quant
    assert quant
    shifts = [_mean(g, samples) - _mean(graph, samples) for g in (crooked, straight)]
    assert np.abs(shifts[0]).max() > quant.scale[0] and np.abs(shifts[1]).max() < quant.scale[0] / 8


def _mean(graph: Graph, samples: dict[str, Array]) -> Array:
    return np.asarray(batch.run_batch(graph, graph.entries[0], samples)["y"].mean(axis=0))


def test_equalised_graphs_mean_the_same() -> None:
    graph = two_layers(spread=64.0)
    found = list(pairs(graph, graph.entries[0]))
    assert [(p.maker.op, p.reader.op, p.repeats) for p in found] == [
        ("conv2d", "dwconv2d", 1),
        ("dwconv2d", "dense", 9),
    ]
    even = equalised(graph, found, {"x": IMAGES})
    want, got = (interp.run(g, None, {"x": IMAGES[:1]}) for g in (graph, even))
    np.testing.assert_allclose(got["logits"], want["logits"], rtol=1e-4, atol=1e-5)
    assert "h" not in got and got["h/even"].max(axis=(0, 1, 2)).min() > want["h"].max(axis=(0, 1, 2)).min()


def test_equalisation_is_kept_only_where_it_helps() -> None:
    notes: list[str] = []
    uneven = two_layers(spread=64.0)
    kept = equalise(uneven, replace(context(IMAGES), note=notes.append))
    assert kept is not uneven and "dB less noise" in notes[0]
    assert loss(uneven, assign_types(kept, context(IMAGES)), {"x": IMAGES}) < 0.5 * loss(
        uneven, assign_types(uneven, context(IMAGES)), {"x": IMAGES}
    )
    clamped = _clamped(uneven, 6.0)
    assert equalise(clamped, context(IMAGES)) is clamped  # a bound above cannot be scaled by channel


def _clamped(graph: Graph, hi: float) -> Graph:
    entry = graph.entries[0]
    nodes = tuple(replace(n, attrs={**n.attrs, "hi": hi}) if "lo" in n.attrs else n for n in entry.nodes)
    return graph.replaced(entries=(replace(entry, nodes=nodes),))


def test_integer_ports() -> None:
    brain = passes.run(two_layers(), context(IMAGES, io="int8"), until=Stage.INTEGER)
    assert brain.type("x").dtype is I8 and brain.type("p").dtype is I8
    assert not [n for n in brain.nodes() if n.op in ("to_int", "from_int")]
    native = passes.run(two_layers(), context(IMAGES), until=Stage.INTEGER)
    one = {"x": IMAGES[:1]}
    ints = interp.outputs(brain, None, {"x": interp.from_real(one["x"], brain.type("x"))})["p"]
    reals = interp.outputs(native, None, one)["p"]
    np.testing.assert_array_equal(interp.to_real(ints, brain.type("p")), reals)


def test_channels_last_samples_reach_a_turned_port() -> None:
    """`layout = nhwc` turns the port; samples in the model's own order are turned with it."""
    b = Builder()
    x = b.input("x", (1, 3, 6, 7))
    y = b.spatial("conv2d", x, b.normal(4, 3, 3, 3), b.normal(4), channels_first=True, lo=0.0)
    graph = b.graph(y)
    samples = RNG.standard_normal((12, 3, 6, 7)).astype(np.float32)
    native, turned = (passes.run(graph, context(samples, layout=o), until=Stage.INTEGER) for o in ("native", "nhwc"))
    assert turned.type("x").shape == (1, 6, 7, 3)
    want = interp.outputs(native, None, {"x": samples[:1]})[y]
    got = interp.outputs(turned, None, {"x": samples[:1].transpose(0, 2, 3, 1)})[y]
    np.testing.assert_array_equal(got, want.transpose(0, 2, 3, 1))


def _cases(models: Path) -> Iterator[tuple[str, Array, Array]]:
    data = models / "mlperf-tiny" / "data"
    kws = np.load(data / "kws01.npz")
    yield ("kws_dscnn_purefp32", (kws["x"][:400].astype(np.float32) - 83) * np.float32(0.5847029), kws["y"][:400])
    ic = np.load(data / "ic01.npz")
    yield "ic_resnet8_fp32", ic["x"].astype(np.float32), ic["y"]


def test_real_networks_keep_their_accuracy(models: Path) -> None:
    """kws: 300 samples, calibrated on 100 others; ic: 150 and 50. Whole sets: tests/bench/accuracy.py."""
    for name, x, y in _cases(models):
        count = 100 if name.startswith("kws") else 50
        file = models / "mlperf-tiny" / "onnx" / f"{name}.onnx"
        real = passes.run(frontends.load(file, name="m"), Context(), until=Stage.CANONICAL)
        port = real.entries[0].inputs[0]
        given = Context(Options(quantize="int8"), {port: x[:count]})
        found = quality.compare(
            real, passes.run(real, given, until=Stage.INTEGER), {port: x[count:]}, y[count:], "top1"
        )
        assert found.float_value is not None and found.brain_value is not None
        assert found.brain_value > found.float_value - 0.0101, name
        assert min(layer.snr_db for layer in found.layers) > 20

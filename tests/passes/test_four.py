"""Weights of 4 bits for float models: what is found, what is struck from it, and what it costs.

They prove that weights which lie on a grid come back exactly, that no sum grows past what is promised, that random
networks answer near their reals in numpy and in C, and that a network that reads digits hardly loses by it.
"""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Builder, random_network

from brainc import interp, passes, ranges
from brainc.dtypes import I4, U8, Array
from brainc.ir import Graph, Quant, Stage
from brainc.passes.context import Context, Options
from brainc.passes.four import factor, found, nearest

RNG = np.random.default_rng(3)


def lower(graph: Graph, x: Array, group: int = 32) -> Graph:
    """The graph with weights of 4 bits, as integers."""
    options = Options("int8", four={"": group})
    return passes.run(graph, Context(options, {"x": x}), until=Stage.INTEGER)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7, 8])
def test_planted_grids_come_back(most: int) -> None:
    """Integers of any size up to 8 times one scale a group: the same integers (but for a common factor), exactly."""
    steps = RNG.integers(-most, min(most, 7) + 1, (40, 5, 16))
    steps[:, :, 0] = -most
    scales = RNG.uniform(1e-4, 10, (40, 5, 1))
    array, got = nearest(steps * scales)
    np.testing.assert_allclose(array * got[..., None], steps * scales, rtol=1e-9)
    whole = np.gcd.reduce(np.abs(steps), axis=-1) == 1
    np.testing.assert_array_equal(array[whole], steps[whole])


def test_found_is_nearer_than_the_largest_weight_says() -> None:
    """Least squares loses less than a scale of which the largest weight is 7 steps; what is zero stays zero."""
    cells = RNG.standard_normal((200, 32))
    cells[0], cells[1, 3:] = 0.0, 0.0
    array, scales = nearest(cells)
    error = np.square(array * scales[:, None] - cells).sum(axis=1)
    plain = np.maximum(np.abs(cells).max(axis=1, keepdims=True) / 7, 1e-9)
    rounded = np.square(np.clip(np.rint(cells / plain), -8, 7) * plain - cells).sum(axis=1)
    assert np.all(error <= rounded + 1e-12) and error.sum() < 0.95 * rounded.sum()
    assert not array[0].any() and not array[1, 3:].any() and scales.min() > 0


@pytest.mark.parametrize("shape", [(5, 70), (3, 1), (4, 3, 3, 64), (4, 3, 3, 5)])
def test_blocks(shape: tuple[int, ...]) -> None:
    """Blocks run along the last axis where they fit, in a short last one too; else a filter has one scale."""
    real = RNG.standard_normal(shape)
    array, quant = found(real, 32)
    assert len(quant.scale) == np.prod(quant.grid(shape)) and array.shape == shape
    assert np.abs(array * quant.along(quant.scale, shape) - real).max() < 0.6


def dense(k: int, n: int, spread: float = 1.0) -> Graph:
    b = Builder(k)
    x = b.input("x", (1, k))
    return b.graph(b.add("dense", x, b.normal(n, k, scale=spread), b.normal(n)))


@pytest.mark.parametrize(("k", "n", "group"), [(1, 1, 32), (16, 3, 4), (120, 40, 64), (800, 10, 32), (33, 5, 1000)])
def test_sums_stay_within_24_bits(k: int, n: int, group: int) -> None:
    """The largest scale is 255, or less where a sum needs it; the factor has 23 bits, and shifts whole bytes."""
    graph = lower(dense(k, n), RNG.standard_normal((50, k)).astype(np.float32), group)
    (node,) = (m for m in graph.nodes() if m.op == "qdense4")
    assert ranges.accumulator_bits(graph, node) <= 24
    _, w, s, _ = (graph.values[i] for i in node.inputs)
    assert (w.type.dtype, s.type.dtype, w.type.nbytes) == (I4, U8, -(-k * n // 2))
    assert s.array().min() >= 1 and (k > 100 or s.array().max() == 255)
    assert int(str(node.attrs["mult"])) < 1 << 23 and int(str(node.attrs["shift"])) % 8 == 0


def test_the_bounds_of_sums_are_reached() -> None:
    """Of groups and of whole sums: by the inputs that they name, and by none is more."""
    graph = lower(dense(50, 6), RNG.standard_normal((50, 50)).astype(np.float32), 16)
    (node,) = (m for m in graph.nodes() if m.op == "qdense4")
    sums = ranges.group_sums(graph, node, ranges.value_spans(graph))
    w, s, b = (graph.array(i).astype(np.int64) for i in node.inputs[1:])
    x = np.where(w[2] > 0, 127, -128)
    groups = np.add.reduceat(w[2] * x, range(0, 50, 16))
    np.testing.assert_array_equal(sums.groups.hi[2], groups)
    assert sums.total.hi[2] == (groups * s[2]).sum() + max(b[2] << int(str(node.attrs["up"])), 0)
    assert ranges.largest_group(graph, node) == max(
        int(np.add.reduceat(np.maximum(sign * w, 0) * 255, range(0, 50, 16), axis=1).max()) for sign in (1, -1)
    )


@pytest.mark.parametrize("real", [1e-9, 1e-5, 0.003, 0.4, 3.0, 1e4])
def test_factors(real: float) -> None:
    """Within one part in 2^14 where sums are long enough to show it."""
    mult, shift = factor(real, 1 << 25)
    assert 1 <= shift <= 62 and 0 <= mult < 1 << 31
    assert abs(mult / 2.0**shift - real) <= real / (1 << 14)


@pytest.mark.parametrize("seed", range(8))
def test_random_networks(seed: int) -> None:
    """The integers answer near the reals of the same 4 bits; depthwise layers keep 8."""
    graph = random_network(seed, channels_first=bool(seed % 2))
    (port,), outputs = graph.entries[0].inputs, graph.entries[0].outputs
    x = np.random.default_rng(seed).standard_normal((40, *graph.type(port).shape)).astype(np.float32)
    options = Options("int8", four={"": 16})
    typed, got = (passes.run(graph, Context(options, {port: x}), until=s) for s in (Stage.QUANTIZED, Stage.INTEGER))
    assert not {node.op for node in got.nodes()} & {"qdense", "qconv2d", "dense", "conv2d"}
    for one in x[:5]:
        wants, gots = (interp.outputs(g, None, {port: one}) for g in (typed, got))
        for name in outputs:
            step = max(float(np.abs(wants[name]).max()), 1e-3)
            assert np.abs(wants[name] - gots[name]).max() < 0.1 * step


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_digits() -> None:
    """A small perceptron that reads scikit-learn's digits: at most three points below its reals."""
    datasets, neural = pytest.importorskip("sklearn.datasets"), pytest.importorskip("sklearn.neural_network")
    pixels, labels = datasets.load_digits(return_X_y=True)
    pixels = (pixels / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(pixels))
    train, test = order[:1300], order[1300:]
    net = neural.MLPClassifier((24,), max_iter=100, random_state=0).fit(pixels[train], labels[train])
    b = Builder()
    h = b.input("x", (1, 64))
    for index, (w, bias) in enumerate(zip(net.coefs_, net.intercepts_, strict=True)):
        given = {"lo": 0.0} if index == 0 else {}
        h = b.add("dense", h, b.const(w.T.astype(np.float32)), b.const(bias.astype(np.float32)), **given)
    graph = b.graph(h)
    small = lower(graph, pixels[train[:200], None])
    answers = [np.argmax([interp.outputs(g, None, {"x": pixels[i, None]})[h] for i in test], -1).ravel()
               for g in (graph, small)]  # fmt: skip
    whole, four = (float(np.mean(a == labels[test])) for a in answers)
    assert whole > 0.93 and four > whole - 0.03


def test_a_quant_in_blocks() -> None:
    """Its scales go where the numbers go: turned, flattened, and row by row."""
    array, quant = RNG.integers(-8, 8, (3, 7)), Quant(tuple(map(float, range(1, 10))), (0,) * 9, 1, 3)
    real = array * quant.along(quant.scale, (3, 7))
    turned = quant.transposed((1, 0), (3, 7))
    np.testing.assert_array_equal(array.T * turned.along(turned.scale, (7, 3)), real.T)
    higher = quant.reshaped((3, 7), (3, 1, 7, 1))
    assert higher is not None and quant.reshaped((3, 7), (7, 3)) is None and quant.reshaped((3, 7), (21,)) is None
    np.testing.assert_array_equal(array.reshape(3, 1, 7, 1) * higher.along(higher.scale, (3, 1, 7, 1)),
                                  real.reshape(3, 1, 7, 1))  # fmt: skip
    some = quant.taken(0, np.array([2, 0]), (3, 7))
    np.testing.assert_array_equal(array[[2, 0]] * some.along(some.scale, (2, 7)), real[[2, 0]])

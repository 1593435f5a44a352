"""Accumulator bounds are exact: never passed, and reached by some input in some order of adding up."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from graphs import Builder

from brainc.dtypes import I8
from brainc.errors import UnsupportedError
from brainc.expressions import evaluate
from brainc.ir import Graph, Quant, Stage
from brainc.kernels import environment
from brainc.passes import Context
from brainc.passes.widths import prove_widths
from brainc.ranges import accumulator_bits, value_spans

ONE = Quant.tensor(1.0, 0)


def dense(b: Builder, x: str, w: np.ndarray, bias: np.ndarray, **given: int) -> str:
    n = len(w)
    constants = (w.astype(np.int8), bias.astype(np.int32), np.full(n, 1 << 30, np.int32), np.full(n, 35, np.int8))
    return b.add("qdense", x, *(b.const(c) for c in constants), zy=0, quant=ONE, **given)


def last_bits(graph: Graph) -> int:
    return accumulator_bits(graph, list(graph.nodes())[-1])


def bits(lo: int, hi: int) -> int:
    return next(n for n in range(8, 64) if -(1 << (n - 1)) <= lo and hi < 1 << (n - 1))


@pytest.mark.parametrize("seed", range(5))
def test_dense_bounds_are_those_of_brute_force(seed: int) -> None:
    """All corners of the input's range, all orders of the terms, the bias first or anywhere."""
    rng = np.random.default_rng(seed)
    w, bias = rng.integers(-127, 128, (2, 3)), rng.integers(-9000, 9000, 2)
    lo = int(rng.choice([-128, -20, 0]))
    sums = [0]
    for row, start in zip(w, bias, strict=True):
        for x in product((lo, 127), repeat=3):
            for order in permutations([*(row * x), start]):
                sums += np.cumsum(order).tolist()
    b = Builder()
    x = b.input("x", (1, 3), I8, ONE)
    h = b.add("qlut", x, b.const(np.maximum(np.arange(-128, 128), lo).astype(np.int8)), quant=ONE)
    graph = b.graph(dense(b, h, w, bias, lo=-128, hi=127), stage=Stage.INTEGER)
    assert last_bits(graph) == bits(min(sums), max(sums))


def test_a_border_counts_as_input() -> None:
    """The zero point lies outside of what the table before can give, but the border holds it."""
    b = Builder()
    q = Quant.tensor(1.0, -128)
    x = b.input("x", (1, 4, 4, 1), I8, ONE)
    h = b.add("qlut", x, b.const(np.full(256, 1, np.int8)), quant=q)
    assert value_spans(b.graph(h, stage=Stage.INTEGER))[h].ends == (1, 1)
    w = np.full((1, 3, 3, 1), 127, np.int8)
    constants = (w, np.zeros(1, np.int32), np.full(1, 1 << 30, np.int32), np.full(1, 40, np.int8))
    names = [b.const(c) for c in constants]
    y = b.add("qconv2d", h, *names, pads=(1, 1, 1, 1), zx=-128, zy=0, lo=-128, hi=127, quant=ONE)
    assert last_bits(b.graph(y, stage=Stage.INTEGER)) == bits(-128 * 127 * 9, 127 * 9)


def test_kernel_heads_may_ask_for_widths_and_weights() -> None:
    b = Builder()
    x = b.input("x", (1, 2), I8, ONE)
    graph = b.graph(dense(b, x, np.array([[100, -100]]), np.zeros(1)), stage=Stage.INTEGER)
    env = environment(graph, next(graph.nodes()))
    assert evaluate("acc_bits <= 16 and w_min > -128", env)


def test_a_mean_and_a_softmax() -> None:
    b = Builder()
    x = b.input("x", (1, 1000, 3), I8, Quant.tensor(1.0, -128))
    m = b.add("qmean", x, zx=-128, mult=1 << 30, shift=40, zy=0, lo=-128, hi=127, quant=ONE)
    assert last_bits(b.graph(m, stage=Stage.INTEGER)) == bits(0, 255 * 1000)
    table = b.const(np.full(256, 1 << 16, np.int32))
    p = b.add("qsoftmax", m, table, mult=1 << 30, shift=37, zy=-128, lo=-128, hi=127, quant=ONE)
    assert last_bits(b.graph(p, stage=Stage.INTEGER)) == bits(0, (3 << 16) - 1)


def test_a_layer_beyond_32_bits_is_an_error_that_names_it() -> None:
    b = Builder()
    x = b.input("x", (1, 140_000), I8, ONE)
    y = dense(b, x, np.full((1, 140_000), 127), np.zeros(1), lo=-128, hi=127)
    graph = b.graph(y, stage=Stage.INTEGER)
    with pytest.raises(UnsupportedError, match="33 bits") as caught:
        prove_widths(graph, Context())
    assert caught.value.where.node == f"n_{y}" and "smaller" in caught.value.fix
    notes: list[str] = []
    assert prove_widths(small := _fits(), Context(note=notes.append)) is small
    assert notes == ["the widest sum, n_qdense0, has 32 bits at most"]


def _fits() -> Graph:
    b = Builder()
    x = b.input("x", (1, 130_000), I8, ONE)
    return b.graph(dense(b, x, np.full((1, 130_000), 127), np.zeros(1), lo=-128, hi=127), stage=Stage.INTEGER)

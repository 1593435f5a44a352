"""Spans hold: whatever an op or a network answers lies within them, and a layer's are reached."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from graphs import Builder
from planted import hard_inputs, planted_network

from brainc import interp, ops
from brainc.dtypes import I8
from brainc.ir import Attr, Graph, Stage
from brainc.ranges import RISING, Span, value_spans

Array = np.ndarray
OPS = sorted({n for n in ops.all_ops() if n.startswith("q")} | RISING)


def within(array: Array, span: Span) -> bool:
    slices = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    return bool(np.all(slices >= span.lo) and np.all(slices <= span.hi))


@pytest.mark.parametrize("name", OPS)
def test_answers_to_any_numbers_between_those_of_a_case_are_in_the_span(name: str) -> None:
    """The operands of a case become ports behind tables, each channel's own range is that of its numbers."""
    op, rng, count = ops.get(name), np.random.default_rng(1), 0
    for arrays, given in op.make_cases(rng) if op.make_cases else ():
        if any(a is not None and a.dtype == np.float32 for a in arrays):
            continue
        b = Builder()
        names = [b.const(a) if a is not None else "" for a in arrays]
        graph = b.graph(b.add(name, *names, name="y", **given), stage=Stage.INTEGER)
        span = value_spans(graph)["y"]
        for _ in range(4):
            moved = [a if a is None or op.operand_at(i).constant else between(a, rng) for i, a in enumerate(arrays)]
            assert within(op.run(moved, given)[0], span), given
        count += 1
    assert count


def between(array: Array, rng: np.random.Generator) -> Array:
    """Other numbers from the range that each slice of the last axis has."""
    flat = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    lo, hi = flat.min(axis=0).astype(np.int64), flat.max(axis=0).astype(np.int64)
    ends = rng.random(flat.shape) < 0.5
    drawn = np.where(ends, np.where(rng.random(flat.shape) < 0.5, lo, hi), rng.integers(lo, hi + 1, flat.shape))
    return drawn.astype(array.dtype).reshape(array.shape)


@pytest.mark.parametrize("seed", range(24))
def test_networks_stay_within_their_spans(seed: int) -> None:
    graph, _ = planted_network(seed)
    spans = value_spans(graph)
    for inputs in hard_inputs(graph, seed):
        for name, array in interp.run(graph, None, inputs).items():
            assert within(array, spans[name]), name


def layer(op: str, w: Array, rounding: str, **given: Attr) -> Graph:
    b = Builder()
    x = b.input("x", (1, 2) if op == "qdense" else (1, 1, 1, 2), I8)
    count = w.shape[-1] if op == "qdwconv2d" else len(w)
    bias, mult = np.array([500, -3000, 64][:count], np.int32), np.full(count, 1_500_000_000, np.int32)
    constants = [b.const(a) for a in (w, bias, mult, np.full(count, 38, np.int8))]
    return b.graph(b.add(op, x, *constants, name="y", zy=3, round=rounding, **given), stage=Stage.INTEGER)


@pytest.mark.parametrize("rounding", ["once", "tflite"])
@pytest.mark.parametrize(
    ("op", "shape"), [("qdense", (3, 2)), ("qconv2d", (3, 1, 1, 2)), ("qdwconv2d", (1, 1, 2))], ids=str
)
def test_the_ends_of_a_layer_are_reached(op: str, shape: tuple[int, ...], rounding: str) -> None:
    w = np.random.default_rng(3).integers(-127, 128, shape).astype(np.int8)
    graph = layer(op, w, rounding, **({} if op == "qdense" else {"zx": 9}))
    shape_x = graph.type("x").shape
    corners = [np.array(c, np.int8).reshape(shape_x) for c in product((-128, 127), repeat=2)]
    answers = np.stack([interp.outputs(graph, None, {"x": x})["y"].reshape(-1) for x in corners]).astype(np.int64)
    span = value_spans(graph)["y"]
    np.testing.assert_array_equal(span.lo, answers.min(axis=0))
    np.testing.assert_array_equal(span.hi, answers.max(axis=0))

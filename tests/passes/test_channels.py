"""Channels that say nothing go, and not one bit of the answer changes."""

from __future__ import annotations

import numpy as np
import pytest
from planted import planted_network

from brainc import interp, passes
from brainc.ir import Graph
from brainc.passes import Context, Options

SEEDS = range(200)
Array = np.ndarray


def prepared(graph: Graph, *without: str, notes: list[str] | None = None) -> Graph:
    note = [].append if notes is None else notes.append
    return passes.run(graph, Context(Options(without=frozenset(without)), note=note))


def same(one: Graph, other: Graph, seed: int = 0) -> None:
    """Equal to the byte on random inputs, and on the two ends of the range."""
    for number in range(4):
        inputs = interp.random_inputs(one, None, seed + number)
        if number < 2:
            inputs = {k: np.full_like(v, (-128, 127)[number]) for k, v in inputs.items()}
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
    for left_out in ("drop_channels", "settle_forms"):
        same(graph, prepared(graph, left_out), seed)
    shapes = weights(small)
    for layer in planted.layers:
        rows, columns = ([i for i in ids if i not in planted.gone] for ids in (layer.rows, layer.columns))
        shape = shapes.get(layer.node, (0,))
        assert shape[0 if layer.columns else -1] == len(rows), layer
        assert not layer.columns or not rows or shape[-1] == len(columns), layer

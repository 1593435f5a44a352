"""Bias correction: quantised weights and inputs shift a channel's mean; its bias takes the shift back.

Knocks: `assign_types`, with the float graph, its quantised twin and samples. Leaves: the twin with other
biases. Both graphs run side by side, layer after layer, so each correction sees the ones before it.
Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019,
section 4.2 (here with measured instead of assumed means).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from brainc import interp, ops
from brainc.dtypes import I32, Array
from brainc.ir import Entry, Graph, Node, Value, attrs, const_value
from brainc.passes import batch
from brainc.spec import WEIGHTED

HELD = 1 << 24  # numbers that the float run may hold
GRID = 1 / 32  # of an output step: finer shifts would differ between matrix libraries


def corrected(real: Graph, typed: Graph, entry: Entry, samples: Mapping[str, Array]) -> Graph:
    """`typed` with corrected biases in this entry; itself where the samples cannot run side by side."""
    count = _how_many(real, entry, samples)
    pick = np.linspace(0, len(next(iter(samples.values()))) - 1, count).astype(np.int64)
    some = {port: array[pick] for port, array in samples.items()}
    twin = interp.find_entry(typed, entry.name)
    wide_real, wide = batch.batched(real, entry, count), batch.batched(typed, twin, count)
    if wide_real is None or wide is None:
        return typed
    floats = batch.run_batch(real, entry, some)
    found: dict[str, Array] = {p: a.reshape(wide.type(p).shape) for p, a in some.items()}
    biases: dict[str, Value] = {}
    before = {node.name: node for node in wide_real.entries[0].nodes}
    for node in wide.entries[0].nodes:
        operands = [None if not n else found[n] if n in found else wide.array(n) for n in node.inputs]
        if node.op in WEIGHTED and _newly_quantised(wide_real, before[node.name], wide, node):
            y, bias = _correct(wide_real, before[node.name], floats, wide, node, operands)
            biases[bias.name] = bias
            found[node.outputs[0]] = y
        else:
            found.update(zip(node.outputs, interp.run_node(wide, node, operands), strict=True))
    return typed.replaced(values={**typed.values, **biases}) if biases else typed


def _newly_quantised(real: Graph, before: Node, typed: Graph, node: Node) -> bool:
    now = (typed.type(n).quant for n in (*node.inputs[:2], *node.outputs))
    return all(now) and real.type(before.outputs[0]).quant is None


def _how_many(graph: Graph, entry: Entry, samples: Mapping[str, Array]) -> int:
    held = sum(graph.type(out).size for node in entry.nodes for out in node.outputs)
    return max(1, min(len(next(iter(samples.values()))), HELD // max(held, 1)))


def _correct(
    real: Graph,
    before: Node,
    floats: Mapping[str, Array],
    typed: Graph,
    node: Node,
    operands: list[Array | None],
) -> tuple[Array, Value]:
    """(the layer's output with its bias corrected, that bias)."""
    plain = attrs(**{k: v for k, v in node.attrs.items() if k not in ("lo", "hi")})
    op = ops.get(node.op)
    constants = (interp.to_real(real.array(n), real.type(n)) for n in before.inputs[1:])
    wanted = op.run([floats[before.inputs[0]], *constants], plain)[0]
    reals = [
        None if x is None else interp.to_real(x, typed.type(n))
        for n, x in zip(node.inputs, operands, strict=True)
    ]
    got = op.run(reals, plain)[0]
    y, old = typed.type(node.outputs[0]), typed.values[node.inputs[2]]
    assert y.quant is not None and old.type.quant is not None
    step = y.quant.scale[0] * GRID
    axes = tuple(range(got.ndim - 1))
    shift = np.rint((wanted - got).mean(axis=axes, dtype=np.float64) / step) * step
    moved = old.array() + np.rint(shift / np.array(old.type.quant.scale)).astype(np.int64)
    new = const_value(old.name, np.clip(moved, -(1 << 31), (1 << 31) - 1), I32, old.type.quant, old.where)
    lo, hi = (float(node.attrs.get(k, d)) for k, d in (("lo", -np.inf), ("hi", np.inf)))  # type: ignore[arg-type]
    clamped = np.clip(got + shift, lo, hi).astype(np.float32)
    return interp.from_real(clamped, y), replace(new, where=old.where)

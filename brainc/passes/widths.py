"""How wide an accumulator must be: exact, from weights, bias and the range of the input.

Knocks: the pipeline, with an INTEGER graph; kernels that ask whether 16 or 24 bits will do. Leaves: the
same graph, or an UnsupportedError that names the layer. Nothing is estimated: the bound is reached by
some input within the ranges, and every partial sum, in whatever order, stays inside it.
"""

from __future__ import annotations

import numpy as np

from brainc import numerics
from brainc.dtypes import integer_range
from brainc.errors import UnsupportedError, at
from brainc.ir import Graph, Node
from brainc.ops import ints
from brainc.passes.context import Context
from brainc.spec import CHANNEL, MOVES, bounds, number

WIDEST = 32
Range = tuple[int, int]


def prove_widths(graph: Graph, context: Context) -> Graph:
    """The graph itself; UnsupportedError where an accumulator may pass 32 bits."""
    ranges = value_ranges(graph)
    for node in graph.nodes():
        with at(node=node.name, op=node.op):
            bits = _bits(_partial_sums(graph, node, ranges))
            if bits > WIDEST:
                raise UnsupportedError(
                    f"{node.name} adds up to {bits} bits, and brainc's accumulators have {WIDEST}",
                    fix="split the layer into smaller ones, or leave it in float (quantize = none)",
                )
    return graph


def accumulator_bits(graph: Graph, node: Node) -> int:
    """Bits (with sign) that hold every partial sum of this node; 8 for an op that sums nothing up."""
    return _bits(_partial_sums(graph, node, value_ranges(graph)))


def value_ranges(graph: Graph) -> dict[str, Range]:
    """The smallest and largest integer that each integer value may hold."""
    integers = (v for v in graph.values.values() if v.type.dtype.is_integer)
    ranges = {v.name: integer_range(v.type.dtype) for v in integers}
    for node in graph.nodes():
        found = _result(graph, node, ranges)
        if found is not None and node.outputs:
            ranges[node.outputs[0]] = found
    return ranges


def _result(graph: Graph, node: Node, ranges: dict[str, Range]) -> Range | None:
    if node.op in MOVES and all(n in ranges for n in node.operands):
        parts = [ranges[n] for n in node.operands]
        parts += [(_int(node, "value"),) * 2] if node.op == "pad" else []
        return min(lo for lo, _ in parts), max(hi for _, hi in parts)
    if node.op == "qlut":
        lo, hi = ranges[node.inputs[0]]
        answers = graph.array(node.inputs[1])[lo + 128 : hi + 129]
        return int(answers.min()), int(answers.max())
    if "lo" in node.attrs and "hi" in node.attrs and node.op.startswith("q"):
        lo, hi = map(int, bounds(node))
        return lo, hi
    return None


def _partial_sums(graph: Graph, node: Node, ranges: dict[str, Range]) -> Range:
    """The range of every partial sum in any order."""

    def offset(operand: int, zero: str) -> Range:
        lo, hi = ranges[node.inputs[operand]]
        return lo - _int(node, zero), hi - _int(node, zero)

    if node.op[1:] in CHANNEL and node.op.startswith("q"):
        return _weighted(graph, node, ranges[node.inputs[0]])
    if node.op in ("qmul", "qmatmul"):
        corners = [p * q for p in offset(0, "za") for q in offset(1, "zb")]
        terms = graph.type(node.inputs[0]).shape[2] if node.op == "qmatmul" else 1
        return _scaled((min(corners), max(corners)), terms)
    if node.op == "qadd":
        twice = node.attrs.get("round") == "tflite"  # each operand fits once it is shifted: scaling makes it smaller
        steps = (1 << _int(node, "left"),) * 2 if twice else (_int(node, "ma"), _int(node, "mb"))
        a, b = (_scaled(offset(i, f"z{k}"), step) for i, (k, step) in enumerate(zip("ab", steps, strict=True)))
        half = 0 if twice else 1 << (_int(node, "shift") - 1)
        return min(a[0], 0) + min(b[0], 0), max(a[1], 0) + max(b[1], 0) + half
    if node.op in ("qmean", "qavgpool2d"):
        axis = graph.type(node.inputs[0]).shape[1]
        return _scaled(offset(0, "zx"), int(np.prod(ints(node.attrs.get("kernel", (axis,))))))
    if node.op == "qsoftmax":
        bits = 19 if node.attrs.get("round") == "tflite" else numerics.SOFTMAX_BITS
        return 0, (graph.type(node.inputs[0]).shape[1] << bits) - 1  # summed unsigned
    return 0, 0


def _weighted(graph: Graph, node: Node, x: Range) -> Range:
    """The bias with all falling, and with all rising terms: the extremes over the output channels."""
    if any(ints(node.attrs.get("pads", ()))):
        border = _int(node, "zx")
        x = min(x[0], border), max(x[1], border)
    weights = np.moveaxis(graph.array(node.inputs[1]).astype(np.int64), CHANNEL[node.op[1:]], 0)
    flat = weights.reshape(len(weights), -1)
    bias = graph.array(node.inputs[2]).astype(np.int64)
    falling = np.minimum(np.minimum(flat * x[0], flat * x[1]), 0).sum(axis=1) + np.minimum(bias, 0)
    rising = np.maximum(np.maximum(flat * x[0], flat * x[1]), 0).sum(axis=1) + np.maximum(bias, 0)
    return int(falling.min()), int(rising.max())


def _int(node: Node, name: str) -> int:
    return int(number(node.attrs.get(name, 0)))


def _scaled(x: Range, factor: int) -> Range:
    return min(x[0] * factor, x[1] * factor), max(x[0] * factor, x[1] * factor)


def _bits(sums: Range) -> int:
    """Width of the smallest two's complement integer that holds this range, at least 8."""
    lo, hi = sums
    return max(8, 1 + max(hi.bit_length(), (-lo - 1).bit_length() if lo < 0 else 0))

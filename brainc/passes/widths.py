"""How wide an accumulator must be: exact, from weights, bias and the range of the input.

Knocks: the pipeline, with an INTEGER graph; kernels that ask whether 16 or 24 bits will do. Leaves: the
same graph, or an UnsupportedError that names the layer. Nothing is estimated: the bound is reached by
some input within the ranges, and every partial sum, in whatever order, stays inside it.
"""

from __future__ import annotations

import numpy as np

from brainc import numerics
from brainc.dtypes import Array, integer_range
from brainc.errors import UnsupportedError, at
from brainc.ir import Graph, Node
from brainc.ops import ints
from brainc.passes.context import Context
from brainc.spec import MOVES

CHANNEL = {"qconv2d": 0, "qdwconv2d": 2, "qdense": 0}
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
    """The smallest and largest integer that each int8 value may hold."""
    ranges: dict[str, Range] = {}
    for value in graph.values.values():
        if value.type.dtype.is_integer:
            ranges[value.name] = integer_range(value.type.dtype)
    for node in graph.nodes():
        found = _result(graph, node, ranges)
        if found is not None and node.outputs:
            ranges[node.outputs[0]] = found
    return ranges


def _result(graph: Graph, node: Node, ranges: dict[str, Range]) -> Range | None:
    if node.op in MOVES and all(n in ranges for n in node.operands):
        parts = [ranges[n] for n in node.operands]
        if node.op == "pad":
            fill = int(node.attrs.get("value", 0))  # type: ignore[arg-type]
            parts.append((fill, fill))
        return min(lo for lo, _ in parts), max(hi for _, hi in parts)
    if node.op == "qlut":
        lo, hi = ranges[node.inputs[0]]
        answers = graph.array(node.inputs[1])[lo + 128 : hi + 129]
        return int(answers.min()), int(answers.max())
    if "lo" in node.attrs and "hi" in node.attrs and node.op.startswith("q"):
        return int(node.attrs["lo"]), int(node.attrs["hi"])  # type: ignore[arg-type]
    return None


def _partial_sums(graph: Graph, node: Node, ranges: dict[str, Range]) -> Range:
    """The range of every partial sum in any order."""
    if node.op in CHANNEL:
        lo, hi = _weighted(graph, node, ranges[node.inputs[0]])
        return int(lo.min()), int(hi.max())
    if node.op == "qmatmul":
        terms = graph.type(node.inputs[0]).shape[2]
        return _scaled(_product(node, ranges), terms)
    if node.op == "qmul":
        return _product(node, ranges)
    if node.op == "qadd":
        a = _scaled(_offset(node, "za", ranges[node.inputs[0]]), int(node.attrs["ma"]))  # type: ignore[arg-type]
        b = _scaled(_offset(node, "zb", ranges[node.inputs[1]]), int(node.attrs["mb"]))  # type: ignore[arg-type]
        half = 1 << (int(node.attrs["shift"]) - 1)  # type: ignore[arg-type]
        return min(a[0], 0) + min(b[0], 0), max(a[1], 0) + max(b[1], 0) + half
    if node.op in ("qmean", "qavgpool2d"):
        terms = int(np.prod(ints(node.attrs["kernel"]))) if node.op == "qavgpool2d" else 0
        terms = terms or graph.type(node.inputs[0]).shape[1]
        return _scaled(_offset(node, "zx", ranges[node.inputs[0]]), terms)
    if node.op == "qsoftmax":
        return 0, (graph.type(node.inputs[0]).shape[1] << numerics.SOFTMAX_BITS) - 1  # summed unsigned
    return 0, 0


def _weighted(graph: Graph, node: Node, x: Range) -> tuple[Array, Array]:
    """For each output channel: the bias with all falling, and with all rising terms, int64."""
    if node.op != "qdense" and any(ints(node.attrs.get("pads", (0, 0, 0, 0)))):
        border = int(node.attrs["zx"])  # type: ignore[arg-type]
        x = min(x[0], border), max(x[1], border)
    weights = np.moveaxis(graph.array(node.inputs[1]).astype(np.int64), CHANNEL[node.op], 0)
    flat = weights.reshape(len(weights), -1)
    ends = flat * x[0], flat * x[1]
    bias = graph.array(node.inputs[2]).astype(np.int64)
    falling = np.minimum(np.minimum(*ends), 0).sum(axis=1) + np.minimum(bias, 0)
    rising = np.maximum(np.maximum(*ends), 0).sum(axis=1) + np.maximum(bias, 0)
    return falling, rising


def _offset(node: Node, zero: str, x: Range) -> Range:
    z = int(node.attrs[zero])  # type: ignore[arg-type]
    return x[0] - z, x[1] - z


def _product(node: Node, ranges: dict[str, Range]) -> Range:
    a, b = _offset(node, "za", ranges[node.inputs[0]]), _offset(node, "zb", ranges[node.inputs[1]])
    corners = [p * q for p in a for q in b]
    return min(corners), max(corners)


def _scaled(x: Range, factor: int) -> Range:
    ends = (x[0] * factor, x[1] * factor)
    return min(ends), max(ends)


def _bits(sums: Range) -> int:
    """Width of the smallest two's complement integer that holds this range, at least 8."""
    lo, hi = sums
    return max(8, 1 + max(hi.bit_length(), (-lo - 1).bit_length() if lo < 0 else 0))

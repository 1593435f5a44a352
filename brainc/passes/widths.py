"""How wide an accumulator must be: proved from weights, bias and the range of the input.

Knocks: the pipeline, with an INTEGER graph. Leaves: the same graph, or an UnsupportedError that names the layer.
The bounds are those of `ranges.py`: reached by some input within the ranges, and every partial sum, in whatever
order, stays inside them.
"""

from __future__ import annotations

from brainc import ops
from brainc.dtypes import I16
from brainc.errors import UnsupportedError, at
from brainc.ir import Graph, Node
from brainc.passes.context import Context
from brainc.ranges import accumulator_bits

WIDEST = 32  # bits of a sum
WIDEST_ONCE = 48  # of one over int16 that is rounded once, by a multiplier of 15 bits


def most_bits(graph: Graph, node: Node) -> int:
    """The bits that a node's accumulator may have."""
    wide = graph.type(node.operands[0]).dtype is I16 and node.attrs.get("round", "once") == "once"
    return WIDEST_ONCE if wide else WIDEST


def prove_widths(graph: Graph, context: Context) -> Graph:
    """The graph itself; UnsupportedError where an accumulator may pass 32 bits. Notes the widest."""
    widest = (0, "")
    for node in graph.nodes():
        with at(node=node.name, op=node.op):
            bits = accumulator_bits(graph, node)
            if bits > (most := most_bits(graph, node)):
                raise UnsupportedError(
                    f"{node.name} adds up to {bits} bits, and brainc's accumulators have {most}",
                    fix="split the layer into smaller ones, or leave it in float (quantize = none)",
                )
        if ops.get(node.op).exact and ops.get(node.op).macs != "0":
            widest = max(widest, (bits, node.name))
    if widest[1]:
        context.note(f"the widest sum, {widest[1]}, has {widest[0]} bits at most")
    return graph

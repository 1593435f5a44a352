"""How wide an accumulator must be: proved from weights, bias and the range of the input.

Knocks: the pipeline, with an INTEGER graph. Leaves: the same graph, or an UnsupportedError that names the layer.
The bounds are those of `ranges.py`: reached by some input within the ranges, and every partial sum, in whatever
order, stays inside them.
"""

from __future__ import annotations

from brainc import ops
from brainc.errors import UnsupportedError, at
from brainc.ir import Graph
from brainc.passes.context import Context
from brainc.ranges import accumulator_bits

WIDEST = 32


def prove_widths(graph: Graph, context: Context) -> Graph:
    """The graph itself; UnsupportedError where an accumulator may pass 32 bits. Notes the widest."""
    widest = (0, "")
    for node in graph.nodes():
        with at(node=node.name, op=node.op):
            bits = accumulator_bits(graph, node)
            if bits > WIDEST:
                raise UnsupportedError(
                    f"{node.name} adds up to {bits} bits, and brainc's accumulators have {WIDEST}",
                    fix="split the layer into smaller ones, or leave it in float (quantize = none)",
                )
        if ops.get(node.op).exact and ops.get(node.op).macs != "0":
            widest = max(widest, (bits, node.name))
    if widest[1]:
        context.note(f"the widest sum, {widest[1]}, has {widest[0]} bits at most")
    return graph

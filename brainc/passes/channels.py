"""Channels that say nothing go: those that can take one value only, and those that nobody listens to.

Knocks: the pipeline, with an INTEGER graph. Leaves: a smaller one that gives the same bytes. The ranges of
`ranges.py` say which channels are constant, `ties.py` which can go, `shrink.py` takes them out; ports keep their
shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

from brainc import ops
from brainc.expressions import evaluate
from brainc.ir import Graph, Node
from brainc.ops import ints
from brainc.passes.context import Context
from brainc.passes.fold import constant_node
from brainc.passes.rewrite import Replacement, Rule, View, apply, rule
from brainc.passes.shrink import shrunk
from brainc.passes.ties import ALIKE, going
from brainc.passes.widths import most_bits
from brainc.ranges import accumulator_bits, value_spans
from brainc.spec import CHANNEL, MOVES


@dataclass(frozen=True, slots=True)
class Size:
    """What layers cost: output channels, weights, multiply-accumulates."""

    channels: int
    weights: int
    macs: int


def drop_channels(graph: Graph, context: Context) -> Graph:
    """Constant and dead channels are taken out. Sums that are too wide are left for `prove_widths` to refuse."""
    if any(accumulator_bits(graph, node) > most_bits(graph, node) for node in graph.nodes() if node.operands):
        return graph
    small = graph
    while (smaller := _smaller(small)) is not small:
        small = smaller
    old, new = size(graph), size(small)
    if old != new:
        context.note(
            f"dropped {old.channels - new.channels} constant and dead channels: {old.weights:,} -> {new.weights:,} "
            f"weights, {old.macs:,} -> {new.macs:,} MACs"
        )
    return small


def _smaller(graph: Graph) -> Graph:
    cut = shrunk(going(graph, value_spans(graph)))
    return graph if cut is graph else apply(cut, (constant_answer, nothing_moved))


constant_answer = Rule(MOVES - {"assign", "load"} | set(ALIKE) | {f"q{op}" for op in CHANNEL}, constant_node.body)


@rule("concat", "pad", "slice")
def nothing_moved(node: Node, view: View) -> Replacement | None:
    """A move of one operand that has all of the result."""
    x, y = node.inputs[0], node.outputs[0]
    turned = node.op == "slice" and any(step < 0 for step in ints(node.attrs["steps"]))
    same = len(node.inputs) == 1 and view.shape(x) == view.shape(y) and not turned
    return Replacement(renames={y: x}) if same and not view.is_const(x) else None


def size(graph: Graph) -> Size:
    """What the integer layers of a graph cost."""
    layers = [n for n in graph.nodes() if n.op.startswith("q") and n.op[1:] in CHANNEL]
    shapes = [graph.type(n.inputs[1]).shape for n in layers]
    channels = [shape[CHANNEL[n.op[1:]]] for n, shape in zip(layers, shapes, strict=True)]
    macs = [_macs(graph, n) for n in layers]
    return Size(sum(channels), sum(graph.type(n.inputs[1]).size for n in layers), sum(macs))


def _macs(graph: Graph, node: Node) -> int:
    op = ops.get(node.op)
    ins, outs = ([graph.type(n) for n in names] for names in (node.operands, node.outputs))
    return int(evaluate(op.macs, op.bind(ins, outs)))

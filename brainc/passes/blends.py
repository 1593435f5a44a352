"""Gates that mix what was with what comes, as exporters spell them out: one `lerp` each.

Knocks: the canonical passes. Leaves: fewer nodes, and a state whose old and new numbers quantising ties to one scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from brainc.dtypes import F32
from brainc.ir import Graph, Node, attrs
from brainc.passes.canonical import OPEN
from brainc.passes.context import Context
from brainc.passes.rewrite import Replacement, View, apply, rule
from brainc.spec import bounds

Ends = tuple[str, str, str]  # a, b, t of a + t * (b - a)


def name_blends(graph: Graph, context: Context) -> Graph:
    """Sums that lie between two values are `lerp` of these."""
    return apply(graph, (blend,), context.note)


@rule("add", "sub")
def blend(node: Node, view: View) -> Replacement | None:
    """(1-t)*a + t*b, a + t*(b-a), a - t*(a-b) and a - t*a + t*b, operands in any order."""
    for ends in (*_two_parts(node, view), *_a_step(node, view), *_taken_off(node, view)):
        types = [view.type(name) for name in (*ends, *node.outputs)]
        moving = not any(view.is_const(name) for name in ends)
        if moving and all(t == types[0] for t in types) and types[0].dtype is F32 and types[0].quant is None:
            return Replacement((Node(node.name, "lerp", ends, node.outputs, attrs(), node.where),))
    return None


def _parts(name: str, op: str, view: View) -> tuple[str, ...]:
    """The two operands of the `op` (without bounds) that makes `name`; none if another op does."""
    maker = view.producer(name, op)
    return maker.inputs if maker and bounds(maker) == OPEN else ()


def _plain(node: Node, op: str) -> bool:
    return node.op == op and bounds(node) == OPEN


def _turned(pair: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return (pair, pair[::-1]) if pair else ()


def _rest(name: str, view: View) -> str:
    """t, if `name` is 1 - t."""
    for x, one in (*_turned(_parts(name, "add", view)), *_turned(_parts(name, "sub", view))[1:]):
        if view.scalar(one) == 1.0:
            negative = view.producer(x, "unary")
            if view.producer(name, "sub"):
                return x
            if negative and negative.attrs["fn"] == "neg":
                return negative.inputs[0]
    return ""


def _two_parts(node: Node, view: View) -> Iterator[Ends]:
    """(1-t)*a + t*b"""
    if not _plain(node, "add"):
        return
    for first, second in _turned(node.inputs):
        pairs = product(_turned(_parts(first, "mul", view)), _turned(_parts(second, "mul", view)))
        for (rest, a), (t, b) in pairs:
            if _rest(rest, view) == t:
                yield a, b, t


def _a_step(node: Node, view: View) -> Iterator[Ends]:
    """a + t*(b-a) and a - t*(a-b)"""
    adds = _plain(node, "add")
    orders = _turned(node.inputs) if adds else (node.inputs,) if _plain(node, "sub") else ()
    for a, way in orders:
        for t, gap in _turned(_parts(way, "mul", view)):
            found = _parts(gap, "sub", view)
            if found and found[1 if adds else 0] == a:
                yield a, found[0 if adds else 1], t


def _taken_off(node: Node, view: View) -> Iterator[Ends]:
    """(a - t*a) + t*b"""
    if not _plain(node, "add"):
        return
    for first, second in _turned(node.inputs):
        for a, less in (_parts(first, "sub", view),) if _parts(first, "sub", view) else ():
            pairs = product(_turned(_parts(less, "mul", view)), _turned(_parts(second, "mul", view)))
            yield from ((a, b, t) for (gate, same), (t, b) in pairs if gate == t and same == a)

"""A residual sum moves into the layer before it, where the target has a kernel that ends in one.

Knocks: the pipeline, with an INTEGER graph on its way to READY. Leaves: a graph in which `qadd(layer(x), r)` is
`layer(x, r)`: the layer's own result is never stored, and the sum may take the place of r.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from brainc.ir import Entry, Graph, Node, Role, Value, attrs, fresh_name
from brainc.ops import RESIDUAL
from brainc.ops.qadd import qadd
from brainc.passes.context import Context

LAYERS = frozenset({"qconv2d", "qdense"})
SWAPPED = {"za": "zb", "zb": "za", "ma": "mb", "mb": "ma", "sa": "sb", "sb": "sa"}


def fuse_residual(graph: Graph, context: Context) -> Graph:
    """Sums of two activations become the optional operand of the convolution or dense layer that makes one of them."""
    fused, known = 0, graph
    entries = []
    for entry in graph.entries:
        while (found := _first(known, entry, context)) is not None:
            entry, known = found
            fused += 1
        entries.append(entry)
    if not fused:
        return graph
    context.note(f"{fused} residual sums are made by the layers before them")
    return graph.replaced(values=known.values, entries=tuple(entries))


def _first(graph: Graph, entry: Entry, context: Context) -> tuple[Entry, Graph] | None:
    """The entry with its first possible sum fused, and the graph with the values that this needs."""
    makers = {out: node for node in entry.nodes for out in node.outputs}
    readers = Counter([*(name for node in entry.nodes for name in node.operands), *entry.outputs])
    order = {node.name: index for index, node in enumerate(entry.nodes)}

    def chain(name: str) -> list[Node]:
        """The layer that makes `name` for one reader alone, then the views between the two; empty if it is none."""
        nodes: list[Node] = []
        while name in makers and readers[name] == 1:
            nodes.insert(0, makers[name])
            if nodes[0].op != "reshape":
                return nodes if nodes[0].op in LAYERS and len(nodes[0].inputs) == 5 else []
            name = nodes[0].inputs[0]
        return []

    for node in entry.nodes:
        if node.op != "qadd" or len({graph.type(name).size for name in node.inputs}) > 1:
            continue
        chains = sorted((chain(name) for name in node.inputs), key=lambda c: order[c[0].name] if c else -1)
        made = _fused(graph, node, chains[-1]) if chains[-1] and node.inputs[0] != node.inputs[1] else None
        if made and context.has_kernel(made.graph, made.layer):
            gone = {n.name for n in (*chains[-1], node)}
            kept = [made.nodes if n is node else () if n.name in gone else (n,) for n in entry.nodes]
            return replace(entry, nodes=tuple(n for group in kept for n in group)), made.graph
    return None


@dataclass(frozen=True, slots=True)
class Fused:
    """A layer that ends in a sum, the same between the views that it needs, and the graph with their values.

    Without views that is the graph itself: what was found out about its values is kept for that very object.
    """

    layer: Node
    nodes: tuple[Node, ...]
    graph: Graph


def _fused(graph: Graph, node: Node, chain: list[Node]) -> Fused | None:
    """The layer at the head of `chain` with the sum `node` in it; None if their profiles differ."""
    layer, first = chain[0], chain[-1].outputs[0] == node.inputs[0]
    numbers = qadd.full(node.attrs)
    r, y, values = node.inputs[1 if first else 0], node.outputs[0], dict(graph.values)
    if numbers["round"] != layer.attrs.get("round", "once") or values[r].role not in (Role.TEMP, Role.INPUT):
        return None

    def lying(name: str) -> str:
        """The name under which a value has the shape of the layer's result."""
        shape = graph.type(layer.outputs[0]).shape
        if graph.type(name).shape == shape:
            return name
        view = fresh_name(f"{name}/lying", values)
        values[view] = Value(view, replace(graph.type(name), shape=shape), where=node.where)
        return view

    def view(x: str, to: str) -> tuple[Node, ...]:
        shape = attrs(shape=values[to].type.shape)
        return () if x == to else (Node(f"{layer.name}/{to}/view", "reshape", (x,), (to,), shape, node.where),)

    given = tuple(int(str(numbers[name if first else SWAPPED.get(name, name)])) for name in RESIDUAL)
    inner, result = lying(r), lying(y)
    full = attrs(**{**layer.attrs, "residual": given})
    made = replace(layer, inputs=(*layer.inputs, inner), outputs=(result,), attrs=full)
    known = graph if len(values) == len(graph.values) else replace(graph, values=values)
    return Fused(made, (*view(r, inner), made, *view(result, y)), known)

"""The last room: what the target cannot run is refused by name, and what nobody needs goes.

Knocks: an INTEGER graph. Leaves: a READY one, every node of which has a kernel.
"""

from __future__ import annotations

from dataclasses import replace

from brainc import ops
from brainc.errors import UnsupportedError, at
from brainc.ir import Graph, Node, Role, Value, attrs, fresh_name
from brainc.passes.context import Context


def copy_for_views(graph: Graph, context: Context) -> Graph:
    """A reshape of a state or constant copies it: views live in the arena, and a state changes under them."""
    values, entries = dict(graph.values), []
    for entry in graph.entries:
        nodes: list[Node] = []
        for node in entry.nodes:
            copies = node.op == "reshape" and graph.values[node.inputs[0]].role in (Role.STATE, Role.CONST)
            nodes += _copied(graph, node, values) if copies else (node,)
        entries.append(replace(entry, nodes=tuple(nodes)))
    if len(values) == len(graph.values):
        return graph
    return graph.replaced(values=values, entries=tuple(entries))


def _copied(graph: Graph, node: Node, values: dict[str, Value]) -> tuple[Node, Node]:
    source = node.inputs[0]
    type_ = graph.type(source)
    copy = fresh_name(f"{node.name}/copy", values)
    values[copy] = Value(copy, type_, where=node.where)
    rank = len(type_.shape)
    whole = attrs(starts=(0,) * rank, sizes=type_.shape, steps=(1,) * rank)
    return Node(copy, "slice", (source,), (copy,), whole, node.where), replace(node, inputs=(copy,))


def legalize(graph: Graph, context: Context) -> Graph:
    """UnsupportedError naming the first node that the target has no kernel for."""
    for node in graph.nodes():
        if not context.has_kernel(graph, node):
            with at(node=node.name, op=node.op):
                types = ", ".join(str(graph.type(n)) for n in (*node.operands, *node.outputs))
                raise UnsupportedError(
                    f"the target has no kernel for {node.op} ({types})",
                    fix="choose another target, or quantise the model (--quantize int8) if the op is float",
                )
    return graph


def drop_dead(graph: Graph, context: Context) -> Graph:
    """Nodes whose results nobody reads are dropped."""
    entries = []
    for entry in graph.entries:
        wanted, kept = set(entry.outputs), []
        for node in reversed(entry.nodes):
            if wanted & set(node.outputs) or _changes_state(node):
                wanted |= set(node.operands)
                kept.append(node)
        same = len(kept) == len(entry.nodes)
        entries.append(entry if same else replace(entry, nodes=tuple(reversed(kept))))
    if all(new is old for new, old in zip(entries, graph.entries, strict=True)):
        return graph
    return graph.replaced(entries=tuple(entries))


def _changes_state(node: Node) -> bool:
    op = ops.get(node.op)
    return any(op.operand_at(i).mutated for i, name in enumerate(node.inputs) if name)

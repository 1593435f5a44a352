"""The last room: what nobody needs goes, and what the target cannot run is refused by name.

Knocks: an INTEGER graph. Leaves: a READY one, every node of which has a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from brainc import ops
from brainc.errors import UnsupportedError, at
from brainc.ir import Const, Graph, Node, Role, TensorType, Value, attrs, fresh_name
from brainc.passes.context import Context
from brainc.passes.rewrite import renamed
from brainc.spec import changes_state


def drop_dead(graph: Graph, context: Context) -> Graph:
    """Nodes whose results nobody reads are dropped."""
    entries = tuple(replace(e, nodes=alive(e.nodes, e.outputs)) for e in graph.entries)
    return graph if entries == graph.entries else graph.replaced(entries=entries)


def alive(nodes: Iterable[Node], outputs: Iterable[str]) -> tuple[Node, ...]:
    """The nodes that something after them reads, or that change a state."""
    wanted, kept = set(outputs), []
    for node in reversed(tuple(nodes)):
        if wanted & set(node.outputs) or changes_state(node):
            wanted |= set(node.operands)
            kept.append(node)
    return tuple(reversed(kept))


def share_constants(graph: Graph, context: Context) -> Graph:
    """Constants with the same numbers are one: the steps of an unrolled layer read one copy of its weights."""
    first: dict[tuple[Const, TensorType], str] = {}
    same = {n: first.setdefault((v.const, v.type), n) for n, v in graph.values.items() if graph.is_const(n) and v.const}
    if all(name == kept for name, kept in same.items()):
        return graph
    entries = (replace(e, nodes=tuple(renamed(node, same) for node in e.nodes)) for e in graph.entries)
    return graph.replaced(entries=tuple(entries))


def copy_for_views(graph: Graph, context: Context) -> Graph:
    """A reshape of a state or constant copies it: views live in the arena, and a state changes under them."""
    fixed = (Role.STATE, Role.CONST)
    return _copied(graph, lambda n, i: n.op == "reshape" and graph.values[n.inputs[i]].role in fixed, "slice")


def load_constants(graph: Graph, context: Context) -> Graph:
    """A `load` before every node that reads a constant as an activation, where flash is read in another way.

    `a + constant`, a constant first operand of `matmul`: the kernel reads that operand as it reads any
    activation. On AVR it must lie in the arena for that; where memory is one space nothing changes.
    """
    if context.flat:
        return graph
    return _copied(graph, lambda n, i: graph.is_const(n.inputs[i]) and not ops.get(n.op).operand_at(i).constant, "load")


def _copied(graph: Graph, wanted: Callable[[Node, int], bool], op: str) -> Graph:
    """The graph with a copy, made by `op`, in place of every operand that is `wanted`."""
    values, entries = dict(graph.values), []
    for entry in graph.entries:
        nodes: list[Node] = []
        for node in entry.nodes:
            inputs = list(node.inputs)
            for index, name in enumerate(node.inputs):
                if wanted(node, index):
                    type_ = graph.type(name)
                    new = inputs[index] = fresh_name(f"{node.name}/{name if op == 'load' else 'copy'}", values)
                    values[new] = Value(new, type_, where=node.where)
                    rank = len(type_.shape)
                    whole = attrs(starts=(0,) * rank, sizes=type_.shape, steps=(1,) * rank)
                    given = whole if op == "slice" else attrs()
                    nodes.append(Node(new, op, (name,), (new,), given, node.where))
            nodes.append(replace(node, inputs=tuple(inputs)))
        entries.append(replace(entry, nodes=tuple(nodes)))
    same = len(values) == len(graph.values)
    return graph if same else graph.replaced(values=values, entries=tuple(entries))


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

"""Constants where activations are expected, on machines that read flash in another way than RAM.

`a + constant`, a constant first operand of `matmul`: the kernel reads that operand as it reads any
activation. Where memory is one space that is fine; on AVR the constant is loaded into the arena first.
"""

from __future__ import annotations

from dataclasses import replace

from brainc import ops
from brainc.ir import Entry, Graph, Node, Role, Value, fresh_name
from brainc.passes.context import Context


def load_constants(graph: Graph, context: Context) -> Graph:
    """READY: a `load` before every node that reads a constant as an activation; nothing on flat machines."""
    if context.flat:
        return graph
    values = dict(graph.values)
    entries = tuple(_entry(graph, entry, values) for entry in graph.entries)
    same = all(new.nodes == old.nodes for new, old in zip(entries, graph.entries, strict=True))
    return graph if same else graph.replaced(values=values, entries=entries)


def _entry(graph: Graph, entry: Entry, values: dict[str, Value]) -> Entry:
    nodes: list[Node] = []
    for node in entry.nodes:
        inputs = list(node.inputs)
        for index, name in enumerate(node.inputs):
            if graph.is_const(name) and not ops.get(node.op).operand_at(index).constant:
                inputs[index] = fresh_name(f"{node.name}/{name}", values)
                values[inputs[index]] = Value(inputs[index], graph.type(name), Role.TEMP, where=node.where)
                nodes.append(Node(inputs[index], "load", (name,), (inputs[index],), where=node.where))
        nodes.append(replace(node, inputs=tuple(inputs)))
    return replace(entry, nodes=tuple(nodes))

"""Integer ports: with `io = int8` the doors of a quantised brain open onto int8 instead of its own types.

Knocks: `assign_types`. Leaves: a graph whose ports carry int8 and a `Quant` where a `to_int`, `from_int` or
`qshift8` stood right behind them.
"""

from __future__ import annotations

from dataclasses import replace

from brainc.dtypes import I8
from brainc.ir import Entry, Graph, Node, Role, Value

DOORS = frozenset({"to_int", "from_int", "qshift8"})


def integer_ports(graph: Graph) -> Graph:
    """Every port that only a door separates from its int8 twin takes over that twin."""
    values = dict(graph.values)
    entries = tuple(_entry(graph, entry, values) for entry in graph.entries)
    return graph if entries == graph.entries else graph.replaced(values=values, entries=entries)


def _entry(graph: Graph, entry: Entry, values: dict[str, Value]) -> Entry:
    users = graph.consumers()
    gone: set[str] = set()
    names: dict[str, str] = {}
    for node in entry.nodes:
        if node.op not in DOORS:
            continue
        x, y = node.inputs[0], node.outputs[0]
        if x in entry.inputs and len(users[x]) == 1 and _inner(values[y]):
            port, twin = x, y
        elif y in entry.outputs and y not in users and _inner(values[x]) and x not in names:
            port, twin = y, x
        else:
            continue
        values[port] = replace(values[port], type=values[twin].type)
        names[twin] = port
        gone.add(node.name)
    nodes = tuple(_renamed(n, names) for n in entry.nodes if n.name not in gone)
    return replace(entry, nodes=nodes) if gone else entry


def _inner(value: Value) -> bool:
    return value.role is Role.TEMP and value.type.dtype is I8 and value.type.quant is not None


def _renamed(node: Node, names: dict[str, str]) -> Node:
    inputs = tuple(names.get(n, n) for n in node.inputs)
    return replace(node, inputs=inputs, outputs=tuple(names.get(n, n) for n in node.outputs))

"""Ports as the user asked for them: channels last (`--layout nhwc`), or int8 (`--io int8`).

Knocks: the pipeline, when an option says so; otherwise ports keep the model's own type and order. Leaves:
the graph with other port types under the same names.
"""

from __future__ import annotations

from dataclasses import replace

from brainc.dtypes import F32, I8
from brainc.ir import Entry, Graph, Node, Role, TensorType, Value, attrs, fresh_name
from brainc.ops import ints
from brainc.passes.context import Context
from brainc.spec import BINARY

TO_ROWS, FROM_ROWS = (0, 2, 3, 1), (0, 3, 1, 2)
SINGLE = frozenset({"unary", "clamp", "cast", "to_int", "from_int", "qshift8"})


def port_layout(graph: Graph, context: Context) -> Graph:
    """With layout nhwc: image ports whose data is transposed behind the door have channels last."""
    if context.options.layout != "nhwc":
        return graph
    for name in [n for e in graph.entries for n in (*e.inputs, *e.outputs)]:
        if len(graph.type(name).shape) == 4 and _is_turned(graph, name):
            graph = _turn(graph, name)
    return graph


def _is_turned(graph: Graph, name: str) -> bool:
    """Whether the port meets a transposition between image layouts, looking past ops on single elements."""
    inward = graph.values[name].role is Role.INPUT
    consumers, producers = graph.consumers(), graph.producers()
    while True:
        found = consumers.get(name, []) if inward else [producers[name]]
        if not found:
            return False
        if all(node.op == "transpose" for node in found):
            return all(ints(n.attrs["perm"]) == (TO_ROWS if inward else FROM_ROWS) for n in found)
        if len(found) != 1 or not _one_by_one(graph, found[0]):
            return False
        name = found[0].outputs[0] if inward else found[0].inputs[0]
        if not inward and name not in producers:
            return False


def _one_by_one(graph: Graph, node: Node) -> bool:
    """Whether the node works on its first operand element by element."""
    constant = all(graph.is_const(name) for name in node.inputs[1:])
    return node.op in SINGLE or (node.op in BINARY and constant)


def _turn(graph: Graph, name: str) -> Graph:
    """The port with channels last, and a transposition that gives the graph its old order."""
    port = graph.values[name]
    inner = fresh_name(f"{name}/nchw", graph.values)
    shape = tuple(port.type.shape[axis] for axis in TO_ROWS)
    values = {**graph.values, inner: Value(inner, port.type, where=port.where)}
    values[name] = replace(port, type=replace(port.type, shape=shape))
    graph = _behind(graph, name, inner)
    inward = port.role is Role.INPUT
    ends = (name, inner) if inward else (inner, name)
    perm = attrs(perm=FROM_ROWS if inward else TO_ROWS)
    node = Node(f"{name}/nhwc", "transpose", ends[:1], ends[1:], perm, port.where)
    entries = []
    for entry in graph.entries:
        if name in entry.inputs:
            entry = replace(entry, nodes=(node, *entry.nodes))
        elif name in entry.outputs:
            entry = replace(entry, nodes=(*entry.nodes, node))
        entries.append(entry)
    return graph.replaced(values=values, entries=tuple(entries))


def _behind(graph: Graph, name: str, inner: str) -> Graph:
    """Every node reads and writes `inner` instead of the port."""
    entries = tuple(
        replace(entry, nodes=tuple(_renamed(node, name, inner) for node in entry.nodes))
        for entry in graph.entries
    )
    return replace(graph, entries=entries)


def _renamed(node: Node, old: str, new: str) -> Node:
    if old not in (*node.inputs, *node.outputs):
        return node
    inputs, outputs = (tuple(new if n == old else n for n in part) for part in (node.inputs, node.outputs))
    return replace(node, inputs=inputs, outputs=outputs)


def port_types(graph: Graph, context: Context) -> Graph:
    """With io int8: float ports that are quantised at the door (or dequantised there) are int8."""
    if context.options.io != "int8":
        return graph
    for entry in graph.entries:
        for name in (*entry.inputs, *entry.outputs):
            if graph.type(name).dtype is F32:
                graph = _integer_port(graph, name, context)
    return graph


def _integer_port(graph: Graph, name: str, context: Context) -> Graph:
    """One port without its door; a note if it has none, since the brain itself works in float there."""
    inward = graph.values[name].role is Role.INPUT
    doors = graph.consumers().get(name, []) if inward else [graph.producers()[name]]
    inner = {d.outputs[0] if inward else d.inputs[0] for d in doors}
    types = {graph.type(n) for n in inner}
    right = all(d.op == ("to_int" if inward else "from_int") for d in doors)
    if not doors or not right or len(types) != 1 or next(iter(types)).dtype is not I8:
        context.note(f"port {name} stays float: nothing is quantised there")
        return graph
    gone = {d.name for d in doors}
    type_: TensorType = next(iter(types))
    values = {**graph.values, name: replace(graph.values[name], type=type_)}
    if any(graph.values[n].role is not Role.TEMP for n in inner):  # another port already: this one is a copy
        return graph.replaced(values=values, entries=tuple(_copied(e, gone, type_) for e in graph.entries))
    for old in inner:
        graph = _behind(graph, old, name)
    entries = tuple(replace(e, nodes=tuple(n for n in e.nodes if n.name not in gone)) for e in graph.entries)
    return graph.replaced(values=values, entries=entries)


def _copied(entry: Entry, doors: set[str], type_: TensorType) -> Entry:
    """The entry with these doors as copies of what they read."""
    copy = attrs(shape=type_.shape)
    nodes = (replace(n, op="reshape", attrs=copy) if n.name in doors else n for n in entry.nodes)
    return replace(entry, nodes=tuple(nodes))

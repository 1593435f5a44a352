"""Ports and what lies behind them: channels last (`--layout nhwc`), int8 (`--io int8`), no uint8 inside.

Knocks: the pipeline. Leaves: the graph with other port types under the same names where an option asks for
them; otherwise ports keep the model's own type and order, with a node behind the door.
"""

from __future__ import annotations

from dataclasses import replace

from brainc.dtypes import F32, I8, U8
from brainc.ir import Const, Graph, Node, Role, TensorType, Value, attrs, fresh_name
from brainc.numerics import shift_u8
from brainc.ops import ints
from brainc.passes.context import Context
from brainc.passes.rewrite import renamed
from brainc.spec import BINARY, SINGLE, number

TO_ROWS, FROM_ROWS = (0, 2, 3, 1), (0, 3, 1, 2)


def port_layout(graph: Graph, context: Context) -> Graph:
    """With layout nhwc: image ports whose data is transposed behind the door have channels last."""
    if context.options.layout != "nhwc":
        return graph
    for name in [n for e in graph.entries for n in (*e.inputs, *e.outputs)]:
        if len(graph.type(name).shape) == 4 and _is_turned(graph, name):
            graph = _turn(graph, graph.values[name])
    return graph


def _is_turned(graph: Graph, name: str) -> bool:
    """Whether the port meets a transposition between image layouts, looking past ops on single elements."""
    inward = graph.values[name].role is Role.INPUT
    consumers, producers = graph.consumers(), graph.producers()
    while found := consumers.get(name, []) if inward else [producers[n] for n in (name,) if n in producers]:
        if all(node.op == "transpose" for node in found):
            return all(ints(n.attrs["perm"]) == (TO_ROWS if inward else FROM_ROWS) for n in found)
        node = found[0]
        constant = all(graph.is_const(n) for n in node.inputs[1:])
        if len(found) != 1 or not (node.op in SINGLE or (node.op in BINARY and constant)):
            return False
        name = node.outputs[0] if inward else node.inputs[0]
    return False


def _turn(graph: Graph, port: Value) -> Graph:
    """The port with channels last, and a transposition that gives the graph its old order."""
    inner, inward = fresh_name(f"{port.name}/nchw", graph.values), port.role is Role.INPUT
    shape = tuple(port.type.shape[axis] for axis in TO_ROWS)
    values = {**graph.values, inner: Value(inner, port.type, where=port.where)}
    values[port.name] = replace(port, type=replace(port.type, shape=shape))
    x, y, perm = (port.name, inner, FROM_ROWS) if inward else (inner, port.name, TO_ROWS)
    turn = Node(f"{port.name}/nhwc", "transpose", (x,), (y,), attrs(perm=perm), port.where)
    entries = []
    for entry in graph.entries:
        nodes = [renamed(node, {port.name: inner}) for node in entry.nodes]
        before = [turn] if port.name in entry.inputs else []
        after = [turn] if port.name in entry.outputs and not before else []
        entries.append(replace(entry, nodes=(*before, *nodes, *after)))
    return graph.replaced(values=values, entries=tuple(entries))


def port_types(graph: Graph, context: Context) -> Graph:
    """With io int8: float ports that are quantised at the door (or dequantised there) are int8."""
    if context.options.io == "int8":
        for name in [n for e in graph.entries for n in (*e.inputs, *e.outputs)]:
            if graph.type(name).dtype is F32:
                graph = _integer_port(graph, name, context)
    return graph


def _integer_port(graph: Graph, name: str, context: Context) -> Graph:
    """One port without its door; a note if it has none, since the brain itself works in float there."""
    inward = graph.values[name].role is Role.INPUT
    doors = graph.consumers().get(name, []) if inward else [graph.producers()[name]]
    inner = {(d.outputs if inward else d.inputs)[0] for d in doors}
    types, ops = {graph.type(n) for n in inner}, {d.op for d in doors}
    type_ = next(iter(types), graph.type(name))
    if ops != {"to_int" if inward else "from_int"} or len(types) != 1 or type_.dtype is not I8:
        context.note(f"port {name} stays float: nothing is quantised there")
        return graph
    gone = {d.name for d in doors}
    values = {**graph.values, name: replace(graph.values[name], type=type_)}
    entries = []
    for entry in graph.entries:
        if any(graph.values[n].role is not Role.TEMP for n in inner):  # another port already: this is a copy
            copy = attrs(shape=type_.shape)
            nodes = (replace(n, op="reshape", attrs=copy) if n.name in gone else n for n in entry.nodes)
        else:
            nodes = (renamed(n, dict.fromkeys(inner, name)) for n in entry.nodes if n.name not in gone)
        entries.append(replace(entry, nodes=tuple(nodes)))
    return graph.replaced(values=values, entries=tuple(entries))


def u8_to_i8(graph: Graph, context: Context) -> Graph:
    """Every quantised uint8 value inside becomes int8, the zero point moved by 128, which is exact; a port
    keeps its type and has a `qshift8` behind it."""
    twins, values = _twins(graph), dict(graph.values)
    if not twins:
        return graph
    for name, twin in twins.items():
        old, quant = graph.values[name], graph.type(name).quant
        assert quant is not None
        type_ = TensorType(I8, old.type.shape, replace(quant, zero=tuple(z - 128 for z in quant.zero)))
        const = Const.of(shift_u8(old.array())) if old.const else None
        values[twin] = Value(twin, type_, old.role if name == twin else Role.TEMP, const, old.where)
    entries = []
    for entry in graph.entries:
        nodes = [Node(f"{p}/shift", "qshift8", (p,), (twins[p],)) for p in entry.inputs if p in twins]
        nodes += [_shifted(node, twins) for node in entry.nodes]
        nodes += [Node(f"{p}/shift", "qshift8", (twins[p],), (p,)) for p in entry.outputs if p in twins]
        entries.append(replace(entry, nodes=tuple(nodes)))
    return graph.replaced(values=values, entries=tuple(entries))


def _twins(graph: Graph) -> dict[str, str]:
    """Each uint8 value that some op inside works on, and the name of its int8 twin (its own, if no port)."""
    twins: dict[str, str] = {}
    doors = ("from_int", "to_int", "qshift8")
    used = {n for node in graph.nodes() if node.op not in doors for n in (*node.operands, *node.outputs)}
    for name, value in graph.values.items():
        port = value.role in (Role.INPUT, Role.OUTPUT)
        if value.type.dtype is U8 and value.type.quant is not None and (name in used or not port):
            twins[name] = fresh_name(f"{name}/i8", graph.values) if port else name
    return twins


def _shifted(node: Node, twins: dict[str, str]) -> Node:
    """The node on int8 twins; its attributes too, where they are about the numbers themselves."""
    if not any(n in twins for n in (*node.inputs, *node.outputs)):
        return node
    given = dict(node.attrs)
    if node.op in ("to_int", "from_int"):
        given["zero"] = int(number(given["zero"])) - 128
    if node.op == "to_int":
        given["dtype"] = "i8"
    if node.op == "pad":
        given["value"] = number(given.get("value", 0.0)) - 128.0
    return replace(renamed(node, twins), attrs=attrs(**given))

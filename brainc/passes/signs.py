"""One 8-bit type inside: uint8 activations become int8 with the zero point moved by 128, exactly.

Knocks: a graph with quantised uint8 edges. Leaves: the same with int8 edges, and a `qshift8` behind each
uint8 port, which keeps its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from brainc.dtypes import I8, U8
from brainc.ir import Attrs, Const, Entry, Graph, Node, Role, TensorType, Value, attrs, fresh_name
from brainc.numerics import shift_u8
from brainc.passes.context import Context

DOORS = frozenset({"from_int", "to_int", "qshift8"})


def u8_to_i8(graph: Graph, context: Context) -> Graph:
    """Every quantised uint8 value inside becomes int8."""
    twins = _twins(graph)
    if not twins:
        return graph
    values = dict(graph.values)
    for name, twin in twins.items():
        values[twin] = _shifted(graph.values[name], twin)
    entries = tuple(_entry(graph, entry, twins) for entry in graph.entries)
    return graph.replaced(values=values, entries=entries)


def _twins(graph: Graph) -> dict[str, str]:
    """Each uint8 value that some op inside works on, and the name of its int8 twin (its own, if no port)."""
    twins: dict[str, str] = {}
    producers, consumers = graph.producers(), graph.consumers()
    for name, value in graph.values.items():
        if value.type.dtype is not U8 or value.type.quant is None:
            continue
        if value.role not in (Role.INPUT, Role.OUTPUT):
            twins[name] = name
            continue
        around = [*consumers.get(name, ()), *([producers[name]] if name in producers else [])]
        if any(node.op not in DOORS for node in around):
            twins[name] = fresh_name(f"{name}/i8", graph.values)
    return twins


def _shifted(value: Value, name: str) -> Value:
    assert value.type.quant is not None
    quant = replace(value.type.quant, zero=tuple(z - 128 for z in value.type.quant.zero))
    const = Const.of(shift_u8(value.array())) if value.const else None
    role = value.role if name == value.name else Role.TEMP
    return Value(name, TensorType(I8, value.type.shape, quant), role, const, value.where)


def _entry(graph: Graph, entry: Entry, twins: Mapping[str, str]) -> Entry:
    nodes = [_door(port, port, twins[port]) for port in entry.inputs if port in twins]
    nodes += [_shift_node(graph, node, twins) for node in entry.nodes]
    nodes += [_door(port, twins[port], port) for port in entry.outputs if port in twins]
    return replace(entry, nodes=tuple(nodes))


def _door(port: str, source: str, result: str) -> Node:
    return Node(f"{port}/shift", "qshift8", (source,), (result,))


def _shift_node(graph: Graph, node: Node, twins: Mapping[str, str]) -> Node:
    inputs = tuple(twins.get(n, n) for n in node.inputs)
    outputs = tuple(twins.get(n, n) for n in node.outputs)
    if (inputs, outputs) == (node.inputs, node.outputs) and not any(n in twins for n in inputs + outputs):
        return node
    return replace(node, inputs=inputs, outputs=outputs, attrs=_shift_attrs(node))


def _shift_attrs(node: Node) -> Attrs:
    """The attributes that are about the numbers themselves."""
    given = dict(node.attrs)
    if node.op in ("to_int", "from_int"):
        given["zero"] = int(given["zero"]) - 128  # type: ignore[arg-type]
    if node.op == "to_int":
        given["dtype"] = "i8"
    if node.op == "pad":
        given["value"] = float(given.get("value", 0.0)) - 128.0  # type: ignore[arg-type]
    return attrs(**given)

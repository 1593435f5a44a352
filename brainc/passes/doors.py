"""What integers stand for: the quant that `to_int` and `from_int` nodes say, written into types.

Knocks: `fold_qdq`, with an imported graph. Leaves: the graph with a quant on every integer value that such
a node writes or reads, ports included, and on those that are moved to or from one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from brainc.ir import Graph, Node, Quant
from brainc.spec import MOVES

KNOWN = MOVES | {"to_int", "from_int", "argmax"}  # ops that do not mind whether integers have a quant


def annotated(graph: Graph) -> Graph:
    """The graph with those quants; values are left alone where the model contradicts itself."""
    groups = _groups(graph)
    told: dict[str, set[Quant]] = {}
    for node in graph.nodes():
        if node.op in ("to_int", "from_int"):
            name = node.outputs[0] if node.op == "to_int" else node.inputs[0]
            quant = Quant.tensor(float(node.attrs["scale"]), int(node.attrs["zero"]))  # type: ignore[arg-type]
            told.setdefault(groups[name], set()).add(quant)
    barred = {groups[name] for name in _barred(graph)}
    values = dict(graph.values)
    for name, value in graph.values.items():
        said = told.get(groups[name], set())
        if len(said) == 1 and value.type.quant is None and groups[name] not in barred:
            values[name] = replace(value, type=replace(value.type, quant=next(iter(said))))
    if all(values[name] is value for name, value in graph.values.items()):
        return graph
    return graph.replaced(values=values)


def _groups(graph: Graph) -> dict[str, str]:
    """Each value's group: integer values tied together by ops that only move them (union-find)."""
    parent = {name: name for name in graph.values}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for node in graph.nodes():
        if node.op in MOVES and graph.type(node.operands[0]).dtype.is_integer:
            for name in (*node.operands[1:], *node.outputs):
                parent[root(name)] = root(node.operands[0])
    return {name: root(name) for name in graph.values}


def _barred(graph: Graph) -> Iterable[str]:
    """Integer values that some op reads or writes as plain numbers."""
    for name, value in graph.values.items():
        if not value.type.dtype.is_integer:
            yield name
    for node in graph.nodes():
        if _minds(node):
            yield from node.operands
            yield from node.outputs


def _minds(node: Node) -> bool:
    return node.op not in KNOWN and not node.op.startswith("q")

"""A whole model, or the branch of an `If`: ports in, nodes in order, refusals told together.

The frontend's door knocks with a parsed file; a graph at stage IMPORTED leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx

from brainc.errors import ModelError
from brainc.frontends import names
from brainc.frontends.moves import raise_refused
from brainc.frontends.onnx import reader
from brainc.frontends.onnx.importer import Importer
from brainc.frontends.onnx.rules import Call
from brainc.ir import Entry, Graph


def import_model(model: onnx.ModelProto, path: Path, name: str, shapes: Mapping[str, int]) -> Graph:
    """The graph of a parsed model: stage IMPORTED, one entry `step` with the model's own ports."""
    graph = model.graph
    taken = {i.name for i in (*graph.initializer, *graph.input)} | {o for n in graph.node for o in n.output}
    importer = Importer(str(path), path.parent, reader.opsets(model), taken)
    for proto in graph.initializer:
        importer.add_known(proto)
    ports = {p.name: p for p in graph.input if p.name not in importer.known}
    for port, shape in reader.settle_shapes(ports, shapes).items():
        importer.add_input(port, ports[port].type.tensor_type.elem_type, shape)
    importer.walk(in_order(graph))
    raise_refused(importer.refused)
    outputs = tuple(o.name for o in graph.output)
    if not outputs or not all(outputs):
        raise ModelError("the model has no outputs, or one without a name", fix=reader.DAMAGED)
    for output in outputs:
        importer.add_output(output)
    entry = Entry("step", tuple(ports), outputs, tuple(importer.nodes))
    return names.renamed(Graph(name, importer.values, (entry,)), importer.final, {})


def import_branch(g: Importer, c: Call, branch: onnx.GraphProto) -> tuple[str, ...]:
    """The nodes of a subgraph in place of the node that holds it; its results."""
    g.taken.update(o for n in branch.node for o in n.output)
    for proto in branch.initializer:
        g.add_known(proto)
    g.walk(in_order(branch))
    if any(o.name in g.missing for o in branch.output):
        g.missing.update(dict.fromkeys(c.outputs, ""))
        return ()
    return tuple(g.resolve(o.name) for o in branch.output)


def in_order(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the outputs need, each after those that make its operands."""
    producer = {o: i for i, n in enumerate(graph.node) for o in n.output if o}
    needs = {i: {producer[o] for o in _reads(n) if o in producer} for i, n in enumerate(graph.node)}
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        stuck = graph.node[error.args[1][0]]
        what = f"node {stuck.name or stuck.output[0]!r} waits for its own result"
        raise ModelError(what, fix=reader.DAMAGED) from error
    needed, kept = {o.name for o in graph.output}, []
    for node in (graph.node[i] for i in reversed(order)):
        if not needed.isdisjoint(node.output):
            needed.update(_reads(node))
            kept.append(node)
    return kept[::-1]


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """A node's operands, and what its subgraphs take from outside."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _reads(inner)

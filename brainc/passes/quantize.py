"""A float graph gets integer types: every edge that an integer op will touch becomes int8 with a `Quant`.

Knocks: a CANONICAL graph and, for `quantize = int8`, samples. Leaves: a QUANTIZED graph; ops keep their
real meaning. Weights are symmetric per output channel, activations affine per tensor, biases int32; moves
of data share one quantisation; ports stay as the model has them, with a door behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from brainc.dtypes import F32, I8, I32, Array
from brainc.errors import ModelError, UnsupportedError
from brainc.ir import Entry, Graph, Node, Quant, Role, TensorType, Value, attrs, const_value, fresh_name
from brainc.passes import batch, bias, calibrate
from brainc.passes.context import Context
from brainc.passes.integer_build import quantise, real_constant
from brainc.passes.integer_forms import CHANNEL
from brainc.spec import MOVES, WEIGHTED

ALWAYS: Final = frozenset(
    {"add", "sub", "mul", "unary", "clamp", "avgpool2d", "softmax", "matmul"} | WEIGHTED
)
WITH_A_NUMBER: Final = frozenset({"power", "maximum", "minimum"})  # functions of one variable then
REDUCTIONS: Final = frozenset({"mean", "sum", "max"})
FIXED: Final = {
    "softmax": Quant.tensor(1 / 256, -128),
    "sigmoid": Quant.tensor(1 / 256, -128),
    "tanh": Quant.tensor(1 / 128, 0),
}
BIAS_LIMIT = 1 << 30  # steps; a channel of tiny weights gets a scale at which its bias still fits

INFINITE = 1e30


def assign_types(graph: Graph, context: Context) -> Graph:
    """Integer types on every edge that an integer op will touch; the same graph if nobody asked for them."""
    groups = shared(graph) if context.options.quantize == "int8" else []
    if not groups:
        return graph
    samples = needed_samples(graph, context)
    typed = with_types(graph, choose(graph, groups, samples, context.options.calibration))
    for entry in graph.entries:
        typed = bias.corrected(graph, typed, entry, batch.samples_of(graph, entry, samples))
    return typed


def needed_samples(graph: Graph, context: Context) -> Mapping[str, Array]:
    """The user's samples; UnsupportedError with the way to give some where there are none."""
    if context.samples is None:
        ports = ", ".join(f"{n} {graph.type(n)}" for e in graph.entries for n in e.inputs)
        raise UnsupportedError(
            f"quantising {graph.name} to int8 needs samples of its inputs",
            fix=f"--calibrate FILE.npz, an array per input port, first axis = samples ({ports});\n"
            "--calibrate random will do where only sizes matter",
        )
    return context.samples


def has_form(graph: Graph, node: Node) -> bool:
    """Will `lower_to_integers` find an exact op for this node, once its edges are int8?"""
    if node.op == "div":
        return graph.is_const(node.inputs[1]) and bool(graph.array(node.inputs[1]).all())
    if node.op in WITH_A_NUMBER:
        return graph.is_const(node.inputs[1]) and graph.type(node.inputs[1]).size == 1
    if node.op == "reduce":
        return node.attrs["fn"] in REDUCTIONS
    return node.op in ALWAYS


def shared(graph: Graph) -> list[list[str]]:
    """The float values to quantise, grouped: a group's values are moved into each other and share a quant."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    wanted: set[str] = set()
    for node in graph.nodes():
        edges = [n for n in (*node.operands, *node.outputs) if _float_value(graph.values[n])]
        if node.op in MOVES or (node.op == "reduce" and node.attrs["fn"] == "max"):
            for name in edges[1:]:
                leader[find(name)] = find(edges[0])
        if has_form(graph, node):
            wanted.update(edges)
    groups: dict[str, list[str]] = {}
    for name, value in graph.values.items():
        if _float_value(value):
            groups.setdefault(find(name), []).append(name)
    return [group for group in groups.values() if wanted & set(group)]


def _float_value(value: Value) -> bool:
    return value.type.dtype is F32 and value.role is not Role.CONST


def choose(
    graph: Graph, groups: Iterable[list[str]], samples: Mapping[str, Array], calibration: str
) -> dict[str, Quant]:
    """The quantisation of every value: fixed where the op's range is known, else measured on the samples."""
    producers, range_of = graph.producers(), calibrate.method(calibration)
    quants: dict[str, Quant] = {}
    measured: list[tuple[list[str], list[str]]] = []
    for group in groups:
        made = [n for n in group if graph.values[n].role is not Role.STATE]  # it holds what others made
        sources = [n for n in made if n not in producers or producers[n].op not in MOVES]
        fixed = {_fixed(producers[n]) if n in producers else None for n in sources}
        known = fixed.pop() if len(fixed) == 1 else None
        if known is not None:
            quants.update(dict.fromkeys(group, known))
        else:
            measured.append((group, sources))
    histograms: dict[str, calibrate.Histogram] = {}
    for entry in graph.entries:
        own = {*entry.inputs, *(out for node in entry.nodes for out in node.outputs)}
        names = [n for _, sources in measured for n in sources if n in own]
        histograms.update(calibrate.observe(graph, entry, samples, names))
    for group, sources in measured:
        whole = calibrate.Histogram()
        for name in sources:
            whole.merge(histograms[name])
        ends = (*range_of(whole), *_borders(group, producers))
        quants.update(dict.fromkeys(group, calibrate.affine(min(ends), max(ends))))
    return quants


def _fixed(node: Node) -> Quant | None:
    return FIXED.get(str(node.attrs["fn"]) if node.op == "unary" else node.op)


def _borders(group: list[str], producers: Mapping[str, Node]) -> list[float]:
    """Numbers that `pad` puts into this group; those that stand for infinity are cut like any outlier."""
    pads = [producers[n] for n in group if n in producers and producers[n].op == "pad"]
    values = [float(n.attrs.get("value", 0.0)) for n in pads]  # type: ignore[arg-type]
    return [value for value in values if abs(value) < INFINITE]


def with_types(graph: Graph, quants: Mapping[str, Quant]) -> Graph:
    """The graph with these quantisations on its edges, integer weights, and doors at its float ports."""
    values = dict(graph.values)
    inner: dict[str, str] = {}  # a port's name to its int8 twin's
    for name, quant in quants.items():
        value = values[name]
        type_ = TensorType(I8, value.type.shape, quant)
        if value.role is Role.TEMP:
            values[name] = replace(value, type=type_)
        elif value.role is Role.STATE:
            start = const_value(name, quantise(value.array(), quant, -128, 127), I8, quant, value.where)
            values[name] = replace(start, role=Role.STATE)
        else:
            inner[name] = fresh_name(f"{name}/q", values)
            values[inner[name]] = replace(value, name=inner[name], type=type_, role=Role.TEMP)
    users = graph.consumers()
    entries = []
    for entry in graph.entries:
        kept = _without_copies(entry, quants, inner, values)
        nodes = [renamed(_typed(graph, n, quants, values, users), inner) for n in kept]
        doors = _in(entry, inner, values), _out(entry, inner, values)
        last = [n for n in nodes if not n.outputs]  # states change after all have read them, ports too
        first = [n for n in nodes if n.outputs]
        entries.append(replace(entry, nodes=(*doors[0], *first, *doors[1], *last)))
    return graph.replaced(values=values, entries=tuple(entries))


def _without_copies(
    entry: Entry, quants: Mapping[str, Quant], inner: dict[str, str], values: dict[str, Value]
) -> list[Node]:
    """The nodes but those that copy a value to a port: the port's door reads that value's twin itself."""
    kept = []
    for node in entry.nodes:
        x, y = node.inputs[0], node.outputs[0] if node.outputs else ""
        copies = node.op == "reshape" and values[x].type.shape == values[y].type.shape
        if copies and y in inner and x in quants:
            del values[inner[y]]
            inner[y] = inner.get(x, x)
        else:
            kept.append(node)
    return kept


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """The node on values of other names."""
    inputs = tuple(names.get(n, n) for n in node.inputs)
    return replace(node, inputs=inputs, outputs=tuple(names.get(n, n) for n in node.outputs))


def _in(entry: Entry, inner: Mapping[str, str], values: Mapping[str, Value]) -> list[Node]:
    return [_door("to_int", port, inner[port], inner, values) for port in entry.inputs if port in inner]


def _out(entry: Entry, inner: Mapping[str, str], values: Mapping[str, Value]) -> list[Node]:
    return [_door("from_int", inner[port], port, inner, values) for port in entry.outputs if port in inner]


def _door(op: str, x: str, y: str, inner: Mapping[str, str], values: Mapping[str, Value]) -> Node:
    port = x if x in inner else y
    quant = values[inner[port]].type.quant
    assert quant is not None
    given = attrs(scale=quant.scale[0], zero=quant.zero[0])
    return Node(f"{port}/{op}", op, (x,), (y,), given, values[port].where)


def _typed(
    graph: Graph,
    node: Node,
    quants: Mapping[str, Quant],
    values: dict[str, Value],
    users: Mapping[str, list[Node]],
) -> Node:
    """The node with constants of the types that its edges now have; its attributes in raw numbers."""
    if not node.outputs or node.outputs[0] not in quants:
        return node
    if node.op == "pad":
        raw = quantise(np.array(float(node.attrs.get("value", 0.0))), quants[node.outputs[0]], -128, 127)  # type: ignore[arg-type]
        return replace(node, attrs=attrs(**{**node.attrs, "value": float(raw)}))
    if node.op not in WEIGHTED or node.inputs[0] not in quants:
        return node
    made = integer_weights(graph, node, quants[node.inputs[0]].scale[0])
    names = []
    for old, new in zip(node.inputs[1:], made, strict=True):
        name = old if len(users[old]) == 1 else fresh_name(f"{node.name}/{old}", values)
        values[name] = replace(new, name=name)
        names.append(name)
    return replace(node, inputs=(node.inputs[0], *names))


def integer_weights(graph: Graph, node: Node, scale_x: float) -> tuple[Value, Value]:
    """(weights int8, bias int32) of a conv2d, dwconv2d or dense; each output channel has its own scale.

    Weights that are symmetric int8 already keep their numbers and scales.
    """
    old, axis = graph.values[node.inputs[1]], CHANNEL[node.op]
    w, b = real_constant(old), real_constant(graph.values[node.inputs[2]])
    if not (np.isfinite(w).all() and np.isfinite(b).all()):
        what = f"weights of {node.name} are infinite or not a number"
        raise ModelError(what, fix="train the model again, or export it again", where=node.where)
    largest = np.abs(w).max(axis=tuple(i for i in range(w.ndim) if i != axis))
    least = max(float(largest.max()) * 1e-6, 1e-30)  # a dead channel
    scales = np.maximum(np.maximum(largest, least) / 127, np.abs(b) / (scale_x * BIAS_LIMIT))
    quant = old.type.quant
    if old.type.dtype is I8 and quant is not None and quant.axis in (None, axis) and not any(quant.zero):
        scales = np.broadcast_to(np.array(quant.scale), scales.shape)
    grid = Quant(tuple(scales.tolist()), (0,) * len(scales), axis)
    steps = Quant(tuple((scales * scale_x).tolist()), (0,) * len(scales), 0)
    return (
        const_value(node.inputs[1], quantise(w, grid, -128, 127), I8, grid, node.where),
        const_value(node.inputs[2], np.rint(b / (scales * scale_x)), I32, steps, node.where),
    )

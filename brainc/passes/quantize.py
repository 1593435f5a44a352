"""A float graph gets integer types: every edge that an integer op will touch becomes int8 with a `Quant`.

Knocks: a CANONICAL graph and, for `quantize = int8`, samples. Leaves: a QUANTIZED graph; ops keep their
real meaning. Weights are symmetric per output channel, activations affine per tensor, biases int32; moves
of data share one quantisation; ports stay as the model has them, with a door behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from brainc import interp, ops
from brainc.dtypes import F32, I4, I8, I32, Array
from brainc.errors import ModelError, UnsupportedError
from brainc.ir import Entry, Graph, Node, Quant, Role, TensorType, Value, attrs, const_value, fresh_name
from brainc.passes import batch, calibrate, four
from brainc.passes.build import quantise, real_constant
from brainc.passes.context import NONE, Context
from brainc.passes.rewrite import renamed, tied
from brainc.spec import CHANNEL, MOVES, PICKS, WEIGHTED, bounds, number

ALWAYS: Final = WEIGHTED | {
    "add",
    "sub",
    "mul",
    "prelu",
    "unary",
    "clamp",
    "avgpool2d",
    "softmax",
    "matmul",
    "bilinear2d",
    "lerp",
    "gather",
}
WITH_A_NUMBER: Final = frozenset({"power", "maximum", "minimum"})  # functions of one variable then
FIXED: Final = {
    "softmax": Quant.tensor(1 / 256, -128),
    "sigmoid": Quant.tensor(1 / 256, -128),
    "tanh": Quant.tensor(1 / 128, 0),
}
ENOUGH: Final = {"sigmoid": (-6.24, 5.14), "tanh": (-3.12, 2.58)}  # beyond these, int8 answers do not change
BIAS_LIMIT = 1 << 30  # steps; a channel of tiny weights gets a scale at which its bias still fits
INFINITE = 1e30
HELD = 1 << 24  # numbers that the float run of a bias correction may hold
GRID = 1 / 32  # of an output step: finer shifts of a bias would differ between matrix libraries


def assign_types(graph: Graph, context: Context) -> Graph:
    """Integer types on every edge that an integer op will touch; the same graph if nobody asked for them."""
    groups = shared(graph) if context.options.quantize == "int8" else []
    if not groups:
        return graph
    samples = needed_samples(graph, context)
    kept = [n.name for n in graph.nodes() if n.op in WEIGHTED and group_of(n, context.options.four) and not four.may(n)]
    if kept:
        context.note(f"{', '.join(kept)}: convolutions in groups keep weights of 8 bits")
    quants = choose(graph, groups, samples, context.options.calibration)
    typed = with_types(graph, quants, context.options.four)
    for entry in graph.entries:
        typed = corrected(graph, typed, entry, batch.samples_of(graph, entry, samples))
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
    return node.op in ALWAYS or (node.op == "reduce" and node.attrs["fn"] in ("mean", "sum", "max"))


def shared(graph: Graph) -> list[list[str]]:
    """The float values to quantise, grouped: a group's values are moved into each other and share a quant."""
    reals = {n: v for n, v in graph.values.items() if v.type.dtype is F32 and v.role is not Role.CONST}
    wanted: set[str] = set()
    ties = []
    for node in graph.nodes():
        edges = [n for n in (*node.operands, *node.outputs) if n in reals]
        if node.op in MOVES or node.op == "bilinear2d" or (node.op == "reduce" and node.attrs["fn"] == "max"):
            ties.append(edges)
        if node.op == "lerp":  # ends and result: a state that is mixed keeps its steps
            ties.append([n for n in edges if n != node.inputs[2] or n in node.inputs[:2]])
        if has_form(graph, node):
            wanted.update(edges)
    groups: dict[str, list[str]] = {}
    for name, leader in tied(reals, ties).items():
        groups.setdefault(leader, []).append(name)
    return [group for group in groups.values() if wanted & set(group)]


def choose(
    graph: Graph, groups: Iterable[list[str]], samples: Mapping[str, Array], calibration: str
) -> dict[str, Quant]:
    """The quantisation of every value: fixed where the op's range is known, else measured on the samples."""
    producers, users, range_of = graph.producers(), graph.consumers(), calibrate.method(calibration)
    quants: dict[str, Quant] = {}
    measured: list[tuple[list[str], list[str]]] = []
    for group in groups:
        made = [n for n in group if graph.values[n].role is not Role.STATE]  # it holds what others made
        sources = [n for n in made if n not in producers or not _hands_on(producers[n], group, producers)]
        fixed = {_fixed(graph, producers.get(n), producers) for n in sources}
        known = fixed.pop() if len(fixed) == 1 else None
        starts = [end for n in group for end in _start(graph.values[n])]
        if known is not None and _holds(known, starts):
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
        pads = [producers[n] for n in group if n in producers and producers[n].op == "pad"]
        borders = [number(n.attrs.get("value", 0.0)) for n in pads]
        borders += [end for n in group for end in _start(graph.values[n])]
        ends = (*range_of(whole), *(b for b in borders if abs(b) < INFINITE))  # else cut like any outlier
        least, most = enough(graph, group, users)
        quants.update(dict.fromkeys(group, calibrate.affine(max(min(ends), least), min(max(ends), most))))
    return quants


def enough(graph: Graph, group: Iterable[str], users: Mapping[str, list[Node]]) -> calibrate.Range:
    """What those who read a group can tell apart: all numbers, unless only one function does, and saturates."""
    if any(graph.values[name].role is not Role.TEMP for name in group):
        return -INFINITE, INFINITE
    readers = [node for name in group for node in users.get(name, ()) if node.op not in MOVES]
    functions = {str(node.attrs["fn"]) if node.op == "unary" else "" for node in readers}
    only = functions.pop() if len(functions) == 1 else ""
    return ENOUGH.get(only, (-INFINITE, INFINITE))


def _hands_on(node: Node, group: list[str], producers: Mapping[str, Node]) -> bool:
    """Whether a node's result lies among what its operands in the group are: moved, mixed or opened by a gate."""
    if node.op == "lerp":
        return _gates(node.inputs[2], producers)
    return node.op in MOVES or _gated(node, producers) in group


def _gated(node: Node, producers: Mapping[str, Node]) -> str:
    """What a gate lets through, if the node is the product of the two."""
    pairs = (node.inputs, node.inputs[::-1]) if node.op == "mul" else ()
    return next((x for x, gate in pairs if _gates(gate, producers)), "")


def _gates(name: str, producers: Mapping[str, Node]) -> bool:
    """Whether a value lies in 0..1 by what makes it, or made what it is a part of."""
    maker = producers.get(name)
    while maker is not None and maker.op in MOVES and len(maker.operands) == 1:
        maker = producers.get(maker.inputs[0])
    return maker is not None and maker.attrs.get("fn") == "sigmoid"


def _fixed(graph: Graph, node: Node | None, producers: Mapping[str, Node]) -> Quant | None:
    """The quantisation of an op whose range is known, or that of the table whose rows it hands out."""
    if node is None:
        return None
    if node.op in PICKS:
        table = graph.type(node.inputs[0])
        return table.quant if table.dtype is I8 and table.quant and table.quant.axis is None else None
    if passed := _gated(node, producers):
        return _fixed(graph, producers.get(passed), producers)
    return FIXED.get(str(node.attrs["fn"]) if node.op == "unary" else node.op)


def _start(value: Value) -> tuple[float, ...]:
    """The least and the most that a state begins with."""
    if value.role is not Role.STATE or value.const is None:
        return ()
    return float(value.array().min()), float(value.array().max())


def _holds(quant: Quant, ends: Sequence[float]) -> bool:
    """Whether no number between these lies more than half a step outside what int8 spans."""
    steps = np.rint(np.array(ends) / quant.scale[0]) + quant.zero[0]
    return bool(((steps >= -128) & (steps <= 127)).all())


def with_types(graph: Graph, quants: Mapping[str, Quant], in_four: Mapping[str, int] = NONE) -> Graph:
    """The graph with these quantisations on its edges, integer weights, and doors at its float ports.

    in_four: see `Options.four`.
    """
    values = dict(graph.values)
    inner: dict[str, str] = {}  # a port's name to its int8 twin's
    for name, quant in quants.items():
        value = values[name]
        type_ = TensorType(I8, value.type.shape, quant)
        if value.role is Role.TEMP:
            values[name] = replace(value, type=type_)
        elif value.role is Role.STATE:
            start = value.array() if value.const else np.zeros(value.type.shape)
            made = const_value(name, quantise(start, quant), I8, quant, value.where)
            values[name] = replace(made, role=Role.STATE)
        else:
            inner[name] = fresh_name(f"{name}/q", values)
            values[inner[name]] = replace(value, name=inner[name], type=type_, role=Role.TEMP)
    users = graph.consumers()
    entries = []
    for entry in graph.entries:
        kept = _without_copies(entry, quants, inner, values)
        nodes = [renamed(_typed(graph, n, quants, values, users, in_four), inner) for n in kept]
        into = [_door("to_int", p, p, inner[p], values) for p in entry.inputs if p in inner]
        out = [_door("from_int", p, inner[p], p, values) for p in entry.outputs if p in inner]
        first, last = ([n for n in nodes if bool(n.outputs) is made] for made in (True, False))
        entries.append(replace(entry, nodes=(*into, *first, *out, *last)))  # states change when all is read
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


def _door(op: str, port: str, x: str, y: str, values: Mapping[str, Value]) -> Node:
    quant = values[y if op == "to_int" else x].type.quant
    assert quant is not None
    given = attrs(scale=quant.scale[0], zero=quant.zero[0])
    return Node(f"{port}/{op}", op, (x,), (y,), given, values[port].where)


def _typed(
    graph: Graph,
    node: Node,
    quants: Mapping[str, Quant],
    values: dict[str, Value],
    users: Mapping[str, list[Node]],
    in_four: Mapping[str, int],
) -> Node:
    """The node with constants of the types that its edges now have; its attributes in raw numbers."""
    if not node.outputs or node.outputs[0] not in quants:
        return node
    if node.op == "pad":
        raw = quantise(np.array(number(node.attrs.get("value", 0.0))), quants[node.outputs[0]])
        return replace(node, attrs=attrs(**{**node.attrs, "value": float(raw)}))
    if node.op in PICKS:
        quant, old = quants[node.outputs[0]], graph.values[node.inputs[0]]
        name = fresh_name(f"{node.name}/{old.name}", values) if len(users[old.name]) > 1 else old.name
        numbers = old.array() if old.type.quant == quant else quantise(real_constant(old), quant)
        values[name] = const_value(name, numbers, I8, quant, old.where)
        return replace(node, inputs=(name, *node.inputs[1:]))
    if node.op not in WEIGHTED or node.inputs[0] not in quants:
        return node
    names = []
    for new in integer_weights(graph, node, quants[node.inputs[0]].scale[0], group_of(node, in_four)):
        name = new.name if len(users[new.name]) == 1 else fresh_name(f"{node.name}/{new.name}", values)
        values[name] = replace(new, name=name)
        names.append(name)
    return replace(node, inputs=(node.inputs[0], *names))


def group_of(node: Node, in_four: Mapping[str, int]) -> int:
    """How many of a layer's weights are to share a scale, if they are to have 4 bits; else 0."""
    return max((size for start, size in in_four.items() if node.name.startswith(start)), default=0)


def integer_weights(graph: Graph, node: Node, scale_x: float, group: int = 0) -> tuple[Value, Value]:
    """(weights int8, bias int32) of a conv2d, dwconv2d or dense; each output channel has its own scale.

    Weights that are symmetric int8 already keep their numbers and scales, and so do those of 4 bits. With a `group`,
    real ones get 4 bits, and so many terms of a channel one scale.
    """
    old, axis = graph.values[node.inputs[1]], CHANNEL[node.op]
    w, b = real_constant(old), real_constant(graph.values[node.inputs[2]])
    if not (np.isfinite(w).all() and np.isfinite(b).all()):
        what = f"weights of {node.name} are infinite or not a number"
        raise ModelError(what, fix="train the model again, or export it again", where=node.where)
    if (group and old.type.quant is None and four.may(node)) or four.holds(node, old.type):
        return four.weights(old, graph.values[node.inputs[2]], node, scale_x, group)
    largest = np.abs(w).max(axis=tuple(i for i in range(w.ndim) if i != axis))
    least = max(float(largest.max()) * 1e-6, 1e-30)  # a dead channel
    scales = np.maximum(np.maximum(largest, least) / 127, np.abs(b) / (scale_x * BIAS_LIMIT))
    quant = old.type.quant
    whole = quant is not None and not quant.block and quant.axis in (None, axis) and not any(quant.zero)
    if old.type.dtype in (I4, I8) and quant is not None and whole:
        scales = np.broadcast_to(np.array(quant.scale), scales.shape)
    grid = Quant(tuple(scales.tolist()), (0,) * len(scales), axis)
    steps = Quant(tuple((scales * scale_x).tolist()), (0,) * len(scales), 0)
    return (
        const_value(node.inputs[1], quantise(w, grid), I8, grid, node.where),
        const_value(node.inputs[2], np.rint(b / (scales * scale_x)), I32, steps, node.where),
    )


def corrected(real: Graph, typed: Graph, entry: Entry, samples: Mapping[str, Array]) -> Graph:
    """`typed` with corrected biases in this entry; itself where the samples cannot run side by side.

    Quantised weights and inputs shift a channel's mean; its bias takes the shift back. Both graphs run side
    by side, layer after layer, so each correction sees the ones before it; of a brain that remembers both read the
    states of the float one, call after call. Source: Nagel et al., Data-Free
    Quantization Through Weight Equalization and Bias Correction, 2019, section 4.2, with measured means.
    """
    available = len(next(iter(samples.values())))
    count = max(1, min(available, HELD // max(batch.held(entry, real), 1)))
    remembers = any(value.role is Role.STATE for value in real.values.values())
    pick = np.arange(count) if remembers else np.linspace(0, available - 1, count).astype(np.int64)
    some = {port: array[pick] for port, array in samples.items()}
    wide_real, wide = (batch.batched(*batch.told_states(g, entry.name), count) for g in (real, typed))
    if wide_real is None or wide is None:
        return typed
    floats = batch.run_batch(real, entry, some)
    found: dict[str, Array] = {p: a.reshape(wide.type(p).shape) for p, a in some.items()}
    for name in set(wide.entries[0].inputs) - set(some):  # states
        found[name] = interp.from_real(floats[name], wide.type(name)).reshape(wide.type(name).shape)
    biases: dict[str, Value] = {}
    before = {node.name: node for node in wide_real.entries[0].nodes}
    for node in wide.entries[0].nodes:
        operands = [None if not n else found[n] if n in found else wide.array(n) for n in node.inputs]
        edges = (*node.inputs[:2], *node.outputs)
        if node.op in WEIGHTED and all(wide.type(n).quant for n in edges):
            old = before[node.name]
            if wide_real.type(old.outputs[0]).quant is None:
                constants = (interp.to_real(real.array(n), real.type(n)) for n in old.inputs[1:])
                found[node.outputs[0]], bias = _correct([floats[old.inputs[0]], *constants], wide, node, operands)
                biases[bias.name] = bias
                continue
        found.update(zip(node.outputs, interp.run_node(wide, node, operands), strict=True))
    return typed.replaced(values={**typed.values, **biases}) if biases else typed


def _correct(floats: list[Array], typed: Graph, node: Node, operands: list[Array | None]) -> tuple[Array, Value]:
    """(the layer's output with its bias corrected, that bias); floats: the operands of its float twin."""
    plain = attrs(**{k: v for k, v in node.attrs.items() if k not in ("lo", "hi")})
    named = zip(node.inputs, operands, strict=True)
    reals = [None if x is None else interp.to_real(x, typed.type(n)) for n, x in named]
    wanted, got = (ops.get(node.op).run(some, plain)[0] for some in (floats, reals))
    y, old = typed.type(node.outputs[0]), typed.values[node.inputs[2]]
    assert y.quant is not None and old.type.quant is not None
    step = y.quant.scale[0] * GRID
    shift = np.rint((wanted - got).mean(axis=tuple(range(got.ndim - 1)), dtype=np.float64) / step) * step
    moved = old.array() + np.rint(shift / np.array(old.type.quant.scale)).astype(np.int64)
    bias = const_value(old.name, np.clip(moved, -(1 << 31), (1 << 31) - 1), I32, old.type.quant, old.where)
    return interp.from_real(np.clip(got + shift, *bounds(node)).astype(np.float32), y), bias

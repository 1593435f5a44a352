"""From meant-as-integers to integers: the room where scales become multipliers.

Knocks: a QUANTIZED graph, whose ops still have their real meaning on edges that carry a `Quant`.
Leaves: an INTEGER graph. A node whose edges are all int8 becomes its exact `q` op (`integer_forms.py`),
moves of data stay as they are on the raw numbers, and what has no integer form stays real between
`from_int` and `to_int`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from brainc.dtypes import F32
from brainc.ir import Attrs, Entry, Graph, Node, Role, TensorType, attrs
from brainc.passes import integer_forms as forms
from brainc.passes.context import Context
from brainc.passes.integer_build import Build, quantised
from brainc.spec import CLAMPED, MOVES

DOORS: Final = frozenset({"from_int", "to_int"})

Form = Callable[[Build, Node], bool]
FORMS: Final[dict[str, tuple[Form, ...]]] = {
    "conv2d": (forms.convolution,),
    "dwconv2d": (forms.convolution,),
    "dense": (forms.convolution,),
    "add": (forms.table, forms.addition),
    "sub": (forms.table, forms.addition),
    "mul": (forms.table, forms.product),
    "div": (forms.table, forms.quotient),
    "power": (forms.table,),
    "maximum": (forms.table,),
    "minimum": (forms.table,),
    "unary": (forms.table,),
    "clamp": (forms.table,),
    "avgpool2d": (forms.average,),
    "reduce": (forms.reduction,),
    "softmax": (forms.softmax,),
    "matmul": (forms.matrix_product,),
}


def lower_to_integers(graph: Graph, context: Context) -> Graph:
    """Every real op all of whose edges are int8 becomes exact; UnsupportedError where int32 is too small."""
    graph = _fuse_clamps(graph)
    build = Build(graph)
    entries = tuple(_entry(build, entry) for entry in graph.entries)
    if entries == graph.entries:
        return graph
    return graph.replaced(values=build.values, entries=entries)


def _entry(build: Build, entry: Entry) -> Entry:
    build.begin()
    for node in entry.nodes:
        _lower(build, node)
    return replace(entry, nodes=_alive(build.nodes, entry.outputs))


def _alive(nodes: list[Node], outputs: tuple[str, ...]) -> tuple[Node, ...]:
    """The nodes that something after them reads (a real twin of a value may have lost its readers)."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.outputs) or node.op not in DOORS:
            wanted |= set(node.operands)
            kept.append(node)
    return tuple(reversed(kept))


def _lower(build: Build, node: Node) -> None:
    if node.op == "to_int" and forms.rescale(build, node):
        return
    touches = any(quantised(build.values[n].type) for n in (*node.operands, *node.outputs))
    if node.op in DOORS or node.op.startswith("q") or not touches:
        build.add(node)
        return
    done = _raw(build, node) or (
        forms.all_int8(build, node) and any(form(build, node) for form in FORMS.get(node.op, ()))
    )
    if not done:
        _stay_real(build, node)


def _raw(build: Build, node: Node) -> bool:
    """Moves of data work on the integers themselves, once all are quantised like the result (or state)."""
    wanted = build.values[(*node.outputs, *node.inputs)[0]].type
    if node.op == "argmax":
        build.add(node)
        return True
    if node.op not in MOVES or not all(
        quantised(build.values[n].type) for n in (*node.operands, *node.outputs)
    ):
        return False
    build.add(replace(node, inputs=tuple(build.requantised(n, wanted, node) for n in node.inputs)))
    return True


def _stay_real(build: Build, node: Node) -> None:
    """No integer form: the same op on real twins of its values."""
    inputs = tuple(build.real(n, node) if n else n for n in node.inputs)
    real_outputs, doors = [], []
    for name in node.outputs:
        type_ = build.values[name].type
        if not quantised(type_) or type_.quant is None:
            real_outputs.append(name)
            continue
        twin = build.value(f"{name}/real", TensorType(F32, type_.shape), node)
        given = attrs(scale=type_.quant.scale[0], zero=type_.quant.zero[0], dtype=type_.dtype.name)
        doors.append(Node(f"{twin}/to_int", "to_int", (twin,), (name,), given, node.where))
        real_outputs.append(twin)
    build.add(replace(node, inputs=inputs, outputs=tuple(real_outputs)))
    for door in doors:
        build.add(door)


def _fuse_clamps(graph: Graph) -> Graph:
    """A clamp between values of one quantisation becomes the bounds of the op that writes its operand."""
    consumers, producers = graph.consumers(), graph.producers()
    merged: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes():
        before = producers.get(node.inputs[0]) if node.op == "clamp" else None
        if before is None or before.op not in CLAMPED or before.name in merged:
            continue
        x, y = graph.values[node.inputs[0]], graph.values[node.outputs[0]]
        if x.role is Role.TEMP and len(consumers[x.name]) == 1 and x.type.quant == y.type.quant is not None:
            merged[before.name] = replace(before, outputs=node.outputs, attrs=_both(before, node))
            gone.add(node.name)
    if not merged:
        return graph
    entries = tuple(
        replace(e, nodes=tuple(merged.get(n.name, n) for n in e.nodes if n.name not in gone))
        for e in graph.entries
    )
    return graph.replaced(entries=entries)


def _both(first: Node, second: Node) -> Attrs:
    """The attributes of `first` with the clamp of `second` after its own."""
    bounds = [(_bound(n, "lo", -math.inf), _bound(n, "hi", math.inf)) for n in (first, second)]
    (lo, hi), (then_lo, then_hi) = bounds
    lo, hi = (min(max(b, then_lo), then_hi) for b in (lo, hi))
    return attrs(**{**first.attrs, "lo": lo, "hi": hi})


def _bound(node: Node, name: str, default: float) -> float:
    return float(node.attrs.get(name, default))  # type: ignore[arg-type]

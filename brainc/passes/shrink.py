"""A graph without the channels that go: every node cut to size, what is constant folded into biases.

Knocks: `channels.py`, with what `ties.py` found. Leaves: the smaller graph, which answers the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from brainc import ops
from brainc.dtypes import Array
from brainc.ir import Entry, Graph, Node, Quant, Role, Value, attrs, const_value, fresh_name
from brainc.ops import ints
from brainc.passes.ties import ALIKE, Going, parts
from brainc.ranges import span, sums
from brainc.spec import changes_state, number


class Shrink:
    """The workbench: values under way, and what goes of them."""

    def __init__(self, going: Going) -> None:
        self.graph, self.spans, self.going = going.graph, going.spans, going
        self.values: dict[str, Value] = dict(self.graph.values)
        self._readers = {name: len(nodes) for name, nodes in self.graph.consumers().items()}
        for name, may in going.may.items():
            old = self.values[name]
            if may.any():
                shape = (*old.type.shape[:-1], int((~may).sum()))
                self.values[name] = replace(old, type=replace(old.type, shape=shape))

    def stays(self, name: str) -> Array:
        return ~self.going.goes(name)

    def const(self, name: str, cuts: Mapping[int, Array], array: Array | None = None) -> str:
        """The constant `name` (or other numbers in its place) with what stays of some axes, under its own name if
        nobody else reads it."""
        if array is None and all(stays.all() for stays in cuts.values()):
            return name
        old = self.graph.values[name]
        numbers, quant = old.array() if array is None else array, old.type.quant
        for axis, stays in cuts.items():
            numbers = np.compress(stays, numbers, axis=axis)
            if quant is not None and quant.axis == axis:
                kept = np.flatnonzero(stays)
                quant = Quant(tuple(quant.scale[i] for i in kept), tuple(quant.zero[i] for i in kept), axis)
        new = name if self._readers[name] == 1 else fresh_name(name, self.values)
        self.values[new] = const_value(new, numbers, old.type.dtype, quant, old.where)
        return new

    def settled(self, node: Node) -> bool:
        """Whether all that stays of a node's result is always the same."""
        if len(node.outputs) != 1 or node.outputs[0] not in self.spans or changes_state(node) or node.op == "load":
            return False
        return bool(self.spans[node.outputs[0]].fixed[self.stays(node.outputs[0])].all())

    def constant(self, node: Node) -> tuple[Node, ...]:
        """The result of `node` as a constant; a port needs a node that copies it there."""
        old = self.values[node.outputs[0]]
        numbers = self.spans[old.name].lo[self.stays(old.name)].reshape(old.type.shape[-1:])
        array = np.broadcast_to(numbers, old.type.shape)
        if old.role is not Role.OUTPUT:
            self.values[old.name] = const_value(old.name, array, old.type.dtype, old.type.quant, old.where)
            return ()
        name = fresh_name(f"{old.name}/constant", self.values)
        self.values[name] = const_value(name, array, old.type.dtype, old.type.quant, old.where)
        return (Node(node.name, "load", (name,), node.outputs, attrs(), node.where),)


def shrunk(going: Going) -> Graph:
    """The graph without what goes; the same object if nothing does."""
    bench = Shrink(going)
    entries = tuple(_entry(bench, entry) for entry in bench.graph.entries)
    if (entries, bench.values) == (bench.graph.entries, bench.graph.values):
        return bench.graph
    return bench.graph.replaced(values=bench.values, entries=entries)


def _entry(bench: Shrink, entry: Entry) -> Entry:
    nodes: list[Node] = []
    for node in entry.nodes:
        if node.outputs and all(bench.going.goes(n).all() for n in node.outputs):
            continue
        if bench.settled(node):
            nodes += bench.constant(node)
        else:
            nodes.append(CUTS.get(node.op, _as_it_is)(bench, node))
    return replace(entry, nodes=tuple(nodes))


def _as_it_is(bench: Shrink, node: Node) -> Node:
    return node


def _alike(bench: Shrink, node: Node) -> Node:
    """Constant operands lose the channels that the result loses; tables and scales have none."""
    stays, inputs = bench.stays(node.outputs[0]), list(node.inputs)
    for index, name in enumerate(inputs):
        shape = bench.graph.type(name).shape if name else ()
        beside = bench.graph.is_const(name) and not ops.get(node.op).operand_at(index).constant
        if beside and shape:
            inputs[index] = bench.const(name, {len(shape) - 1: stays})
    return replace(node, inputs=tuple(inputs))


def _depthwise(bench: Shrink, node: Node) -> Node:
    x, w, *rows = node.inputs
    stays = bench.stays(node.outputs[0])
    return replace(node, inputs=(x, bench.const(w, {2: stays}), *_rows(bench, rows, stays)))


def _rows(bench: Shrink, names: Sequence[str], stays: Array) -> list[str]:
    """Bias, mult and shift without the rows that go; one scale for all rows stays."""
    sizes = [bench.graph.type(name).shape[0] for name in names]
    return [bench.const(n, {0: stays}) if size == len(stays) else n for n, size in zip(names, sizes, strict=True)]


def _layer(bench: Shrink, node: Node) -> Node:
    """Rows and columns that go are cut off; constant inputs go into the bias; constant rows weigh nothing."""
    x, w, b, *scales = node.inputs
    goes, stays = bench.going.goes(x), bench.stays(node.outputs[0])
    old, span_x = bench.graph.array(w), span(bench.graph, x, bench.spans)
    idle = bench.spans[node.outputs[0]].fixed & (old != 0).reshape(len(old), -1).any(axis=1)
    if node.attrs.get("group", 1) != 1 or not (goes.any() or not stays.all() or idle.any()):
        return node
    taps = old.astype(np.int64).reshape(len(old), -1, old.shape[-1]).sum(axis=1)
    bias = bench.graph.array(b) + taps @ np.where(goes & span_x.fixed, span_x.lo, 0)
    bias = np.where(idle, sums(bench.graph, node, bench.spans)[0], bias)
    weights = np.where(idle.reshape(-1, *[1] * (old.ndim - 1)), 0, old)
    columns = {0: stays, old.ndim - 1: ~goes}
    new = bench.const(w, columns, weights), bench.const(b, {0: stays}, bias)
    return replace(node, inputs=(x, *new, *_rows(bench, scales, stays)))


def _shaped(bench: Shrink, node: Node) -> Node:
    """An attribute that is the result's shape."""
    return replace(node, attrs=attrs(**{**node.attrs, "shape": bench.values[node.outputs[0]].type.shape}))


def _concat(bench: Shrink, node: Node) -> Node:
    """Operands of which nothing stays are left out, constants are cut."""
    axis, stays = int(number(node.attrs["axis"])), bench.stays(node.outputs[0])
    if axis != len(bench.graph.type(node.outputs[0]).shape) - 1:
        return node
    inputs = []
    for name, part in zip(node.inputs, parts(bench.graph, node), strict=True):
        if stays[part].any():
            inputs.append(bench.const(name, {axis: stays[part]}) if bench.graph.is_const(name) else name)
    return replace(node, inputs=tuple(inputs))


def _pad(bench: Shrink, node: Node) -> Node:
    before, after, stays = ints(node.attrs["before"]), ints(node.attrs["after"]), bench.stays(node.outputs[0])
    first, last = stays[: before[-1]].sum(), stays[len(stays) - after[-1] :].sum()
    given = {**node.attrs, "before": (*before[:-1], int(first)), "after": (*after[:-1], int(last))}
    return replace(node, attrs=attrs(**given))


def _slice(bench: Shrink, node: Node) -> Node:
    starts, sizes = ints(node.attrs["starts"]), ints(node.attrs["sizes"])
    first = bench.stays(node.inputs[0])[: starts[-1]].sum()
    kept = bench.stays(node.outputs[0]).sum()
    given = {**node.attrs, "starts": (*starts[:-1], int(first)), "sizes": (*sizes[:-1], int(kept))}
    return replace(node, attrs=attrs(**given)) if ints(node.attrs["steps"])[-1] == 1 else node


Cut = Callable[[Shrink, Node], Node]
CUTS: dict[str, Cut] = {
    **dict.fromkeys(ALIKE, _alike),
    **dict.fromkeys(("qdense", "qconv2d"), _layer),
    **dict.fromkeys(("reshape", "expand"), _shaped),
    **{"qdwconv2d": _depthwise, "concat": _concat, "pad": _pad, "slice": _slice},
}

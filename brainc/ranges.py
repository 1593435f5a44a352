"""What each integer may be: bounds, channel by channel, from the weights and from what flows in.

Knocks: the passes that prove widths and drop channels; kernel heads that ask whether 24 bits will do.
Leaves: for every integer value the smallest and largest number of each slice of its last axis, and for every
node the bounds of its sums. No input is estimated or tried: the bounds hold for all that may come, and those of
sums are reached by some input within the ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import numpy as np

from brainc import numerics, ops
from brainc.dtypes import I8, Array, integer_range
from brainc.ir import Graph, Node
from brainc.ops import ints
from brainc.spec import CHANNEL, MOVES, number

RISING = (MOVES - {"assign"}) | {"qmean", "qavgpool2d", "qshift8"}  # larger operands, larger results
CORNERS = frozenset({"qadd", "qmul"})  # monotone in each operand, whichever way: the ends meet at corners
LAYERS = {**{f"q{op}": axis for op, axis in CHANNEL.items()}, "qdot": 0}  # the axis of the weights that channels are
FOUR = frozenset({"qdense4", "qconv4"})  # layers with weights of 4 bits, in groups that are scaled
REMEMBERED = 4  # graphs whose spans are kept: kernels ask node by node


@dataclass(frozen=True, slots=True)
class Span:
    """The smallest and largest number of each slice along a value's last axis; int64 [C]."""

    lo: Array
    hi: Array

    @property
    def ends(self) -> tuple[int, int]:
        return int(self.lo.min()), int(self.hi.max())

    @property
    def fixed(self) -> Array:
        """Which slices can hold but one number."""
        return np.asarray(self.lo == self.hi)


Spans = Mapping[str, Span]


class _Same:
    """A graph as a key: itself, not one that looks like it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __hash__(self) -> int:
        return id(self.graph)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.graph is other.graph


def value_spans(graph: Graph) -> Spans:
    """The spans of every integer value that is no constant."""
    return _value_spans(_Same(graph))


@lru_cache(maxsize=REMEMBERED)
def _value_spans(same: _Same) -> Spans:
    graph, spans = same.graph, dict[str, Span]()
    for value in graph.values.values():
        if value.type.dtype.is_integer and not graph.is_const(value.name):
            spans[value.name] = everything(graph, value.name)
    for node in graph.nodes():
        if node.outputs and node.outputs[0] in spans:
            found = _result(graph, node, spans)
            if found is not None:
                spans[node.outputs[0]] = found
    return spans


def everything(graph: Graph, name: str) -> Span:
    """All that the value's type can hold."""
    type_ = graph.type(name)
    return _level(integer_range(type_.dtype), type_.shape[-1] if type_.shape else 1)


def _level(ends: tuple[int, int], count: int) -> Span:
    return Span(np.full(count, ends[0], np.int64), np.full(count, ends[1], np.int64))


def span_of(low: Array, high: Array) -> Span:
    """The span of a value that lies between two arrays of its shape."""
    slices = low.shape[-1] if low.ndim else 1
    lo, hi = (a.reshape(-1, slices).astype(np.int64) for a in (low, high))
    return Span(lo.min(axis=0), hi.max(axis=0))


def span(graph: Graph, name: str, spans: Spans) -> Span:
    """The span of an operand, which may be a constant."""
    if name in spans:
        return spans[name]
    return span_of(graph.array(name), graph.array(name)) if graph.is_const(name) else everything(graph, name)


def _result(graph: Graph, node: Node, spans: Spans) -> Span | None:
    """What the node's first result may be; None if nothing is known but its type."""
    exact = all(graph.type(n).dtype.is_integer for n in (*node.operands, *node.outputs))
    if exact and node.op in RISING and _steady(graph, node, spans):
        return _between(graph, node, spans)
    if exact and node.op in CORNERS and _steady(graph, node, spans):
        return _corners(graph, node, spans)
    if node.op == "qlut" and graph.type(node.inputs[0]).dtype is I8:
        return _looked_up(span(graph, node.inputs[0], spans), graph.array(node.inputs[1]))
    if node.op in LAYERS and graph.type(node.outputs[0]).dtype is I8:
        return _requantised(graph, node, spans)
    return _held(graph, node)


def _held(graph: Graph, node: Node) -> Span | None:
    """What a q op's own bounds say."""
    type_ = graph.type(node.outputs[0])
    given = ops.get(node.op).full(node.attrs) if type_.dtype is I8 else node.attrs
    if not node.op.startswith("q") or not {"lo", "hi"} <= set(given):
        return None
    shape = type_.shape
    return _level((int(number(given["lo"])), int(number(given["hi"]))), shape[-1] if shape else 1)


def _run(graph: Graph, node: Node, moving: Callable[[int, str], Array]) -> Array:
    """The op's own meaning with `moving(index, name)` for the operands that flow."""
    op = ops.get(node.op)
    fixed = [op.operand_at(i).constant and node.op != "load" for i in range(len(node.inputs))]
    operands = [(graph.array(n) if fixed[i] else moving(i, n)) if n else None for i, n in enumerate(node.inputs)]
    return np.asarray(op.run(operands, node.attrs)[0])


def _between(graph: Graph, node: Node, spans: Spans) -> Span:
    """The result at the low ends and at the high ends."""

    def full(name: str, end: Array) -> Array:
        type_ = graph.type(name)
        return np.broadcast_to(end.astype(type_.dtype.numpy).reshape(end.shape if type_.shape else ()), type_.shape)

    low = _run(graph, node, lambda i, n: full(n, span(graph, n, spans).lo))
    return span_of(low, _run(graph, node, lambda i, n: full(n, span(graph, n, spans).hi)))


def _corners(graph: Graph, node: Node, spans: Spans) -> Span:
    """The least and the most of all pairs of ends, a channel at a time."""
    found = [span(graph, n, spans) for n in node.inputs[:2]]
    dtypes = [graph.type(n).dtype.numpy for n in node.inputs[:2]]
    flat = [np.stack([s.lo, s.hi]).astype(dtype) for s, dtype in zip(found, dtypes, strict=True)]

    def corner(which: tuple[int, ...]) -> Array:
        return _run(graph, node, lambda i, n: _beside(flat[i][which[i]], n, graph))

    answers = np.stack([corner(which) for which in product((0, 1), repeat=2)])
    return span_of(answers, answers)


def _beside(end: Array, name: str, graph: Graph) -> Array:
    return end if graph.type(name).shape else end.reshape(())


def _looked_up(x: Span, table: Array) -> Span:
    """The least and the most of the answers to each channel's numbers."""
    places = np.arange(-128, 128)
    asked = (places >= x.lo[:, None]) & (places <= x.hi[:, None])
    answers = np.broadcast_to(table.astype(np.int64), asked.shape)
    return Span(np.where(asked, answers, 1 << 31).min(axis=1), np.where(asked, answers, -1 << 31).max(axis=1))


def _requantised(graph: Graph, node: Node, spans: Spans) -> Span:
    """What a layer makes of its sums (and of a residual): a dense layer's meaning, with the sums as biases."""
    op, (low, high) = ops.get("qdense"), sums(graph, node, spans)
    mult, shift, *others = node.inputs[3:]
    given = {name: v for name, v in node.attrs.items() if name in op.defaults}
    nothing = np.zeros((1, 1), np.int8), np.zeros((len(low), 1), np.int8)
    added = [span(graph, n, spans) for n in others if n]
    ends = [[s.lo for s in added], [s.hi for s in added]] if added else [[]]
    answers = [
        op.run([*nothing, end, graph.array(mult), graph.array(shift), *(r.astype(np.int8)[None] for r in rest)], given)
        for end in (low, high)
        for rest in ends
    ]
    found, most = np.concatenate([a[0] for a in answers]), everything(graph, node.outputs[0])
    loose = _wraps(node, low, high, graph.array(shift)) & (low < high)
    return Span(np.where(loose, most.lo, found.min(axis=0)), np.where(loose, most.hi, found.max(axis=0)))


def _wraps(node: Node, low: Array, high: Array, shift: Array) -> Array:
    """Where a sum may leave int32 when TFLite's rounding shifts it to the left: no order is kept there."""
    most = np.maximum(np.abs(low), np.abs(high)) << np.maximum(31 - shift.astype(np.int64), 0)
    return np.asarray((node.attrs.get("round") == "tflite") & (most >= 1 << 31))


def _steady(graph: Graph, node: Node, spans: Spans) -> bool:
    """Whether the op keeps order over all that its sums may be."""
    if "shift" not in node.attrs:
        return True
    low, high = (np.array([end]) for end in partial_sums(graph, node, spans))
    return not _wraps(node, low, high, np.array([_int(node, "shift")])).any()


def sums(graph: Graph, node: Node, spans: Spans, *, in_part: bool = False) -> tuple[Array, Array]:
    """The least and the most that each output channel of a layer adds up to, bias included; int64 [F].

    in_part: also after every number of terms, added in any order.
    """
    x = span(graph, node.inputs[0], spans)
    lo, hi, bias = x.lo, x.hi, graph.array(node.inputs[2]).astype(np.int64)
    if any(ints(node.attrs.get("pads", ()))):
        border = _int(node, "zx")
        lo, hi = np.minimum(lo, border), np.maximum(hi, border)
    if in_part:
        lo, hi, ends = np.minimum(lo, 0), np.maximum(hi, 0), (np.minimum(bias, 0), np.maximum(bias, 0))
    else:
        ends = (bias, bias)
    up, down = signed_weights(graph, node)
    groups = len(bias) if node.op == "qdwconv2d" else _int(node, "group", 1)
    lows, highs = (end.reshape(groups, -1).repeat(len(bias) // groups, axis=0) for end in (lo, hi))
    least, most = up * lows + down * highs, up * highs + down * lows
    return least.sum(axis=1) + ends[0], most.sum(axis=1) + ends[1]


@dataclass(frozen=True, slots=True)
class GroupSums:
    """What the sums of a layer with 4-bit weights may be after any number of terms: of each group [F,G] before it is
    scaled, and of each filter [F] with its bias."""

    groups: Span
    total: Span


def largest_group(graph: Graph, node: Node) -> int:
    """The largest magnitude that a group's sum of weights of 4 bits times unsigned numbers, x + 128, may have."""
    groups = group_sums(graph, node, value_spans(graph), level=128).groups
    return int(max(-groups.lo.min(), groups.hi.max()))


def group_sums(graph: Graph, node: Node, spans: Spans, level: int = 0) -> GroupSums:
    """The exact bounds of a qdense4's or qconv4's sums over x + level, each reached by some input within its range."""
    x, (_, w, s, b) = span(graph, node.inputs[0], spans), node.inputs
    weights, scales = graph.array(w).astype(np.int64), graph.array(s).astype(np.int64)
    flat, group = weights.reshape(len(weights), -1), _int(node, "group")
    repeats = flat.shape[1] // len(x.lo)
    lo, hi = np.tile(x.lo, repeats), np.tile(x.hi, repeats)
    if any(ints(node.attrs.get("pads", ()))):
        lo, hi = np.minimum(lo, _int(node, "zx")), np.maximum(hi, _int(node, "zx"))
    lo, hi = np.minimum(lo + level, 0), np.maximum(hi + level, 0)
    up, down = np.maximum(flat, 0), np.minimum(flat, 0)
    starts = np.arange(0, flat.shape[1], group)
    least, most = (np.add.reduceat(ends, starts, axis=1) for ends in (up * lo + down * hi, up * hi + down * lo))
    bias = graph.array(b).astype(np.int64) << _int(node, "up")
    total = [(ends * scales).sum(axis=1) for ends in (least, most)]
    return GroupSums(Span(least, most), Span(np.minimum(bias, 0) + total[0], np.maximum(bias, 0) + total[1]))


def signed_weights(graph: Graph, node: Node) -> tuple[Array, Array]:
    """The positive and the negative weights of a layer, each added up over the window: int64 [F,CG] twice."""
    weights = np.moveaxis(graph.array(node.inputs[1]).astype(np.int64), LAYERS[node.op], 0)
    taps = weights.reshape(len(weights), -1, 1 if node.op == "qdwconv2d" else weights.shape[-1])
    return np.maximum(taps, 0).sum(axis=1), np.minimum(taps, 0).sum(axis=1)


def accumulator_bits(graph: Graph, node: Node) -> int:
    """Bits (with sign) that hold every partial sum of this node; 8 for an op that sums nothing up."""
    lo, hi = partial_sums(graph, node, value_spans(graph))
    return max(8, 1 + max(hi.bit_length(), (-lo - 1).bit_length() if lo < 0 else 0))


def partial_sums(graph: Graph, node: Node, spans: Spans) -> tuple[int, int]:
    """The least and the most of what a node adds up, in whatever order."""

    def offset(operand: int, zero: str) -> tuple[int, int]:
        lo, hi = span(graph, node.inputs[operand], spans).ends
        return lo - _int(node, zero), hi - _int(node, zero)

    if node.op in LAYERS:
        low, high = sums(graph, node, spans, in_part=True)
        return int(low.min()), int(high.max())
    if node.op in FOUR:
        totals = group_sums(graph, node, spans).total
        return int(totals.lo.min()), int(totals.hi.max())
    if node.op in ("qmul", "qmatmul"):
        corners = [p * q for p in offset(0, "za") for q in offset(1, "zb")]
        terms = graph.type(node.inputs[0]).shape[2] if node.op == "qmatmul" else 1
        return _scaled((min(corners), max(corners)), terms)
    if node.op == "qadd":
        twice = node.attrs.get("round") == "tflite"  # each operand fits once it is shifted: scaling makes it smaller
        steps = (1 << _int(node, "left"),) * 2 if twice else (_int(node, "ma"), _int(node, "mb"))
        a, b = (_scaled(offset(i, f"z{k}"), step) for i, (k, step) in enumerate(zip("ab", steps, strict=True)))
        half = 0 if twice else 1 << (_int(node, "shift") - 1)
        return min(a[0], 0) + min(b[0], 0), max(a[1], 0) + max(b[1], 0) + half
    if node.op in ("qmean", "qavgpool2d"):
        axis = graph.type(node.inputs[0]).shape[1]
        return _scaled(offset(0, "zx"), prod(ints(node.attrs.get("kernel", (axis,)))))
    if node.op == "qsoftmax":
        bits = 19 if node.attrs.get("round") == "tflite" else numerics.SOFTMAX_BITS
        return 0, (graph.type(node.inputs[0]).shape[1] << bits) - 1  # summed unsigned
    return 0, 0


def _int(node: Node, name: str, default: int = 0) -> int:
    return int(number(node.attrs.get(name, default)))


def _scaled(x: tuple[int, int], factor: int) -> tuple[int, int]:
    return min(x[0] * factor, x[1] * factor), max(x[0] * factor, x[1] * factor)

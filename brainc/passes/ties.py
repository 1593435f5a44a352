"""Which channels can go: those that every reader can do without, and that nodes can lose on both sides at once.

Knocks: `channels.py`. Leaves: for each value a mask over its last axis. All channels may go at first; each tie takes
back what its node cannot spare, round and round until nothing changes. So a chain of layers that only feed one
another's dead ends goes as a whole, and what is left is what some output port can tell from zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Graph, Node, Role
from brainc.ops import ints
from brainc.ranges import Spans, span
from brainc.spec import number

ALIKE = ("qlut", "qshift8", "qadd", "qmul", "qmean", "qavgpool2d", "maxpool2d", "upsample2d")  # channel to channel


class Going:
    """For every value that flows, which channels may go."""

    def __init__(self, graph: Graph, spans: Spans) -> None:
        self.graph, self.spans = graph, spans
        self.may: dict[str, Array] = {}
        for value in graph.values.values():
            type_ = value.type
            free = value.role is Role.TEMP and type_.dtype.is_integer and (not type_.quant or type_.quant.axis is None)
            if value.role is not Role.CONST:
                self.may[value.name] = np.full(type_.shape[-1] if type_.shape else 1, free and bool(type_.shape))
        self.settled = False

    def keep(self, name: str, allowed: Array | bool) -> None:
        """Of `name` no more may go than is `allowed`; a constant is not asked."""
        if name in self.may and np.any(self.may[name] & ~np.asarray(allowed)):
            self.may[name] = self.may[name] & allowed
            self.settled = False

    def together(self, names: Iterable[str]) -> None:
        """Channel by channel, all or none of these."""
        moving = [n for n in names if n in self.may]
        every = np.logical_and.reduce([self.may[n] for n in moving])
        for name in moving:
            self.keep(name, every)

    def goes(self, name: str) -> Array:
        """Which channels of a value go; of a constant none do."""
        return self.may[name] if name in self.may else np.zeros(_channels(self.graph, name), bool)


def going(graph: Graph, spans: Spans) -> Going:
    """What can go, with every tie obeyed."""
    found = Going(graph, spans)
    nodes = tuple(graph.nodes())[::-1]
    while not found.settled:
        found.settled = True
        for node in nodes:
            TIES.get(node.op, _pin)(found, node)
    return found


def _channels(graph: Graph, name: str) -> int:
    return (graph.type(name).shape or (1,))[-1]


def _pin(found: Going, node: Node) -> None:
    """Nothing around this node goes."""
    for name in (*node.operands, *node.outputs):
        found.keep(name, False)


def _alike(found: Going, node: Node) -> None:
    """Each channel of the result is made of that channel of the operands; a single number is none."""
    found.together(n for n in (*node.operands, *node.outputs) if found.graph.type(n).shape)


def _layer(found: Going, node: Node) -> None:
    """An input channel is needed by the weights of rows that are; what is always one number goes into the bias."""
    if not _plain(node) or node.attrs.get("group", 1) != 1:
        return _pin(found, node)
    rows = ~found.goes(node.outputs[0]) & ~found.spans[node.outputs[0]].fixed
    weights = found.graph.array(node.inputs[1])[rows]
    used = (weights != 0).reshape(-1, weights.shape[-1]).any(axis=0)
    found.keep(node.inputs[0], ~used | foldable(found.graph, node, found.spans))


def foldable(graph: Graph, node: Node, spans: Spans) -> Array:
    """Which input channels of a layer are the same number at every tap, on the border too."""
    x = span(graph, node.inputs[0], spans)
    bordered = any(ints(node.attrs.get("pads", ())))
    return x.fixed & (x.lo == number(node.attrs["zx"])) if bordered else x.fixed


def _plain(node: Node) -> bool:
    """Whether it is a layer of x, w, b, mult and shift alone."""
    return len(node.operands) == 5


def _depthwise(found: Going, node: Node) -> None:
    (_alike if _plain(node) else _pin)(found, node)


def _reshape(found: Going, node: Node) -> None:
    """Rows joined or split: a channel goes if all its copies do."""
    short, long = sorted((node.inputs[0], node.outputs[0]), key=lambda n: _channels(found.graph, n))
    few, many = (_channels(found.graph, n) for n in (short, long))
    if many % few or not _flows(found, node):
        return _pin(found, node)
    every = found.goes(short) & found.goes(long).reshape(-1, few).all(axis=0)
    found.keep(short, every)
    found.keep(long, np.tile(every, many // few))


def _flows(found: Going, node: Node) -> bool:
    return not any(map(found.graph.is_const, node.inputs))


def _same_last(found: Going, node: Node) -> None:
    """A move that leaves the last axis as it is."""
    x, y = found.graph.type(node.inputs[0]).shape, found.graph.type(node.outputs[0]).shape
    turned = node.op == "transpose" and ints(node.attrs["perm"])[-1] != len(x) - 1
    (_pin if turned or x[-1:] != y[-1:] or not _flows(found, node) else _alike)(found, node)


def _concat(found: Going, node: Node) -> None:
    """Along the channels, each operand has its part of the result's."""
    y = node.outputs[0]
    if number(node.attrs["axis"]) != len(found.graph.type(y).shape) - 1:
        return _alike(found, node) if _flows(found, node) else _pin(found, node)
    for name, part in zip(node.inputs, parts(found.graph, node), strict=True):
        found.keep(name, found.goes(y)[part])
        if name in found.may:
            mask = np.ones(_channels(found.graph, y), bool)
            mask[part] = found.goes(name)
            found.keep(y, mask)


def parts(graph: Graph, node: Node) -> list[slice]:
    """Where each operand of a concat lies among the result's channels."""
    ends = np.cumsum([_channels(graph, n) for n in node.inputs]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _window(found: Going, node: Node) -> None:
    """A pad or a slice: the channels that both sides have go together, the others as they like."""
    x, y = node.inputs[0], node.outputs[0]
    if not _flows(found, node) or (node.op == "slice" and ints(node.attrs["steps"])[-1] != 1):
        return _pin(found, node)
    inner, outer = (x, y) if node.op == "pad" else (y, x)
    start = ints(node.attrs["before" if node.op == "pad" else "starts"])[-1]
    part = slice(start, start + _channels(found.graph, inner))
    both = found.goes(inner) & found.goes(outer)[part]
    mask = found.goes(outer).copy()
    mask[part] = both
    found.keep(inner, both)
    found.keep(outer, mask)


Tie = Callable[[Going, Node], None]
TIES: dict[str, Tie] = {
    **dict.fromkeys(ALIKE, _alike),
    **dict.fromkeys(("qdense", "qconv2d"), _layer),
    **dict.fromkeys(("transpose", "expand"), _same_last),
    **dict.fromkeys(("pad", "slice"), _window),
    **{"qdwconv2d": _depthwise, "reshape": _reshape, "concat": _concat},
}

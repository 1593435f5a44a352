"""Cross-layer equalisation: channels of one tensor brought to like ranges, so that one int8 scale suits all.

Knocks: the pipeline, with a CANONICAL float graph and samples, before any range is measured. Leaves: a graph
that computes the same reals (a channel is divided by a positive factor where it is made, and the weights
that read it multiplied), or the old one where that quantises no better on the samples.
Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019,
section 4.1; with per-channel weights the ranges that matter are those of the activations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from brainc import interp
from brainc.dtypes import F32, Array
from brainc.ir import Entry, Graph, Node, Role, const_value, fresh_name
from brainc.passes import batch
from brainc.passes.context import Context
from brainc.passes.quantize import assign_types, needed_samples
from brainc.passes.rewrite import renamed
from brainc.spec import CHANNEL, WEIGHTED, bounds

THROUGH = frozenset({"reshape", "maxpool2d", "avgpool2d", "upsample2d", "bilinear2d", "reduce"})
EVEN = "/even"  # after the name of a value whose channels were scaled
STEPS = 4  # factors are powers of the STEPS-th root of two: the same on every machine
LIMIT = 5.0  # log2 of the largest factor
TRIED = 64  # samples: every other one is calibrated on, the rest judge
WORTH = 0.5  # dB


@dataclass(frozen=True, slots=True)
class Pair:
    """`maker` writes channels that, after views and pools, only `reader` reads."""

    maker: Node
    reader: Node
    repeats: int  # how often the channels come by in the reader's input axis (a picture flattened)
    between: tuple[str, ...]  # the values from one to the other


def equalise(graph: Graph, context: Context) -> Graph:
    """The equalised graph if it loses clearly less when quantised; else `graph` itself."""
    if context.options.quantize != "int8":
        return graph
    found = [pair for entry in graph.entries for pair in pairs(graph, entry)]
    samples = needed_samples(graph, context) if found else {}
    if not found or min(len(array) for array in samples.values()) < 2:
        return graph
    some = {p: a[np.linspace(0, len(a) - 1, min(TRIED, len(a))).astype(np.int64)] for p, a in samples.items()}
    fit, judge = ({port: array[part::2] for port, array in some.items()} for part in (0, 1))
    trial = replace(context, samples=fit, note=lambda line: None)
    candidate = equalised(graph, found, fit)
    before, after = (loss(g, assign_types(g, trial), judge) for g in (graph, candidate))
    gain = 10 * math.log10(max(before, 1e-30) / max(after, 1e-30))
    if gain < WORTH:
        return graph
    context.note(f"equalised {len(found)} pairs of layers: {gain:.1f} dB less noise")
    return equalised(graph, found, samples)


def pairs(graph: Graph, entry: Entry) -> Iterator[Pair]:
    """The pairs of layers between which a channel may be scaled."""
    users = graph.consumers()

    def own_weights(node: Node) -> bool:
        constants = node.inputs[1:]
        return all(graph.is_const(n) and graph.type(n).dtype is F32 and len(users[n]) == 1 for n in constants)

    for node in entry.nodes:
        low, high = bounds(node)  # a clamp but at zero would have to be scaled too
        if node.op not in WEIGHTED or not own_weights(node) or low not in (0.0, -math.inf) or high < math.inf:
            continue
        path = [node.outputs[0]]
        channels = graph.type(path[0]).shape[-1]
        while len(users.get(path[-1], ())) == 1 and graph.values[path[-1]].role is Role.TEMP:
            reader = users[path[-1]][0]
            if reader.op in WEIGHTED and reader.inputs[0] == path[-1]:
                repeats, rest = divmod(graph.type(path[-1]).shape[-1], channels)
                fits = rest == 0 and (repeats == 1 or reader.op == "dense")
                if fits and own_weights(reader) and reader.attrs.get("group", 1) == 1:
                    yield Pair(node, reader, repeats, tuple(path))
                break
            if not _passes(graph, reader, channels):
                break
            path.append(reader.outputs[0])


def _passes(graph: Graph, node: Node, channels: int) -> bool:
    """Does a positive factor per channel pass through, the channels staying last?"""
    if node.op == "reduce" and node.attrs["fn"] not in ("mean", "sum", "max", "min"):
        return False
    return node.op in THROUGH and graph.type(node.outputs[0]).shape[-1] % channels == 0


def equalised(graph: Graph, found: list[Pair], samples: Mapping[str, Array]) -> Graph:
    """The graph with the channels of every pair scaled to like ranges."""
    peaks = _peaks(graph, {pair.maker.outputs[0] for pair in found}, samples)
    constants = {name for p in found for node in (p.maker, p.reader) for name in node.inputs[1:]}
    arrays: dict[str, Array] = {name: graph.array(name).astype(np.float64) for name in sorted(constants)}
    for pair in found:
        _scale(pair, peaks[pair.maker.outputs[0]], arrays)
    values = dict(graph.values)
    for name, array in arrays.items():
        values[name] = const_value(name, array, F32, where=values[name].where)
    names: dict[str, str] = {}
    for name in (n for pair in found for n in pair.between):
        names[name] = fresh_name(name + EVEN, values)
        values[names[name]] = replace(values[name], name=names[name])
    entries = tuple(replace(e, nodes=tuple(renamed(n, names) for n in e.nodes)) for e in graph.entries)
    return graph.replaced(values=values, entries=entries)


def _peaks(graph: Graph, names: set[str], samples: Mapping[str, Array]) -> dict[str, Array]:
    """The largest magnitude of each channel of these values, float64."""
    peaks: dict[str, Array] = {}
    for entry in graph.entries:
        for values in batch.runs(graph, entry, samples):
            for name in values.keys() & names:
                channels = np.abs(values[name].reshape(-1, values[name].shape[-1])).max(axis=0)
                peaks[name] = np.maximum(peaks.get(name, 0.0), channels.astype(np.float64))
    return peaks


def _scale(pair: Pair, peak: Array, arrays: dict[str, Array]) -> None:
    """Divides the channels of the maker and multiplies what reads them, in `arrays`."""
    w, b = pair.maker.inputs[1:]
    read = arrays[pair.reader.inputs[1]]
    last = read.ndim - 1  # the axis that the channels are in the reader's weights
    logs = np.log2(np.where(peak > peak.max() * 1e-3, peak, peak.max()))
    if pair.reader.op != "dwconv2d":  # its scales per channel take up any factor; others share a row's scale
        weight = np.abs(read).max(axis=tuple(range(last))).reshape(pair.repeats, -1).max(axis=0)
        logs = 0.5 * (logs - np.log2(np.maximum(weight, weight.max() * 1e-3)))
    logs = np.clip(logs - np.median(logs), -LIMIT, LIMIT)
    factor = 2.0 ** (np.rint(logs * STEPS) / STEPS)
    shape = [-1 if i == CHANNEL[pair.maker.op] else 1 for i in range(arrays[w].ndim)]
    arrays[w] = arrays[w] / factor.reshape(shape)
    arrays[b] = arrays[b] / factor
    arrays[pair.reader.inputs[1]] = read * np.tile(factor, pair.repeats)


def loss(real: Graph, typed: Graph, samples: Mapping[str, Array]) -> float:
    """Noise over signal (powers) before the softmax of every output port, summed over the ports.

    The noise is that of the middle sample: a few samples beyond every measured range would drown the rest.
    """
    total = 0.0
    for index, entry in enumerate(real.entries):
        powers: dict[str, list[Array]] = {port: [] for port in entry.outputs}  # [2, samples]: noise, signal
        for want, got in batch.side_by_side(real, typed, samples, index):
            for port in entry.outputs:
                a, b = _logits(real, port), _logits(typed, port)
                rows = len(want[a]) // real.type(a).shape[0]
                wanted = want[a].reshape(rows, -1).astype(np.float64)
                gap = interp.to_real(got[b], typed.type(b)).reshape(rows, -1) - wanted
                powers[port].append(np.stack([np.square(gap).sum(axis=1), np.square(wanted).sum(axis=1)]))
        for noise, signal in (np.concatenate(parts, axis=1) for parts in powers.values()):
            total += float(np.median(noise) / signal.mean())
    return total


def _logits(graph: Graph, port: str) -> str:
    """The value behind the doors, views and softmax at an output."""
    producers = graph.producers()
    while port in producers and producers[port].op in ("softmax", "reshape", "from_int"):
        port = producers[port].inputs[0]
    return port

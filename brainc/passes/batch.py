"""Many samples through a graph at once: every value becomes `n` blocks along its first axis.

Knocks: calibration and quality, which run hundreds of samples in numpy. Leaves: a graph for the
interpreter only, or None where some node mixes blocks; `runs` then goes one sample at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from brainc import interp
from brainc.dtypes import Array
from brainc.errors import ModelError
from brainc.ir import Attrs, Entry, Graph, Node, Role, TensorType, Value, attrs, const_value
from brainc.ops import ints
from brainc.spec import BINARY, MOVES, PICKS, changes_state

CHUNK = 1 << 22  # numbers that one run may hold
PAIRS = BINARY | {"qadd", "qmul"}


def samples_of(graph: Graph, entry: Entry, samples: Mapping[str, Array]) -> dict[str, Array]:
    """The samples as [n, *port shape] of each port's type; ModelError where they do not fit."""
    found: dict[str, Array] = {}
    for port in entry.inputs:
        type_ = graph.type(port)
        if port not in samples:
            raise ModelError(
                f"the samples have no array for port {port!r}",
                fix=f"save one array per input port; these are {', '.join(samples)}",
            )
        array = np.asarray(samples[port])
        if array.ndim == 0 or array.size == 0 or array.size != array.shape[0] * type_.size:
            raise ModelError(
                f"samples of port {port!r} have shape {list(array.shape)}",
                fix=f"the first axis counts samples, each has {type_.size} numbers ({type_})",
            )
        found[port] = _fitted(array, type_)
    if len({len(a) for a in found.values()}) > 1:
        raise ModelError("the ports have different numbers of samples", fix="give as many for each port")
    return found


def _fitted(array: Array, type_: TensorType) -> Array:
    """[n, *shape] of the port's type: channels last if the port now has them so, reals as its integers."""
    shape = type_.shape
    if len(shape) == 4 and array.shape[-3:] != shape[1:] == (*array.shape[-2:], array.shape[-3]):
        array = np.moveaxis(array, -3, -1)
    each = array.reshape(array.shape[0], *shape)
    real = array.dtype.kind == "f" and type_.quant is not None
    return interp.from_real(each, type_) if real else each.astype(type_.dtype.numpy)


def runs(graph: Graph, entry: Entry, samples: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """Every value of every sample, in chunks: name to [n * first axis, ...]."""
    state = interp.fresh_state(graph)  # a brain that remembers takes the samples for one sequence
    for part in _chunks(samples_of(graph, entry, samples), held(entry, graph)):
        yield run_batch(graph, entry, part, state)


def side_by_side(
    one: Graph, two: Graph, samples: Mapping[str, Array], index: int = 0
) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
    """The values of two graphs, chunk by chunk of the same samples through entry `index` of both."""
    sides = [(graph, graph.entries[index], interp.fresh_state(graph)) for graph in (one, two)]
    samples_of(one, sides[0][1], samples)
    for part in _chunks(samples, sum(held(entry, graph) for graph, entry, _ in sides)):
        wants, gots = (run_batch(g, e, samples_of(g, e, part), state) for g, e, state in sides)
        yield wants, gots


def held(entry: Entry, graph: Graph) -> int:
    """How many numbers one run makes."""
    return sum(graph.type(out).size for node in entry.nodes for out in node.outputs)


def _chunks(samples: Mapping[str, Array], each: int) -> Iterator[dict[str, Array]]:
    count = len(next(iter(samples.values())))
    size = max(1, min(count, CHUNK // max(each, 1)))
    for start in range(0, count, size):
        yield {port: array[start : start + size] for port, array in samples.items()}


def run_batch(
    graph: Graph, entry: Entry, samples: Mapping[str, Array], state: interp.State | None = None
) -> dict[str, Array]:
    """Every value of all these samples at once, each [n * first axis, ...]; `state` goes on.

    A state is as each call found it.
    """
    count = len(next(iter(samples.values())))
    wide = batched(graph, entry, count)
    if wide is None:
        memory = interp.fresh_state(graph) if state is None else state
        inputs = ({port: array[i] for port, array in samples.items()} for i in range(count))
        each = [
            {n: a.copy() for n, a in memory.items()} | interp.run(graph, entry.name, some, memory) for some in inputs
        ]
        return {name: np.concatenate([np.atleast_1d(run[name]) for run in each]) for name in each[0]}
    blocks = {port: array.reshape(wide.type(port).shape) for port, array in samples.items()}
    found = interp.run(wide, entry.name, blocks)
    return {name: array for name, array in found.items() if name in graph.values}


def told_states(graph: Graph, name: str) -> tuple[Graph, Entry]:
    """The graph, and its entry of that name, with states as inputs, and without what changes them."""
    entry = interp.find_entry(graph, name)
    states = [v for v in graph.values.values() if v.role is Role.STATE]
    if not states:
        return graph, entry
    values = {**graph.values, **{v.name: replace(v, role=Role.INPUT, const=None) for v in states}}
    nodes = tuple(node for node in entry.nodes if not changes_state(node))
    told = replace(entry, inputs=(*entry.inputs, *(v.name for v in states)), nodes=nodes)
    return replace(graph, values=values, entries=(told,)), told


def batched(graph: Graph, entry: Entry, count: int) -> Graph | None:
    """The graph for `count` samples in blocks along the first axis; None where nodes mix them."""
    values = dict(graph.values)
    for name, value in graph.values.items():
        shape = value.type.shape or (1,)
        if value.role is Role.STATE:
            return None
        if value.role is not Role.CONST:
            values[name] = replace(value, type=replace(value.type, shape=(shape[0] * count, *shape[1:])))
    nodes: list[Node] = []
    made = {*entry.inputs, *(out for node in entry.nodes for out in node.outputs)}
    for node in entry.nodes:
        told = all(graph.is_const(name) or name in made for name in node.operands)
        changed = _node(graph, node, count, values) if told else None
        if changed is None:
            return None
        nodes.extend(changed)
    return replace(graph, values=values, entries=(replace(entry, nodes=tuple(nodes)),))


def _node(graph: Graph, node: Node, count: int, values: dict[str, Value]) -> list[Node] | None:
    """The node for `count` blocks, after what it needs (new values in `values`); None where it mixes them."""
    moving = [n for n in node.operands if not graph.is_const(n)]
    if node.op in PICKS and graph.type(node.inputs[1]).shape:
        return [node]
    if not moving or graph.is_const(node.inputs[0]):
        return None
    if node.op in PAIRS:
        return _binary(graph, node, count, values)
    if node.op in ("concat", "matmul", "qmatmul") and len(moving) < len(node.inputs):
        return None
    if node.op not in MOVES:
        return [node]
    changed = _attrs(node, graph.type(node.inputs[0]).shape, count)
    return None if changed is None else [replace(node, attrs=changed)]


def _binary(graph: Graph, node: Node, count: int, values: dict[str, Value]) -> list[Node]:
    """The second operand goes with the blocks, is a constant below that axis, or is repeated."""
    name = node.inputs[1]
    a, b = (graph.type(n) for n in node.inputs)
    if (len(b.shape) < len(a.shape)) if graph.is_const(name) else (a.shape == b.shape):
        return [node]
    if graph.is_const(name):
        tiled = f"{name} x{count}"
        values[tiled] = const_value(tiled, np.concatenate([graph.array(name)] * count), b.dtype, b.quant)
        return [replace(node, inputs=(node.inputs[0], tiled))]
    made = []
    thin, whole = (count, *[1] * (len(a.shape) - len(b.shape)), *b.shape), (count * a.shape[0], *a.shape[1:])
    for i, (op, shape) in enumerate((("reshape", thin), ("expand", (count, *a.shape)), ("reshape", whole))):
        new = f"{node.name} b{i}"
        values[new] = Value(new, TensorType(b.dtype, shape, b.quant))
        made.append(Node(new, op, (name,), (new,), attrs(shape=shape)))
        name = new
    return [*made, replace(node, inputs=(node.inputs[0], name))]


def _attrs(node: Node, first: tuple[int, ...], count: int) -> Attrs | None:
    """The attributes of a move for `count` blocks; None where it moves along the first axis."""
    moves: dict[str, dict[str, tuple[int, ...]]] = {  # what says that the first axis stays as it is
        **{"reshape": {}, "concat": {}, "maxpool2d": {}, "upsample2d": {}},
        "expand": {"shape": first[:1]},
        "transpose": {"perm": (0,)},
        "slice": {"starts": (0,), "sizes": first[:1], "steps": (1,)},
        "pad": {"before": (0,), "after": (0,)},
    }
    given = dict(node.attrs)
    if node.op not in moves or given.get("axis") == 0:
        return None
    if any(ints(given[name])[:1] != want for name, want in moves[node.op].items()):
        return None
    for name in ("shape", "sizes"):
        if name in given:
            shape = ints(given[name]) or (1,)
            given[name] = (shape[0] * count, *shape[1:])
    return attrs(**given)

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

CHUNK = 1 << 22  # numbers that one run may hold
BINARY = frozenset({"add", "sub", "mul", "div", "power", "maximum", "minimum", "qadd", "qmul"})
ROWWISE = frozenset(
    {"conv2d", "dwconv2d", "dense", "qconv2d", "qdwconv2d", "qdense", "avgpool2d", "qavgpool2d", "maxpool2d"}
    | {"upsample2d", "reduce", "qmean", "softmax", "qsoftmax", "matmul", "qmatmul", "argmax"}
    | {"unary", "clamp", "cast", "to_int", "from_int", "qlut", "qshift8"}
)


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
    for part in _chunks(samples_of(graph, entry, samples), _held(entry, graph)):
        yield run_batch(graph, entry, part, state)


def side_by_side(
    one: Graph, two: Graph, samples: Mapping[str, Array], index: int = 0
) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
    """The values of two graphs, chunk by chunk of the same samples through entry `index` of both."""
    first, second = one.entries[index], two.entries[index]
    samples_of(one, first, samples)
    states = interp.fresh_state(one), interp.fresh_state(two)
    for part in _chunks(samples, _held(first, one) + _held(second, two)):
        wants = run_batch(one, first, samples_of(one, first, part), states[0])
        yield wants, run_batch(two, second, samples_of(two, second, part), states[1])


def _held(entry: Entry, graph: Graph) -> int:
    return sum(graph.type(out).size for node in entry.nodes for out in node.outputs)


def _chunks(samples: Mapping[str, Array], held: int) -> Iterator[dict[str, Array]]:
    count = len(next(iter(samples.values())))
    size = max(1, min(count, CHUNK // max(held, 1)))
    for start in range(0, count, size):
        yield {port: array[start : start + size] for port, array in samples.items()}


def run_batch(
    graph: Graph, entry: Entry, samples: Mapping[str, Array], state: interp.State | None = None
) -> dict[str, Array]:
    """Every value of all these samples at once, each [n * first axis, ...]; `state` goes on."""
    count = len(next(iter(samples.values())))
    wide = batched(graph, entry, count)
    if wide is None:
        memory = interp.fresh_state(graph) if state is None else state
        inputs = ({port: array[i] for port, array in samples.items()} for i in range(count))
        each = [interp.run(graph, entry.name, some, memory) for some in inputs]
        return {name: np.concatenate([np.atleast_1d(run[name]) for run in each]) for name in each[0]}
    blocks = {port: array.reshape(wide.type(port).shape) for port, array in samples.items()}
    found = interp.run(wide, entry.name, blocks)
    return {name: array for name, array in found.items() if name in graph.values}


def batched(graph: Graph, entry: Entry, count: int) -> Graph | None:
    """The graph for `count` samples in blocks along the first axis; None where nodes mix them."""
    if any(v.role is Role.STATE for v in graph.values.values()):
        return None
    values = {name: _wide(value, count) for name, value in graph.values.items()}
    nodes: list[Node] = []
    for node in entry.nodes:
        changed = _node(graph, node, count, values)
        if changed is None:
            return None
        nodes.extend(changed)
    return replace(graph, values=values, entries=(replace(entry, nodes=tuple(nodes)),))


def _wide(value: Value, count: int) -> Value:
    if value.role is Role.CONST:
        return value
    shape = value.type.shape or (1,)
    return replace(value, type=replace(value.type, shape=(shape[0] * count, *shape[1:])))


def _node(graph: Graph, node: Node, count: int, values: dict[str, Value]) -> list[Node] | None:
    """The node for `count` blocks, after what it needs (new values in `values`); None where it mixes them."""
    moving = [n for n in node.operands if not graph.is_const(n)]
    if not moving or graph.is_const(node.inputs[0]):
        return None
    if node.op in BINARY:
        return _binary(graph, node, count, values)
    if node.op in ROWWISE:
        return [node] if node.op not in ("matmul", "qmatmul") or len(moving) == len(node.inputs) else None
    if node.op == "concat" and (node.attrs["axis"] == 0 or len(moving) < len(node.inputs)):
        return None
    changed = _attrs(node, graph.type(node.inputs[0]), count)
    return None if changed is None else [replace(node, attrs=changed)]


def _binary(graph: Graph, node: Node, count: int, values: dict[str, Value]) -> list[Node]:
    """The second operand goes with the blocks, is a constant below that axis, or is repeated."""
    name = node.inputs[1]
    a, b = (graph.type(n) for n in node.inputs)
    if a.shape == b.shape and not graph.is_const(name):
        return [node]
    if graph.is_const(name):
        if len(b.shape) < len(a.shape):
            return [node]
        tiled = f"{name} x{count}"
        values[tiled] = const_value(tiled, np.concatenate([graph.array(name)] * count), b.dtype, b.quant)
        return [replace(node, inputs=(node.inputs[0], tiled))]
    thin = (count, *[1] * (len(a.shape) - len(b.shape)), *b.shape)
    steps = (
        ("reshape", thin),
        ("expand", (count, *a.shape)),
        ("reshape", (count * a.shape[0], *a.shape[1:])),
    )
    made = []
    for i, (op, shape) in enumerate(steps):
        new = f"{node.name} b{i}"
        values[new] = Value(new, TensorType(b.dtype, shape, b.quant))
        made.append(Node(new, op, (name,), (new,), attrs(shape=shape)))
        name = new
    return [*made, replace(node, inputs=(node.inputs[0], name))]


def _attrs(node: Node, first: TensorType, count: int) -> Attrs | None:
    """The attributes of a move for `count` blocks; None where it moves along the first axis."""
    given = dict(node.attrs)
    if node.op in ("reshape", "expand"):
        shape = ints(given["shape"])
        if node.op == "expand" and shape[:1] != first.shape[:1]:
            return None
        given["shape"] = (shape[0] * count, *shape[1:]) if shape else (count,)
    elif node.op == "transpose":
        if ints(given["perm"])[0] != 0:
            return None
    elif node.op == "slice":
        starts, sizes, steps = (ints(given[k]) for k in ("starts", "sizes", "steps"))
        if (starts[0], sizes[0], steps[0]) != (0, first.shape[0], 1):
            return None
        given["sizes"] = (sizes[0] * count, *sizes[1:])
    elif node.op == "pad":
        if ints(given["before"])[0] or ints(given["after"])[0]:
            return None
    elif node.op != "concat":
        return None
    return attrs(**given)

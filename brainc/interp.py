"""Runs any graph in numpy: the definition that everything else is measured against.

Knocks: passes (checking themselves), calibration, the proof ladder, tests. Leaves: every value of a run,
by name.

An op whose name starts with `q`, and one that only moves numbers, works on the numbers as they lie. Any
other op means real numbers: operands whose type has a `quant` are dequantised (float32), the meaning is
run, and a result whose type has a `quant` is quantised (half to even, clamped).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from brainc import numerics, ops
from brainc.dtypes import Array, integer_range
from brainc.errors import ModelError, at
from brainc.ir import Entry, Graph, Node, Role, TensorType
from brainc.spec import Types, is_raw

State = dict[str, Array]


def run(graph: Graph, entry: str | None, inputs: Mapping[str, Array], state: State | None = None) -> dict[str, Array]:
    """One call of `entry` (None: the first one); returns every value of the run by name.

    inputs: one array per input port, of the port's type and shape. state: as `fresh_state` gives it; it is
    changed in place, so that the next call goes on where this one stopped. ModelError on a wrong input.
    """
    chosen = find_entry(graph, entry)
    memory = fresh_state(graph) if state is None else state
    values = {port: _checked(port, graph.type(port), inputs) for port in chosen.inputs}
    for node in chosen.nodes:
        with at(node=node.name, op=node.op):
            results = run_node(graph, node, _operands(graph, node, values, memory))
        values.update(zip(node.outputs, results, strict=True))
    return values


def outputs(graph: Graph, entry: str | None, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Only the output ports of one call, from fresh state."""
    values = run(graph, entry, inputs)
    return {name: values[name] for name in find_entry(graph, entry).outputs}


def fresh_state(graph: Graph) -> State:
    """Every state as it is before the first call: its initial value, else real zero."""
    states: State = {}
    for value in graph.values.values():
        if value.role is Role.STATE:
            zero = value.type.quant.zero[0] if value.type.quant else 0
            start = np.full(value.type.shape, zero, value.type.dtype.numpy)
            states[value.name] = value.array().copy() if value.const else start
    return states


def find_entry(graph: Graph, name: str | None) -> Entry:
    """The entry called `name`, or the first one."""
    for entry in graph.entries:
        if name in (None, entry.name):
            return entry
    known = ", ".join(e.name for e in graph.entries)
    raise ModelError(f"{graph.name} has no entry {name!r}", fix=f"entries: {known}")


def run_node(graph: Types, node: Node, operands: list[Array | None]) -> tuple[Array, ...]:
    """One node on numbers, quantised edges read as the reals they stand for (unless the op works raw)."""
    op = ops.get(node.op)
    left_out = [None for operand in op.inputs[len(operands) :] if operand.optional]
    with np.errstate(all="ignore"):  # 1 / 0 and log(-1) are answers like any other, here as in C
        if is_raw(graph, node):
            return op.run([*operands, *left_out], node.attrs)
        named = zip(node.inputs, operands, strict=True)
        reals = [None if x is None else to_real(x, graph.type(name)) for name, x in named]
        results = op.run([*reals, *left_out], node.attrs)
        return tuple(from_real(y, graph.type(n)) for n, y in zip(node.outputs, results, strict=True))


def to_real(x: Array, type_: TensorType) -> Array:
    """The reals (float32) that the numbers of a quantised type stand for; others stay as they are."""
    if type_.quant is None:
        return x
    scale, zero = (type_.quant.along(part, x.shape) for part in (type_.quant.scale, type_.quant.zero))
    return np.asarray((x.astype(np.int64) - zero.astype(np.int64)).astype(np.float32) * scale)


def from_real(y: Array, type_: TensorType) -> Array:
    """Reals as the numbers of `type_`: quantised (per tensor) if it has a quant, else unchanged."""
    if type_.quant is None:
        return y
    lo, hi = integer_range(type_.dtype)
    q = numerics.to_int(y, type_.quant.scale[0], type_.quant.zero[0], lo, hi)
    return q.astype(type_.dtype.numpy)


def random_inputs(graph: Graph, entry: str | None, seed: int = 0) -> dict[str, Array]:
    """Seeded inputs for every port: normal floats, integers over their whole range."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for port in find_entry(graph, entry).inputs:
        type_ = graph.type(port)
        if type_.dtype.is_integer:
            lo, hi = integer_range(type_.dtype)
            found[port] = rng.integers(lo, hi, type_.shape, type_.dtype.numpy, endpoint=True)
        else:
            found[port] = rng.standard_normal(type_.shape).astype(type_.dtype.numpy)
    return found


def _operands(graph: Graph, node: Node, values: Mapping[str, Array], state: State) -> list[Array | None]:
    """The node's operands; of a state that it only reads a copy, since results may be views of operands."""
    found: list[Array | None] = []
    for index, name in enumerate(node.inputs):
        if name in state and name not in values:
            mutated = ops.get(node.op).operand_at(index).mutated
            found.append(state[name] if mutated else state[name].copy())
        else:
            found.append((values[name] if name in values else graph.array(name)) if name else None)
    return found


def _checked(port: str, type_: TensorType, inputs: Mapping[str, Array]) -> Array:
    if port not in inputs:
        raise ModelError(f"no input for port {port!r}", fix=f"give an array of type {type_}")
    array = np.asarray(inputs[port])
    if array.dtype != type_.dtype.numpy or array.shape != type_.shape:
        given = f"{array.dtype}{list(array.shape)}"
        raise ModelError(f"port {port!r} takes {type_}, not {given}", fix="convert the array first")
    return array

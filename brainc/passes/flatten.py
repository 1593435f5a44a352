"""Where an image becomes a vector: a transposition between the two turns into an order of weights.

Knocks: `to_rows`, at every dense layer. Leaves: dense layers whose columns (or rows) are permuted, once
and for all, in place of a transposition at run time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Node, Quant, Value, attrs, const_value
from brainc.ops import ints
from brainc.passes.rewrite import Replacement, View, rule
from brainc.spec import BINARY

SINGLE = ("unary", "clamp", "cast", "to_int", "from_int", "qshift8")


@dataclass(frozen=True, slots=True)
class Shuffled:
    """A vector [B,K] that is made without transposing: its column j is column order[j] of the old one."""

    name: str
    order: Array  # [K]
    nodes: tuple[Node, ...] = ()
    values: tuple[Value, ...] = ()


@rule("dense")
def dense_columns(node: Node, view: View) -> Replacement | None:
    """dense on a flattened transposition: the columns of w move instead."""
    w = view.values[node.inputs[1]]
    if w.type.quant and w.type.quant.axis == 1:
        return None
    found = _shuffled(node.inputs[0], view)
    if found is None:
        return None
    weights = const_value(
        view.fresh(f"{w.name}/rows"), w.array()[:, found.order], w.type.dtype, w.type.quant, w.where
    )
    dense = replace(node, inputs=(found.name, weights.name, *node.inputs[2:]))
    return Replacement((*found.nodes, dense), (*found.values, weights))


def _shuffled(name: str, view: View) -> Shuffled | None:
    """`name` [B,K] with its columns in an order that needs no transposition, if there is one."""
    node = view.producer(name, "reshape", "concat", *SINGLE, *BINARY)
    if node is None or len(view.shape(name)) != 2:
        return None
    if node.op == "reshape":
        return _flattened(node, view)
    if not view.private(name):
        return None
    if node.op == "concat":
        return _joined(node, view) if node.attrs["axis"] == 1 else None
    below = _shuffled(node.inputs[0], view)
    return _after(node, below, view) if below else None


def _flattened(node: Node, view: View) -> Shuffled | None:
    """reshape(transposed x) as a reshape of x."""
    turn = view.producer(node.inputs[0], "transpose")
    (rows, columns), out = view.shape(node.outputs[0]), node.outputs[0]
    if turn is None:
        return None
    perm, shape = ints(turn.attrs["perm"]), view.shape(turn.outputs[0])
    if rows != 1 and (perm[0] != 0 or shape[0] != rows):
        return None
    cells = np.arange(columns).reshape(shape if rows == 1 else (1, *shape[1:]))
    order = cells.transpose(np.argsort(perm)).reshape(-1)
    value = view.temp(f"{out}/rows", view.type(out))
    flat = view.make(f"{node.name}/rows", "reshape", turn.inputs, node.attrs, value)
    return Shuffled(value.name, order, (flat,), (value,))


def _after(node: Node, below: Shuffled, view: View) -> Shuffled | None:
    """An op on each column by itself; its constant, if it has one a column, is reordered too."""
    inputs, values = [below.name], list(below.values)
    for name in node.inputs[1:]:
        value = view.values[name]
        if not view.is_const(name) or (value.type.quant and value.type.quant.axis is not None):
            return None
        if value.type.size != 1:
            if value.type.shape[-1:] != below.order.shape:
                return None
            value = const_value(
                view.fresh(f"{name}/rows"),
                value.array()[..., below.order],
                value.type.dtype,
                value.type.quant,
                value.where,
            )
            values.append(value)
        inputs.append(value.name)
    out = view.temp(f"{node.outputs[0]}/rows", view.type(node.outputs[0]))
    made = view.make(f"{node.name}/rows", node.op, inputs, node.attrs, out)
    return Shuffled(out.name, below.order, (*below.nodes, made), (*values, out))


def _joined(node: Node, view: View) -> Shuffled | None:
    """Vectors one after the other, each in its own order."""
    parts = [_shuffled(name, view) for name in node.inputs]
    if not any(parts):
        return None
    orders, start = [], 0
    for name, part in zip(node.inputs, parts, strict=True):
        width = view.shape(name)[1]
        orders.append(start + (part.order if part else np.arange(width)))
        start += width
    out = view.temp(f"{node.outputs[0]}/rows", view.type(node.outputs[0]))
    inputs = [p.name if p else n for p, n in zip(parts, node.inputs, strict=True)]
    made = view.make(f"{node.name}/rows", "concat", inputs, node.attrs, out)
    nodes = tuple(n for p in parts if p for n in p.nodes)
    values = tuple(v for p in parts if p for v in p.values)
    return Shuffled(out.name, np.concatenate(orders), (*nodes, made), (*values, out))


@rule("transpose")
def dense_rows(node: Node, view: View) -> Replacement | None:
    """A dense layer's result that becomes an image: the rows of w and b move instead."""
    chain: list[Node] = []
    above = view.producer(node.inputs[0], "reshape")
    while above and above.op != "dense" and view.private(above.outputs[0]):
        chain.append(above)
        above = view.producer(above.inputs[0], "dense", *SINGLE)
    if not above or not chain or above.op != "dense" or not view.private(above.outputs[0]):
        return None
    order = _row_order(node, view.shape(above.outputs[0]), view)
    if order is None:
        return None
    constants = tuple(_rows(view.values[n], order, view) for n in above.inputs[1:] if n)
    dense = replace(above, inputs=(above.inputs[0], *(c.name for c in constants)))
    reshape = attrs(shape=view.shape(node.outputs[0]))
    last = view.make(f"{node.name}/rows", "reshape", chain[0].inputs, reshape, node.outputs[0])
    return Replacement((dense, *reversed(chain[1:]), last), constants)


def _row_order(node: Node, result: tuple[int, ...], view: View) -> Array | None:
    """Which row of the dense layer comes to lie where, for its result [B,N]."""
    perm, shape = ints(node.attrs["perm"]), view.shape(node.inputs[0])
    rows, columns = result
    if rows != 1 and (perm[0] != 0 or shape[0] != rows):
        return None
    cells = np.arange(columns).reshape(shape if rows == 1 else (1, *shape[1:]))
    return np.asarray(cells.transpose(perm).reshape(-1))


def _rows(value: Value, order: Array, view: View) -> Value:
    quant = value.type.quant
    if quant is not None and quant.axis == 0:
        quant = Quant(tuple(quant.scale[i] for i in order), tuple(quant.zero[i] for i in order), 0)
    name = view.fresh(f"{value.name}/rows")
    return const_value(name, value.array()[order], value.type.dtype, quant, value.where)

"""Rows: images lie with their channels last, and no transposition is left inside.

Knocks: a graph in which every spatial op of a channels-first model sits between two transpositions.
Leaves: the same with each transposition sunk towards the outputs until it met its inverse, became a
reshape, was absorbed by a dense layer's weights, or came to rest at a port.

Transpositions only sink, save where two of them become one, so the rules come to an end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from brainc.dtypes import U8, Array
from brainc.ir import Attrs, Graph, Node, Value, attrs
from brainc.ops import ints
from brainc.passes.context import Context
from brainc.passes.ports import FROM_ROWS
from brainc.passes.rewrite import Replacement, View, apply, rule
from brainc.spec import BINARY, SINGLE, moves_memory, number

Perm = tuple[int, ...]


def to_rows(graph: Graph, context: Context) -> Graph:
    """No transposition left but at ports, and no reshape that changes nothing."""
    return apply(graph, RULES, context.note)


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes `perm`."""
    return tuple(perm.index(axis) for axis in range(len(perm)))


def permuted(items: Sequence[int], perm: Perm) -> tuple[int, ...]:
    """`items`, one an axis, in the order of the transposed tensor."""
    return tuple(items[axis] for axis in perm)


def turned(view: View, name: str) -> tuple[str, Perm] | None:
    """(x, perm) if `name` is x transposed."""
    node = view.producer(name, "transpose")
    return (node.inputs[0], ints(node.attrs["perm"])) if node else None


def sunk(node: Node, view: View, inputs: Sequence[str], shape: Perm, perm: Perm, given: Attrs) -> Replacement:
    """`node` before the transposition of its operands, with a result of `shape`, and that after it."""
    out = node.outputs[0]
    early = view.temp(f"{out}/rows", view.type(out), shape)
    first = replace(node, inputs=tuple(inputs), outputs=(early.name,), attrs=given)
    last = view.make(f"{node.name}/transpose", "transpose", (early.name,), attrs(perm=perm), out)
    return Replacement((first, last), (early,))


@rule("transpose")
def one_transpose(node: Node, view: View) -> Replacement | None:
    """Two transpositions are one; one that moves no memory is a reshape."""
    x, perm = node.inputs[0], ints(node.attrs["perm"])
    shape = view.shape(node.outputs[0])
    if perm == tuple(range(len(perm))) and node.outputs[0] not in view.ports:
        return Replacement(renames={node.outputs[0]: x})
    if not moves_memory(view.shape(x), perm):
        return Replacement((replace(node, op="reshape", attrs=attrs(shape=shape)),))
    if before := turned(view, x):
        source, first = before
        return Replacement((replace(node, inputs=(source,), attrs=attrs(perm=permuted(first, perm))),))
    return None


@rule("reshape")
def one_reshape(node: Node, view: View) -> Replacement | None:
    """Two reshapes are one; one that changes nothing is none."""
    x, out = node.inputs[0], node.outputs[0]
    if view.type(x) == view.type(out) and view.can_rename(out, x):
        return Replacement(renames={out: x})
    before = view.producer(x, "reshape")
    return Replacement((replace(node, inputs=before.inputs),)) if before else None


@rule("transpose", "reshape", "expand", "from_int", "to_int", "qshift8")
def same_twice(node: Node, view: View) -> Replacement | None:
    """The same thing done to the same value is done once."""
    old = node.outputs[0]
    for other in view.users(node.inputs[0]):
        same = (other.op, other.inputs, dict(other.attrs)) == (node.op, node.inputs, dict(node.attrs))
        earlier = other.name in view.passed and other.name != node.name
        if same and earlier and view.type(old) == view.type(other.outputs[0]):
            return Replacement(renames={old: other.outputs[0]})
    return None


@rule("unary", "clamp", "cast", "to_int", "qshift8", "slice", "pad", "expand")
def sink_single(node: Node, view: View) -> Replacement | None:
    """f(transposed x) is f(x) transposed, and attributes that are one number an axis turn with it; the shift
    to a uint8 port stays at the port."""
    before = turned(view, node.inputs[0])
    if not before or (node.op == "qshift8" and view.type(node.outputs[0]).dtype is U8):
        return None
    back = inverse(before[1])
    given = {k: permuted(ints(v), back) if isinstance(v, tuple) else v for k, v in node.attrs.items()}
    shape = permuted(view.shape(node.outputs[0]), back)
    return sunk(node, view, before[:1], shape, before[1], attrs(**given))


@rule("concat", *sorted(BINARY))
def sink_several(node: Node, view: View) -> Replacement | None:
    """The same for several operands: the others are transposed back (constants at once)."""
    shape, given = view.shape(node.outputs[0]), node.attrs
    found = [turned(view, name) for name in node.inputs]
    perms = [f[1] for f in found if f and len(f[1]) == len(shape)]
    if not perms:
        return None
    perm = max(perms, key=perms.count)
    if not _worth(node, view, perm):
        return None
    if node.op == "concat":
        given = attrs(axis=perm[int(number(given["axis"]))])
    inputs, extra = _all_back(view, node.inputs, perm)
    made = sunk(node, view, inputs, permuted(shape, inverse(perm)), perm, given)
    return Replacement((*extra.nodes, *made.nodes), (*extra.values, *made.values))


def _worth(node: Node, view: View, perm: Perm) -> bool:
    """Whether sinking leaves fewer transpositions around the node (or as many, out of rows: that way only,
    or two operands of different layouts would take turns)."""
    ours = [n for n in node.inputs if (turned(view, n) or ("", ()))[1] == perm]
    others = [n for n in node.inputs if n not in ours and not view.is_const(n)]
    back, out = inverse(perm), node.outputs[0]
    undone = [user for user in view.users(out) if _turns(user, back)]
    stays = out in view.ports or len(undone) < len(view.users(out))
    before = sum(view.private(n) for n in ours) + len(undone)
    after = sum(not _free(n, view, back) for n in others) + stays
    return not others or after < before or (after == before and perm == FROM_ROWS)


def _turns(node: Node, perm: Perm) -> bool:
    return node.op == "transpose" and ints(node.attrs["perm"]) == perm


def _free(name: str, view: View, perm: Perm) -> bool:
    """Whether `name` transposed costs nothing: it is there already, or no more than a reshape."""
    shape = _ranked(view.shape(name), len(perm))
    return not moves_memory(shape, perm) or any(_turns(u, perm) and u.name in view.passed for u in view.users(name))


def _ranked(shape: Perm, rank: int) -> Perm:
    """The shape with leading axes of size one."""
    return (1,) * (rank - len(shape)) + shape


def _all_back(view: View, names: Sequence[str], perm: Perm) -> tuple[list[str], Replacement]:
    """The operands as they were before `perm`, and what has to be made for that."""
    inputs: list[str] = []
    nodes: list[Node] = []
    values: list[Value] = []
    back = inverse(perm)
    for name in names:
        source, own = turned(view, name) or ("", ())
        if own != perm:
            shape, source = _ranked(view.shape(name), len(perm)), name
            if shape != view.shape(name):
                values.append(view.temp(f"{name}/ranked", view.type(name), shape))
                source = values[-1].name
                nodes.append(view.make(source, "reshape", (name,), attrs(shape=shape), source))
            values.append(view.temp(f"{name}/rows", view.type(name), permuted(shape, back)))
            nodes.append(view.make(values[-1].name, "transpose", (source,), attrs(perm=back), values[-1]))
            source = values[-1].name
        inputs.append(source)
    return inputs, Replacement(tuple(nodes), tuple(values))


@rule("reshape")
def sink_reshape(node: Node, view: View) -> Replacement | None:
    """A reshape that splits and joins axes which lie side by side also before the transposition."""
    before = turned(view, node.inputs[0])
    order = before and _regrouped(view.shape(before[0]), before[1], view.shape(node.outputs[0]))
    if not before or order is None:
        return None
    shape = permuted(view.shape(node.outputs[0]), order)
    return sunk(node, view, before[:1], shape, inverse(order), attrs(shape=shape))


@rule("transpose")
def meet_over_reshape(node: Node, view: View) -> Replacement | None:
    """Two transpositions with a reshape between them that holds the first back: the second goes to it."""
    between = view.producer(node.inputs[0], "reshape")
    above = turned(view, between.inputs[0]) if between else None
    if not between or not above or not view.private(node.inputs[0]):
        return None
    out, perm = node.outputs[0], ints(node.attrs["perm"])
    order = _regrouped(view.shape(out), inverse(perm), view.shape(between.inputs[0]))
    if order is None:
        return None
    shape = permuted(view.shape(between.inputs[0]), order)
    early = view.temp(f"{out}/rows", view.type(out), shape)
    both = attrs(perm=permuted(above[1], order))
    first = view.make(f"{node.name}/transpose", "transpose", above[:1], both, early)
    last = view.make(f"{node.name}/rows", "reshape", (early.name,), attrs(shape=view.shape(out)), out)
    return Replacement((first, last), (early,))


def _regrouped(source: Perm, perm: Perm, target: Perm) -> Perm | None:
    """The order in which the axes of `target` lie in memory before `perm`; None if they are torn apart.

    Axes of size one belong nowhere: each stays behind the axis that precedes it in `target`.
    """
    groups = _groups([axis for axis in perm if source[axis] > 1], source, target)
    if groups is None:
        return None
    rank = {axis: place for place, axis in enumerate(a for a in range(len(source)) if source[a] > 1)}
    for axes, _ in groups:
        first = rank[axes[0]]
        if [rank[a] for a in axes] != list(range(first, first + len(axes))):
            return None
    order = [k for axes, made in sorted(groups, key=lambda g: rank[g[0][0]]) for k in made]
    for k in (k for k, size in enumerate(target) if size == 1):
        order.insert(order.index(k - 1) + 1 if k else 0, k)
    return tuple(order)


def _groups(axes: list[int], source: Perm, target: Perm) -> list[tuple[list[int], list[int]]] | None:
    """The smallest runs of (source axes, target axes) with equally many elements; sizes of one left out."""
    made = [k for k, size in enumerate(target) if size > 1]
    groups: list[tuple[list[int], list[int]]] = []
    while axes and made:
        left, right = [axes.pop(0)], [made.pop(0)]
        while (have := prod(source[a] for a in left)) != (want := prod(target[k] for k in right)):
            more, rest = (left, axes) if have < want else (right, made)
            if not rest:
                return None
            more.append(rest.pop(0))
        groups.append((left, right))
    return groups


@rule("reduce")
def sink_reduce(node: Node, view: View) -> Replacement | None:
    """One axis of a transposed x [M,K,N] is reduced where it lies."""
    before = turned(view, node.inputs[0])
    if not before:
        return None
    source, perm = before
    x, axis, out = view.shape(source), perm[1], node.outputs[0]
    head, tail = prod(x[:axis]), prod(x[axis + 1 :])
    rest = [a for a in range(3) if a != axis]
    lying = view.temp(f"{source}/lying", view.type(source), (head, x[axis], tail))
    result = view.temp(f"{out}/lying", view.type(out), (head, tail))
    ranked = view.temp(f"{out}/rows", view.type(out), (x[rest[0]], x[rest[1]]))
    order = (rest.index(perm[0]), rest.index(perm[2]))
    nodes = (
        view.make(f"{node.name}/in", "reshape", (source,), attrs(shape=lying.type.shape), lying),
        replace(node, inputs=(lying.name,), outputs=(result.name,)),
        view.make(f"{node.name}/rows", "reshape", (result.name,), attrs(shape=ranked.type.shape), ranked),
        view.make(f"{node.name}/out", "transpose", (ranked.name,), attrs(perm=order), out),
    )
    return Replacement(nodes, (lying, result, ranked))


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
    found = _shuffled(node.inputs[0], view) if not w.type.quant or w.type.quant.axis != 1 else None
    if found is None:
        return None
    weights = view.changed(w, f"{w.name}/rows", w.array()[:, found.order], w.type.quant)
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


def _cells(perm: tuple[int, ...], shape: tuple[int, ...], flat: tuple[int, ...]) -> Array | None:
    """The columns of `flat` [B,K] in the shape of the picture beside it; None if rows are mixed."""
    rows, columns = flat
    if rows != 1 and (perm[0] != 0 or shape[0] != rows):
        return None
    return np.arange(columns).reshape(shape if rows == 1 else (1, *shape[1:]))


def _flattened(node: Node, view: View) -> Shuffled | None:
    """reshape(transposed x) as a reshape of x."""
    turn, out = view.producer(node.inputs[0], "transpose"), node.outputs[0]
    perm = ints(turn.attrs["perm"]) if turn else ()
    cells = _cells(perm, view.shape(node.inputs[0]), view.shape(out)) if turn else None
    if turn is None or cells is None:
        return None
    value = view.temp(f"{out}/rows", view.type(out))
    flat = view.make(f"{node.name}/rows", "reshape", turn.inputs, node.attrs, value)
    return Shuffled(value.name, cells.transpose(np.argsort(perm)).reshape(-1), (flat,), (value,))


def _after(node: Node, below: Shuffled, view: View) -> Shuffled | None:
    """An op on each column by itself; its constant, if it has one a column, is reordered too."""
    parts = [below]
    for name in node.inputs[1:]:
        value = view.values[name]
        if not view.is_const(name) or (value.type.quant and value.type.quant.axis is not None):
            return None
        if value.type.size == 1:
            parts.append(Shuffled(name, below.order))
        elif value.type.shape[-1:] == below.order.shape:
            value = view.changed(value, f"{name}/rows", value.array()[..., below.order], value.type.quant)
            parts.append(Shuffled(value.name, below.order, (), (value,)))
        else:
            return None
    return _made(node, parts, below.order, view)


def _joined(node: Node, view: View) -> Shuffled | None:
    """Vectors one after the other, each in its own order."""
    found = [_shuffled(name, view) for name in node.inputs]
    widths = [view.shape(name)[1] for name in node.inputs]
    parts = [f or Shuffled(n, np.arange(w)) for f, n, w in zip(found, node.inputs, widths, strict=True)]
    order = np.concatenate([sum(widths[:i]) + part.order for i, part in enumerate(parts)])
    return _made(node, parts, order, view) if any(found) else None


def _made(node: Node, parts: list[Shuffled], order: Array, view: View) -> Shuffled:
    """`node` on its operands as they are in `parts`."""
    out = view.temp(f"{node.outputs[0]}/rows", view.type(node.outputs[0]))
    made = view.make(f"{node.name}/rows", node.op, [part.name for part in parts], node.attrs, out)
    nodes, values = (n for p in parts for n in p.nodes), (v for p in parts for v in p.values)
    return Shuffled(out.name, order, (*nodes, made), (*values, out))


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
    perm = ints(node.attrs["perm"])
    cells = _cells(perm, view.shape(node.inputs[0]), view.shape(above.outputs[0]))
    if cells is None:
        return None
    order = cells.transpose(perm).reshape(-1)
    constants = tuple(_rows(view.values[n], order, view) for n in above.inputs[1:] if n)
    dense = replace(above, inputs=(above.inputs[0], *(c.name for c in constants)))
    reshape = attrs(shape=view.shape(node.outputs[0]))
    last = view.make(f"{node.name}/rows", "reshape", chain[0].inputs, reshape, node.outputs[0])
    return Replacement((dense, *reversed(chain[1:]), last), constants)


def _rows(value: Value, order: Array, view: View) -> Value:
    quant = value.type.quant and value.type.quant.taken(0, order, value.type.shape)
    return view.changed(value, f"{value.name}/rows", value.array()[order], quant)


RULES = (
    *(one_transpose, one_reshape, same_twice, sink_single, sink_several, sink_reshape),
    *(meet_over_reshape, sink_reduce, dense_columns, dense_rows),
)

"""Rows: images lie with their channels last, and no transposition is left inside.

Knocks: a graph in which every spatial op of a channels-first model sits between two transpositions.
Leaves: the same with each transposition sunk towards the outputs until it met its inverse, became a
reshape, was absorbed by a dense layer's weights, or came to rest at a port.

Transpositions only sink, save where two of them become one, so the rules come to an end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from brainc.ir import Attrs, Graph, Node, Value, attrs
from brainc.ops import ints
from brainc.passes.context import Context
from brainc.passes.flatten import dense_columns, dense_rows
from brainc.passes.rewrite import Replacement, View, apply, rule
from brainc.spec import BINARY, moves_memory

Perm = tuple[int, ...]
FROM_ROWS = (0, 3, 1, 2)  # the transposition behind a channels-first model's spatial op


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


def sunk(
    node: Node, view: View, inputs: Sequence[str], perm: Perm, given: Attrs, extra: Replacement
) -> Replacement:
    """`node` on operands before their transposition, and the transposition after it."""
    out = node.outputs[0]
    type_ = view.type(out)
    early = view.temp(f"{out}/rows", replace(type_, shape=permuted(type_.shape, inverse(perm))))
    first = replace(node, inputs=tuple(inputs), outputs=(early.name,), attrs=given)
    last = view.make(f"{node.name}/transpose", "transpose", (early.name,), attrs(perm=perm), out)
    return Replacement((*extra.nodes, first, last), (*extra.values, early))


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
    if view.type(x) == view.type(out):
        gone = Replacement(renames={out: x})
        if view.can_rename(out, x):
            return gone
    before = view.producer(x, "reshape")
    return Replacement((replace(node, inputs=before.inputs),)) if before else None


@rule("transpose", "reshape", "expand", "from_int", "to_int", "qshift8")
def same_twice(node: Node, view: View) -> Replacement | None:
    """The same thing done to the same value is done once."""
    for other in view.users(node.inputs[0]):
        same = (other.op, other.inputs, dict(other.attrs)) == (node.op, node.inputs, dict(node.attrs))
        if same and other.name != node.name and view.passed(other):
            old, new = node.outputs[0], other.outputs[0]
            if view.type(old) == view.type(new):
                return Replacement(renames={old: new})
    return None


@rule("unary", "clamp", "cast", "to_int", "qshift8")
def sink_single(node: Node, view: View) -> Replacement | None:
    """f(transposed x) is f(x) transposed."""
    before = turned(view, node.inputs[0])
    return sunk(node, view, before[:1], before[1], node.attrs, Replacement()) if before else None


@rule("concat", *sorted(BINARY))
def sink_several(node: Node, view: View) -> Replacement | None:
    """The same for several operands: the others are transposed back (constants at once)."""
    rank, given = len(view.shape(node.outputs[0])), node.attrs
    found = [turned(view, name) for name in node.inputs]
    perms = [f[1] for f in found if f and len(f[1]) == rank]
    if not perms:
        return None
    perm = max(perms, key=perms.count)
    if not _worth(node, view, perm):
        return None
    if node.op == "concat":
        given = attrs(axis=perm[int(str(given["axis"]))])
    inputs, extra = _all_back(view, node.inputs, perm)
    return sunk(node, view, inputs, perm, given, extra)


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
    return not moves_memory(shape, perm) or any(_turns(u, perm) and view.passed(u) for u in view.users(name))


def _ranked(shape: Perm, rank: int) -> Perm:
    """The shape with leading axes of size one."""
    return (1,) * (rank - len(shape)) + shape


def _all_back(view: View, names: Sequence[str], perm: Perm) -> tuple[list[str], Replacement]:
    """The operands as they were before `perm`, and what has to be made for that."""
    inputs: list[str] = []
    nodes: list[Node] = []
    values: list[Value] = []
    for name in names:
        before = turned(view, name)
        if before and before[1] == perm:
            inputs.append(before[0])
            continue
        type_ = replace(view.type(name), shape=_ranked(view.shape(name), len(perm)))
        source = name
        if type_ != view.type(name):
            values.append(view.temp(f"{name}/ranked", type_))
            source = values[-1].name
            nodes.append(view.make(source, "reshape", (name,), attrs(shape=type_.shape), source))
        back = inverse(perm)
        values.append(view.temp(f"{name}/rows", replace(type_, shape=permuted(type_.shape, back))))
        inputs.append(values[-1].name)
        nodes.append(view.make(inputs[-1], "transpose", (source,), attrs(perm=back), inputs[-1]))
    return inputs, Replacement(tuple(nodes), tuple(values))


@rule("slice", "pad", "expand")
def sink_shaped(node: Node, view: View) -> Replacement | None:
    """Ops whose attributes are one number an axis."""
    before = turned(view, node.inputs[0])
    if not before:
        return None
    back = inverse(before[1])
    given = {k: permuted(ints(v), back) if isinstance(v, tuple) else v for k, v in node.attrs.items()}
    return sunk(node, view, before[:1], before[1], attrs(**given), Replacement())


@rule("reshape")
def sink_reshape(node: Node, view: View) -> Replacement | None:
    """A reshape that splits and joins axes which lie side by side also before the transposition."""
    before = turned(view, node.inputs[0])
    order = before and _regrouped(view.shape(before[0]), before[1], view.shape(node.outputs[0]))
    if not before or order is None:
        return None
    shape = permuted(view.shape(node.outputs[0]), order)
    out = node.outputs[0]
    early = view.temp(f"{out}/rows", replace(view.type(out), shape=shape))
    first = replace(node, inputs=before[:1], outputs=(early.name,), attrs=attrs(shape=shape))
    perm = attrs(perm=inverse(order))
    last = view.make(f"{node.name}/transpose", "transpose", (early.name,), perm, out)
    return Replacement((first, last), (early,))


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
    early = view.temp(f"{out}/rows", replace(view.type(out), shape=shape))
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
        places = [rank[a] for a in axes]
        if places != list(range(places[0], places[0] + len(places))):
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
        have, want = source[left[0]], target[right[0]]
        while have != want:
            if not (axes if have < want else made):
                return None
            if have < want:
                left.append(axes.pop(0))
                have *= source[left[-1]]
            else:
                right.append(made.pop(0))
                want *= target[right[-1]]
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
    head, tail = _product(x[:axis]), _product(x[axis + 1 :])
    lying = view.temp(f"{source}/lying", replace(view.type(source), shape=(head, x[axis], tail)))
    result = view.temp(f"{out}/lying", replace(view.type(out), shape=(head, tail)))
    rest = [a for a in range(3) if a != axis]
    ranked = view.temp(f"{out}/rows", replace(view.type(out), shape=(x[rest[0]], x[rest[1]])))
    order = (rest.index(perm[0]), rest.index(perm[2]))
    nodes = (
        view.make(f"{node.name}/in", "reshape", (source,), attrs(shape=lying.type.shape), lying),
        replace(node, inputs=(lying.name,), outputs=(result.name,)),
        view.make(f"{node.name}/rows", "reshape", (result.name,), attrs(shape=ranked.type.shape), ranked),
        view.make(f"{node.name}/out", "transpose", (ranked.name,), attrs(perm=order), out),
    )
    return Replacement(nodes, (lying, result, ranked))


def _product(sizes: Perm) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


RULES = (
    one_transpose,
    one_reshape,
    same_twice,
    sink_single,
    sink_several,
    sink_shaped,
    sink_reshape,
    meet_over_reshape,
    sink_reduce,
    dense_columns,
    dense_rows,
)

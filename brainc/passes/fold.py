"""What can be worked out now: constants, and the quantise/dequantise pairs that models carry.

Knocks: a graph whose quantisation is said by `to_int` and `from_int` nodes around real ops. Leaves: the
same real ops with quantised types on their edges; the doors stay only where the model is float.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brainc import interp
from brainc.dtypes import F32, I8, I32, Array, integer_range
from brainc.errors import BraincError
from brainc.ir import Attrs, Graph, Node, Quant, TensorType, Value, attrs, const_value
from brainc.ops import ints
from brainc.passes.context import Context
from brainc.passes.four import holds
from brainc.passes.rewrite import Replacement, View, apply, rule, tied
from brainc.spec import BINARY, CHANNEL, DOORS, MOVES, WEIGHTED, bounds, number

FLOWS = MOVES - {"assign", "load"}  # moves whose result is there for others to read
ABSORBED = WEIGHTED | BINARY | {"unary", "clamp", "avgpool2d", "reduce", "softmax", "matmul", "lerp", "gather"}
SAME_SCALE = 1e-5  # relative: a bias scale that is sx * sw but for float rounding


def fold_constants(graph: Graph, context: Context) -> Graph:
    """Nodes whose operands are all constants become constants; quantised ones keep their numbers."""
    return apply(graph, (constant_door, constant_move, constant_node), context.note)


def fold_qdq(graph: Graph, context: Context) -> Graph:
    """Real ops between `from_int` and `to_int` become real ops on quantised edges."""
    rules = (push_from_int, push_clamp, pull_to_int, absorb, settle_bias)
    return apply(annotated(graph), rules, context.note)


@rule("from_int")
def constant_door(node: Node, view: View) -> Replacement | None:
    """from_int(constant) is that constant, with a quant."""
    source, out = node.inputs[0], node.outputs[0]
    if not view.is_const(source) or out in view.ports:
        return None
    old = view.values[source]
    return Replacement(values=(const_value(out, old.array(), old.type.dtype, quant_of(node), old.where),))


@rule("reshape", "transpose")
def constant_move(node: Node, view: View) -> Replacement | None:
    """A moved quantised constant stays quantised."""
    old, out = view.values[node.inputs[0]], node.outputs[0]
    if not view.is_const(old.name) or old.type.quant is None or out in view.ports:
        return None
    perm = ints(node.attrs["perm"]) if node.op == "transpose" else None
    quant, shape = old.type.quant, old.type.shape
    moved = quant.transposed(perm, shape) if perm is not None else quant.reshaped(shape, view.shape(out))
    if moved is None:
        return None
    array = old.array().transpose(perm) if perm is not None else old.array().reshape(view.shape(out))
    return Replacement(values=(const_value(out, array, old.type.dtype, moved, old.where),))


@rule(*sorted(FLOWS | ABSORBED | {"cast", "to_int", "argmax", "qshift8"}))
def constant_node(node: Node, view: View) -> Replacement | None:
    """Any node on constants alone is run now."""
    out = node.outputs[0]
    if out in view.ports or not node.operands or not all(view.is_const(n) for n in node.operands):
        return None
    try:
        result = interp.run_node(view, node, [view.array(n) if n else None for n in node.inputs])[0]
    except (BraincError, FloatingPointError):
        return None
    type_ = view.type(out)
    return Replacement(values=(const_value(out, result, type_.dtype, type_.quant, node.where),))


def annotated(graph: Graph) -> Graph:
    """The graph with what `to_int` and `from_int` say as the quant of the integers that they write or read.

    Values that are moved to or from those have it too, ports and states included. Values are left alone where
    the model contradicts itself, or an op reads them as plain numbers.
    """
    moves = (n for n in graph.nodes() if n.op in MOVES and graph.type(n.operands[0]).dtype.is_integer)
    group = tied(graph.values, ((*n.operands, *n.outputs) for n in moves))
    told: dict[str, set[Quant]] = {}
    barred = {group[name] for name, value in graph.values.items() if not value.type.dtype.is_integer}
    for node in graph.nodes():
        if node.op in ("to_int", "from_int"):
            integer = node.outputs[0] if node.op == "to_int" else node.inputs[0]
            told.setdefault(group[integer], set()).add(quant_of(node))
        elif node.op not in MOVES | DOORS and not node.op.startswith("q"):
            barred.update(group[name] for name in (*node.operands, *node.outputs))
    values = {}
    for name, value in graph.values.items():
        said = told.get(group[name], set())
        if len(said) == 1 and value.type.quant is None and group[name] not in barred:
            values[name] = replace(value, type=replace(value.type, quant=next(iter(said))))
    return graph.replaced(values={**graph.values, **values}) if values else graph


def quant_of(node: Node) -> Quant:
    """What a `to_int` or `from_int` says."""
    return Quant.tensor(number(node.attrs["scale"]), int(number(node.attrs["zero"])))


def _dequantised(node: Node, inputs: tuple[str, ...], given: Attrs, type_: TensorType, view: View) -> Replacement:
    """`node` on the integers of `type_`, and the door to its real result after it."""
    out, quant = node.outputs[0], type_.quant
    assert quant is not None
    raw = view.temp(f"{out}/q", type_, view.shape(out))
    said = attrs(scale=quant.scale[0], zero=quant.zero[0])
    moved = replace(node, inputs=inputs, outputs=(raw.name,), attrs=given)
    return Replacement((moved, view.make(f"{node.name}/from_int", "from_int", (raw.name,), said, out)), (raw,))


@rule(*sorted(FLOWS))
def push_from_int(node: Node, view: View) -> Replacement | None:
    """move(from_int(q)) is from_int(move(q)): fewer bytes move, and the doors meet."""
    doors = [view.producer(name, "from_int") for name in node.inputs]
    if node.outputs[0] in view.ports or not all(doors):
        return None
    sources = tuple(door.inputs[0] for door in doors if door)
    first = view.type(sources[0])
    if len({(view.type(s).dtype, view.type(s).quant) for s in sources}) > 1 or first.quant is None:
        return None
    given = _raw_attrs(node, first)
    return None if given is None else _dequantised(node, sources, given, first, view)


def _raw_attrs(node: Node, type_: TensorType) -> Attrs | None:
    """The attributes of a move when it works on quantised numbers; None if a pad is not one of them."""
    if node.op != "pad":
        return node.attrs
    step = _on_grid(number(node.attrs.get("value", 0.0)), type_)
    return None if step is None else attrs(**{**node.attrs, "value": float(step)})


def _on_grid(real: float, type_: TensorType) -> int | None:
    """The quantised number that stands for exactly `real` (held within the type's range), if any does."""
    assert type_.quant is not None
    lo, hi = integer_range(type_.dtype)
    step = real / type_.quant.scale[0] + type_.quant.zero[0]
    if step <= lo or step >= hi:
        return lo if step <= lo else hi
    return round(step) if abs(step - round(step)) < 1e-6 else None


@rule("clamp")
def push_clamp(node: Node, view: View) -> Replacement | None:
    """clamp(from_int(q)) with bounds on q's grid is a clamp of q."""
    door, out = view.producer(node.inputs[0], "from_int"), node.outputs[0]
    if door is None or view.type(door.inputs[0]).quant is None or out in view.ports:
        return None
    users, type_ = view.users(out), view.type(door.inputs[0])
    if len(users) == 1 and users[0].op == "to_int":
        return None  # `absorb` takes it, requantising at the same time
    if any(_on_grid(b, type_) is None for b in bounds(node)):
        return None
    return _dequantised(node, door.inputs, node.attrs, type_, view)


@rule("to_int")
def pull_to_int(node: Node, view: View) -> Replacement | None:
    """to_int(move(x)) is move(to_int(x)), also for the largest of a window: quantising keeps order."""
    move, out = view.producer(node.inputs[0], *FLOWS), node.outputs[0]
    type_ = view.type(out)
    given = _raw_attrs(move, type_) if move and type_.quant else None
    if move is None or given is None or not view.private(node.inputs[0]):
        return None
    if len(move.inputs) == 1 and (view.type(move.inputs[0]).quant or view.is_const(move.inputs[0])):
        return None
    doors, values = [], []
    for name in move.inputs:
        values.append(view.temp(f"{name}/q", type_, view.shape(name)))
        doors.append(view.make(f"{node.name}/to_int", "to_int", (name,), node.attrs, values[-1]))
    moved = replace(move, inputs=tuple(v.name for v in values), outputs=(out,), attrs=given)
    return Replacement((*doors, moved), tuple(values))


@rule("to_int")
def absorb(node: Node, view: View) -> Replacement | None:
    """to_int(op(from_int(q)…)) is the same real op on quantised edges."""
    source, out = node.inputs[0], node.outputs[0]
    maker = view.producer(source, "from_int", *ABSORBED)
    if maker is None or view.type(out).quant is None or view.type(source).quant:
        return None
    if maker.op == "from_int":
        return _rescaled(node, maker.inputs[0], view)
    inputs = _quantised_inputs(maker, view) if view.private(source) else None
    return Replacement((replace(maker, inputs=inputs, outputs=(out,)),)) if inputs else None


def _rescaled(node: Node, before: str, view: View) -> Replacement | None:
    """to_int(from_int(q)): q itself, or q on another scale: a clamp without bounds."""
    out = node.outputs[0]
    have, want = view.type(before), view.type(out)
    if (have.dtype, have.quant) == (want.dtype, want.quant):
        if view.can_rename(out, before):
            return Replacement(renames={out: before})
        copy = replace(node, op="reshape", inputs=(before,), attrs=attrs(shape=want.shape))
        return Replacement((copy,))  # from port to port
    if have.quant is None or have.dtype.bits > 8:
        return None
    return Replacement((replace(node, op="clamp", inputs=(before,), attrs=attrs()),))


def _quantised_inputs(node: Node, view: View) -> tuple[str, ...] | None:
    """The operands without their doors; None if one of them is a real that the model does not quantise."""
    inputs = []
    for index, name in enumerate(node.inputs):
        door = view.producer(name, "from_int") if name else None
        source = door.inputs[0] if door else name
        flows = bool(name) and not view.is_const(name) and view.type(source).dtype is F32
        if flows and view.type(source).quant is None:
            return None
        if index == 1 and node.op in WEIGHTED and not _usable_weights(node, view.type(name)):
            return None
        inputs.append(source)
    return tuple(inputs)


def _usable_weights(node: Node, type_: TensorType) -> bool:
    """Per tensor, per output channel, or 4 bits in groups."""
    plain = type_.quant is not None and not type_.quant.block and type_.quant.axis in (None, CHANNEL[node.op])
    return plain or holds(node, type_)


@rule(*sorted(WEIGHTED))
def settle_bias(node: Node, view: View) -> Replacement | None:
    """Beside quantised x and w: weights are int8 around zero, the bias int32 on the scale sx * sw."""
    x, w = view.type(node.inputs[0]), view.values[node.inputs[1]]
    if x.quant is None or not _usable_weights(node, w.type) or view.type(node.outputs[0]).quant is None:
        return None
    if holds(node, w.type):
        return None  # its bias is settled with the scales of its groups
    weights = centred(w, CHANNEL[node.op], view)
    values = [] if weights is w else [weights]
    steps = weights.type.quant
    assert steps is not None
    scales = tuple(x.quant.scale[0] * s for s in steps.scale)
    wanted = Quant(scales, (0,) * len(scales), None if steps.axis is None else 0)
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    if not bias or view.type(bias).quant != wanted or view.type(bias).dtype is not I32:
        size = w.type.shape[CHANNEL[node.op]]
        array = quantised_bias(view.values[bias] if bias else None, size, wanted)
        bias = view.fresh(f"{bias}/i32" if bias else f"{node.name}/b")
        values.append(const_value(bias, array, I32, wanted, node.where))
    made = replace(node, inputs=(node.inputs[0], weights.name, bias))
    return Replacement((made,), tuple(values)) if values else None


def quantised_bias(value: Value | None, size: int, wanted: Quant) -> Array:
    """The bias [size] in int32 steps of `wanted`: as it is if only float rounding tells the scales apart."""
    if value is None:
        return np.zeros(size, np.int32)
    array, quant = value.array(), value.type.quant
    scale = np.asarray(wanted.scale)
    real = array.astype(np.float64)
    if quant is not None:
        same = not any(quant.zero) and len(quant.scale) in (1, len(wanted.scale))
        if same and np.allclose(quant.scale, scale, rtol=SAME_SCALE, atol=0):
            return np.asarray(array.astype(np.int32))
        real = (real - np.asarray(quant.zero)) * np.asarray(quant.scale)
    limit = np.iinfo(np.int32)
    return np.asarray(np.clip(np.rint(real / scale), limit.min, limit.max).astype(np.int32))


def centred(value: Value, axis: int, view: View) -> Value:
    """Weights as int8 around zero: a channel whose shifted numbers fit stays exact, else its step widens."""
    quant = value.type.quant
    assert quant is not None
    if value.type.dtype is I8 and not any(quant.zero):
        return value
    zeros = quant.along(quant.zero, value.type.shape).astype(np.int32)
    shifted = value.array().astype(np.int32) - zeros
    name, where = view.fresh(f"{value.name}/i8"), value.where
    if shifted.min() >= -128 and shifted.max() <= 127:
        return const_value(name, shifted, I8, replace(quant, zero=(0,) * len(quant.zero)), where)
    view.note(f"{value.name}: weights lie off centre; rounded to int8 around zero")
    axes = tuple(a for a in range(shifted.ndim) if a != axis)
    factor = np.maximum(np.abs(shifted).max(axis=axes, keepdims=True) / 127.0, 1.0)
    scales = tuple(float(s) for s in np.ravel(factor) * np.asarray(quant.scale))
    return const_value(name, np.rint(shifted / factor), I8, Quant(scales, (0,) * len(scales), axis), where)

"""What can be worked out now: constants, and the quantise/dequantise pairs that models carry.

Knocks: a graph whose quantisation is said by `to_int` and `from_int` nodes around real ops. Leaves: the
same real ops with quantised types on their edges; the doors stay only where the model is float.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from brainc import interp
from brainc.dtypes import I8, I32, Array, integer_range
from brainc.errors import BraincError
from brainc.ir import Attr, Graph, Node, Quant, TensorType, Value, attrs, const_value
from brainc.ops import ints
from brainc.passes.context import Context
from brainc.passes.doors import annotated
from brainc.passes.rewrite import Replacement, View, apply, rule
from brainc.spec import MOVES, WEIGHTED

ABSORBED = WEIGHTED | {"add", "sub", "mul", "div", "power", "maximum", "minimum", "unary", "clamp"}
FLOWS = MOVES - {"assign", "load"}  # moves whose result is there for others to read
ABSORBED |= {"avgpool2d", "reduce", "softmax", "matmul"}
CHANNEL = {"conv2d": 0, "dwconv2d": 2, "dense": 0}  # the axis of the weights that the output channels are
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
    return _constant(view.values[source], out, view.shape(source), quant_of(node))


@rule("reshape", "transpose")
def constant_move(node: Node, view: View) -> Replacement | None:
    """A moved quantised constant stays quantised."""
    source, out = node.inputs[0], node.outputs[0]
    quant = view.type(source).quant
    if not view.is_const(source) or quant is None or out in view.ports:
        return None
    perm = ints(node.attrs["perm"]) if node.op == "transpose" else None
    moved = moved_quant(quant, perm, view.shape(source), view.shape(out))
    return _constant(view.values[source], out, view.shape(out), moved, node) if moved else None


def _constant(
    source: Value, name: str, shape: tuple[int, ...], quant: Quant, move: Node | None = None
) -> Replacement:
    array = source.array()
    if move is not None:
        array = array.transpose(ints(move.attrs["perm"])) if move.op == "transpose" else array.reshape(shape)
    return Replacement(values=(const_value(name, array, source.type.dtype, quant, source.where),))


def moved_quant(
    quant: Quant, perm: tuple[int, ...] | None, before: tuple[int, ...], after: tuple[int, ...]
) -> Quant | None:
    """The quant behind a transposition (`perm`) or a reshape (None); None if its axis does not survive."""
    if quant.axis is None:
        return quant
    if perm is not None:
        return replace(quant, axis=perm.index(quant.axis))
    head, size = prod(before[: quant.axis]), before[quant.axis]
    for axis in range(len(after)):
        if after[axis] == size and prod(after[:axis]) == head:
            return replace(quant, axis=axis)
    return None


@rule(*sorted(FLOWS | ABSORBED | {"cast", "to_int", "argmax", "qshift8"}))
def constant_node(node: Node, view: View) -> Replacement | None:
    """Any node on constants alone is run now."""
    out = node.outputs[0]
    if out in view.ports or not node.operands or not all(view.is_const(n) for n in node.operands):
        return None
    try:
        arrays = [view.array(n) if n else None for n in node.inputs]
        result = interp.run_node(view, node, arrays)[0]
    except (BraincError, FloatingPointError):
        return None
    type_ = view.type(out)
    return Replacement(values=(const_value(out, result, type_.dtype, type_.quant, node.where),))


def quant_of(node: Node) -> Quant:
    """What a `to_int` or `from_int` says."""
    return Quant.tensor(number(node.attrs["scale"]), int(number(node.attrs["zero"])))


def number(attr: Attr) -> float:
    """An attribute that is one number."""
    assert isinstance(attr, int | float)
    return attr


@rule(*sorted(FLOWS))
def push_from_int(node: Node, view: View) -> Replacement | None:
    """move(from_int(q)) is from_int(move(q)): fewer bytes move, and the doors meet."""
    doors = [view.producer(name, "from_int") for name in node.inputs]
    out = node.outputs[0]
    if out in view.ports or not all(doors):
        return None
    sources = [door.inputs[0] for door in doors if door]
    types = {(view.type(s).dtype, view.type(s).quant) for s in sources}
    dtype, quant = next(iter(types))
    if len(types) > 1 or quant is None:
        return None
    given = _raw_attrs(node, TensorType(dtype, (), quant))
    if given is None:
        return None
    raw = view.temp(f"{out}/q", TensorType(dtype, view.shape(out), quant))
    move = replace(node, inputs=tuple(sources), outputs=(raw.name,), attrs=given)
    door = view.make(f"{node.name}/from_int", "from_int", (raw.name,), _door_attrs(quant), out)
    return Replacement((move, door), (raw,))


def _door_attrs(quant: Quant) -> dict[str, Attr]:
    return dict(attrs(scale=quant.scale[0], zero=quant.zero[0]))


def _raw_attrs(node: Node, type_: TensorType) -> dict[str, Attr] | None:
    """The attributes of a move when it works on quantised numbers; None if a pad is not one of them."""
    given = dict(node.attrs)
    if node.op == "pad":
        step = _on_grid(number(given.get("value", 0.0)), type_)
        if step is None:
            return None
        given["value"] = float(step)
    return given


def _on_grid(real: float, type_: TensorType) -> int | None:
    """The quantised number that stands for exactly `real` (held within the type's range), if any does."""
    assert type_.quant is not None
    lo, hi = integer_range(type_.dtype)
    scale, zero = type_.quant.scale[0], type_.quant.zero[0]
    step = real / scale + zero
    if step <= lo or step >= hi:
        return lo if step <= lo else hi
    return round(step) if abs(step - round(step)) < 1e-6 else None


@rule("clamp")
def push_clamp(node: Node, view: View) -> Replacement | None:
    """clamp(from_int(q)) with bounds on q's grid is a clamp of q."""
    door, out = view.producer(node.inputs[0], "from_int"), node.outputs[0]
    type_ = view.type(door.inputs[0]) if door else None
    users = view.users(out)
    if door is None or type_ is None or type_.quant is None or out in view.ports:
        return None
    if len(users) == 1 and users[0].op == "to_int":
        return None  # `absorb` takes it, requantising at the same time
    bounds = [number(node.attrs.get(k, d)) for k, d in (("lo", -np.inf), ("hi", np.inf))]
    if any(_on_grid(b, type_) is None for b in bounds):
        return None
    raw = view.temp(f"{out}/q", type_)
    clamp = replace(node, inputs=door.inputs, outputs=(raw.name,))
    back = view.make(f"{node.name}/from_int", "from_int", (raw.name,), _door_attrs(type_.quant), out)
    return Replacement((clamp, back), (raw,))


@rule("to_int")
def pull_to_int(node: Node, view: View) -> Replacement | None:
    """to_int(move(x)) is move(to_int(x)), also for the largest of a window: quantising keeps order."""
    move, out = view.producer(node.inputs[0], *FLOWS), node.outputs[0]
    if move is None or not view.private(node.inputs[0]):
        return None
    type_ = view.type(out)
    given = _raw_attrs(move, type_)
    if given is None or type_.quant is None:
        return None
    if any(view.type(n).quant or view.is_const(n) for n in move.inputs) and len(move.inputs) == 1:
        return None
    doors, values = [], []
    for name in move.inputs:
        values.append(view.temp(f"{name}/q", TensorType(type_.dtype, view.shape(name), type_.quant)))
        doors.append(view.make(f"{node.name}/to_int", "to_int", (name,), node.attrs, values[-1]))
    moved = replace(move, inputs=tuple(v.name for v in values), outputs=(out,), attrs=given)
    return Replacement((*doors, moved), tuple(values))


@rule("to_int")
def absorb(node: Node, view: View) -> Replacement | None:
    """to_int(op(from_int(q)…)) is the same real op on quantised edges."""
    source, out = node.inputs[0], node.outputs[0]
    maker = view.producer(source, "from_int", *ABSORBED)
    type_ = view.type(out)
    if maker is None or type_.quant is None or view.type(source).quant:
        return None
    if maker.op == "from_int":
        return _rescaled(node, maker, view)
    if not view.private(source):
        return None
    inputs = _quantised_inputs(maker, view)
    if inputs is None:
        return None
    return Replacement((replace(maker, inputs=inputs, outputs=(out,)),))


def _rescaled(node: Node, door: Node, view: View) -> Replacement | None:
    """to_int(from_int(q)): q itself, or q on another scale: a clamp without bounds."""
    before, out = door.inputs[0], node.outputs[0]
    have, want = view.type(before), view.type(out)
    if (have.dtype, have.quant) == (want.dtype, want.quant):
        if view.can_rename(out, before):
            return Replacement(renames={out: before})
        copy = replace(node, op="reshape", inputs=(before,), attrs=attrs(shape=want.shape))
        return Replacement((copy,))  # from port to port
    if have.quant is None or have.dtype.bits > 8:
        return None
    return Replacement((Node(node.name, "clamp", (before,), (out,), where=node.where),))


def _quantised_inputs(node: Node, view: View) -> tuple[str, ...] | None:
    """The operands without their doors; None if one of them is a real that the model does not quantise."""
    inputs = []
    for index, name in enumerate(node.inputs):
        door = view.producer(name, "from_int") if name else None
        source = door.inputs[0] if door else name
        if name and not view.is_const(name) and view.type(source).quant is None:
            return None
        if index == 1 and node.op in WEIGHTED and not _usable_weights(node.op, view.type(name)):
            return None
        inputs.append(source)
    return tuple(inputs)


def _usable_weights(op: str, type_: TensorType) -> bool:
    return type_.quant is not None and type_.quant.axis in (None, CHANNEL[op])


@rule(*sorted(WEIGHTED))
def settle_bias(node: Node, view: View) -> Replacement | None:
    """Beside quantised x and w: weights are int8 around zero, the bias int32 on the scale sx * sw."""
    x, w = (view.type(n) for n in node.inputs[:2])
    if x.quant is None or not _usable_weights(node.op, w) or view.type(node.outputs[0]).quant is None:
        return None
    values: list[Value] = []
    inputs = list(node.inputs)
    weights = centred(view.values[node.inputs[1]], CHANNEL[node.op], view)
    if weights is not view.values[node.inputs[1]]:
        inputs[1] = weights.name
        values.append(weights)
    old = node.inputs[2] if len(node.inputs) > 2 else ""
    wanted = bias_quant(x, weights.type)
    if not old or view.type(old).quant != wanted or view.type(old).dtype is not I32:
        size = w.shape[CHANNEL[node.op]]
        bias = quantised_bias(view.values[old] if old else None, size, wanted)
        name = view.fresh(f"{old or node.name + '/b'}" + ("/i32" if old else ""))
        values.append(const_value(name, bias, I32, wanted, node.where))
        inputs[2:] = [name]
    return Replacement((replace(node, inputs=tuple(inputs)),), tuple(values)) if values else None


def bias_quant(x: TensorType, w: TensorType) -> Quant:
    """The scale of an int32 accumulator of x times w: per tensor, or per output channel."""
    assert x.quant is not None and w.quant is not None
    scales = tuple(x.quant.scale[0] * s for s in w.quant.scale)
    return Quant(scales, (0,) * len(scales), None if w.quant.axis is None else 0)


def quantised_bias(value: Value | None, size: int, wanted: Quant) -> Array:
    """The bias [size] in int32 steps of `wanted`: as it is if only float rounding tells the scales apart."""
    if value is None:
        return np.zeros(size, np.int32)
    array, quant = value.array(), value.type.quant
    scale = np.asarray(wanted.scale)
    same = quant is not None and not any(quant.zero) and len(quant.scale) in (1, len(wanted.scale))
    if same and quant is not None and np.allclose(quant.scale, scale, rtol=SAME_SCALE, atol=0):
        return np.asarray(array.astype(np.int32))
    real = array.astype(np.float64)
    if quant is not None:
        real = (real - np.asarray(quant.zero)) * np.asarray(quant.scale)
    limit = np.iinfo(np.int32)
    return np.asarray(np.clip(np.rint(real / scale), limit.min, limit.max).astype(np.int32))


def centred(value: Value, axis: int, view: View) -> Value:
    """Weights as int8 around zero: a channel whose shifted numbers fit stays exact, else its step widens."""
    quant = value.type.quant
    assert quant is not None
    if value.type.dtype is I8 and not any(quant.zero):
        return value
    zeros = interp.along(quant.zero, quant, len(value.type.shape)).astype(np.int32)
    shifted = value.array().astype(np.int32) - zeros
    name, where = view.fresh(f"{value.name}/i8"), value.where
    if shifted.min() >= -128 and shifted.max() <= 127:
        return const_value(name, shifted, I8, replace(quant, zero=(0,) * len(quant.zero)), where)
    view.note(f"{value.name}: weights lie off centre; rounded to int8 around zero")
    axes = tuple(a for a in range(shifted.ndim) if a != axis)
    factor = np.maximum(np.abs(shifted).max(axis=axes, keepdims=True) / 127.0, 1.0)
    scales = tuple(float(s) for s in np.ravel(factor) * np.asarray(quant.scale))
    centre = Quant(scales, (0,) * len(scales), axis)
    return const_value(name, np.rint(shifted / factor), I8, centre, where)

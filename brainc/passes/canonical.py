"""One way to say each thing: explicit biases, fused scales and clamps, one broadcasting, one 8-bit type.

Knocks: an imported graph with rows settled or not. Leaves: fewer and plainer nodes of the same meaning.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from brainc.dtypes import F32, Array
from brainc.ir import Attr, Attrs, Graph, Node, TensorType, Value, attrs, const_value
from brainc.ops import ints
from brainc.passes.context import Context
from brainc.passes.fold import CHANNEL, moved_quant, number
from brainc.passes.rewrite import Replacement, View, apply, rule
from brainc.spec import BINARY, CLAMPED, WEIGHTED, broadcasts

COMMUTES = frozenset({"add", "mul", "maximum", "minimum"})
INF = math.inf


def fuse_affine(graph: Graph, context: Context) -> Graph:
    """Constant scales and offsets (batch normalisation) go into the weights and bias before them."""
    return apply(graph, (constant_second, lift_over_reshape, bias_after, scale_after), context.note)


def fuse_clamp(graph: Graph, context: Context) -> Graph:
    """Activations that hold a value between bounds become `lo` and `hi` of the op before them."""
    rules = (constant_second, bound_is_clamp, lift_over_reshape, no_clamp, clamp_after)
    return apply(graph, rules, context.note)


def settle_forms(graph: Graph, context: Context) -> Graph:
    """Every op in its plainest form."""
    rules = (explicit_bias, border_into_window, depthwise, constant_matmul, window_is_dense, settle_operands)
    return apply(graph, rules, context.note)


@rule(*sorted(BINARY))
def constant_second(node: Node, view: View) -> Replacement | None:
    """A constant stands second where the order does not matter."""
    a, b = node.inputs
    if node.op in COMMUTES and view.is_const(a) and not view.is_const(b):
        return Replacement((replace(node, inputs=(b, a)),))
    return None


@rule("clamp", "add", "sub", "mul", "div")
def lift_over_reshape(node: Node, view: View) -> Replacement | None:
    """op(reshape(dense)) is reshape(op(dense)), so that the two meet."""
    shaper, out = view.producer(node.inputs[0], "reshape"), node.outputs[0]
    source = shaper.inputs[0] if shaper else ""
    if not shaper or not view.producer(source, *CLAMPED) or not view.private(source):
        return None
    if not view.private(node.inputs[0]) or view.shape(out) != view.shape(node.inputs[0]):
        return None
    constants = [_per_channel(name, view, view.shape(out), view.shape(source)) for name in node.inputs[1:]]
    if not all(constants):
        return None
    moved = view.temp(f"{out}/rows", replace(view.type(out), shape=view.shape(source)))
    inputs = (source, *(c.name for c in constants if c))
    first = replace(node, inputs=inputs, outputs=(moved.name,))
    back = replace(shaper, inputs=(moved.name,), outputs=(out,), attrs=attrs(shape=view.shape(out)))
    return Replacement((first, back), (moved, *(c for c in constants if c)))


def _per_channel(name: str, view: View, shape: tuple[int, ...], rows: tuple[int, ...]) -> Value | None:
    """A constant beside `shape` as the one beside that tensor reshaped to `rows`: a number, or [N]."""
    if not view.is_const(name):
        return None
    value = view.values[name]
    if value.type.size == 1:
        return value
    full = np.broadcast_to(value.array(), shape).reshape(-1, rows[-1])
    return (
        _reshaped(value, rows[-1:], view) if value.type.size == rows[-1] and np.all(full == full[0]) else None
    )


def _channels(name: str, view: View, size: int) -> Array | None:
    """A float constant as one number a channel [size]; None if it is something else."""
    if not view.is_const(name) or view.type(name).quant or view.shape(name)[-1:] not in ((), (1,), (size,)):
        return None
    array = view.array(name)
    if array.size not in (1, view.shape(name)[-1] if view.shape(name) else 1):
        return None
    return np.broadcast_to(array.reshape(-1), (size,))


@rule("add")
def bias_after(node: Node, view: View) -> Replacement | None:
    """dense(x, w) + constant [N] is dense(x, w, constant), whatever the constant is quantised to."""
    maker, c = view.producer(node.inputs[0], *WEIGHTED), node.inputs[1]
    if not maker or not _open(maker, node, view) or not view.is_const(c):
        return None
    size = view.shape(maker.outputs[0])[-1]
    if math.prod(view.shape(c)) != size or view.shape(c)[-1:] != (size,):
        return None
    old = maker.inputs[2] if len(maker.inputs) > 2 else ""
    if view.type(c).quant is None or (old and np.any(view.array(old))):
        return None
    bias = _reshaped(view.values[c], (size,), view)
    made = replace(
        maker, inputs=(*maker.inputs[:2], bias.name), outputs=node.outputs, attrs=_bounds(maker, node)
    )
    return Replacement((made,), (bias,))


@rule("add", "sub", "mul", "div")
def scale_after(node: Node, view: View) -> Replacement | None:
    """dense(x, w, b) * s + t is dense(x, w * s, b * s + t), a channel at a time, in float."""
    maker = view.producer(node.inputs[0], *WEIGHTED)
    if not maker or not _open(maker, node, view) or view.type(maker.inputs[1]).quant:
        return None
    c = _channels(node.inputs[1], view, view.shape(maker.outputs[0])[-1])
    old = maker.inputs[2] if len(maker.inputs) > 2 else ""
    if c is None or (old and view.type(old).quant):
        return None
    bias = view.array(old).astype(np.float64) if old else np.zeros(c.shape)
    scale, offset = _affine(node.op, c.astype(np.float64))
    new_bias = const_value(view.fresh(f"{maker.name}/b"), bias * scale + offset, F32, where=maker.where)
    inputs, values = [*maker.inputs[:2], new_bias.name], [new_bias]
    if np.any(scale != 1.0):
        values.append(_scaled_weights(maker, scale, view))
        inputs[1] = values[-1].name
    made = replace(maker, inputs=tuple(inputs), outputs=node.outputs, attrs=_bounds(maker, node))
    return Replacement((made,), tuple(values))


def _affine(op: str, c: Array) -> tuple[Array, Array]:
    """(scale, offset) of `op` with the constant c."""
    if op in ("mul", "div"):
        return (c if op == "mul" else 1.0 / c), np.zeros(c.shape)
    return np.ones(c.shape), (c if op == "add" else -c)


def _scaled_weights(maker: Node, scale: Array, view: View) -> Value:
    w = view.array(maker.inputs[1]).astype(np.float64)
    shape = [-1 if axis == CHANNEL[maker.op] else 1 for axis in range(w.ndim)]
    return const_value(view.fresh(f"{maker.name}/w"), w * scale.reshape(shape), F32, where=maker.where)


def _open(maker: Node, node: Node, view: View) -> bool:
    """Whether `maker` may take over what `node` does to its result: one reader, no bounds, no quant."""
    plain = _get(maker, "lo", -INF) == -INF and _get(maker, "hi", INF) == INF
    types = (view.type(maker.outputs[0]), view.type(node.outputs[0]))
    return plain and view.private(maker.outputs[0]) and all(t.quant is None for t in types)


def _get(node: Node, name: str, default: float) -> float:
    return number(node.attrs.get(name, default))


def _bounds(maker: Node, node: Node) -> Attrs:
    """The attributes of `maker` held within the bounds of `node`, which comes after it."""
    (lo, hi), (then_lo, then_hi) = ((_get(n, "lo", -INF), _get(n, "hi", INF)) for n in (maker, node))
    given: dict[str, Attr] = {k: v for k, v in maker.attrs.items() if k not in ("lo", "hi")}
    for name, bound, open_end in (("lo", lo, -INF), ("hi", hi, INF)):
        held = min(max(bound, then_lo), then_hi)
        if held != open_end:
            given[name] = held
    return attrs(**given)


@rule("maximum", "minimum")
def bound_is_clamp(node: Node, view: View) -> Replacement | None:
    """max(x, one number) is a clamp."""
    x, c = node.inputs
    if not view.is_const(c) or view.type(c).quant or view.array(c).size != 1 or view.type(x).dtype is not F32:
        return None
    if view.shape(x) != view.shape(node.outputs[0]):
        return None
    bound = float(view.array(c).reshape(-1)[0])
    given = attrs(lo=bound) if node.op == "maximum" else attrs(hi=bound)
    return Replacement((replace(node, op="clamp", inputs=(x,), attrs=given),))


@rule("clamp")
def no_clamp(node: Node, view: View) -> Replacement | None:
    """A clamp that holds nothing back."""
    x, out = node.inputs[0], node.outputs[0]
    same = (view.type(x).dtype, view.type(x).quant) == (view.type(out).dtype, view.type(out).quant)
    if same and _get(node, "lo", -INF) == -INF and _get(node, "hi", INF) == INF:
        return Replacement(renames={out: x})
    return None


@rule("clamp")
def clamp_after(node: Node, view: View) -> Replacement | None:
    """A clamp goes into the op before it: exact also on quantised edges if both carry one quant."""
    x, out = node.inputs[0], node.outputs[0]
    maker = view.producer(x, "clamp", *CLAMPED)
    same = (view.type(x).dtype, view.type(x).quant) == (view.type(out).dtype, view.type(out).quant)
    if not maker or not same or not view.private(x):
        return None
    return Replacement((replace(maker, outputs=(out,), attrs=_bounds(maker, node)),))


@rule(*sorted(WEIGHTED))
def explicit_bias(node: Node, view: View) -> Replacement | None:
    """No bias is a bias of zeros."""
    if len(node.inputs) > 2 and node.inputs[2]:
        return None
    size = view.shape(node.outputs[0])[-1]
    bias = const_value(view.fresh(f"{node.name}/b"), np.zeros(size), F32, where=node.where)
    return Replacement((replace(node, inputs=(*node.inputs[:2], bias.name)),), (bias,))


@rule("conv2d", "dwconv2d")
def border_into_window(node: Node, view: View) -> Replacement | None:
    """A border of (real) zeros around a picture is the convolution's own."""
    pad = view.producer(node.inputs[0], "pad")
    if pad is None:
        return None
    quant = view.type(pad.inputs[0]).quant
    zero = quant.zero[0] if quant else 0
    before, after = ints(pad.attrs["before"]), ints(pad.attrs["after"])
    moved = before[0] or before[3] or after[0] or after[3]
    if moved or _get(pad, "value", 0.0) != zero or quant != view.type(pad.outputs[0]).quant:
        return None
    own = ints(node.attrs.get("pads", (0,) * 4))
    pads = tuple(a + b for a, b in zip(own, (*before[1:3], *after[1:3]), strict=True))
    given = attrs(**{**node.attrs, "pads": pads})
    return Replacement((replace(node, inputs=(*pad.inputs, *node.inputs[1:]), attrs=given),))


@rule("conv2d")
def depthwise(node: Node, view: View) -> Replacement | None:
    """One input channel a group, as many filters as groups."""
    x, w = view.shape(node.inputs[0]), view.values[node.inputs[1]]
    filters, _, _, per_group = w.type.shape
    if per_group != 1 or filters != x[3] or filters == 1:
        return None
    quant = w.type.quant
    if quant is not None and quant.axis is not None:
        quant = replace(quant, axis=2) if quant.axis == 0 else None
    if w.type.quant is not None and quant is None:
        return None
    turned = w.array()[..., 0].transpose(1, 2, 0)
    weights = const_value(view.fresh(f"{w.name}/dw"), turned, w.type.dtype, quant, w.where)
    given = attrs(**{k: v for k, v in node.attrs.items() if k != "group"})
    inputs = (node.inputs[0], weights.name, *node.inputs[2:])
    return Replacement((replace(node, op="dwconv2d", inputs=inputs, attrs=given),), (weights,))


@rule("conv2d")
def window_is_dense(node: Node, view: View) -> Replacement | None:
    """A window of one pixel at every place, or of the whole picture, is a dense layer."""
    x, w, out = view.shape(node.inputs[0]), view.shape(node.inputs[1]), view.type(node.outputs[0])
    strides, pads = (ints(node.attrs.get(k, d)) for k, d in (("strides", (1, 1)), ("pads", (0,) * 4)))
    pixel = w[1:3] == (1, 1) and strides == (1, 1)
    whole = w[1:3] == x[1:3] and ints(node.attrs.get("dilations", (1, 1))) == (1, 1)
    if any(pads) or w[3] != x[3] or not (pixel or whole):
        return None
    rows = math.prod(x[:3]) if pixel else x[0]
    weights = _reshaped(view.values[node.inputs[1]], (w[0], math.prod(w[1:])), view)
    return _as_dense(node, view, (rows, math.prod(x) // rows), weights, (rows, w[0]), out)


@rule("matmul")
def constant_matmul(node: Node, view: View) -> Replacement | None:
    """A product with a constant matrix [1,K,N] is a dense layer."""
    a, b = node.inputs
    if not view.is_const(b) or view.is_const(a) or view.shape(b)[0] != 1:
        return None
    (_, m, k), (_, _, n), value = view.shape(a), view.shape(b), view.values[b]
    quant = value.type.quant
    if quant is not None and quant.axis is not None:
        quant = replace(quant, axis={1: 1, 2: 0}.get(quant.axis, 1))
    turned = np.ascontiguousarray(value.array()[0].T)
    weights = const_value(view.fresh(f"{b}/rows"), turned, value.type.dtype, quant, value.where)
    return _as_dense(node, view, (m, k), weights, (m, n), view.type(node.outputs[0]))


def _as_dense(
    node: Node, view: View, rows: tuple[int, int], weights: Value, result: tuple[int, int], out: TensorType
) -> Replacement:
    """reshape, dense, reshape in place of `node`."""
    before = view.temp(f"{node.name}/rows", replace(view.type(node.inputs[0]), shape=rows))
    after = view.temp(f"{node.outputs[0]}/rows", replace(out, shape=result))
    given = attrs(**{k: v for k, v in node.attrs.items() if k in ("lo", "hi")})
    nodes = (
        view.make(f"{node.name}/in", "reshape", node.inputs[:1], attrs(shape=rows), before),
        Node(
            node.name,
            "dense",
            (before.name, weights.name, *node.inputs[2:]),
            (after.name,),
            given,
            node.where,
        ),
        view.make(f"{node.name}/out", "reshape", (after.name,), attrs(shape=out.shape), node.outputs[0]),
    )
    return Replacement(nodes, (before, after, weights))


def _reshaped(value: Value, shape: tuple[int, ...], view: View) -> Value:
    """A constant under another shape (itself if it has it)."""
    if value.type.shape == shape:
        return value
    quant = value.type.quant and moved_quant(value.type.quant, None, value.type.shape, shape)
    name = view.fresh(f"{value.name}/rows")
    return const_value(name, value.array().reshape(shape), value.type.dtype, quant, value.where)


@rule(*sorted(BINARY))
def settle_operands(node: Node, view: View) -> Replacement | None:
    """The first operand has the result's shape, the second that or its last axes."""
    (a, b), shape = node.inputs, view.shape(node.outputs[0])
    if view.shape(a) != shape and view.shape(b) == shape and node.op in COMMUTES:
        return Replacement((replace(node, inputs=(b, a)),))
    if view.shape(a) != shape:
        return _with(node, 0, _grow(a, shape, view))
    if broadcasts(shape, view.shape(b)):
        return None
    tail = view.shape(b)
    while tail and tail[0] == 1:
        tail = tail[1:]
    return _with(node, 1, _shrink(b, tail, view) if broadcasts(shape, tail) else _grow(b, shape, view))


def _with(node: Node, index: int, change: tuple[tuple[Node, ...], tuple[Value, ...]]) -> Replacement:
    nodes, values = change
    inputs = tuple(values[-1].name if i == index else name for i, name in enumerate(node.inputs))
    return Replacement((*nodes, replace(node, inputs=inputs)), values)


def _shrink(name: str, shape: tuple[int, ...], view: View) -> tuple[tuple[Node, ...], tuple[Value, ...]]:
    """`name` without its leading axes of size one."""
    if view.is_const(name):
        return (), (_reshaped(view.values[name], shape, view),)
    small = view.temp(f"{name}/tail", replace(view.type(name), shape=shape))
    return (view.make(f"{name}/tail", "reshape", (name,), attrs(shape=shape), small),), (small,)


def _grow(name: str, shape: tuple[int, ...], view: View) -> tuple[tuple[Node, ...], tuple[Value, ...]]:
    """`name` repeated up to `shape`."""
    ranked = (1,) * (len(shape) - len(view.shape(name))) + view.shape(name)
    nodes, values = _shrink(name, ranked, view) if ranked != view.shape(name) else ((), ())
    source = values[-1].name if values else name
    full = view.temp(f"{name}/full", replace(view.type(name), shape=shape))
    grow = view.make(f"{name}/full", "expand", (source,), attrs(shape=shape), full)
    return (*nodes, grow), (*values, full)

"""One way to say each thing: explicit biases, fused scales and clamps, activations by name, one broadcasting.

Knocks: an imported graph with rows settled or not. Leaves: fewer and plainer nodes of the same meaning.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from brainc import ops
from brainc.dtypes import F32, Array
from brainc.ir import Attr, Attrs, Graph, Node, Value, attrs, const_value
from brainc.ops import ints
from brainc.passes.context import Context
from brainc.passes.rewrite import Replacement, View, apply, rule
from brainc.spec import BINARY, CHANNEL, CLAMPED, WEIGHTED, bounds, broadcasts, number

COMMUTES = frozenset({"add", "mul", "maximum", "minimum"})
OPEN = (-math.inf, math.inf)  # the bounds of an op that has none


def fuse_affine(graph: Graph, context: Context) -> Graph:
    """Constant scales and offsets (batch normalisation) go into the weights and bias before them."""
    return apply(graph, (constant_second, lift_over_reshape, bias_after, scale_after), context.note)


def fuse_clamp(graph: Graph, context: Context) -> Graph:
    """Activations that hold a value between bounds become `lo` and `hi` of the op before them."""
    rules = (constant_second, bound_is_clamp, lift_over_reshape, no_clamp, clamp_after)
    return apply(graph, rules, context.note)


def name_activations(graph: Graph, context: Context) -> Graph:
    """A function of one variable that exporters spell out: one node again, and so one table in int8."""
    return apply(graph, (scaled_swish,), context.note)


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
    made = tuple(c for c in constants if c)
    moved = view.temp(f"{out}/rows", view.type(out), view.shape(source))
    first = replace(node, inputs=(source, *(c.name for c in made)), outputs=(moved.name,))
    back = replace(shaper, inputs=(moved.name,), outputs=(out,), attrs=attrs(shape=view.shape(out)))
    return Replacement((first, back), (moved, *made))


def _per_channel(name: str, view: View, shape: tuple[int, ...], rows: tuple[int, ...]) -> Value | None:
    """A constant beside `shape` as the one beside that tensor reshaped to `rows`: a number, or [N]."""
    value = view.values[name]
    if not view.is_const(name) or value.type.size == 1:
        return value if view.is_const(name) else None
    full = np.broadcast_to(value.array(), shape).reshape(-1, rows[-1])
    fits = value.type.size == rows[-1] and np.all(full == full[0])
    return _reshaped(value, rows[-1:], view) if fits else None


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
    inputs = (*maker.inputs[:2], bias.name)
    return Replacement((replace(maker, inputs=inputs, outputs=node.outputs, attrs=held(maker, node)),), (bias,))


@rule("add", "sub", "mul", "div")
def scale_after(node: Node, view: View) -> Replacement | None:
    """dense(x, w, b) * s + t is dense(x, w * s, b * s + t), a channel at a time, in float."""
    maker = view.producer(node.inputs[0], *WEIGHTED)
    if not maker or not _open(maker, node, view):
        return None
    found = _channels(node.inputs[1], view, view.shape(maker.outputs[0])[-1])
    old = maker.inputs[2] if len(maker.inputs) > 2 else ""
    if found is None or (old and view.type(old).quant):
        return None
    c, one, none = found.astype(np.float64), np.ones(found.shape), np.zeros(found.shape)
    scale = {"mul": c, "div": 1.0 / c if node.op == "div" else c}.get(node.op, one)
    offset = {"add": c, "sub": -c}.get(node.op, none)
    before = view.array(old).astype(np.float64) if old else none
    bias = const_value(view.fresh(f"{maker.name}/b"), before * scale + offset, F32, where=maker.where)
    inputs, values = [*maker.inputs[:2], bias.name], [bias]
    if np.any(scale != 1.0) and view.type(inputs[1]).quant:
        return None
    if np.any(scale != 1.0):
        w = view.array(inputs[1]).astype(np.float64)
        shape = [-1 if axis == CHANNEL[maker.op] else 1 for axis in range(w.ndim)]
        inputs[1] = view.fresh(f"{maker.name}/w")
        values.append(const_value(inputs[1], w * scale.reshape(shape), F32, where=maker.where))
    made = replace(maker, inputs=tuple(inputs), outputs=node.outputs, attrs=held(maker, node))
    return Replacement((made,), tuple(values))


def _channels(name: str, view: View, size: int) -> Array | None:
    """A float constant as one number a channel [size]; None if it is something else."""
    if not view.is_const(name) or view.type(name).quant or view.shape(name)[-1:] not in ((), (1,), (size,)):
        return None
    array = view.array(name)
    if array.size not in (1, *view.shape(name)[-1:]):
        return None
    return np.broadcast_to(array.reshape(-1), (size,))


def _open(maker: Node, node: Node, view: View) -> bool:
    """Whether `maker` may take over what `node` does to its result: one reader, no bounds, no quant."""
    types = (view.type(maker.outputs[0]), view.type(node.outputs[0]))
    return bounds(maker) == OPEN and view.private(maker.outputs[0]) and not any(t.quant for t in types)


def held(maker: Node, node: Node) -> Attrs:
    """The attributes of `maker` held within the bounds of `node`, which comes after it."""
    low, high = bounds(node)
    given: dict[str, Attr] = {k: v for k, v in maker.attrs.items() if k not in ("lo", "hi")}
    for name, bound, end in zip(("lo", "hi"), bounds(maker), OPEN, strict=True):
        if (new := min(max(bound, low), high)) != end:
            given[name] = new
    return attrs(**given)


@rule("maximum", "minimum")
def bound_is_clamp(node: Node, view: View) -> Replacement | None:
    """max(x, one number) is a clamp."""
    x, bound = node.inputs[0], view.scalar(node.inputs[1])
    if bound is None or view.type(x).dtype is not F32 or view.shape(x) != view.shape(node.outputs[0]):
        return None
    given = attrs(lo=bound) if node.op == "maximum" else attrs(hi=bound)
    return Replacement((replace(node, op="clamp", inputs=(x,), attrs=given),))


def _same_numbers(node: Node, view: View) -> bool:
    x, y = view.type(node.inputs[0]), view.type(node.outputs[0])
    return (x.dtype, x.quant) == (y.dtype, y.quant)


@rule("clamp")
def no_clamp(node: Node, view: View) -> Replacement | None:
    """A clamp that holds nothing back."""
    idle = bounds(node) == OPEN and _same_numbers(node, view)
    return Replacement(renames={node.outputs[0]: node.inputs[0]}) if idle else None


@rule("clamp")
def clamp_after(node: Node, view: View) -> Replacement | None:
    """A clamp goes into the op before it: exact also on quantised edges if both carry one quant."""
    maker = view.producer(node.inputs[0], "clamp", *CLAMPED)
    if not maker or not _same_numbers(node, view) or not view.private(node.inputs[0]):
        return None
    return Replacement((replace(maker, outputs=node.outputs, attrs=held(maker, node)),))


@rule("mul", "div")
def scaled_swish(node: Node, view: View) -> Replacement | None:
    """x * clip(x + 3, 0, 6) / 6 is the hard swish of x."""
    if bounds(node) != OPEN or any(view.type(n).quant for n in (*node.inputs, *node.outputs)):
        return None
    product = view.producer(node.inputs[0], "mul")
    if not product or bounds(product) != OPEN or not _is(node.inputs[1], 6 if node.op == "div" else 1 / 6, view):
        return None
    for x, gate in (product.inputs, product.inputs[::-1]):
        step = view.producer(gate, "add")
        if step and step.inputs[0] == x and bounds(step) == (0.0, 6.0) and _is(step.inputs[1], 3.0, view):
            return Replacement((replace(node, op="unary", inputs=(x,), attrs=attrs(fn="hard_swish")),))
    return None


def _is(name: str, wanted: float, view: View) -> bool:
    have = view.scalar(name)
    return have is not None and math.isclose(have, wanted, rel_tol=1e-4)


@rule(*sorted(WEIGHTED))
def explicit_bias(node: Node, view: View) -> Replacement | None:
    """No bias is a bias of zeros."""
    if len(node.inputs) > 2 and node.inputs[2]:
        return None
    size = view.shape(node.outputs[0])[-1]
    bias = const_value(view.fresh(f"{node.name}/b"), np.zeros(size), F32, where=node.where)
    return Replacement((replace(node, inputs=(*node.inputs[:2], bias.name)),), (bias,))


@rule("conv2d", "dwconv2d", "qconv2d", "qdwconv2d")
def border_into_window(node: Node, view: View) -> Replacement | None:
    """A border of (real) zeros around a picture is the convolution's own, if every window sees some picture."""
    pad = view.producer(node.inputs[0], "pad")
    if pad is None:
        return None
    quant = view.type(pad.inputs[0]).quant
    before, after = ints(pad.attrs["before"]), ints(pad.attrs["after"])
    moved = before[0] or before[3] or after[0] or after[3]
    nothing = number(node.attrs.get("zx", quant.zero[0] if quant else 0))
    if moved or number(pad.attrs.get("value", 0.0)) != nothing or quant != view.type(pad.outputs[0]).quant:
        return None
    own = ints(node.attrs.get("pads", (0,) * 4))
    pads = tuple(a + b for a, b in zip(own, (*before[1:3], *after[1:3]), strict=True))
    steps = ints(node.attrs.get("dilations", (1, 1)))
    spans = [(k - 1) * d + 1 for k, d in zip(view.shape(node.inputs[1])[-3:-1], steps, strict=True)]
    if any(p >= span for p, span in zip(pads, spans * 2, strict=True)):
        return None
    given = attrs(**{**node.attrs, "pads": pads})
    return Replacement((replace(node, inputs=(*pad.inputs, *node.inputs[1:]), attrs=given),))


@rule("conv2d")
def depthwise(node: Node, view: View) -> Replacement | None:
    """One input channel a group, as many filters as groups."""
    x, w = view.shape(node.inputs[0]), view.values[node.inputs[1]]
    filters, _, _, per_group = w.type.shape
    quant = w.type.quant
    if per_group != 1 or filters != x[3] or filters == 1 or (quant and quant.axis not in (None, 0)):
        return None
    turned = quant and replace(quant, axis=None if quant.axis is None else 2)
    weights = view.changed(w, f"{w.name}/dw", w.array()[..., 0].transpose(1, 2, 0), turned)
    given = attrs(**{k: v for k, v in node.attrs.items() if k != "group"})
    inputs = (node.inputs[0], weights.name, *node.inputs[2:])
    return Replacement((replace(node, op="dwconv2d", inputs=inputs, attrs=given),), (weights,))


@rule("conv2d", "qconv2d")
def window_is_dense(node: Node, view: View) -> Replacement | None:
    """A window of one pixel at every place, or of the whole picture, is a dense layer."""
    x, w = view.shape(node.inputs[0]), view.shape(node.inputs[1])
    strides, pads = (ints(node.attrs.get(k, d)) for k, d in (("strides", (1, 1)), ("pads", (0,) * 4)))
    pixel = w[1:3] == (1, 1) and strides == (1, 1)
    whole = w[1:3] == x[1:3] and ints(node.attrs.get("dilations", (1, 1))) == (1, 1)
    if any(pads) or w[3] != x[3] or not (pixel or whole):
        return None
    rows = math.prod(x[:3]) if pixel else x[0]
    weights = _reshaped(view.values[node.inputs[1]], (w[0], math.prod(w[1:])), view)
    return _as_dense(node, view, rows, weights)


@rule("matmul")
def constant_matmul(node: Node, view: View) -> Replacement | None:
    """A product with a constant matrix [1,K,N] is a dense layer."""
    a, b = node.inputs
    if not view.is_const(b) or view.is_const(a) or view.shape(b)[0] != 1:
        return None
    value = view.values[b]
    quant = value.type.quant
    if quant is not None:
        flat = quant.reshaped(value.type.shape, value.type.shape[1:])
        if flat is None:
            return None
        quant = flat.transposed((1, 0), value.type.shape[1:])
    turned = np.ascontiguousarray(value.array()[0].T)
    return _as_dense(node, view, view.shape(a)[1], view.changed(value, f"{b}/rows", turned, quant))


def _as_dense(node: Node, view: View, rows: int, weights: Value) -> Replacement:
    """reshape, dense, reshape in place of `node`."""
    (n, k), x, y = weights.type.shape, view.type(node.inputs[0]), view.type(node.outputs[0])
    before = view.temp(f"{node.name}/rows", x, (rows, k))
    after = view.temp(f"{node.outputs[0]}/rows", y, (rows, n))
    op = "qdense" if node.op.startswith("q") else "dense"
    given = attrs(**{name: v for name, v in node.attrs.items() if name in ops.get(op).defaults})
    inputs = (before.name, weights.name, *node.inputs[2:])
    nodes = (
        view.make(f"{node.name}/in", "reshape", node.inputs[:1], attrs(shape=(rows, k)), before),
        replace(node, op=op, inputs=inputs, outputs=(after.name,), attrs=given),
        view.make(f"{node.name}/out", "reshape", (after.name,), attrs(shape=y.shape), node.outputs[0]),
    )
    return Replacement(nodes, (before, after, weights))


def _reshaped(value: Value, shape: tuple[int, ...], view: View) -> Value:
    """A constant under another shape (itself if it has it)."""
    if value.type.shape == shape:
        return value
    quant = value.type.quant and value.type.quant.reshaped(value.type.shape, shape)
    return view.changed(value, f"{value.name}/rows", value.array().reshape(shape), quant)


@rule(*sorted(BINARY))
def settle_operands(node: Node, view: View) -> Replacement | None:
    """The first operand has the result's shape, the second that or its last axes."""
    (a, b), shape = node.inputs, view.shape(node.outputs[0])
    if view.shape(a) != shape and view.shape(b) == shape and node.op in COMMUTES:
        return Replacement((replace(node, inputs=(b, a)),))
    if view.shape(a) != shape:
        made = _grow(a, shape, view)
        return replace(made, nodes=(*made.nodes, replace(node, inputs=(made.values[-1].name, b))))
    if broadcasts(shape, view.shape(b)):
        return None
    tail = view.shape(b)
    while tail and tail[0] == 1:
        tail = tail[1:]
    made = _shrink(b, tail, view) if broadcasts(shape, tail) else _grow(b, shape, view)
    return replace(made, nodes=(*made.nodes, replace(node, inputs=(a, made.values[-1].name))))


def _shrink(name: str, shape: tuple[int, ...], view: View) -> Replacement:
    """`name` without its leading axes of size one."""
    if view.is_const(name):
        return Replacement(values=(_reshaped(view.values[name], shape, view),))
    small = view.temp(f"{name}/tail", view.type(name), shape)
    return Replacement((view.make(f"{name}/tail", "reshape", (name,), attrs(shape=shape), small),), (small,))


def _grow(name: str, shape: tuple[int, ...], view: View) -> Replacement:
    """`name` repeated up to `shape`."""
    ranked = (1,) * (len(shape) - len(view.shape(name))) + view.shape(name)
    before = _shrink(name, ranked, view) if ranked != view.shape(name) else Replacement()
    source = before.values[-1].name if before.values else name
    full = view.temp(f"{name}/full", view.type(name), shape)
    grow = view.make(f"{name}/full", "expand", (source,), attrs(shape=shape), full)
    return Replacement((*before.nodes, grow), (*before.values, full))

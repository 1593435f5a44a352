"""From meant-as-integers to integers: the room where scales become multipliers.

Knocks: a QUANTIZED graph, whose ops still have their real meaning on edges that carry a `Quant`.
Leaves: an INTEGER graph. A node whose edges are all int8 becomes its exact `q` op, moves of data stay as
they are on the raw numbers, and what has no integer form stays real between `from_int` and `to_int`.

Factors are worked out in float64 from the scales; `brainc/ops/q*.py` say what the q ops compute with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from brainc import numerics, ops, spec
from brainc.dtypes import F32, I8, I32, Array
from brainc.errors import UnsupportedError
from brainc.ir import Attr, Entry, Graph, Node, TensorType, attrs
from brainc.ops import ints
from brainc.ops._windows import counts
from brainc.ops.bilinear2d import places
from brainc.ops.qlerp import LARGEST, lerp_multiplier
from brainc.passes.build import WINDOW, Build, multipliers, real_constant
from brainc.passes.canonical import clamp_after
from brainc.passes.context import Context
from brainc.passes.four import in_four_bits
from brainc.passes.legalize import alive
from brainc.passes.rewrite import apply
from brainc.spec import CHANNEL, MOVES, PICKS


def lower_to_integers(graph: Graph, context: Context) -> Graph:
    """Every real op all of whose edges are int8 becomes exact; UnsupportedError where int32 is too small."""
    graph = apply(graph, (clamp_after,), context.note)
    build = Build(graph)
    entries = tuple(_entry(build, entry) for entry in graph.entries)
    return graph if entries == graph.entries else graph.replaced(values=build.values, entries=entries)


def _entry(build: Build, entry: Entry) -> Entry:
    build.begin()
    for node in entry.nodes:
        _lower(build, node)
    return replace(entry, nodes=alive(build.nodes, entry.outputs))


def _lower(build: Build, node: Node) -> None:
    edges = (*node.operands, *node.outputs)
    quantised = [build.type(n).quant is not None for n in edges]
    on_a_scale = all(q or _real_constant(build, n) for n, q in zip(edges, quantised, strict=True))
    if node.op in ("from_int", "to_int", "argmax") or node.op.startswith("q") or not any(quantised):
        build.add(node)
    elif node.op in MOVES and on_a_scale:  # on the integers themselves, all quantised as result or state
        wanted = build.type((*node.outputs, *node.inputs)[0])
        build.add(replace(node, inputs=tuple(build.requantised(n, wanted, node) for n in node.inputs)))
    elif node.op in PICKS and build.is_i8(node.outputs[0]):
        table = build.requantised(node.inputs[0], build.type(node.outputs[0]), node)
        build.add(replace(node, inputs=(table, *node.inputs[1:])))
    else:
        moving = [n for n in spec.moved(node) if not build.is_const(n)]
        exact = moving and all(build.is_i8(n) for n in (*moving, *node.outputs))
        if not exact or not any(form(build, node) for form in FORMS.get(node.op, ())):
            _stay_real(build, node)


def _real_constant(build: Build, name: str) -> bool:
    """Whether a move may take it at any scale: a first state, say, that is joined to an input."""
    return build.is_const(name) and build.type(name).dtype is F32


def _stay_real(build: Build, node: Node) -> None:
    """No integer form: the same op on real twins of its values."""
    inputs = tuple(build.real(n, node) if n else n for n in node.inputs)
    outputs, doors = [], []
    for name in node.outputs:
        type_ = build.type(name)
        if type_.quant is not None:
            twin = build.value(f"{name}/real", TensorType(F32, type_.shape), node)
            given = attrs(scale=type_.quant.scale[0], zero=type_.quant.zero[0], dtype=type_.dtype.name)
            doors.append(Node(f"{twin}/to_int", "to_int", (twin,), (name,), given, node.where))
            name = twin
        outputs.append(name)
    for made in (replace(node, inputs=inputs, outputs=tuple(outputs)), *doors):
        build.add(made)


def table(build: Build, node: Node) -> bool:
    """Any op of one moving operand and otherwise single numbers: a function of one variable."""
    moving = [n for n in node.operands if not build.is_const(n)]
    if len(moving) != 1 or any(build.type(n).size != 1 for n in node.operands if build.is_const(n)):
        return False
    x, y = build.type(moving[0]), build.type(node.outputs[0])
    if x.quant is None or y.quant is None or x.size != y.size:
        return False
    numbers = [real_constant(build.values[n]).reshape(1) if build.is_const(n) else None for n in node.inputs]

    def function(v: Array) -> Array:
        args = [v if number is None else np.broadcast_to(number, v.shape) for number in numbers]
        return ops.get(node.op).run(args, node.attrs)[0]

    answers = build.table(f"{node.name}/table", x.quant, y.quant, function, node)
    return build.emit(node, "qlut", (moving[0], answers))


def convolution(build: Build, node: Node) -> bool:
    """conv2d, dwconv2d and dense: int8 weights, int32 bias with the input's zero point folded in."""
    x, w, b = node.inputs
    (sx, zx), (sy, _) = build.tensor(x), build.tensor(node.outputs[0])
    axis, quant, weights = CHANNEL[node.op], build.type(w).quant, build.values[w].array()
    if quant is None or quant.block or quant.axis not in (None, axis) or weights.dtype != np.int8 or any(quant.zero):
        return False
    if build.type(w).dtype is not I8:
        w = build.const(w, weights, I8, node, quant)
    scales = np.broadcast_to(np.array(quant.scale), (weights.shape[axis],))
    others = tuple(i for i in range(weights.ndim) if i != axis)
    old = build.values[b]
    steps = old.array() if old.type.dtype is I32 else np.rint(real_constant(old) / (sx * scales))
    bias = steps.astype(np.int64) - zx * weights.sum(axis=others, dtype=np.int64)
    if np.abs(bias).max(initial=0) > np.iinfo(np.int32).max:
        raise UnsupportedError(
            f"a bias of {node.name} does not fit into 32 bits",
            fix="quantise the layer with larger scales, or leave it in float",
        )
    mult, shift = multipliers(sx * scales / sy)
    made = (("b", bias, I32), ("mult", mult, I32), ("shift", shift, I8))
    constants = tuple(build.const(f"{node.name}/{key}", array, dtype, node) for key, array, dtype in made)
    given: dict[str, Attr] = {k: v for k, v in node.attrs.items() if k in (*WINDOW, "group")}
    given |= {} if node.op == "dense" else {"zx": zx}
    return build.emit(node, f"q{node.op}", (x, w, *constants), **given, **build.result(node))


def addition(build: Build, node: Node) -> bool:
    """add and sub: both operands brought to one scale."""
    a, b = (build.i8_operand(n, node) for n in node.inputs)
    (sa, za), (sb, zb), (sy, _) = (build.tensor(n) for n in (a, b, node.outputs[0]))
    sign = -1 if node.op == "sub" else 1
    ma, mb, shift = numerics.sum_multipliers(sa / sy, sign * sb / sy)
    return build.emit(node, "qadd", (a, b), za=za, zb=zb, ma=ma, mb=mb, shift=shift, **build.result(node))


def product(build: Build, node: Node) -> bool:
    """mul, element by element, and matmul of two activations."""
    a, b = (build.i8_operand(n, node) for n in node.inputs)
    (sa, za), (sb, zb), (sy, _) = (build.tensor(n) for n in (a, b, node.outputs[0]))
    mult, shift = numerics.multiplier(sa * sb / sy)
    given = build.result(node)
    return build.emit(node, f"q{node.op}", (a, b), za=za, zb=zb, mult=mult, shift=shift, **given)


def blend(build: Build, node: Node) -> bool:
    """lerp: both ends brought to the scale of the result, which they have already where they are a state."""
    a, b = (build.requantised(n, build.type(node.outputs[0]), node) for n in node.inputs[:2])
    t = build.i8_operand(node.inputs[2], node)
    (scale, zero), bound = build.tensor(t), build.result(node)
    if scale >= LARGEST:
        return False
    mult, shift = lerp_multiplier(scale)
    return build.emit(node, "qlerp", (a, b, t), zt=zero, mult=mult, shift=shift, lo=bound["lo"], hi=bound["hi"])


def sloped(build: Build, node: Node) -> bool:
    """prelu: what is negative is scaled by its slope on the way."""
    a, b = (build.i8_operand(n, node) for n in node.inputs)
    (sa, za), (sb, zb), (sy, zy) = (build.tensor(n) for n in (a, b, node.outputs[0]))
    (mult, shift), (mult_neg, shift_neg) = map(numerics.tflite_multiplier, (sa / sy, sa * sb / sy))
    given: dict[str, Attr] = {"zx": za, "zb": zb, "zy": zy, "mult": mult, "shift": shift}
    return build.emit(node, "qprelu", (a, b), **given, mult_neg=mult_neg, shift_neg=shift_neg)


def quotient(build: Build, node: Node) -> bool:
    """div by a constant: mul by its reciprocal."""
    a, b = node.inputs
    if not build.is_const(b):
        return False
    with np.errstate(divide="ignore"):
        reciprocal = 1.0 / real_constant(build.values[b])
    if not np.isfinite(reciprocal).all():
        return False
    inverse = build.const(f"{b}/inverse", reciprocal, F32, node)
    return product(build, replace(node, op="mul", inputs=(a, inverse)))


def average(build: Build, node: Node) -> bool:
    """avgpool2d: one multiplier for each number of cells that a window may have inside the picture."""
    x = node.inputs[0]
    (sx, zx), (sy, _) = build.tensor(x), build.tensor(node.outputs[0])
    given = ops.get("avgpool2d").full(node.attrs)
    kernel = ints(given["kernel"])
    cells = kernel[0] * kernel[1]
    steps = {name: ints(given[name]) for name in WINDOW if name in given}
    inside = counts(build.type(x).shape, kernel, **steps)
    if given.pop("count_pads"):
        sizes = np.array([cells])
    elif inside.min() == inside.max() > 0:
        sizes = inside.reshape(-1)[:1]
    else:
        sizes = np.arange(1, cells + 1)
    pairs = [numerics.multiplier(sx / (float(n) * sy)) for n in sizes]
    mult = build.const(f"{node.name}/mult", np.array([m for m, _ in pairs]), I32, node)
    shift = build.const(f"{node.name}/shift", np.array([s for _, s in pairs]), I8, node)
    return build.emit(node, "qavgpool2d", (x, mult, shift), **given, zx=zx, **build.result(node))


def reduction(build: Build, node: Node) -> bool:
    """mean and sum as qmean; the largest as a pooling window over the whole axis."""
    x, y = node.inputs[0], build.type(node.outputs[0])
    fn, (m, k, n) = node.attrs["fn"], build.type(x).shape
    if fn == "max":
        x = build.requantised(x, y, node)
        tall = build.value(f"{node.name}/x", TensorType(I8, (m, k, 1, n), y.quant), node)
        flat = build.value(f"{node.name}/y", TensorType(I8, (m, 1, 1, n), y.quant), node)
        build.add(Node(f"{tall}/view", "reshape", (x,), (tall,), attrs(shape=(m, k, 1, n)), node.where))
        build.add(Node(f"{flat}/max", "maxpool2d", (tall,), (flat,), attrs(kernel=(k, 1)), node.where))
        return build.emit(node, "reshape", (flat,), shape=(m, n))
    if fn not in ("mean", "sum"):
        return False
    (sx, zx), (sy, _) = build.tensor(x), build.tensor(node.outputs[0])
    mult, shift = numerics.multiplier(sx / ((k if fn == "mean" else 1) * sy))
    return build.emit(node, "qmean", (x,), zx=zx, mult=mult, shift=shift, **build.result(node))


def stretched(build: Build, node: Node) -> bool:
    """bilinear2d: what lies between two pixels, in 1024ths of the way, on one scale."""
    x = build.requantised(node.inputs[0], build.type(node.outputs[0]), node)
    given, old = ops.get("bilinear2d").full(node.attrs), build.type(x).shape[1:3]
    corners, centres = (bool(given[name]) for name in ("corners", "centres"))
    lists = []
    for cells, new in zip(old, ints(given["size"]), strict=True):
        first, second, way = places(cells, new, corners, centres)
        lists.append(build.const(f"{node.name}/cells", np.stack([first, second, np.rint(way * 1024)], 1), I32, node))
    return build.emit(node, "qresize2d", (x, *lists))


def softmax(build: Build, node: Node) -> bool:
    """Exponentials of the distance to the largest, from a table."""
    x = node.inputs[0]
    if build.type(x).shape[1] > 1 << numerics.PROB_BITS:
        return False
    (sx, _), (sy, _) = build.tensor(x), build.tensor(node.outputs[0])
    weights = np.rint(np.exp(-np.arange(256) * sx) * (1 << numerics.SOFTMAX_BITS))
    name = build.const(f"{node.name}/table", weights, I32, node)
    mult, shift = numerics.multiplier(1.0 / (sy * (1 << numerics.PROB_BITS)))
    return build.emit(node, "qsoftmax", (x, name), mult=mult, shift=shift, **build.result(node))


Form = Callable[[Build, Node], bool]
FORMS: Final[dict[str, tuple[Form, ...]]] = {
    **dict.fromkeys(CHANNEL, (in_four_bits, convolution)),
    **dict.fromkeys(("add", "sub"), (table, addition)),
    **dict.fromkeys(("power", "maximum", "minimum", "unary", "clamp"), (table,)),
    **{"mul": (table, product), "div": (table, quotient), "matmul": (product,), "prelu": (table, sloped)},
    "lerp": (blend,),
    **{"avgpool2d": (average,), "reduce": (reduction,), "softmax": (softmax,), "bilinear2d": (stretched,)},
}

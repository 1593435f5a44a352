"""The integer form of each real op: which `q` op, with which multipliers, tables and folded biases.

A form is `(build, node) -> bool`: it writes the integer node and says True, or says False and has written
nothing. It is asked only for nodes whose activations are all int8 with one scale. Factors are worked out
in float64 from the scales; `brainc/ops/q*.py` say what the q ops compute with them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brainc import numerics, ops
from brainc.dtypes import F32, I8, I32, Array
from brainc.ir import Attr, Node, Quant, TensorType, attrs
from brainc.ops import ints
from brainc.ops._windows import counts
from brainc.passes.integer_build import Build, bounds, multipliers, quantise, real_constant

CHANNEL = {"conv2d": 0, "dwconv2d": 2, "dense": 0}  # the axis of the weights that the output channels are
WINDOW = ("strides", "pads", "dilations", "group")


def all_int8(build: Build, node: Node) -> bool:
    """Are the result and all operands that are not constants int8 with one scale?"""
    moving = [n for n in node.operands if not build.is_const(n)]
    return bool(moving) and all(build.is_i8(n) for n in (*moving, *node.outputs))


def table(build: Build, node: Node) -> bool:
    """Any op of one moving operand and otherwise single numbers: a function of one variable."""
    moving = [i for i, n in enumerate(node.inputs) if n and not build.is_const(n)]
    others = [n for n in node.operands if build.is_const(n)]
    if len(moving) != 1 or any(build.values[n].type.size != 1 for n in others):
        return False
    x = node.inputs[moving[0]]
    y = build.values[node.outputs[0]].type
    old = build.values[x].type
    if old.quant is None or y.quant is None or old.size != y.size:
        return False
    numbers = [real_constant(build.values[n]).reshape(1) if build.is_const(n) else None for n in node.inputs]

    def function(v: Array) -> Array:
        args = [v if number is None else np.broadcast_to(number, v.shape) for number in numbers]
        return ops.get(node.op).run(args, node.attrs)[0]

    answers = build.table(f"{node.name}/table", old.quant, y.quant, function, node)
    build.emit(node, "qlut", (x, answers))
    return True


def rescale(build: Build, node: Node) -> bool:
    """from_int then to_int: one table instead."""
    before = build.writer(node.inputs[0])
    if before is None or before.op != "from_int" or node.attrs.get("dtype", "i8") != "i8":
        return False
    x = before.inputs[0]
    if build.values[x].type.dtype is not I8:
        return False
    old = Quant.tensor(float(before.attrs["scale"]), int(before.attrs["zero"]))  # type: ignore[arg-type]
    new = Quant.tensor(float(node.attrs["scale"]), int(node.attrs["zero"]))  # type: ignore[arg-type]
    answers = build.table(f"{node.name}/table", old, new, lambda v: v, node)
    build.emit(node, "qlut", (x, answers))
    return True


def convolution(build: Build, node: Node) -> bool:
    """conv2d, dwconv2d and dense: int8 weights, int32 bias with the input's zero point folded in."""
    x, w, b = node.inputs
    sx, zx = build.tensor(x)
    sy, zy = build.tensor(node.outputs[0])
    if not (build.is_const(w) and (not b or build.is_const(b))):
        return False
    found = _weights(build, node)
    if found is None:
        return False
    name, scales = found
    weights = build.values[name].array()
    axis = CHANNEL[node.op]
    others = tuple(i for i in range(weights.ndim) if i != axis)
    bias = _bias(build, b, sx * scales) - zx * weights.sum(axis=others, dtype=np.int64)
    folded = build.const(f"{node.name}/b", build.i32(bias, node), I32, node)
    mult, shift = multipliers(sx * scales / sy)
    constants = (
        folded,
        build.const(f"{node.name}/mult", mult, I32, node),
        build.const(f"{node.name}/shift", shift, I8, node),
    )
    given: dict[str, Attr] = {k: v for k, v in node.attrs.items() if k in WINDOW}
    if node.op != "dense":
        given["zx"] = zx
    build.emit(node, f"q{node.op}", (x, name, *constants), **given, zy=zy, **bounds(node.attrs, sy, zy))
    return True


def _weights(build: Build, node: Node) -> tuple[str, Array] | None:
    """(name of the symmetric int8 weights, their scales [N]); None where they are along a wrong axis."""
    value = build.values[node.inputs[1]]
    axis, quant = CHANNEL[node.op], value.type.quant
    channels = value.type.shape[axis]
    if quant is not None and quant.axis not in (None, axis):
        return None
    symmetric = quant is not None and value.type.dtype is I8 and not any(quant.zero)
    if quant is not None and symmetric:
        return value.name, np.broadcast_to(np.array(quant.scale, np.float64), (channels,))
    real = real_constant(value)
    others = tuple(i for i in range(real.ndim) if i != axis)
    largest = np.abs(real).max(axis=others)
    scales = np.where(largest > 0, largest, 1.0) / 127
    if quant is not None:  # an offset within int8 goes into the weights without a loss
        own = np.broadcast_to(np.array(quant.scale, np.float64), (channels,))
        scales = np.where(largest <= own * 127.5, own, scales)
    grid = Quant(tuple(scales.tolist()), (0,) * channels, axis)
    array = quantise(real, grid, -127 if quant is None else -128, 127)
    return build.const(f"{value.name}/q", array, I8, node, grid), scales


def _bias(build: Build, name: str, scales: Array) -> Array:
    """The bias in steps of the accumulator, int64 [N]."""
    if not name:
        return np.zeros(scales.size, np.int64)
    value = build.values[name]
    quant = value.type.quant
    if quant is not None and not any(quant.zero) and np.allclose(quant.scale, scales, rtol=1e-6, atol=0):
        return value.array().astype(np.int64)
    return np.rint(real_constant(value) / scales).astype(np.int64)


def addition(build: Build, node: Node) -> bool:
    """add and sub: both operands brought to one scale."""
    a, b = (build.i8_operand(n, node) for n in node.inputs)
    if a is None or b is None:
        return False
    (sa, za), (sb, zb), (sy, zy) = (build.tensor(n) for n in (a, b, node.outputs[0]))
    sign = -1 if node.op == "sub" else 1
    ma, mb, shift = numerics.sum_multipliers(sa / sy, sign * sb / sy)
    given = bounds(node.attrs, sy, zy)
    build.emit(node, "qadd", (a, b), za=za, zb=zb, ma=ma, mb=mb, shift=shift, zy=zy, **given)
    return True


def product(build: Build, node: Node) -> bool:
    """mul, element by element."""
    return _product(build, node, "qmul")


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
    return _product(build, replace(node, inputs=(a, inverse)), "qmul")


def matrix_product(build: Build, node: Node) -> bool:
    """matmul of two activations."""
    return _product(build, node, "qmatmul")


def _product(build: Build, node: Node, op: str) -> bool:
    a, b = (build.i8_operand(n, node) for n in node.inputs)
    if a is None or b is None:
        return False
    (sa, za), (sb, zb), (sy, zy) = (build.tensor(n) for n in (a, b, node.outputs[0]))
    mult, shift = numerics.multiplier(sa * sb / sy)
    given = bounds(node.attrs, sy, zy)
    build.emit(node, op, (a, b), za=za, zb=zb, mult=mult, shift=shift, zy=zy, **given)
    return True


def average(build: Build, node: Node) -> bool:
    """avgpool2d: one multiplier for each number of cells that a window may have inside the picture."""
    x = node.inputs[0]
    (sx, zx), (sy, zy) = build.tensor(x), build.tensor(node.outputs[0])
    given = ops.get("avgpool2d").full(node.attrs)
    kernel = ints(given["kernel"])
    cells = kernel[0] * kernel[1]
    steps = {name: ints(given[name]) for name in WINDOW if name in given}
    inside = counts(build.values[x].type.shape, kernel, **steps)
    if given["count_pads"]:
        sizes = np.array([cells])
    elif inside.min() == inside.max() > 0:
        sizes = inside.reshape(-1)[:1]
    else:
        sizes = np.arange(1, cells + 1)
    pairs = [numerics.multiplier(sx / (float(n) * sy)) for n in sizes]
    mult = build.const(f"{node.name}/mult", np.array([m for m, _ in pairs]), I32, node)
    shift = build.const(f"{node.name}/shift", np.array([s for _, s in pairs]), I8, node)
    window = {k: v for k, v in given.items() if k != "count_pads"}
    build.emit(node, "qavgpool2d", (x, mult, shift), **window, zx=zx, zy=zy, lo=-128, hi=127)
    return True


def reduction(build: Build, node: Node) -> bool:
    """mean and sum as qmean; the largest as a pooling window over the whole axis."""
    x, y = node.inputs[0], node.outputs[0]
    fn = node.attrs["fn"]
    if fn == "max":
        return _largest(build, node)
    if fn not in ("mean", "sum"):
        return False
    (sx, zx), (sy, zy) = build.tensor(x), build.tensor(y)
    along = build.values[x].type.shape[1] if fn == "mean" else 1
    mult, shift = numerics.multiplier(sx / (along * sy))
    build.emit(node, "qmean", (x,), zx=zx, mult=mult, shift=shift, zy=zy, lo=-128, hi=127)
    return True


def _largest(build: Build, node: Node) -> bool:
    y = build.values[node.outputs[0]].type
    x = build.requantised(node.inputs[0], y, node)
    m, k, n = build.values[x].type.shape
    tall = build.value(f"{node.name}/x", TensorType(I8, (m, k, 1, n), y.quant), node)
    flat = build.value(f"{node.name}/y", TensorType(I8, (m, 1, 1, n), y.quant), node)
    build.add(Node(f"{tall}/view", "reshape", (x,), (tall,), attrs(shape=(m, k, 1, n)), node.where))
    build.add(Node(f"{flat}/max", "maxpool2d", (tall,), (flat,), attrs(kernel=(k, 1)), node.where))
    build.emit(node, "reshape", (flat,), shape=(m, n))
    return True


def softmax(build: Build, node: Node) -> bool:
    """Exponentials of the distance to the largest, from a table."""
    x, y = node.inputs[0], node.outputs[0]
    if build.values[x].type.shape[1] > 1 << numerics.PROB_BITS:
        return False
    (sx, _), (sy, zy) = build.tensor(x), build.tensor(y)
    weights = np.rint(np.exp(-np.arange(256) * sx) * (1 << numerics.SOFTMAX_BITS))
    name = build.const(f"{node.name}/table", weights, I32, node)
    mult, shift = numerics.multiplier(1.0 / (sy * (1 << numerics.PROB_BITS)))
    build.emit(node, "qsoftmax", (x, name), mult=mult, shift=shift, zy=zy, lo=-128, hi=127)
    return True

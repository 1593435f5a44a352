"""Rules for arithmetic: element by element, products of matrices, sums along axes and softmax.

The importer finds these by their names; brainc's ops leave, with matrices of two or three axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial, reduce
from math import prod

import numpy as np
import onnx

from brainc.dtypes import of_numpy
from brainc.frontends.moves import broadcast, refuse
from brainc.frontends.onnx.importer import Importer
from brainc.frontends.onnx.reader import element_type
from brainc.frontends.onnx.rules import Call, rule, rule_of_constants
from brainc.frontends.onnx.rules_shape import listed
from brainc.frontends.reals import binary, tanh_gelu

BINARY = {"Add": "add", "Div": "div", "Mul": "mul", "Sub": "sub"}
VARIADIC = {"Max": "maximum", "Mean": "add", "Min": "minimum", "Sum": "add"}
# ONNX name to the attributes (name, default) that are the alpha and beta of the function of that name
UNARY: dict[str, tuple[tuple[str, float], ...]] = {
    "Elu": (("alpha", 1.0),),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)),
    "LeakyRelu": (("alpha", 0.01),),
    "Selu": (("alpha", 1.6732632423543772), ("gamma", 1.0507009873554805)),
}
SNAKE = {"HardSigmoid": "hard_sigmoid", "HardSwish": "hard_swish", "LeakyRelu": "leaky_relu"}
PLAIN = "Abs Ceil Cos Erf Exp Floor HardSwish Log Neg Reciprocal Round Sigmoid Sign Sin Softplus Softsign"
UNARY.update({name: () for name in f"{PLAIN} Sqrt Tanh".split()})
REDUCE = {
    "ReduceL1": "l1", "ReduceL2": "l2", "ReduceMax": "max", "ReduceMean": "mean", "ReduceMin": "min",
    "ReduceProd": "prod", "ReduceSum": "sum", "ReduceSumSquare": "sum_square",
}  # fmt: skip
WIDER = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)


@rule(*(BINARY.keys() - {"Add"}), *VARIADIC)  # Add: rules_integer
def arithmetic(g: Importer, c: Call) -> str:
    if c.op in BINARY:
        a, b = c.inputs
        return binary(g, BINARY[c.op], a, b)
    total = reduce(partial(binary, g, VARIADIC[c.op]), c.inputs)
    return binary(g, "mul", total, 1 / len(c.inputs)) if c.op == "Mean" else total


@rule("Pow")
def power(g: Importer, c: Call) -> str:
    """Squares and roots are not left to `powf`."""
    x, exponent = c.inputs
    if exponent in g.known:
        values = np.float32(g.array(exponent, "exponent"))
        if values.size == 1 and values.ndim <= len(g.shape(x)) and values in (2.0, 0.5):
            return binary(g, "mul", x, x) if values == 2.0 else g.emit("unary", x, fn="sqrt")
        exponent = g.constant(values, exponent)
    return binary(g, "power", x, exponent)


@rule(*UNARY)
def unary(g: Importer, c: Call) -> str:
    values = [float(c.attrs.get(name, default)) for name, default in UNARY[c.op]]
    parameters = dict(zip(("alpha", "beta"), values, strict=False))
    return g.emit("unary", c.inputs[0], fn=SNAKE.get(c.op, c.op.lower()), **parameters)


@rule("Gelu", "Mish", "com.microsoft.Gelu", "com.microsoft.FastGelu")
def gelu(g: Importer, c: Call) -> str:
    """By erf, or by tanh; Mish: x * tanh(softplus x)."""
    x, times = c.inputs[0], partial(binary, g, "mul")
    if c.op == "Mish":
        return times(x, g.emit("unary", g.emit("unary", x, fn="softplus"), fn="tanh"))
    if c.op == "Gelu" and c.attrs.get("approximate", "none") == "none":
        return g.emit("unary", x, fn="gelu")
    return tanh_gelu(g, binary(g, "add", x, c.inputs[1]) if c.input(1) else x)


@rule("Clip", "Relu")
def clip(g: Importer, c: Call) -> str:
    bounds = [c.attrs.get("min", 0.0 if c.op == "Relu" else -math.inf), c.attrs.get("max", math.inf)]
    for index, name in enumerate(c.inputs[1:3]):
        if name:
            bounds[index] = g.array(name, f"the bound `{('min', 'max')[index]}`").reshape(())
    lo, hi = map(float, bounds)
    kept = {"lo": min(lo, hi), "hi": hi}  # where lo > hi the standard says: then everything is hi
    return g.emit("clamp", c.inputs[0], **{key: b for key, b in kept.items() if math.isfinite(b)})


@rule("PRelu")
def prelu(g: Importer, c: Call) -> str:
    x, slope = c.inputs
    if slope in g.known and prod(g.shape(slope)) == 1:
        return g.emit("unary", x, fn="leaky_relu", alpha=float(g.array(slope, "slope").reshape(())))
    if len(g.shape(slope)) == 1 and g.shape(slope) == g.shape(x)[1:2]:  # of old: one a channel
        slope = g.reshape(slope, (*g.shape(slope), *(1 for _ in g.shape(x)[2:])))
    return binary(g, "prelu", x, slope)


@rule_of_constants("Cast", "CastLike")
def cast(g: Importer, c: Call) -> str:
    """Wider and half floats stay float32, int64 becomes int32: that is all there is at run time."""
    x, like = c.inputs[0], c.op == "CastLike"
    to = onnx.helper.np_dtype_to_tensor_dtype(g.dtype(c.inputs[1])) if like else int(c.attrs["to"])
    dtype = np.dtype(np.float32) if to in WIDER else element_type(to)
    if x in g.known:
        return g.constant(g.array(x, "it").astype(dtype), c.outputs[0])
    ours = of_numpy(np.dtype(np.int32) if dtype == np.int64 else dtype)
    if ours is None:
        raise refuse(f"brainc has no type {onnx.TensorProto.DataType.Name(to)}")
    return x if ours.numpy == g.dtype(x) else g.emit("cast", x, to=ours.name)


def flipped(g: Importer, x: str) -> str:
    """x with its last two axes swapped."""
    *rest, last, other = range(len(g.shape(x)))
    return g.transpose(x, [*rest, other, last])


def product(g: Importer, a: str, b: str, bias: str = "") -> str:
    """a [..,M,K] @ b [..,K,N] + bias [N], `dense` where one side is a constant matrix."""
    (m, k), (k2, n) = g.shape(a)[-2:], g.shape(b)[-2:]
    if k != k2:
        raise ValueError(f"{list(g.shape(a))} @ {list(g.shape(b))}")
    batch = np.broadcast_shapes(g.shape(a)[:-2], g.shape(b)[:-2])
    if b in g.known and prod(g.shape(b)) == k * n:
        weights = g.transpose(g.reshape(b, (k, n)), (1, 0))
        y = g.emit("dense", g.reshape(a, (prod(g.shape(a)) // k, k)), weights, bias)
        return g.reshape(y, (*batch, m, n))
    if a in g.known and len(g.shape(a)) == 2 and not bias:
        y = g.emit("dense", g.reshape(flipped(g, b), (prod(g.shape(b)) // k, k)), a)
        return flipped(g, g.reshape(y, (*batch, n, m)))
    left = g.reshape(broadcast(g, a, (*batch, m, k)), (prod(batch), m, k))
    right = g.reshape(broadcast(g, b, (*batch, k, n)), (prod(batch), k, n))
    y = g.reshape(g.emit("matmul", left, right), (*batch, m, n))
    return binary(g, "add", y, bias) if bias else y


@rule("MatMul")
def matmul(g: Importer, c: Call) -> str:
    a, b = c.inputs
    left = g.reshape(a, g.shape(a) if len(g.shape(a)) > 1 else (1, *g.shape(a)))
    right = g.reshape(b, g.shape(b) if len(g.shape(b)) > 1 else (*g.shape(b), 1))
    return g.reshape(product(g, left, right), g.results(c)[0])


def scaled(g: Importer, x: str, factor: float) -> str:
    """x times a positive or negative number; a quantised constant keeps its integers where it can."""
    if factor == 1.0:
        return x
    if x not in g.known:
        return binary(g, "mul", x, factor)
    known = g.known[x]
    if known.quant is not None and factor > 0:
        scales = tuple(s * factor for s in known.quant.scale)
        return g.constant(known.array, x, replace(known.quant, scale=scales), four=known.four)
    return g.constant(np.float32(known.real() * factor), x)


@rule("Gemm")
def gemm(g: Importer, c: Call) -> str:
    a, b = (g.transpose(x, (1, 0)) if c.attrs.get(f"trans{ab}", 0) else x
            for x, ab in zip(c.inputs[:2], "AB", strict=True))  # fmt: skip
    alpha, n = float(c.attrs.get("alpha", 1.0)), g.shape(b)[-1]
    a, b = (a, scaled(g, b, alpha)) if b in g.known else (scaled(g, a, alpha), b)
    if not c.input(2):
        return product(g, a, b)
    bias = scaled(g, c.inputs[2], float(c.attrs.get("beta", 1.0)))
    if b in g.known and bias in g.known and g.shape(bias) in ((n,), (1, n)):
        return product(g, a, b, g.reshape(bias, (n,)))
    return binary(g, "add", product(g, a, b), bias)


def reduced(g: Importer, x: str, fn: str, axes: Sequence[int], new: Iterable[int]) -> str:
    """fn over some axes, which are brought together first ([M,K,N] to [M,N]), under the shape `new`."""
    first, last, rank = axes[0], axes[-1] + 1, len(g.shape(x))
    if last - first > len(axes):
        rest = [i for i in range(rank) if i not in axes]
        x, first, last = g.transpose(x, [*rest, *axes]), len(rest), rank
    shape = g.shape(x)
    sizes = (prod(shape[:first]), prod(shape[first:last]), prod(shape[last:]))
    return g.reshape(g.emit("reduce", g.reshape(x, sizes), fn=fn), new)


@rule(*REDUCE)
def reduce_(g: Importer, c: Call) -> str:
    x, rank, given = c.inputs[0], len(g.shape(c.inputs[0])), listed(g, c, "axes", 1)
    axes = sorted(range(rank)[a] for a in given or range(rank))
    if not axes or (not given and c.attrs.get("noop_with_empty_axes", 0)):
        return x
    (new,) = g.results(c)
    if c.op == "ReduceMean" and axes == [2, 3] and rank == 4:
        return g.reshape(g.run("GlobalAveragePool", x), new)
    return reduced(g, x, REDUCE[c.op], axes, new)


@rule("Softmax", "LogSoftmax")
def softmax(g: Importer, c: Call) -> str:
    """Before opset 13 all axes from `axis` on are one; later only `axis` itself.

    The logarithm is x - max - log(sum of exp(x - max)): that of softmax would underflow.
    """
    x, old, flat = c.inputs[0], g.shape(c.inputs[0]), c.opset < 13
    axis, order = range(len(old))[c.attrs.get("axis", 1 if flat else -1)], list(range(len(old)))
    if not flat:
        order[axis], order[-1] = order[-1], order[axis]
    turned = g.transpose(x, order)
    n = prod(old[axis:]) if flat else old[axis]
    table = g.reshape(turned, (prod(old) // n, n))
    if c.op == "Softmax":
        y = g.emit("softmax", table)
    else:
        low = binary(g, "sub", table, reduced(g, table, "max", [1], (prod(old) // n, 1)))
        total = reduced(g, g.emit("unary", low, fn="exp"), "sum", [1], (prod(old) // n, 1))
        y = binary(g, "sub", low, g.emit("unary", total, fn="log"))
    return g.transpose(g.reshape(y, g.shape(turned)), order)


@rule("ArgMax")
def argmax(g: Importer, c: Call) -> str:
    """The index is int32 here (int64 in ONNX)."""
    if c.attrs.get("select_last_index", 0):
        raise refuse("it selects the last of equals; brainc knows the first")
    x, old = c.inputs[0], g.shape(c.inputs[0])
    axis = range(len(old))[c.attrs.get("axis", 0)]
    turned = g.transpose(x, [*(i for i in range(len(old)) if i != axis), axis])
    y = g.emit("argmax", g.reshape(turned, (prod(old) // old[axis], old[axis])))
    return g.reshape(y, g.results(c)[0])

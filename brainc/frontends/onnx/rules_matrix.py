"""Rules for products of matrices, sums along axes and softmax.

The importer finds these by their names; matrices of two or three axes leave, as brainc's ops want them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from brainc.frontends.onnx.importer import Importer
from brainc.frontends.onnx.rules import Call, refuse, rule
from brainc.frontends.onnx.rules_math import binary, broadcast
from brainc.frontends.onnx.rules_shape import listed, positive

REDUCE = {
    "ReduceL1": "l1", "ReduceL2": "l2", "ReduceMax": "max", "ReduceMean": "mean", "ReduceMin": "min",
    "ReduceProd": "prod", "ReduceSum": "sum", "ReduceSumSquare": "sum_square",
}  # fmt: skip


def flipped(rank: int) -> list[int]:
    """The permutation that swaps the last two axes."""
    return [*range(rank - 2), rank - 1, rank - 2]


def product(g: Importer, a: str, b: str, bias: str = "") -> str:
    """a [..,M,K] @ b [..,K,N] + bias [N], `dense` where one side is a constant matrix."""
    (m, k), (k2, n) = g.shape(a)[-2:], g.shape(b)[-2:]
    if k != k2:
        raise ValueError(f"{list(g.shape(a))} @ {list(g.shape(b))}")
    batch = np.broadcast_shapes(g.shape(a)[:-2], g.shape(b)[:-2])
    if g.is_known(b) and g.shape(b)[:-2] == (1,) * (len(g.shape(b)) - 2):
        weights = g.transpose(g.reshape(b, (k, n)), (1, 0))
        y = g.emit("dense", g.reshape(a, (prod(g.shape(a)) // k, k)), weights, bias)
        return g.reshape(y, (*batch, m, n))
    if g.is_known(a) and len(g.shape(a)) == 2 and not bias:
        turned = g.transpose(b, flipped(len(g.shape(b))))
        y = g.emit("dense", g.reshape(turned, (prod(g.shape(b)) // k, k)), a)
        return g.transpose(g.reshape(y, (*batch, n, m)), flipped(len(batch) + 2))
    many = prod(batch)
    left = g.reshape(broadcast(g, a, (*batch, m, k)), (many, m, k))
    right = g.reshape(broadcast(g, b, (*batch, k, n)), (many, k, n))
    y = g.reshape(g.emit("matmul", left, right), (*batch, m, n))
    return binary(g, "add", y, bias) if bias else y


@rule("MatMul")
def matmul(g: Importer, c: Call) -> str:
    a, b = c.inputs
    left = g.shape(a) if len(g.shape(a)) > 1 else (1, *g.shape(a))
    right = g.shape(b) if len(g.shape(b)) > 1 else (*g.shape(b), 1)
    y = product(g, g.reshape(a, left), g.reshape(b, right))
    shape = list(g.shape(y))
    if len(g.shape(b)) == 1:
        shape.pop(-1)
    if len(g.shape(a)) == 1:
        shape.pop(-1 if len(g.shape(b)) == 1 else -2)
    return g.reshape(y, shape)


def scaled(g: Importer, x: str, factor: float) -> str:
    """x times a positive or negative number; a quantised constant keeps its integers where it can."""
    if factor == 1.0:
        return x
    if not g.is_known(x):
        return binary(g, "mul", x, g.constant(np.float32(factor), "factor"))
    known = g.known[x]
    if known.quant is not None and factor > 0:
        scales = tuple(s * factor for s in known.quant.scale)
        return g.constant(known.array, x, replace(known.quant, scale=scales))
    return g.constant(np.float32(known.real() * factor), x)


@rule("Gemm")
def gemm(g: Importer, c: Call) -> str:
    a, b = c.inputs[:2]
    a = g.transpose(a, (1, 0)) if c.attrs.get("transA", 0) else a
    b = g.transpose(b, (1, 0)) if c.attrs.get("transB", 0) else b
    alpha, n = float(c.attrs.get("alpha", 1.0)), g.shape(b)[-1]
    a, b = (a, scaled(g, b, alpha)) if g.is_known(b) else (scaled(g, a, alpha), b)
    if not c.input(2):
        return product(g, a, b)
    bias = scaled(g, c.inputs[2], float(c.attrs.get("beta", 1.0)))
    if g.is_known(b) and g.is_known(bias) and g.shape(bias) in ((n,), (1, n)):
        return product(g, a, b, g.reshape(bias, (n,)))
    return binary(g, "add", product(g, a, b), bias)


@rule(*REDUCE)
def reduce_(g: Importer, c: Call) -> str:
    x, old = c.inputs[0], g.shape(c.inputs[0])
    given = listed(g, c, "axes", 1)
    if not given and c.attrs.get("noop_with_empty_axes", 0):
        return x
    axes = sorted(positive(a, len(old)) for a in given or range(len(old)))
    if c.op == "ReduceMean" and axes == [2, 3] and len(old) == 4:
        y = g.run("GlobalAveragePool", x)
    else:
        y = reduced(g, x, REDUCE[c.op], axes)
    keep = c.attrs.get("keepdims", 1)
    return g.reshape(y, [1 if i in axes else n for i, n in enumerate(old) if keep or i not in axes])


def reduced(g: Importer, x: str, fn: str, axes: Sequence[int]) -> str:
    """fn over some axes, which are brought together first: [M,K,N] to [M,N]."""
    shape = g.shape(x)
    if not axes:
        return x
    if list(axes) != list(range(axes[0], axes[-1] + 1)):
        rest = [i for i in range(len(shape)) if i not in axes]
        x = g.transpose(x, [*rest, *axes])
        shape, axes = g.shape(x), range(len(rest), len(shape))
    first, last = axes[0], axes[-1] + 1
    sizes = (prod(shape[:first]), prod(shape[first:last]), prod(shape[last:]))
    return g.emit("reduce", g.reshape(x, sizes), fn=fn)


@rule("Softmax", "LogSoftmax")
def softmax(g: Importer, c: Call) -> str:
    """Before opset 13 all axes from `axis` on are one; later only `axis` itself."""
    x, old = c.inputs[0], g.shape(c.inputs[0])
    flat = c.opset < 13
    axis = positive(c.attrs.get("axis", 1 if flat else -1), len(old))
    order = list(range(len(old)))
    if not flat:
        order[axis], order[-1] = order[-1], order[axis]
    turned = g.transpose(x, order)
    n = prod(old[axis:]) if flat else old[axis]
    table = g.reshape(turned, (prod(old) // n, n))
    y = g.emit("softmax", table) if c.op == "Softmax" else log_softmax(g, table)
    return g.transpose(g.reshape(y, g.shape(turned)), order)


def log_softmax(g: Importer, x: str) -> str:
    """Rows of x [M,N]: x - max - log(sum of exp(x - max)); the logarithm of softmax would underflow."""
    m, _ = g.shape(x)
    low = binary(g, "sub", x, g.reshape(reduced(g, x, "max", [1]), (m, 1)), commutative=False)
    total = g.reshape(reduced(g, g.emit("unary", low, fn="exp"), "sum", [1]), (m, 1))
    return binary(g, "sub", low, g.emit("unary", total, fn="log"), commutative=False)


@rule("ArgMax")
def argmax(g: Importer, c: Call) -> str:
    """The index is int32 here (int64 in ONNX)."""
    if c.attrs.get("select_last_index", 0):
        raise refuse("it selects the last of equals; brainc knows the first")
    x, old = c.inputs[0], g.shape(c.inputs[0])
    axis = positive(c.attrs.get("axis", 0), len(old))
    rest = [i for i in range(len(old)) if i != axis]
    y = g.emit("argmax", g.reshape(g.transpose(x, [*rest, axis]), (prod(old) // old[axis], old[axis])))
    keep = c.attrs.get("keepdims", 1)
    return g.reshape(y, [1 if i == axis else n for i, n in enumerate(old) if keep or i != axis])

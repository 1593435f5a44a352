"""Rules for products of matrices, sums along axes and softmax.

The importer finds these by their names; matrices of two or three axes leave, as brainc's ops want them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from brainc.frontends.onnx.importer import Call, Importer, refuse, rule
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


@rule("Gemm")
def gemm(g: Importer, c: Call) -> str:
    a, b = c.inputs[:2]
    a = g.transpose(a, (1, 0)) if c.attrs.get("transA", 0) else a
    b = g.transpose(b, (1, 0)) if c.attrs.get("transB", 0) else b
    alpha, beta, bias = (float(c.attrs.get(k, 1.0)) for k in ("alpha", "beta")), c.input(2), ""
    alpha, beta, extra = *alpha, beta  # type: ignore[assignment]
    n = g.shape(b)[-1]
    return ""

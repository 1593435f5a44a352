"""Attention over a cache: each row looks back at what stands before it, and at itself."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import F16, W8
from brainc.lanes import exp, lane_sum, quantised
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._blocks import blocks, fields
from brainc.ops._samples import floats, ragged


def scores(q: Array, k: Array) -> Array:
    """q [D] with each row of k [S,..] -> [S]: the lane sum of the products; of a w8 cache the block sums of q as a8,
    sum += (d_k * d_q) * float(sum of q_k * q_q), block after block."""
    if k.dtype == np.float16:
        return lane_sum(q * k.astype(np.float32))
    whole, d, _ = fields(k)
    x, sums = quantised(q), np.zeros(len(k), np.float32)
    for i in range(k.shape[1]):
        sums = sums + (d[:, i] * x["d"][i]) * (whole[:, i] @ x["q"][i].astype(np.int32)).astype(np.float32)
    return sums


def mixed(p: Array, v: Array) -> Array:
    """The rows of v [S,..] weighted by p [S], added row after row -> [D]; of a w8 cache (p * d_v) * float(q_v)."""
    total = np.zeros(v.shape[1] * (1 if v.dtype == np.float16 else 32), np.float32)
    for i, row in enumerate(v):
        if v.dtype == np.float16:
            total = total + p[i] * row.astype(np.float32)
        else:
            total = total + ((p[i] * row["d"].astype(np.float32))[:, None] * row["q"].astype(np.float32)).reshape(-1)
    return total


@op("q[M,E]:f32 k[T,C] v[T,C] pos[1]:i32 n[1]?:i32 -> y[M,E]:f32", bits=True)
def attend(
    q: Array, k: Array, v: Array, pos: Array, n: Array | None, *, heads: int, groups: int, scale: float, window: int = 0
) -> Array:
    """Row i of q sees the cache's rows 0 .. pos + i, or the last `window` of these; head h those of group
    h * groups / heads. With s = scores * scale: p = exp(s - max s), y = mixed(p, v) * (1 / lane_sum(p)).

    Of M rows the first n are computed. The cache is f16 or, heads of a multiple of 32 numbers, w8.
    """
    count, size, y = len(q) if n is None else int(n[0]), k.shape[1] // groups, np.zeros_like(q)
    for i in range(count):
        end = min(int(pos[0]) + i + 1, len(k))
        start = max(0, end - window) if window else 0
        for h, head in enumerate(q[i].reshape(heads, -1)):
            at = slice(h * groups // heads * size, (h * groups // heads + 1) * size)
            s = scores(head, k[start:end, at]) * np.float32(scale)
            p = exp(s - s.max())
            y[i].reshape(heads, -1)[h] = mixed(p, v[start:end, at]) * (np.float32(1) / lane_sum(p))
    return y


@attend.result
def _result(q: TensorType, *rest: TensorType | None, **attrs: object) -> TensorType:
    return q


@attend.cases
def _cases(rng: Rng) -> Cases:
    for m, heads, groups, d, at, window in ((1, 9, 3, 64, 20, 0), (4, 2, 1, 32, 0, 0), (3, 4, 4, 96, 30, 7)):
        given = {"heads": heads, "groups": groups, "scale": d**-0.5, "window": window}
        for kind in (F16, W8):
            caches = [blocks(rng, (40, groups * d), kind, 4.0) for _ in "kv"]
            yield from ragged([floats(rng, (m, heads * d)), *caches, np.array([at], np.int32)], m, **given)
    caches = [blocks(rng, (9, 20), F16) for _ in "kv"]
    given = {"heads": 1, "groups": 1, "scale": 0.2, "window": 0}
    yield [floats(rng, (1, 20), 30.0), *caches, np.array([8], np.int32)], given

"""Attention over a cache: each row looks back at what stands before it, and at itself."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import F16, W8
from brainc.lanes import BLOCK, LEAST, exp, lane_sum, quantised
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._blocks import caches, fields
from brainc.ops._samples import floats, ragged

TOGETHER = 128  # positions of a w8 cache whose weights share a scale
MOST = np.float32(32767)  # what the largest of them becomes


def scores(q: Array, k: Array) -> Array:
    """q [D] with each row of k [S,W] -> [S]: the lane sum of the products; of a w8 cache the block sums of q as a8,
    sum += (d_k * d_q) * float(sum of q_k * q_q), block after block."""
    if k.dtype == np.float16:
        return lane_sum(q * k.astype(np.float32))
    whole, d, _ = fields(k)
    x, sums = quantised(q), np.zeros(len(k), np.float32)
    for i in range(k.shape[1]):
        sums = sums + (d[:, i] * x["d"][i]) * (whole[:, i] @ x["q"][i].astype(np.int32)).astype(np.float32)
    return sums


def counts(weights: Array) -> tuple[Array, Array]:
    """Weights [S,W] as whole numbers, and what one of these stands for [W]."""
    most = np.abs(weights).max(axis=0)
    most = np.where(most < LEAST, np.float32(0), most)
    up = np.divide(MOST, most, out=np.zeros_like(most), where=most > 0)
    return np.clip(np.rint(weights * up), -MOST, MOST).astype(np.int32), most / MOST


def mixed(p: Array, v: Array, start: int) -> Array:
    """The rows of v [S,W], which stand at `start` and on, weighted by p [S] and added row after row -> [D].

    Of a w8 cache 128 rows together, from a multiple of that on: their weights p * d_v as whole numbers of 16 bits, the
    largest one 32767, and what one of these stands for times the exact sum (where all are below 1e-30: nothing).
    """
    total = np.zeros(v.shape[1] * (1 if v.dtype == np.float16 else BLOCK), np.float32)
    if v.dtype == np.float16:
        for weight, row in zip(p, v, strict=True):
            total = total + weight * row.astype(np.float32)
        return total
    whole, d, _ = fields(v)
    for base in range(start // TOGETHER * TOGETHER, start + len(v), TOGETHER):
        at = slice(max(base - start, 0), base + TOGETHER - start)
        shares, unit = counts(p[at, None] * d[at])
        sums = np.einsum("sw,swk->wk", shares, whole[at]).astype(np.float32)
        total = total + (unit[:, None] * sums).reshape(-1)
    return total


@op("q[M,E]:f32 k[G,T,W] v[G,T,W] pos[1]:i32 n[1]?:i32 -> y[M,E]:f32", bits=True, fresh=True)
def attend(
    q: Array, k: Array, v: Array, pos: Array, n: Array | None, *, heads: int, scale: float, window: int = 0
) -> Array:
    """Row i of q sees the cache's rows 0 .. pos + i, or the last `window` of these; head h those of group
    h * G / heads. With s = scores * scale: p = exp(s - max s), y = mixed(p, v) * (1 / lane_sum(p)).

    Of M rows the first n are computed. The cache is f16 or, heads of a multiple of 32 numbers, w8.
    """
    groups, length, _ = k.shape
    count, y = len(q) if n is None else int(n[0]), np.zeros_like(q)
    for i in range(count):
        end = min(int(pos[0]) + i + 1, length)
        start = max(0, end - window) if window else 0
        for h, head in enumerate(q[i].reshape(heads, -1)):
            seen = h * groups // heads, slice(start, end)
            s = scores(head, k[seen]) * np.float32(scale)
            p = exp(s - s.max())
            y[i].reshape(heads, -1)[h] = mixed(p, v[seen], start) * (np.float32(1) / lane_sum(p))
    return y


@attend.result
def _result(q: TensorType, *rest: TensorType | None, **attrs: object) -> TensorType:
    return q


@attend.cases
def _cases(rng: Rng) -> Cases:
    for m, heads, groups, d, at, window in (
        (1, 9, 3, 64, 20, 0),
        (4, 2, 1, 32, 0, 0),
        (3, 4, 4, 96, 30, 7),
        (5, 4, 2, 64, 253, 140),
        (1, 3, 1, 32, 298, 0),
    ):
        given = {"heads": heads, "scale": d**-0.5, "window": window}
        for kind in (F16, W8):
            kept = [caches(rng, (groups, 300, d), kind, 4.0) for _ in "kv"]
            yield from ragged([floats(rng, (m, heads * d)), *kept, np.array([at], np.int32)], m, **given)
    far = caches(rng, (1, 40, 32), W8)
    far["q"], far["d"] = -128, 3e-8  # sums as large as they get, on the smallest scale
    yield [floats(rng, (1, 32), 900.0), far, far, np.array([39], np.int32)], {"heads": 1, "scale": 1.0, "window": 0}
    kept = [caches(rng, (1, 9, 20), F16) for _ in "kv"]
    yield [floats(rng, (1, 20), 30.0), *kept, np.array([8], np.int32)], {"heads": 1, "scale": 0.2, "window": 0}

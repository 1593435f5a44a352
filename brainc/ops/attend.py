"""Attention over a cache: each row looks back at what stands before it, and at itself."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import K8, K16, V8, V16
from brainc.lanes import BLOCK, ROWS, exp, lane_sum, whole
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._caches import caches, rows_of, units_of
from brainc.ops._samples import floats, ragged

TOP = 8191  # the largest whole number of a row of q, and of weights: sums of 32 products fit 32 bits


def scores(x: Array, q: Array, d: Array) -> Array:
    """A row x [D] with rows of keys, q [S,W,32] and d [S,W] -> [S]: with blocks of 32 of x as whole(block, 8191),
    sum += (d_k * d_x) * float(sum of q_k * q_x), block after block."""
    wide = np.zeros(q.shape[1] * BLOCK, np.float32)
    wide[: len(x)] = x
    asked, unit = whole(wide.reshape(-1, BLOCK), TOP)
    sums = np.zeros(len(q), np.float32)
    for i, (row, one) in enumerate(zip(asked, unit, strict=True)):
        sums = sums + (d[:, i] * one) * (q[:, i] @ row).astype(np.float32)
    return sums


def mixed(p: Array, q: Array, d: Array, start: int) -> Array:
    """Rows of values, q [S,W,32] and d [S,W], which stand at `start` and on, weighted by p [S] -> [W * 32].

    Sixteen rows together, from a multiple of that on: their weights p * d as whole(weights, 8191), and what one of
    these stands for times the exact sum is added.
    """
    total = np.zeros(q.shape[1:], np.float32)
    for base in range(start // ROWS * ROWS, start + len(q), ROWS):
        at = slice(max(base - start, 0), base + ROWS - start)
        weights, unit = whole((p[at, None] * d[at]).T, TOP)
        total = total + unit[:, None] * np.einsum("ws,swk->wk", weights, q[at]).astype(np.float32)
    return total.reshape(-1)


@op("q[M,E]:f32 k[G,U,W] v[G,U,W] pos[1]:i32 n[1]?:i32 -> y[M,E]:f32", bits=True, fresh=True)
def attend(
    q: Array, k: Array, v: Array, pos: Array, n: Array | None, *, heads: int, scale: float, window: int = 0
) -> Array:
    """Row i of q sees the cache's rows 0 .. pos + i, or the last `window` of these; head h those of group
    h * G / heads. With s = scores * scale: p = exp(s - max s), y = mixed(p, v) * (1 / lane_sum(p)).

    Of M rows the first n are computed. Caches are k8 and v8, or k16 and v16, of 16 U rows.
    """
    count, y = len(q) if n is None else int(n[0]), np.zeros_like(q)
    needed = slice((int(pos[0]) + count) // ROWS + 1)  # units
    (keys, scale_k), (values, scale_v) = rows_of(k[:, needed]), rows_of(v[:, needed])
    for i in range(count):
        end = min(int(pos[0]) + i + 1, keys.shape[1])
        start = max(0, end - window) if window else 0
        for h, head in enumerate(q[i].reshape(heads, -1)):
            seen = h * len(k) // heads, slice(start, end)
            s = scores(head, keys[seen], scale_k[seen]) * np.float32(scale)
            p = exp(s - s.max())
            sums = mixed(p, values[seen], scale_v[seen], start)[: len(head)]
            y[i].reshape(heads, -1)[h] = sums * (np.float32(1) / lane_sum(p))
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
        (2, 2, 2, 20, 8, 0),
        (18, 2, 1, 80, 14, 5),
    ):
        given = {"heads": heads, "scale": d**-0.5, "window": window}
        for kinds in ((K16, V16), (K8, V8)):
            kept = [caches(rng, (groups, 304, d), kind, 4.0) for kind in kinds]
            yield from ragged([floats(rng, (m, heads * d)), *kept, np.array([at], np.int32)], m, **given)
    for kinds, least in (((K16, V16), -8192), ((K8, V8), -128)):  # sums as large as they get
        q, small = np.full((1, 48, 1, 32), least, np.int32), np.full((1, 48, 1), 3e-8, np.float32)
        far = [units_of(q, small, kind) for kind in kinds]
        given = {"heads": 1, "scale": 1.0, "window": 0}
        yield [np.full((1, 32), 900.0, np.float32), *far, np.array([39], np.int32)], given

"""Rotary positions: every head's numbers turn by their place in the text."""

from __future__ import annotations

import numpy as np

from brainc.lanes import turns
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._blocks import counted
from brainc.ops._samples import floats, ragged
from brainc.ops.rms import normalised


@op("x[M,E]:f32 table[T,R,2]c:f32 pos[1]:i32 w[D]?c:f32 n[1]?:i32 -> y[M,E]:f32", bits=True)
def rope(
    x: Array, table: Array, pos: Array, w: Array | None, n: Array | None, *, heads: int, far: int, eps: float = 0.0
) -> Array:
    """Each head of row i, normalised by w first if there is one, turned as row pos + i of `table` (cos, sin) says.

    Pair j is the numbers 2j and 2j + 1 or, `far`, j and j + R; those behind 2R stay. a' = a cos - b sin,
    b' = a sin + b cos, every product rounded. Of M rows the first n are computed; pos + M beyond T is held at T.
    """
    each = x.reshape(len(x), heads, -1)
    each = each.copy() if w is None else normalised(each, w, eps)
    half = table.shape[1]
    angle = table[np.minimum(int(pos[0]) + np.arange(len(x)), len(table) - 1)][:, None]  # [M,1,R,2]
    first, second = (slice(0, half), slice(half, 2 * half)) if far else (slice(0, 2 * half, 2), slice(1, 2 * half, 2))
    a, b = each[..., first].copy(), each[..., second].copy()
    each[..., first] = a * angle[..., 0] - b * angle[..., 1]
    each[..., second] = a * angle[..., 1] + b * angle[..., 0]
    return counted(each.reshape(x.shape), n)


@rope.cases
def _cases(rng: Rng) -> Cases:
    for m, heads, d, r, far in ((1, 3, 64, 32, 0), (5, 2, 20, 10, 1), (3, 1, 24, 8, 0), (4, 4, 256, 128, 1)):
        table, at = turns(40, 2 * r, 1e4), np.array([17], np.int32)
        for w in (None, floats(rng, (d,))):
            yield from ragged([floats(rng, (m, heads * d)), table, at, w], m, heads=heads, far=far, eps=1e-6)

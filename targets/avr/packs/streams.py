"""Layers as the one stream of bytes that a tile of rows reads out of flash, front to back.

Wanted by the kernels of the 8-bit AVR. Weights go in with 128 added, as the numbers they meet do, so that products are
unsigned and need no sign; what that adds is in the biases and, for a column's own part, taken off by the tile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array

_Env = Mapping[str, Any]


def rows(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """w [N, ...] int8 to blocks of ROWS rows, then one of the rest: int8 [bytes].

    A block is three bytes of bias a row, a term of each row, their next terms, and what scales each sum (`scales`).
    """
    return _blocks(w, b, scales(mult, shift, b.size), int(env["ROWS"]))


def sums(w: Array, b: Array, env: _Env) -> Array:
    """The same where sums are the result."""
    return _blocks(w, b, np.empty((b.size, 0), np.uint8), int(env["ROWS"]))


def _blocks(w: Array, b: Array, after: Array, rows: int) -> Array:
    flat = w.reshape(w.shape[0], -1).astype(np.int64)
    first = (b.astype(np.int64) - 128 * flat.sum(axis=1)).astype("<i8").view(np.uint8).reshape(-1, 8)[:, :3]
    weights = (flat + 128).astype(np.uint8)
    blocks = [slice(i, i + rows) for i in range(0, b.size, rows)]
    parts = [part.reshape(-1) for some in blocks for part in (first[some], weights[some].T, after[some])]
    return np.concatenate(parts).view(np.int8)


def scales(mult: Array, shift: Array, count: int) -> Array:
    """How the sums of `count` rows are scaled: bytes [count, 6].

    Twice mult in four bytes (the product with a sum, less its lowest 32 bits, is what is left to be shifted); 2^(8-r),
    whose product with a number is that number shifted r = 1..8 bits to the right; then 256-2^r, the bits above those
    that are shifted out, or 1 where a whole byte falls away besides, 3 where two do. Beyond a shift of 56 no sum of
    24 bits comes to half a step, and mult may be 0. shift >= 33.
    """
    factor = np.broadcast_to(mult.astype(np.int64), (count,))
    steps = np.broadcast_to(shift.astype(np.int64), (count,)) - 32
    nothing = (factor == 0) | (steps > 24)
    factor, steps = np.where(nothing, 0, factor), np.where(nothing, 1, steps)
    whole = (steps - 1) // 8
    right = steps - 8 * whole
    table = np.empty((count, 6), np.uint8)
    table[:, :4] = (2 * factor).astype("<u4").view(np.uint8).reshape(-1, 4)
    table[:, 4] = 1 << (8 - right)
    table[:, 5] = np.choose(whole, [256 - (1 << right), 1, 3])
    return table

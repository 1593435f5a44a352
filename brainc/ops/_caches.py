"""What the ops of attention share: the numbers of a cache, row by row, and the units of sixteen rows that they lie in.

Called by the files beside this one. A head of D numbers is W = ceil(D / 32) blocks wide; the last is filled with zeros.
"""

from __future__ import annotations

import numpy as np

from brainc.dtypes import CACHES, K8, K16, V16, Array, DType, of_numpy
from brainc.lanes import BLOCK, ROWS, held, whole, whole_16
from brainc.ops import Rng


def kinds(cache: Array) -> tuple[bool, bool]:
    """Whether it is one of keys, and whether it is of 16 bits."""
    kind = of_numpy(cache.dtype)
    assert kind in CACHES
    return kind in (K8, K16), kind in (K16, V16)


def rows_of(cache: Array) -> tuple[Array, Array]:
    """A cache [G,U,W] as (q int32 [G,16 U,W,32], d float32 [G,16 U,W])."""
    groups, units, wide = cache.shape
    order = (0, 1, 4, 2, 3, 5) if kinds(cache)[0] else (0, 1, 3, 5, 2, 4)
    q = cache["q"].transpose(order).reshape(groups, units * ROWS, wide, BLOCK)
    return q.astype(np.int32), cache["d"].swapaxes(2, 3).reshape(groups, units * ROWS, wide).astype(np.float32)


def units_of(q: Array, d: Array, kind: DType) -> Array:
    """The other way round: a cache of that kind."""
    groups, rows, wide, _ = q.shape
    found = np.zeros((groups, rows // ROWS, wide), kind.numpy)
    found["d"] = d.reshape(groups, -1, ROWS, wide).swapaxes(2, 3)
    if kinds(found)[0]:
        found["q"] = q.reshape(groups, -1, ROWS, wide, BLOCK // 2, 2).transpose(0, 1, 3, 4, 2, 5)
    else:
        found["q"] = q.reshape(groups, -1, ROWS // 2, 2, wide, BLOCK).transpose(0, 1, 4, 2, 5, 3)
    return found


def kept(x: Array, deep: bool) -> tuple[Array, Array]:
    """float32 [..., D] in blocks of 32 as a cache has them: whole numbers [..., W, 32] and what one stands for, as f16
    [..., W]. Of 8 bits: whole(block, 127), with d held; of 16 (`deep`): whole_16(block)."""
    wide = np.zeros((*x.shape[:-1], -(-x.shape[-1] // BLOCK) * BLOCK), np.float32)
    wide[..., : x.shape[-1]] = x
    blocks = wide.reshape(*x.shape[:-1], -1, BLOCK)
    q, d = whole_16(blocks) if deep else whole(blocks, 127)
    return q, held(d).astype(np.float16)


def caches(rng: Rng, shape: tuple[int, int, int], kind: DType, spread: float = 0.1) -> Array:
    """What attention looks back at [G,T,D], as a cache of that kind: with extremes, a row of zeros, a tiny scale."""
    groups, length, wide = shape
    x = np.zeros((groups, -(-length // ROWS) * ROWS, wide), np.float32)
    x[:, :length] = rng.standard_normal(shape) * spread
    x[:, :1] = 0.0
    x[:, length - 1 :, : min(wide, BLOCK)] *= 1e-6
    q, d = kept(x, kind in (K16, V16))
    return units_of(q, d, kind)

"""What attention will look back at: new rows go into a cache."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import F16, W8
from brainc.lanes import quantised
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._blocks import caches
from brainc.ops._samples import floats, ragged

MOST = np.float32(65504)  # of f16


def held(x: Array) -> Array:
    """float32 as f16, half to even: what is beyond its largest number becomes that, and so does what is no number."""
    return np.fmax(np.fmin(x, MOST), -MOST).astype(np.float16)


def kept(x: Array, like: Array) -> Array:
    """float32 rows as a cache holds them: f16, or w8 with the d of a8 as f16. No infinity comes into it."""
    if like.dtype == np.float16:
        return held(x)
    wide = quantised(x)
    found = np.zeros(wide.shape, W8.numpy)
    found["d"], found["q"] = held(wide["d"]), wide["q"]
    return found


@op("cache[G,T,W]! x[M,K]:f32 pos[1]:i32 n[1]?:i32 -> ", bits=True, fresh=True)
def keep(cache: Array, x: Array, pos: Array, n: Array | None) -> tuple[Array, ...]:
    """Row pos + i of each group's rows = its part of x[i], for the first n rows of x; none beyond T.

    A group's rows [T,W] lie together: that is how they are read. The cache is f16 or w8, W blocks wide; numbers, and
    the scales of blocks, are held at +-65504.
    """
    groups, length, wide = cache.shape
    count = max(0, min(len(x) if n is None else int(n[0]), length - int(pos[0])))
    rows = kept(x[:count], cache).reshape(count, groups, wide)
    cache[:, int(pos[0]) : int(pos[0]) + count] = rows.swapaxes(0, 1)
    return ()


@keep.result
def _result(cache: TensorType, x: TensorType, pos: TensorType, n: TensorType | None = None) -> None:
    return None


@keep.cases
def _cases(rng: Rng) -> Cases:
    for m, groups, k, at in ((1, 2, 32, 0), (5, 1, 96, 3), (4, 3, 64, 7)):
        for kind in (F16, W8):
            cache = caches(rng, (groups, 10, k), kind)
            yield from ragged([cache, floats(rng, (m, groups * k), 5.0), np.array([at], np.int32)], m)
    far = np.array([[65503, 65504, 65519, 65520, 1e5, -65520, -1e9, 3e38, -3e38, 7] * 16], np.float32)
    for kind in (F16, W8):
        for x in (floats(rng, (1, 64), 1e5), far[:, :64], far[:, 64:128]):
            yield [caches(rng, (2, 4, 32), kind), x, np.array([3], np.int32)], {}
    yield [caches(rng, (2, 4, 25), F16), far[:, :50], np.array([3], np.int32)], {}

"""What attention will look back at: new rows go into a cache."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import CACHES
from brainc.lanes import ROWS
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._caches import caches, kept, kinds
from brainc.ops._samples import floats, ragged


@op("cache[G,U,W]! x[M,K]:f32 pos[1]:i32 n[1]?:i32 -> ", bits=True, fresh=True)
def keep(cache: Array, x: Array, pos: Array, n: Array | None) -> tuple[Array, ...]:
    """Row pos + i of each group's rows = its part of x[i], for the first n rows of x; none beyond 16 U.

    A group's rows lie together, in units of sixteen, W blocks of 32 numbers wide, as they are read: see `dtypes.py`.
    How numbers become whole: `_caches.kept`.
    """
    groups, units, _ = cache.shape
    first, count = int(pos[0]), len(x) if n is None else int(n[0])
    keys, deep = kinds(cache)
    for at, row in enumerate(x[: max(0, min(count, units * ROWS - first))], first):
        q, d = kept(row.reshape(groups, -1), deep)
        unit, r = divmod(at, ROWS)
        cache["d"][:, unit, :, r] = d
        if keys:
            cache["q"][:, unit, :, :, r] = q.reshape(*d.shape, -1, 2)
        else:
            cache["q"][:, unit, :, r // 2, :, r % 2] = q
    return ()


@keep.result
def _result(cache: TensorType, x: TensorType, pos: TensorType, n: TensorType | None = None) -> None:
    return None


@keep.cases
def _cases(rng: Rng) -> Cases:
    for kind in CACHES:
        for m, groups, k, at in ((1, 2, 32, 0), (5, 1, 96, 30), (4, 3, 64, 7), (20, 2, 20, 10)):
            cache = caches(rng, (groups, 32, k), kind)
            yield from ragged([cache, floats(rng, (m, groups * k), 5.0), np.array([at], np.int32)], m)
    far = np.array([[65503, 65504, 65519, 65520, 1e5, -65520, -1e9, 3e38, -3e38, 7] * 16], np.float32)
    near = np.array([[0.25 - 2**-26, 2e-4, -3e-5, 6e-8, 3e-8, 1e-31, -0.0] * 8], np.float32)
    for kind in CACHES:
        for x in (floats(rng, (1, 64), 1e5), far[:, :64], far[:, 64:128], far[:, :50], near, near / 4096):
            yield [caches(rng, (2, 16, x.shape[1] // 2), kind), x, np.array([3], np.int32)], {}

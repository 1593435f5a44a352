"""Every nth element of a range along each axis, any element type."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Ints, Rng, TensorType, op
from brainc.ops._samples import moves


@op("x[...] -> y[...2]")
def slice_(x: Array, *, starts: Ints, sizes: Ints, steps: Ints) -> Array:
    """y[i] = x[starts + i * steps], `sizes` elements along each axis; steps may be negative."""
    grids = [s + np.arange(n) * step for s, n, step in zip(starts, sizes, steps, strict=True)]
    return np.asarray(x[np.ix_(*grids)])


@slice_.result
def _result(x: TensorType, *, starts: Ints, sizes: Ints, steps: Ints) -> TensorType:
    return TensorType(x.dtype, sizes)


@slice_.cases
def _cases(rng: Rng) -> Cases:
    yield from moves(rng, (4, 5, 6), {"starts": (1, 0, 2), "sizes": (2, 5, 3), "steps": (1, 1, 1)})
    yield from moves(rng, (4, 5, 6), {"starts": (3, 4, 5), "sizes": (4, 2, 3), "steps": (-1, -2, -2)})
    yield from moves(rng, (4, 5, 6), {"starts": (0, 1, 0), "sizes": (2, 2, 2), "steps": (2, 3, 5)})
    yield from moves(rng, (6,), {"starts": (2,), "sizes": (3,), "steps": (1,)})

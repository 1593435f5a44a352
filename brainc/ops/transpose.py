"""Axes in another order, any element type."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Ints, Rng, TensorType, op
from brainc.ops._samples import moves


@op("x[...] -> y[...]")
def transpose(x: Array, *, perm: Ints) -> Array:
    """y's axis i is x's axis perm[i]."""
    return np.ascontiguousarray(x.transpose(perm))


@transpose.result
def _result(x: TensorType, *, perm: Ints) -> TensorType:
    return TensorType(x.dtype, tuple(x.shape[p] for p in perm))


@transpose.cases
def _cases(rng: Rng) -> Cases:
    for shape, perm in (((3, 5), (1, 0)), ((1, 4, 5, 3), (0, 3, 1, 2)), ((2, 3, 4), (1, 0, 2)), ((4,), (0,))):
        yield from moves(rng, shape, {"perm": perm})

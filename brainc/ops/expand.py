"""A tensor repeated along axes of size one, any element type."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Ints, Rng, TensorType, op
from brainc.ops._samples import moves


@op("x[...] -> y[...2]")
def expand(x: Array, *, shape: Ints) -> Array:
    """y = x repeated up to `shape` (numpy's broadcasting; x has as many axes as shape)."""
    return np.ascontiguousarray(np.broadcast_to(x, shape))


@expand.result
def _result(x: TensorType, *, shape: Ints) -> TensorType:
    return TensorType(x.dtype, shape)


@expand.cases
def _cases(rng: Rng) -> Cases:
    for shape, wide in (((1, 5), (3, 5)), ((2, 1, 3), (2, 4, 3)), ((1, 1), (2, 2)), ((3, 1), (3, 6))):
        yield from moves(rng, shape, {"shape": wide})

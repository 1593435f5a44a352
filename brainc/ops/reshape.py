"""The same elements under another shape: a view, never a copy."""

from __future__ import annotations

from brainc.ops import Array, Cases, Ints, Rng, TensorType, op
from brainc.ops._samples import moves


@op("x[...] -> y[...]")
def reshape(x: Array, *, shape: Ints) -> Array:
    """y = x in the order of rows, with another shape (all sizes given)."""
    return x.reshape(shape)


@reshape.result
def _result(x: TensorType, *, shape: Ints) -> TensorType:
    return TensorType(x.dtype, shape)


@reshape.cases
def _cases(rng: Rng) -> Cases:
    yield from moves(rng, (2, 3, 4), {"shape": (6, 4)})

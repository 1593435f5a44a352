"""A picture made larger by repeating its pixels, any element type, channels last."""

from __future__ import annotations

from brainc.ops import Array, Cases, Ints, Rng, TensorType, op
from brainc.ops._samples import moves


@op("x[B,H,W,C] -> y[B,OH,OW,C]")
def upsample2d(x: Array, *, factors: Ints) -> Array:
    """y[b,i,j,c] = x[b, i // factors[0], j // factors[1], c]."""
    return x.repeat(factors[0], axis=1).repeat(factors[1], axis=2)


@upsample2d.result
def _result(x: TensorType, *, factors: Ints) -> TensorType:
    b, h, w, c = x.shape
    return TensorType(x.dtype, (b, h * factors[0], w * factors[1], c))


@upsample2d.cases
def _cases(rng: Rng) -> Cases:
    for shape, factors in (((1, 2, 3, 4), (2, 2)), ((2, 3, 1, 5), (1, 3)), ((1, 1, 4, 1), (3, 1))):
        yield from moves(rng, shape, {"factors": factors})

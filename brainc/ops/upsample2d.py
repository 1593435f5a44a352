"""A picture made larger by repeating its pixels, any element type, channels last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Ints, Rng, TensorType, ints, op


@op("x[B,H,W,C] -> y[B,OH,OW,C]")
def upsample2d(x: Array, *, factors: Ints) -> Array:
    """y[b,i,j,c] = x[b, i // factors[0], j // factors[1], c]."""
    return x.repeat(factors[0], axis=1).repeat(factors[1], axis=2)


@upsample2d.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    x, factors = ins[0], ints(attrs["factors"])
    assert x is not None
    b, h, w, c = x.shape
    return (TensorType(x.dtype, (b, h * factors[0], w * factors[1], c)),)


@upsample2d.cases
def _cases(rng: Rng) -> Cases:
    for dtype in (np.int8, np.float32):
        for shape, factors in (((1, 2, 3, 4), (2, 2)), ((2, 3, 1, 5), (1, 3)), ((1, 1, 4, 1), (3, 1))):
            yield [(rng.standard_normal(shape) * 50).astype(dtype)], {"factors": factors}

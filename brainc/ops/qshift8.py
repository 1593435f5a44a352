"""uint8 to int8 and back, exact: the zero point moves by 128."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import I8, U8
from brainc.numerics import shift_u8
from brainc.ops import Array, Cases, Rng, TensorType, op


@op("x[...] -> y[...]")
def qshift8(x: Array) -> Array:
    """y = x with its top bit flipped: u8 becomes i8, i8 becomes u8."""
    return shift_u8(x)


@qshift8.result
def _result(x: TensorType) -> TensorType:
    return TensorType(I8 if x.dtype is U8 else U8, x.shape)


@qshift8.cases
def _cases(rng: Rng) -> Cases:
    yield [np.arange(-128, 128).astype(np.int8)], {}
    yield [np.arange(256).astype(np.uint8).reshape(1, 4, 8, 8)], {}

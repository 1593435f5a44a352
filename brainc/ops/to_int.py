"""Reals to integers: the door into an integer brain."""

from __future__ import annotations

import numpy as np

from brainc import numerics
from brainc.dtypes import DTYPES, integer_range
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._samples import both_rounds, floats


@op("x[...] -> y[...]")
def to_int(x: Array, *, scale: float, zero: int, dtype: str = "i8", round: str = "once") -> Array:
    """y = clamp(round_half_even(x * (1 / scale)) + zero), in float32; see `numerics.to_int`."""
    lo, hi = integer_range(DTYPES[dtype])
    return numerics.to_int(x, scale, zero, lo, hi, round).astype(DTYPES[dtype].numpy)


@to_int.result
def _result(x: TensorType, *, scale: float, zero: int, dtype: str, round: str) -> TensorType:
    return TensorType(DTYPES[dtype], x.shape)


@to_int.cases
def _cases(rng: Rng) -> Cases:
    half = (np.arange(-300, 301) / 2).astype(np.float32)  # every other one is a tie
    extremes = np.array([1e30, -1e30, np.inf, -np.inf, np.nan, 65536.0], np.float32)
    for dtype, zero in (("i8", 0), ("i8", -128), ("u8", 128), ("i16", 5), ("u16", 40000)):
        for x, scale in ((half, 1.0), (floats(rng, (3, 17), 30.0), 0.037), (extremes, 0.5)):
            yield from both_rounds([x], {"scale": scale, "zero": zero, "dtype": dtype})

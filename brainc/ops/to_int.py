"""Reals to integers: the door into an integer brain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc import numerics
from brainc.dtypes import DTYPES, Array, integer_range
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._samples import floats


@op("x[...] -> y[...]")
def to_int(x: Array, *, scale: float, zero: int, dtype: str = "i8") -> Array:
    """y = clamp(round_half_even(x * (1 / scale)) + zero), in float32; see `numerics.to_int`."""
    lo, hi = integer_range(DTYPES[dtype])
    return numerics.to_int(x, scale, zero, lo, hi).astype(DTYPES[dtype].numpy)


@to_int.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    assert ins[0] is not None
    return (TensorType(DTYPES[str(attrs["dtype"])], ins[0].shape),)


@to_int.cases
def _cases(rng: Rng) -> Cases:
    half = (np.arange(-300, 301) / 2).astype(np.float32)  # every other one is a tie
    for dtype, zero in (("i8", 0), ("i8", -128), ("u8", 128), ("i16", 5), ("u16", 40000)):
        yield [half], {"scale": 1.0, "zero": zero, "dtype": dtype}
        yield [floats(rng, (3, 17), 30.0)], {"scale": 0.037, "zero": zero, "dtype": dtype}
        extremes = np.array([1e30, -1e30, np.inf, -np.inf, np.nan, 65536.0], np.float32)
        yield [extremes], {"scale": 0.5, "zero": zero, "dtype": dtype}

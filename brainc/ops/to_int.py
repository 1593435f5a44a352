"""Reals to integers: the door into an integer brain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from brainc import numerics
from brainc.dtypes import DTYPES, Array, integer_range
from brainc.ir import Attr, TensorType
from brainc.ops import op


@op("x[...] -> y[...]")
def to_int(x: Array, *, scale: float, zero: int, dtype: str = "i8") -> Array:
    """y = clamp(round_half_even(x * (1 / scale)) + zero), in float32; see `numerics.to_int`."""
    lo, hi = integer_range(DTYPES[dtype])
    return numerics.to_int(x, scale, zero, lo, hi).astype(DTYPES[dtype].numpy)


@to_int.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    assert ins[0] is not None
    return (TensorType(DTYPES[str(attrs["dtype"])], ins[0].shape),)

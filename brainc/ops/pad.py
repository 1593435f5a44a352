"""A constant border around a tensor, any element type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import op


@op("x[...] -> y[...2]")
def pad(x: Array, *, before: tuple[int, ...], after: tuple[int, ...], value: float = 0.0) -> Array:
    """y = x with `before` and `after` cells of `value` added along each axis (counts >= 0)."""
    return np.pad(
        x, tuple(zip(before, after, strict=True)), constant_values=np.asarray(value).astype(x.dtype)
    )


@pad.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    x, before, after = ins[0], ints(attrs["before"]), ints(attrs["after"])
    assert x is not None
    shape = tuple(n + p + q for n, p, q in zip(x.shape, before, after, strict=True))
    return (TensorType(x.dtype, shape),)

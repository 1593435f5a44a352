"""Every nth element of a range along each axis, any element type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import ints, op


@op("x[...] -> y[...2]")
def slice_(x: Array, *, starts: tuple[int, ...], sizes: tuple[int, ...], steps: tuple[int, ...]) -> Array:
    """y[i] = x[starts + i * steps], `sizes` elements along each axis; steps may be negative."""
    grids = [s + np.arange(n) * step for s, n, step in zip(starts, sizes, steps, strict=True)]
    return np.asarray(x[np.ix_(*grids)])


@slice_.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    x, sizes = ins[0], ints(attrs["sizes"])
    assert x is not None
    return (TensorType(x.dtype, sizes),)

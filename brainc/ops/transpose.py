"""Axes in another order, any element type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import ints, op


@op("x[...] -> y[...]")
def transpose(x: Array, *, perm: tuple[int, ...]) -> Array:
    """y's axis i is x's axis perm[i]."""
    return np.ascontiguousarray(x.transpose(perm))


@transpose.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    x, perm = ins[0], ints(attrs["perm"])
    assert x is not None
    return (TensorType(x.dtype, tuple(x.shape[p] for p in perm)),)

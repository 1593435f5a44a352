"""A tensor repeated along axes of size one, any element type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import ints, op


@op("x[...] -> y[...2]")
def expand(x: Array, *, shape: tuple[int, ...]) -> Array:
    """y = x repeated up to `shape` (numpy's broadcasting; x has as many axes as shape)."""
    return np.ascontiguousarray(np.broadcast_to(x, shape))


@expand.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    x, shape = ins[0], ints(attrs["shape"])
    assert x is not None
    return (TensorType(x.dtype, shape),)

"""A tensor repeated along axes of size one, any element type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Ints, Rng, TensorType, ints, op


@op("x[...] -> y[...2]")
def expand(x: Array, *, shape: Ints) -> Array:
    """y = x repeated up to `shape` (numpy's broadcasting; x has as many axes as shape)."""
    return np.ascontiguousarray(np.broadcast_to(x, shape))


@expand.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    x, shape = ins[0], ints(attrs["shape"])
    assert x is not None
    return (TensorType(x.dtype, shape),)


@expand.cases
def _cases(rng: Rng) -> Cases:
    for dtype in (np.int8, np.float32):
        for shape, wide in (((1, 5), (3, 5)), ((2, 1, 3), (2, 4, 3)), ((1, 1), (2, 2)), ((3, 1), (3, 6))):
            yield [(rng.standard_normal(shape) * 50).astype(dtype)], {"shape": wide}

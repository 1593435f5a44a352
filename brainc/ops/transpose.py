"""Axes in another order, any element type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Ints, Rng, TensorType, ints, op


@op("x[...] -> y[...]")
def transpose(x: Array, *, perm: Ints) -> Array:
    """y's axis i is x's axis perm[i]."""
    return np.ascontiguousarray(x.transpose(perm))


@transpose.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    x, perm = ins[0], ints(attrs["perm"])
    assert x is not None
    return (TensorType(x.dtype, tuple(x.shape[p] for p in perm)),)


@transpose.cases
def _cases(rng: Rng) -> Cases:
    for dtype in (np.int8, np.int32, np.float32):
        for shape, perm in (
            ((3, 5), (1, 0)),
            ((1, 4, 5, 3), (0, 3, 1, 2)),
            ((2, 3, 4), (1, 0, 2)),
            ((4,), (0,)),
        ):
            yield [(rng.standard_normal(shape) * 50).astype(dtype)], {"perm": perm}

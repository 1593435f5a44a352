"""A constant border around a tensor, any element type."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Ints, Rng, TensorType, op
from brainc.ops._samples import int8s


@op("x[...] -> y[...2]")
def pad(x: Array, *, before: Ints, after: Ints, value: float = 0.0) -> Array:
    """y = x with `before` and `after` cells of `value` added along each axis (counts >= 0)."""
    border = tuple(zip(before, after, strict=True))
    return np.pad(x, border, constant_values=np.asarray(value).astype(x.dtype))


@pad.result
def _result(x: TensorType, *, before: Ints, after: Ints, value: float) -> TensorType:
    return TensorType(x.dtype, tuple(map(sum, zip(x.shape, before, after, strict=True))))


@pad.cases
def _cases(rng: Rng) -> Cases:
    for dtype in (np.int8, np.uint8, np.float32):
        x = rng.integers(0, 100, (1, 3, 4, 2)).astype(dtype)
        for value in (0.0, 7.0, 100.0):
            yield [x], {"before": (0, 1, 2, 0), "after": (0, 2, 0, 1), "value": value}
        yield [x[0, 0, 0]], {"before": (2,), "after": (0,), "value": 0.0}
    yield [int8s(rng, (2, 3))], {"before": (1, 1), "after": (1, 1), "value": -128.0}

"""A constant border around a tensor, any element type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Ints, Rng, TensorType, ints, op


@op("x[...] -> y[...2]")
def pad(x: Array, *, before: Ints, after: Ints, value: float = 0.0) -> Array:
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


@pad.cases
def _cases(rng: Rng) -> Cases:
    for dtype in (np.int8, np.uint8, np.float32):
        x = rng.integers(0, 100, (1, 3, 4, 2)).astype(dtype)
        for value in (0.0, 7.0, 100.0):
            yield [x], {"before": (0, 1, 2, 0), "after": (0, 2, 0, 1), "value": value}
        yield [x[0, 0, 0]], {"before": (2,), "after": (0,), "value": 0.0}
    yield (
        [rng.integers(-128, 128, (2, 3)).astype(np.int8)],
        {"before": (1, 1), "after": (1, 1), "value": -128.0},
    )

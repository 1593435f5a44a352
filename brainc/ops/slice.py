"""Every nth element of a range along each axis, any element type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Ints, Rng, TensorType, ints, op


@op("x[...] -> y[...2]")
def slice_(x: Array, *, starts: Ints, sizes: Ints, steps: Ints) -> Array:
    """y[i] = x[starts + i * steps], `sizes` elements along each axis; steps may be negative."""
    grids = [s + np.arange(n) * step for s, n, step in zip(starts, sizes, steps, strict=True)]
    return np.asarray(x[np.ix_(*grids)])


@slice_.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    x, sizes = ins[0], ints(attrs["sizes"])
    assert x is not None
    return (TensorType(x.dtype, sizes),)


@slice_.cases
def _cases(rng: Rng) -> Cases:
    for dtype in (np.int8, np.float32):
        x = (rng.standard_normal((4, 5, 6)) * 50).astype(dtype)
        yield [x], {"starts": (1, 0, 2), "sizes": (2, 5, 3), "steps": (1, 1, 1)}
        yield [x], {"starts": (3, 4, 5), "sizes": (4, 2, 3), "steps": (-1, -2, -2)}
        yield [x], {"starts": (0, 1, 0), "sizes": (2, 2, 2), "steps": (2, 3, 5)}
        yield [x[0, 0]], {"starts": (2,), "sizes": (3,), "steps": (1,)}

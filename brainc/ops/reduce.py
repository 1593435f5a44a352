"""One number for many: mean, sum, largest, smallest, along the middle axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import floats

FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "mean": lambda x: x.mean(axis=1, dtype=np.float64),
    "sum": lambda x: x.sum(axis=1, dtype=np.float64),
    "max": lambda x: x.max(axis=1),
    "min": lambda x: x.min(axis=1),
    "prod": lambda x: x.prod(axis=1),
    "sum_square": lambda x: np.square(x).sum(axis=1),
    "l1": lambda x: np.abs(x).sum(axis=1),
    "l2": lambda x: np.sqrt(np.square(x).sum(axis=1)),
}


@op("x[M,K,N] -> y[M,N]")
def reduce(x: Array, *, fn: str) -> Array:
    """y = fn over K; other axes are reshaped (and transposed) into this form."""
    return FUNCTIONS[fn](x).astype(x.dtype)


@reduce.cases
def _cases(rng: Rng) -> Cases:
    for fn in FUNCTIONS:
        for shape in ((1, 1, 1), (3, 7, 5), (2, 4, 1), (1, 30, 8)):
            yield [floats(rng, shape)], {"fn": fn}

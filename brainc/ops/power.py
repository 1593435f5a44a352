"""Power, element by element, real numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from brainc.dtypes import Array
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import pairs


@op("a[...] b[...2] -> y[...]")
def power(a: Array, b: Array) -> Array:
    """y = a ** b; b's shape is a's, or its last axes (repeated over the others)."""
    return np.asarray(np.power(a, b).astype(a.dtype))


@power.cases
def _cases(rng: Rng) -> Cases:
    yield from pairs(rng, positive=True)

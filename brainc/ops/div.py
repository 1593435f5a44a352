"""Quotient, element by element, real numbers."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import positive_pairs


@op("a[...] b[...2] -> y[...]")
def div(a: Array, b: Array) -> Array:
    """y = a / b; b's shape is a's, or its last axes (repeated over the others)."""
    return np.asarray((a / b).astype(a.dtype))


@div.cases
def _cases(rng: Rng) -> Cases:
    for (a, b), attrs in positive_pairs(rng):
        assert a is not None
        yield [-a, b], attrs

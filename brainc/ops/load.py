"""A constant brought into RAM, any element type."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from brainc.dtypes import Array
from brainc.ops import Array, Cases, Rng, op


@op("x[...]c -> y[...]")
def load(x: Array) -> Array:
    """y = x; for machines that cannot read constants as they read memory."""
    return x.copy()


@load.cases
def _cases(rng: Rng) -> Cases:
    yield [rng.integers(-128, 128, (3, 5)).astype(np.int8)], {}
    yield [rng.standard_normal(7).astype(np.float32)], {}

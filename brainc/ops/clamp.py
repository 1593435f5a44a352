"""Values held between two bounds."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import floats


@op("x[...] -> y[...]")
def clamp(x: Array, *, lo: float = -np.inf, hi: float = np.inf) -> Array:
    """y = min(max(x, lo), hi); ReLU is lo = 0, ReLU6 also hi = 6."""
    return np.clip(x, lo, hi).astype(x.dtype)


@clamp.cases
def _cases(rng: Rng) -> Cases:
    for lo, hi in ((0.0, 6.0), (0.0, np.inf), (-0.5, 0.25)):
        yield [floats(rng, (3, 5, 7), 4.0)], {"lo": lo, "hi": hi}

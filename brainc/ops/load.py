"""A constant brought into RAM, any element type."""

from __future__ import annotations

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import moves


@op("x[...]c -> y[...]")
def load(x: Array) -> Array:
    """y = x; for machines that cannot read constants as they read memory."""
    return x.copy()


@load.cases
def _cases(rng: Rng) -> Cases:
    yield from moves(rng, (3, 5), {})

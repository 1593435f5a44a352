"""Any function of one int8 variable, exact: a table of its 256 answers."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import int8s


@op("x[...] table[256]c -> y[...]")
def qlut(x: Array, table: Array) -> Array:
    """y = table[x + 128]; the table is int8, in the order of x from -128 to 127."""
    return np.asarray(table[x.astype(np.int32) + 128])


@qlut.cases
def _cases(rng: Rng) -> Cases:
    table = rng.integers(-128, 128, 256).astype(np.int8)
    for x in (np.arange(-128, 128).astype(np.int8), int8s(rng, (1, 3, 5, 7)), int8s(rng, (1,))):
        yield [x, table], {}

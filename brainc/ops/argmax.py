"""Where the largest of a row is."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import Array
from brainc.ops import op


@op("x[M,N] -> y[M]:i32")
def argmax(x: Array) -> Array:
    """y = index of the first largest element of each row."""
    return np.asarray(np.argmax(x, axis=-1)).astype(np.int32)

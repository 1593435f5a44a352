"""Product of two activations, real numbers."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import Array
from brainc.ops import op


@op("a[B,M,K] b[B,K,N] -> y[B,M,N]", macs="B*M*N*K")
def matmul(a: Array, b: Array) -> Array:
    """y = a @ b, batch by batch."""
    return np.asarray(np.matmul(a, b))

"""Filters filled up with zeros to whole vectors of sixteen terms.

Wanted by kernels that multiply sixteen bytes at a time and have no loop for a rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array


def rows16(w: Array, env: Mapping[str, Any]) -> Array:
    """w [N, ...] int8 to [N, K], where K is the size of a filter, rounded up to a multiple of 16."""
    flat = w.reshape(w.shape[0], -1)
    return np.pad(flat, ((0, 0), (0, -flat.shape[1] % 16)))

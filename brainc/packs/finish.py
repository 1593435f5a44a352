"""All that makes int8 of a row's sum, side by side: one stream to read instead of three tables.

Wanted by kernels whose constants come byte by byte out of flash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array


def finish(b: Array, mult: Array, shift: Array, env: Mapping[str, Any]) -> Array:
    """b int32 [N], mult int32 and shift int8 [1 or N] to bytes [N, 9]: four, four and one, lowest first."""
    table = np.empty((b.size, 9), np.uint8)
    table[:, :4] = b.astype("<i4").view(np.uint8).reshape(-1, 4)
    table[:, 4:8] = np.broadcast_to(mult, b.shape).astype("<i4").view(np.uint8).reshape(-1, 4)
    table[:, 8] = np.broadcast_to(shift, b.shape).astype(np.uint8)
    return table.view(np.int8)

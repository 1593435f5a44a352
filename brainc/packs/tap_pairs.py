"""Depthwise filters laid out for two taps of four channels at once.

Wanted by kernels with a dual multiply-add; with an odd number of taps the last partner is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array


def tap_pairs(w: Array, env: Mapping[str, Any]) -> Array:
    """w [KH,KW,C] int8 to [C/4, ceil(KH*KW/2), 2, 2, 2]: channel pair, tap of a pair, channel of a pair."""
    taps = w.reshape(-1, w.shape[-1])
    padded = np.pad(taps, ((0, len(taps) % 2), (0, 0)))
    blocks = padded.reshape(len(padded) // 2, 2, -1, 2, 2)  # pair, tap, quad, channel pair, channel
    return np.ascontiguousarray(blocks.transpose(2, 0, 3, 1, 4))

"""Depthwise filters channel by channel, each with all that makes int8 of its sums: one stream, read once a channel.

Wanted by the depthwise kernels of the 8-bit AVR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array

_Env = Mapping[str, Any]


def channels(w: Array, env: _Env) -> Array:
    """w [KH,KW,C] int8 to [C, KH*KW]."""
    return np.ascontiguousarray(w.reshape(-1, w.shape[-1]).T)


def scaled_channels(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """w [KH,KW,C] int8, b [C], mult and shift [1 or C] to bytes [C, KH*KW + 16].

    A channel is its weights; the bias from which a sum is never negative unless the result is `lo` (three bytes); the
    factor, cut to 24 fractional bits (three bytes); by how many 256ths a sum times the factor may fall short of how far
    the result is above lo; then mult, shift and what is to be added to a sum for the exact result (four, one and four
    bytes). mult has 31 bits or is zero; 33 <= shift <= 43.
    """
    taps = channels(w, env)
    scales = zip(b, np.broadcast_to(mult, b.shape), np.broadcast_to(shift, b.shape), strict=True)
    rows = [_channel(filter, *map(int, numbers), env) for filter, numbers in zip(taps, scales, strict=True)]
    return np.frombuffer(b"".join(rows), np.int8).reshape(len(taps), -1)


def _channel(taps: Array, bias: int, mult: int, shift: int, env: _Env) -> bytes:
    zero, lo, hi = (int(env[name]) for name in ("zy", "lo", "hi"))
    if mult == 0:  # the result is zero's, whatever the sum
        taps, bias, mult, shift = np.zeros_like(taps), 0, 1 << 30, 38
        zero = min(max(zero, lo), hi)
    twice = (1 << shift) >> (shift - 31) if env["round"] == "tflite" else 0  # a tie may lie off by 1 of 2^(shift-30)
    start = -(-(twice - (2 * (zero - lo) + 1) * (1 << (shift - 1))) // mult)  # where a result leaves lo
    cut = mult >> (shift - 24)
    short = 6 + ((2 * twice + mult) >> (shift - 8)) + ((256 << shift) // mult >> 16)
    least = (bias - start).to_bytes(3, "little", signed=True)
    factor = cut.to_bytes(3, "little")
    rest = mult.to_bytes(4, "little") + shift.to_bytes(1, "little") + start.to_bytes(4, "little", signed=True)
    return taps.tobytes() + least + factor + bytes([short]) + rest

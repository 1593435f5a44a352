"""Constants laid out for the SMLAD tiles: weights, biases and scales as the one stream that a tile walks.

Wanted by the kernels of cores with the DSP extension. Weights of two filters A and B share 16-bit lanes, 256 * A + B,
in the order in which SXTB16 widens activations (0 2 1 3); what is missing to whole steps and pairs is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array

_Env = Mapping[str, Any]
_ORDER = [0, 2, 1, 3]


def tiles2x3(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """w [N, ...] int8 to int32 [ceil(N/2), 2 * ceil(K/4) + 8]: a pair's lanes, then what finishes A and B."""
    lanes = _lanes(w)
    return np.concatenate([lanes.reshape(len(lanes), -1), _finish(b, mult, shift, env).reshape(-1, 8)], axis=1)


def rows_of_pairs(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """w [N,K] int8 to int32 [N / (2 * PAIRS), ...]: the lanes of PAIRS pairs, four terms of each in turn, then what
    finishes the rows; with one scale for all that is twice the bias alone.
    """
    pairs = int(env["PAIRS"])
    lanes = _lanes(w)
    blocks = lanes.reshape(-1, pairs, *lanes.shape[1:]).transpose(0, 2, 1, 3).reshape(len(lanes) // pairs, -1)
    finish = _finish(b, mult, shift, env)[:, : 1 if mult.size == 1 else 4]
    return np.concatenate([blocks, finish.reshape(len(blocks), -1)], axis=1)


def one_scale(b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """What finishes every row of a layer with one scale: factor, rounding and zero point, shift. int32 [3]"""
    return _finish(b[:1], mult[:1], shift[:1], env)[0, 1:]


def taps3x3(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """Depthwise w [3,3,C] int8 to int32 [ceil(C/4), 34], for four channels at a time.

    The weights of pairs of taps, channel by channel; the ninth tap's for channels 0 and 2, 1 and 3; what finishes each
    channel. The last four channels overlap those before them if they must.
    """
    starts = [*range(0, w.shape[-1] - 3, 4), *([w.shape[-1] - 4] if w.shape[-1] % 4 else [])]
    taps, finish = w.reshape(9, -1).astype(np.int32), _finish(b, mult, shift, env)
    blocks = []
    for start in starts:
        four = taps[:, start : start + 4]
        pairs = [_halves(four[i], four[j]) for i, j in ((1, 2), (4, 5), (7, 8), (0, 3))]
        ninth = _halves(four[6, :2], four[6, 2:])
        blocks.append(np.concatenate([*pairs, ninth, finish[start : start + 4].reshape(-1)]))
    return np.stack(blocks)


def _halves(low: Array, high: Array) -> Array:
    """Two 16-bit numbers in a word."""
    return np.asarray((low & 0xFFFF) | (high << 16), np.int32)


def _lanes(w: Array) -> Array:
    """w [N, ...] int8 to int32 [ceil(N/2), ceil(K/4), 2]: the weights of two filters, two terms a word."""
    flat = w.reshape(w.shape[0], -1).astype(np.int32)
    flat = np.pad(flat, ((0, -flat.shape[0] % 2), (0, -flat.shape[1] % 4)))
    both = 256 * flat[0::2] + flat[1::2]
    low, high = np.moveaxis(both.reshape(len(both), -1, 4)[:, :, _ORDER].reshape(len(both), -1, 2, 2), -1, 0)
    return _halves(low, high)


def _finish(b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """int32 [N in pairs, 4]: twice the bias, the factor, half a step and the zero point before the shift, the shift.

    Twice acc * factor / 2^32, plus the third, shifted right by the fourth, is what `requant` makes of acc before it
    clamps; see `where` in the kernels for when that is so.
    """
    factor = np.broadcast_to(mult.astype(np.int64), b.shape)
    right = np.where(factor > 0, np.broadcast_to(shift.astype(np.int64), b.shape) - 31, 1)
    rounding = (np.int64(1) << (right - 1)) + (np.int64(env["zy"]) << right)
    table = np.stack([2 * b.astype(np.int64), factor, rounding, right], axis=1)
    return np.pad(table, ((0, len(table) % 2), (0, 0))).astype(np.int32)

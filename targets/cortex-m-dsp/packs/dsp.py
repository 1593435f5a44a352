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
    """w [N, ...] int8 to int32 [ceil(N/2), 2 * ceil(K/4) + 5]: lanes of a pair, its shifts, bias and factor of both."""
    lanes, (bias, factor, steps) = _lanes(w), _finish(b, mult, shift)
    finish = np.stack([bias, factor], axis=1).reshape(-1, 4)
    return np.concatenate([lanes.reshape(len(lanes), -1), _bytes(steps.reshape(-1, 2)), finish], axis=1)


def rows_of_pairs(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """w [N,K] int8 to int32 [N / (2 * PAIRS), ...]: the lanes of PAIRS pairs, four terms of each in turn, then what
    finishes the rows: twice the bias and, unless one scale serves all, factor and shift.
    """
    pairs = int(env["PAIRS"])
    lanes = _lanes(w)
    blocks = lanes.reshape(-1, pairs, *lanes.shape[1:]).transpose(0, 2, 1, 3).reshape(len(lanes) // pairs, -1)
    finish = np.stack(_finish(b, mult, shift)[: 1 if mult.size == 1 else 3], axis=1)
    return np.concatenate([blocks, finish.reshape(len(blocks), -1)], axis=1)


def one_scale(b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """Factor and shift of a layer whose rows have one scale. int32 [2]"""
    return np.array([column[0] for column in _finish(b, mult, shift)[1:]], np.int32)


def taps3x3(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """Depthwise w [3,3,C] int8 to int32 [ceil(C/4), 27], for four channels at a time.

    The weights of pairs of taps, channel by channel; the ninth tap's for channels 0 and 2, 1 and 3; the shifts, then
    bias and factor of each channel. The last four channels overlap those before them if they must.
    """
    taps, blocks = w.reshape(9, -1).astype(np.int32), []
    for some in _fours(w.shape[-1]):
        four = taps[:, some]
        pairs = [_halves(four[i], four[j]) for i, j in ((1, 2), (4, 5), (7, 8), (0, 3))]
        blocks.append(np.concatenate([*pairs, _halves(four[6, :2], four[6, 2:]), _finish_four(b, mult, shift, some)]))
    return np.stack(blocks)


def pairs_of_taps(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """The same for depthwise w [KH,KW,C] int8 with any number of taps; an odd one has zero for a partner."""
    taps, blocks = w.reshape(-1, w.shape[-1]).astype(np.int32), []
    taps = np.pad(taps, ((0, len(taps) % 2), (0, 0)))
    for some in _fours(w.shape[-1]):
        pairs = _halves(taps[0::2, some], taps[1::2, some]).reshape(-1)
        blocks.append(np.concatenate([pairs, _finish_four(b, mult, shift, some)]))
    return np.stack(blocks)


def _fours(channels: int) -> list[slice]:
    """Four channels at a time; the last four overlap those before them if they must."""
    starts = [*range(0, channels - 3, 4), *([channels - 4] if channels % 4 else [])]
    return [slice(start, start + 4) for start in starts]


def _finish_four(b: Array, mult: Array, shift: Array, some: slice) -> Array:
    """The shifts of four channels in a word, then bias and factor of each. int32 [9]"""
    bias, factor, steps = (column[some] for column in _finish(b, mult, shift))
    return np.concatenate([_bytes(steps), np.stack([bias, factor], axis=1).reshape(-1)])


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


def _finish(b: Array, mult: Array, shift: Array) -> tuple[Array, Array, Array]:
    """int32 [N in pairs] each: twice the bias, the factor, the shift but one of what is left above 31.

    Twice acc * factor / 2^32 is shifted by the third, then rounded by one more bit: what `requant` makes of acc before
    it adds the zero point. See `where` in the kernels for when that is so.
    """
    factor = np.broadcast_to(mult.astype(np.int64), b.shape)
    steps = np.where(factor > 0, np.broadcast_to(shift.astype(np.int64), b.shape) - 32, 0)
    even = ((0, b.size % 2),)
    twice, factor, steps = (np.pad(v, even).astype(np.int32) for v in (2 * b.astype(np.int64), factor, steps))
    return twice, factor, steps


def _bytes(numbers: Array) -> Array:
    """Numbers below 256 [..., 2 or 4] in the bytes of a word [..., 1], the first one lowest."""
    places = 8 * np.arange(numbers.shape[-1], dtype=np.int32)
    return np.asarray((numbers << places).sum(axis=-1, keepdims=True), np.int32)

"""Filters as one stream of words: all that a tile of filters needs, in the order in which it is needed.

Wanted by the tiles of the cores without SIMD, which have no register to spare for a second pointer. A group of
filters is its biases, its weights term by term, its multipliers, then one byte each for what is left of the shifts
(`_SLOW` where a filter needs more care than the short finish takes) and for the shifts themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array

_Env = Mapping[str, Any]
_SLOW = 255
_OFFSET = 128  # added to every byte where only unsigned ones can be loaded in one instruction
_MOST = 21  # the largest shift before which the zero point may be added without leaving 32 bits


def pairs(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """Groups of two filters, signed weights; for cores with a long multiplication."""
    return _stream(w, b, mult, shift, 2, signed=True, left={"once": 32, "tflite": 31}[env["round"]])


def quads(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """Groups of four filters, weights + 128, the biases last; for cores without a long multiplication."""
    left = {"once": 24, "tflite": 31}[env["round"]]
    stream = _stream(w, b, mult, shift, 4, signed=False, left=left)
    return np.concatenate([stream[:, 4:], stream[:, :4]], axis=1)


def eights(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """Groups of eight filters, signed weights."""
    return _stream(w, b, mult, shift, 8, signed=True, left=32)


def offset_eights(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """Groups of eight filters, weights + 128, for signed x: the sum of x is not taken off the biases."""
    taken = b + _OFFSET * w.reshape(w.shape[0], -1).astype(np.int64).sum(axis=1)
    return _stream(w, taken, mult, shift, 8, signed=False, left=24)


def channels(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """Depthwise channels, one after the other, for products that lose 31 or 32 bits."""
    left = {"once": 32, "tflite": 31}[env["round"]]
    return _channels(w, b, mult, shift.astype(np.int64) - left, env["zy"])


def channels_short(w: Array, b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """The same for cores without a long multiplication; results count from `lo` on."""
    left = {"once": 24, "tflite": 31}[env["round"]]
    return _channels(w, b, mult, shift.astype(np.int64) - left, env["zy"] - env["lo"])


def _channels(w: Array, b: Array, mult: Array, steps: Array, zero: int) -> Array:
    """int32 [C, words]: bias, multiplier, what rounds and moves to `zero`, then as bytes the weights and a shift."""
    n = np.broadcast_to(np.clip(steps, 1, _MOST), b.shape)  # out of bounds only where the multiplier is zero
    numbers = np.stack([b, np.broadcast_to(mult, b.shape), (np.int64(1) << n >> 1) + (np.int64(zero) << n)], axis=1)
    taps = np.concatenate([w.reshape(-1, b.size), n[None]]).astype(np.int8)
    taps = np.ascontiguousarray(np.pad(taps, ((0, -len(taps) % 4), (0, 0))).T)
    return np.concatenate([numbers.astype("<i4"), taps.view("<i4")], axis=1)


def _stream(w: Array, b: Array, mult: Array, shift: Array, rows: int, *, signed: bool, left: int) -> Array:
    """The stream as int32 [groups, words]; `left` is what the product alone takes off the shift."""
    n, flat = w.shape[0], w.reshape(w.shape[0], -1).astype(np.int64)
    slow = _slow(flat, b, shift, left, bits=31 if signed else 24)
    whole = flat if signed else flat + _OFFSET
    bias = (b if signed else b - _OFFSET * flat.sum(axis=1)).astype(np.int64)
    terms = np.pad(whole, ((0, -n % rows), (0, -flat.shape[1] % 4)))
    terms = terms.reshape(-1, rows, terms.shape[1]).transpose(0, 2, 1).astype(np.uint8)
    counted = np.where(slow, 1, np.clip(shift.astype(np.int64) - left, 1, _MOST))
    steps = _groups(np.broadcast_to(counted, n), rows, 1)
    steps[_groups(np.broadcast_to(slow, n), rows, 0).any(axis=1)] = _SLOW
    shifts = _groups(np.broadcast_to(shift, n), rows, 1)
    parts = (
        _groups(bias, rows, 0).astype("<i4"),
        terms.reshape(len(terms), -1),
        _groups(np.broadcast_to(mult, n), rows, 0).astype("<i4"),
        steps.astype(np.uint8),
        shifts.astype(np.uint8),
    )
    return np.concatenate([np.ascontiguousarray(p).view(np.uint8) for p in parts], axis=1).view("<i4")


def _slow(flat: Array, b: Array, shift: Array, left: int, bits: int) -> Array:
    """Which filters may have sums of more than `bits` bits, or a shift that the short finish cannot take."""
    highest = np.maximum(flat * 127, flat * -128).sum(axis=1) + b
    lowest = np.minimum(flat * 127, flat * -128).sum(axis=1) + b
    wide = (highest >= 1 << (bits - 1)) | (lowest < -(1 << (bits - 1)))
    return np.asarray(wide | (shift <= left) | (shift > left + _MOST))


def _groups(values: Array, rows: int, fill: int) -> Array:
    """One number a filter, filled up to whole groups."""
    return np.pad(values.astype(np.int64), (0, -values.size % rows), constant_values=fill).reshape(-1, rows)

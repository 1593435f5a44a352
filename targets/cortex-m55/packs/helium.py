"""Constants laid out for Helium: whole vectors, so that no load needs a mask.

Wanted by the kernels of the Cortex-M55. Filters come in tiles of four rows by sixteen terms; scales are split
into what the vector instructions can do: a shift to the left, a multiplication, a shift to the right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array

_Env = Mapping[str, Any]


def rows4x16(w: Array, env: _Env) -> Array:
    """w [N, ...] int8 to [ceil(N/4), ceil(K/16), 4, 16], filled up with zeros."""
    flat = w.reshape(w.shape[0], -1)
    padded = np.pad(flat, ((0, -flat.shape[0] % 4), (0, -flat.shape[1] % 16)))
    return padded.reshape(-1, 4, padded.shape[1] // 16, 16).transpose(0, 2, 1, 3)


def fours(b: Array, env: _Env) -> Array:
    """One number a channel, filled up to whole fours."""
    return np.pad(b, (0, -b.size % 4))


def factor(mult: Array, shift: Array, env: _Env) -> Array:
    """The multipliers of `steps`, in fours; one scale for all channels stays one."""
    factors = _split(mult, shift, env)[0]
    return factors if mult.size == 1 else fours(factors, env)


def steps(mult: Array, shift: Array, env: _Env) -> Array:
    """int8 [2, S in fours]: the shifts to the left, then those to the right as negative numbers."""
    both = np.stack(_split(mult, shift, env)[1:]).astype(np.int8)
    return both if mult.size == 1 else np.pad(both, ((0, 0), (0, -mult.size % 4)))


def tiles(w: Array, env: _Env) -> Array:
    """w [N, ...] int8 for the part `tile`: by four filters, the even ones then the odd ones, sixteen terms at a time.

    Filled up with zeros. Where env's LOOP is set the odd ones go backwards: x is walked there and back.
    """
    flat = w.reshape(w.shape[0], -1)
    padded = np.pad(flat, ((0, -flat.shape[0] % 4), (0, -flat.shape[1] % 16)))
    tile = padded.reshape(-1, 2, 2, padded.shape[1] // 16, 16).transpose(0, 2, 3, 1, 4).copy()
    if env["LOOP"]:
        tile[:, 1] = tile[:, 1, ::-1].copy()
    return tile


def rows16(w: Array, env: _Env) -> Array:
    """w [N, K] int8 of up to sixteen terms to [N in fours, 16], filled up with zeros."""
    return np.pad(w, ((0, -len(w) % 4), (0, 16 - w.shape[1])))


def windows(w: Array, env: _Env) -> Array:
    """Depthwise w [KH,KW,C] int8 to [C in fours, 16]: a channel's taps, column after column, and zeros."""
    return rows16(w.transpose(2, 1, 0).reshape(w.shape[2], -1), env)


def finish4(b: Array, mult: Array, shift: Array, env: _Env) -> Array:
    """What makes int8 of sums, by four channels: int32 [b, factors, shifts] as one stream.

    The shifts are bytes: four to the left, which are left out where env's PLAIN says that there are none, and four
    to the right as negative numbers.
    """
    used = np.broadcast_to(mult > 0, b.shape)
    factors, left, right = (np.broadcast_to(v, b.shape) for v in _split(mult, shift, env))
    steps = [np.where(used, v, -1).astype(np.int8) for v in ([right] if env["PLAIN"] else [left, right])]
    shifts = np.stack([fours(v, env).reshape(-1, 4) for v in steps], axis=1)
    words = [fours(v, env).reshape(-1, 4) for v in (b, factors)]
    return np.concatenate([*words, shifts.reshape(-1, 4 * len(steps)).view("<i4")], axis=1)


def eights(w: Array, env: _Env) -> Array:
    """Depthwise w [KH,KW,C] int8 to [ceil(C/8), KH*KW, 8], filled up with zeros."""
    taps = np.pad(w.reshape(-1, w.shape[-1]), ((0, 0), (0, -w.shape[-1] % 8)))
    return taps.reshape(len(taps), -1, 8).transpose(1, 0, 2)


def even_odd(b: Array, env: _Env) -> Array:
    """b, of one or all channels, to [ceil(C/8), 2, 4]: the even channels of eight, then the odd ones."""
    all_ = np.broadcast_to(b, (env["C"],))
    return np.pad(all_, (0, -all_.size % 8)).reshape(-1, 4, 2).transpose(0, 2, 1)


def even_odd_factor(mult: Array, shift: Array, env: _Env) -> Array:
    """`factor` as `even_odd`, one for each channel."""
    return even_odd(_split(mult, shift, env)[0], env)


def even_odd_steps(mult: Array, shift: Array, env: _Env) -> Array:
    """`steps` of eight channels: int8 [C/8, left and right, even and odd, 4]."""
    _, left, right = _split(mult, shift, env)
    return np.stack([even_odd(left, env), even_odd(right, env)], axis=1).astype(np.int8)


def _split(mult: Array, shift: Array, env: _Env) -> tuple[Array, Array, Array]:
    """int32 factors, shifts to the left, and shifts to the right as negative numbers, for the rounding profile.

    once: acc * mult / 2^shift is ((acc << left) * factor) >> 32 >> right; left is 0 unless shift is below 33, and then
    the factor is so large that a saturated acc << left still ends beyond int8.
    tflite: the product is doubled before its upper half is taken, and every shift is TFLite's own.
    """
    m, s, whole = mult.astype(np.int64), shift.astype(np.int64), 31
    if env["round"] == "once":
        (m, s), whole = _normal(m, s), 33
    return m.astype(np.int32), np.maximum(whole - s, 0), -np.maximum(s - whole, 0) - (whole == 33)


def _normal(m: Array, s: Array) -> tuple[Array, Array]:
    """The same scales with every multiplier at least 2^30, but where it is 0 or its shift already 62."""
    for _ in range(30):
        small = (m < 1 << 30) & (s < 62)
        m, s = np.where(small, 2 * m, m), np.where(small, s + 1, s)
    return m, s

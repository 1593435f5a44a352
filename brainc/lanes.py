"""Real numbers with the same bits on every machine: what language models compute.

The ops marked `bits` are made of these functions; `templates/lanes.h` says the same in C. The rules: float32; every
multiplication, addition and division is rounded by itself (no fused multiply-add); a sum along an axis has 16 lanes,
lane i adding the numbers i, i + 16, i + 32 … in that order, and the lanes are then added as a tree (8 apart, 4, 2, 1);
sqrt and division are IEEE's; exp, sin and cos are these polynomials and no library's.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext

import numpy as np

from brainc.dtypes import A8, Array

LANES = 16
BLOCK = 32
ROWS = 16  # of a cache that lie in a unit
HALF_MOST, HALF_LEAST = np.float32(65504), np.float32(2.0**-24)  # of f16, above 0
LEAST = np.float32(1e-30)  # a block of smaller numbers is a block of zeros
_F = np.float32
EXP_LOW, EXP_HIGH = _F(-87.0), _F(88.0)  # beyond these an answer is held: exp stays a normal number
LOG2_E = _F(1.44269504)
# 2^x within -0.5 .. 0.5, highest power first: the polynomial whose largest relative error (1.1e-7) is least
EXP2 = tuple(map(_F, (1.32647285e-3, 9.67151299e-3, 5.55073358e-2, 0.240222424, 0.693147004, 1.0)))


def lane_sum(x: Array) -> Array:
    """The sum along the last axis, float32 [..., K] -> [...]."""
    wide = np.zeros((*x.shape[:-1], -(-x.shape[-1] // LANES) * LANES), np.float32)
    wide[..., : x.shape[-1]] = x
    lanes = np.zeros((*x.shape[:-1], LANES), np.float32)
    for start in range(0, wide.shape[-1], LANES):
        lanes = lanes + wide[..., start : start + LANES]
    for half in (8, 4, 2, 1):
        lanes = lanes[..., :half] + lanes[..., half : 2 * half]
    return np.asarray(lanes[..., 0])


def exp(x: Array) -> Array:
    """e^x, float32, as 2^(x log2 e), wrong by (4 + 1.2|x|) 2^-24 of it at most; x is held in EXP_LOW .. EXP_HIGH."""
    twos = np.minimum(np.maximum(x.astype(np.float32), EXP_LOW), EXP_HIGH) * LOG2_E
    whole = np.rint(twos)
    rest = twos - whole
    y = np.full_like(rest, EXP2[0])
    for coefficient in EXP2[1:]:
        y = y * rest + coefficient
    power = ((whole.astype(np.int32) + 127) << 23).astype(np.int32).view(np.float32)
    return np.asarray(y * power)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), float32."""
    return np.asarray(_F(1) / (_F(1) + exp(-x)))


def silu(x: Array) -> Array:
    """x * sigmoid(x), float32, as x / (1 + exp(-x))."""
    return np.asarray(x / (_F(1) + exp(-x)))


def gelu(x: Array) -> Array:
    """The tanh form, x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3): with c = -2 sqrt(2/pi) in float32,
    x / (1 + exp((c x) (1 + 0.044715 (x x))))."""
    return np.asarray(x / (_F(1) + exp((_F(-1.5957691216) * x) * (_F(1) + _F(0.044715) * (x * x)))))


def whole(x: Array, top: int) -> tuple[Array, Array]:
    """float32 [..., N] as whole numbers, int32, and what one of them stands for [...]: max|x| / top.

    q = round_half_even(x * (top / max|x|)); all 0 where the maximum is below 1e-30.
    """
    most = np.abs(x).max(axis=-1)
    most = np.where(most < LEAST, _F(0), most)
    with np.errstate(divide="ignore"):
        up = np.where(most > 0, _F(top) / most, _F(0)).astype(np.float32)
        q = np.clip(np.rint(x * up[..., None]), -top, top).astype(np.int32)
    return q, most / _F(top)


def held(x: Array) -> Array:
    """float32 within +-65504, the largest of f16, and that where it is no number."""
    return np.asarray(np.fmax(np.fmin(x, HALF_MOST), -HALF_MOST))


def whole_16(x: Array) -> tuple[Array, Array]:
    """float32 [..., N], held, as whole numbers in -8192 .. 8192, int32, and what one of them stands for [...].

    d = 2^-12 times the largest power of two that is not above max|x|, at least 2^-24, so an f16 has it;
    q = round_half_even(x / d).
    """
    x = held(x)
    power = (np.abs(x).max(axis=-1).view(np.uint32) & np.uint32(0x7F800000)).view(np.float32)
    d = np.maximum(power * _F(2.0**-12), HALF_LEAST)
    return np.rint(x / d[..., None]).astype(np.int32), d


def quantised(x: Array) -> Array:
    """float32 [..., K] in blocks of 32 (K a multiple) as a8 [..., K/32]: whole(block, 127); n, s: see `dtypes.py`."""
    q, d = whole(x.reshape(*x.shape[:-1], x.shape[-1] // BLOCK, BLOCK), 127)
    found = np.zeros(d.shape, A8.numpy)
    found["d"], found["q"] = d, q
    found["n"] = q.reshape(*d.shape, 2, BLOCK // 2).sum(axis=-1, dtype=np.int16)
    found["s"] = d * found["n"].sum(axis=-1, dtype=np.int32).astype(np.float32)
    return found


def turns(length: int, width: int, base: float, slower: float | Sequence[float] = 1.0) -> Array:
    """cos and sin of rotary positions, float32 [length, width / 2, 2]: of t * base^(-2i / width) / slower.

    slower: one number, or one for each i. Worked out in float64 from frequencies of 30 digits, so that no machine's
    library has a say.
    """
    divisors = [slower] * (width // 2) if isinstance(slower, float) else slower
    with localcontext() as context:
        context.prec = 40
        logarithm = Decimal(repr(base)).ln()
        steps = [(-logarithm * 2 * i / width).exp() / Decimal(repr(by)) for i, by in enumerate(divisors)]
    angles = np.arange(length, dtype=np.float64)[:, None] * np.array([float(step) for step in steps])
    return np.stack(_cos_sin(angles), axis=-1).astype(np.float32)


def _cos_sin(x: Array) -> tuple[Array, Array]:
    """(cos x, sin x) in float64 for |x| < 2^20, by reduction to -pi/4 .. pi/4 and Taylor's series."""
    quarter = np.rint(x * 0.6366197723675814)
    rest = ((x - quarter * 1.5707963267341256) - quarter * 6.077100506303966e-11) - quarter * 2.0222662487959506e-21
    square, sine, cosine = rest * rest, np.ones_like(rest), np.ones_like(rest)
    for k in range(16, 0, -2):
        sine = 1.0 - sine * square * (1.0 / (k * (k + 1)))
        cosine = 1.0 - cosine * square * (1.0 / (k * (k - 1)))
    sine, turn = sine * rest, quarter.astype(np.int64) & 3
    swapped = turn & 1 == 1
    c, s = np.where(swapped, sine, cosine), np.where(swapped, cosine, sine)
    return np.where((turn == 1) | (turn == 2), -c, c), np.where(turn >= 2, -s, s)

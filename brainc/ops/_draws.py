"""Drawing one of many by weights that are powers of two: what `sample` and `qsample` have in common.

What knocks are distances below the largest logit, in 32nds of a power of two, and the state of a generator;
what leaves is an index. All in integers, so every machine draws the same.
"""

from __future__ import annotations

import numpy as np

from brainc.ops import Array

PARTS = 32  # of a power of two: a weight is off by 1.1 % at most
NARROW = 128  # up to so many weights of 15 bits add up in 32 bits, and none below half a bit matters
BITS = {True: 15, False: 30}  # of the largest weight, where they are few and where they are many
POWERS = np.rint(2.0 ** (15 - np.arange(PARTS) / PARTS)).astype(np.uint16)  # 2^-(i / 32) with 15 fractional bits
SPREAD = 2654435769  # an odd number near 2^32 / 1.618: neighbouring seeds begin far apart
WORD = 1 << 32


def scrambled(seed: int) -> int:
    """A seed as the generator's first state, which must not be 0: the product with SPREAD, within 32 bits."""
    return (seed * SPREAD) % WORD or SPREAD


def as_i32(word: int) -> int:
    """32 bits as they lie in an i32."""
    return word - WORD if word >= WORD // 2 else word


def random(state: Array) -> int:
    """The next 32 bits of Marsaglia's xorshift32 (shifts 13, 17, 5), which never gives 0; `state` i32[1] moves on."""
    x = int(state[0]) % WORD
    x ^= x << 13 & (WORD - 1)
    x ^= x >> 17
    x ^= x << 5 & (WORD - 1)
    state[0] = as_i32(x)
    return x


def weights(steps: Array) -> Array:
    """2^-(steps / 32) of int64 steps >= 0, [E], as whole numbers: the bits of the largest are BITS of E."""
    up = BITS[steps.size <= NARROW] - 15
    whole = POWERS[steps % PARTS].astype(np.int64) << up
    octaves = np.minimum(steps // PARTS, 40)
    return np.asarray(np.where(octaves == 0, whole, ((whole >> np.maximum(octaves - 1, 0)) + 1) >> 1))


def drawn(steps: Array, state: Array) -> Array:
    """An index i32[1], each as likely as its weight, by one random number (two where weights are many)."""
    ends = np.cumsum(weights(steps))
    place = random(state)
    if steps.size > NARROW:
        place = place * WORD + random(state)
    return np.searchsorted(ends, [place % int(ends[-1])], side="right").astype(np.int32)


def reseeded(state: Array, seed: Array | None) -> None:
    """A seed other than 0 starts the generator again."""
    if seed is not None and int(seed.reshape(-1)[0]):
        state[0] = as_i32(scrambled(int(seed.reshape(-1)[0]) % WORD))

"""One of many, drawn by the softmax of int8 logits, exact: the same draws from the same seed on every machine."""

from __future__ import annotations

import math

import numpy as np

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._draws import PARTS, POWERS, drawn, reseeded
from brainc.ops._samples import int8s
from brainc.ops.sample import ONE

FRACTION = 11  # bits of a step below a 32nd of a power of two, which is 16 below the power itself
STEEPEST = 1 << 24  # the largest step; beyond it all but the largest logit weigh nothing anyway


@op("logits[...] powers[32]c:i16 temperature[1]:i32 rng[1]!:i32 seed[1]?:i32 -> token[1]:i32")
def qsample(
    logits: Array, powers: Array, temperature: Array, rng: Array, seed: Array | None = None, *, mult: int
) -> Array:
    """token i32 = an index of logits, as likely as exp(scale * logits * 64 / temperature) is large.

    temperature: i32 in 64ths; 64 is the softmax itself, 0 or less the first largest, without a draw. rng: the state
    of the generator. seed: i32, 0 or left out: carry on; any other starts the generator again.
    mult = scale * log2(e) * 64 * 2^16 (`sample_multiplier`). A step, step = mult / temperature rounded half up (held to
    2^24), is what one unit of the logits is in powers of two, with 16 fractional bits. The distance d of a logit below
    the largest makes k = d * step / 2^11, rounded half up, 32nds of a power of two; its weight is 2^-(k / 32), a table
    (`powers`, 2^15 * 2^-(i / 32), u16 in an i16) shifted by k / 32 octaves, rounded half up. Up to 128 logits weights
    have 15 bits and are summed in 32, else 30 and 64. The draw: the next random number modulo the sum.
    """
    reseeded(rng, seed)
    flat, heat = logits.reshape(-1).astype(np.int64), int(temperature[0])
    if heat <= 0:
        return np.array([np.argmax(flat)], np.int32)
    step = min((mult + heat // 2) // heat, STEEPEST)
    return drawn(((flat.max() - flat) * step + (1 << (FRACTION - 1))) >> FRACTION, rng)


def sample_multiplier(scale: float) -> int:
    """`mult` for logits of that scale."""
    return min(round(scale * math.log2(math.e) * ONE * PARTS * (1 << FRACTION)), (1 << 31) - 1)


def powers_table() -> Array:
    """`powers`: int16 [32]."""
    return POWERS.view(np.int16)


@qsample.cases
def _cases(rng: Rng) -> Cases:
    def numbers(*each: int) -> list[Array]:
        return [np.array([n], np.int32) for n in each]

    for count, scale in ((1, 0.1), (5, 0.02), (38, 0.15), (128, 0.004), (129, 0.1), (1000, 2.0)):
        for heat, state, seed in ((64, 1, 0), (45, -7, 0), (0, 3, 0), (300, 99, 12345), (1, 5, -1), (1 << 30, 8, 0)):
            temperature, start, again = numbers(heat, state, seed)
            logits, given = int8s(rng, (1, count)), sample_multiplier(scale)
            again_too: list[Array | None] = [again] if seed else []
            yield [logits, powers_table(), temperature, start, *again_too], {"mult": given}

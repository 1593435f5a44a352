"""One of many, drawn by the softmax of real logits: what `qsample` stands for before there are integers."""

from __future__ import annotations

import math

import numpy as np

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._draws import PARTS, drawn, reseeded

FARTHEST = 1 << 30  # 32nds of a power of two; a weight so small is none
ONE = 64  # the temperature of the softmax itself


@op("logits[...] temperature[1] rng[1]! seed[1]? -> token[1]:i32")
def sample(logits: Array, temperature: Array, rng: Array, seed: Array | None = None) -> Array:
    """token = an index, as likely as exp(logits * 64 / temperature) is large; see `qsample` for all else."""
    reseeded(rng, seed)
    flat, heat = logits.reshape(-1).astype(np.float64), int(temperature[0])
    if heat <= 0:
        return np.array([np.argmax(flat)], np.int32)
    steps = np.rint((flat.max() - flat) * (math.log2(math.e) * ONE * PARTS / heat))
    return drawn(np.minimum(np.nan_to_num(steps, nan=FARTHEST), FARTHEST).astype(np.int64), rng)


@sample.cases
def _cases(rng: Rng) -> Cases:
    yield from ()  # there is no kernel: brains that sample are quantised

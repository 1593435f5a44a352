"""Root mean square normalisation along the last axis."""

from __future__ import annotations

import numpy as np

from brainc.lanes import lane_sum
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._blocks import counted
from brainc.ops._samples import floats, ragged


def normalised(x: Array, w: Array, eps: float) -> Array:
    """(x * (1 / sqrt(mean(x^2) + eps))) * w along the last axis; the mean is the lane sum divided by K."""
    mean = lane_sum(x * x) / np.float32(x.shape[-1])
    factor = np.float32(1) / np.sqrt(mean + np.float32(eps))
    return np.asarray((x * factor[..., None]) * w)


@op("x[M,K] w[K]c r[M,K]? n[1]?:i32 -> y[M,K]", bits=True)
def rms(x: Array, w: Array, r: Array | None, n: Array | None, *, eps: float) -> Array:
    """y = x / rms(x) * w, or r + that. Of M rows the first n are computed."""
    y = normalised(x, w, eps)
    return counted(y if r is None else r + y, n)


@rms.cases
def _cases(rng: Rng) -> Cases:
    for m, k in ((1, 1), (1, 576), (3, 50)):
        x, w, r = floats(rng, (m, k), 3.0), floats(rng, (k,)), floats(rng, (m, k))
        yield from ragged([x, w, r], m, eps=1e-5)
        yield from ragged([x, w, None], m, eps=1e-6)

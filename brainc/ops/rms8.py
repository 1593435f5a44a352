"""Root mean square normalisation whose result is quantised in blocks of 32."""

from __future__ import annotations

from brainc.lanes import quantised
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._blocks import counted
from brainc.ops._samples import floats, ragged
from brainc.ops.block8 import block8
from brainc.ops.rms import normalised


@op("x[M,K] w[K]c n[1]?:i32 -> y[M,B]:a8", bits=True, result=lambda x, *_, **__: block8.infer([x], {})[0])
def rms8(x: Array, w: Array, n: Array | None, *, eps: float) -> Array:
    """y = block8(rms(x, w)); K is a multiple of 32. Of M rows the first n are computed."""
    return counted(quantised(normalised(x, w, eps)), n)


@rms8.cases
def _cases(rng: Rng) -> Cases:
    for m, k in ((1, 32), (1, 576), (3, 96)):
        yield from ragged([floats(rng, (m, k), 3.0), floats(rng, (k,))], m, eps=1e-5)

"""The gated middle of a feed-forward block, quantised in blocks of 32."""

from __future__ import annotations

from brainc.lanes import quantised
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._blocks import counted
from brainc.ops._samples import floats, ragged
from brainc.ops.block8 import block8
from brainc.ops.glu import ACTIVATIONS


@op("gate[M,K]:f32 up[M,K]:f32 n[1]?:i32 -> y[M,B]:a8", bits=True, result=lambda g, *_, **__: block8.infer([g], {})[0])
def glu8(gate: Array, up: Array, n: Array | None, *, act: str) -> Array:
    """y = block8(glu(gate, up)); K is a multiple of 32. Of M rows the first n are computed."""
    return counted(quantised(ACTIVATIONS[act](gate) * up), n)


@glu8.cases
def _cases(rng: Rng) -> Cases:
    for act in ACTIVATIONS:
        for m, k in ((1, 1536), (3, 96)):
            yield from ragged([floats(rng, (m, k), 9.0), floats(rng, (m, k))], m, act=act)

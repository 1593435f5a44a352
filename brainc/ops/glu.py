"""The gated middle of a feed-forward block."""

from __future__ import annotations

from collections.abc import Callable

from brainc.lanes import gelu, silu
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._blocks import counted
from brainc.ops._samples import floats, ragged

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"silu": silu, "gelu": gelu}


@op("gate[M,K]:f32 up[M,K]:f32 n[1]?:i32 -> y[M,K]:f32", bits=True)
def glu(gate: Array, up: Array, n: Array | None, *, act: str) -> Array:
    """y = act(gate) * up, act "silu" or "gelu" (`lanes.py`). Of M rows the first n are computed."""
    return counted(ACTIVATIONS[act](gate) * up, n)


@glu.cases
def _cases(rng: Rng) -> Cases:
    for act in ACTIVATIONS:
        for m, k in ((1, 1536), (3, 50)):
            yield from ragged([floats(rng, (m, k), 9.0), floats(rng, (m, k))], m, act=act)
        yield from ragged([floats(rng, (1, 64), 1e3), floats(rng, (1, 64))], 1, act=act)

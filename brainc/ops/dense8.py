"""Fully connected layer on activations and weights in blocks: exact integer sums, one order of the reals."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import F32
from brainc.lanes import quantised
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._blocks import WEIGHTS, activations, blocks, counted, fields
from brainc.ops._samples import floats, ragged


@op("x[M,B]:a8 w[N,C]c b[N]?c:f32 r[M,N]?:f32 n[1]?:i32 -> y[M,N]:f32", macs="32*M*N*B", bits=True)
def dense8(x: Array, w: Array, b: Array | None, r: Array | None, n: Array | None) -> Array:
    """y = r + (sum over blocks + b), block after block: sum += (d_w * d_x) * float(sum of q_w * q_x); then, where the
    weights have offsets, sum += m_w * s_x. A w6k adds its two halves of a block one after the other."""
    q, d, m = fields(w)
    halves = 32 // q.shape[-1]
    xq = x["q"].astype(np.int32).reshape(len(x), -1, 32 // halves)
    xd = x["d"].repeat(halves, axis=1)
    sums = np.zeros((len(x), len(w)), np.float32)
    for k in range(q.shape[1]):
        whole = xq[:, k] @ q[:, k].T  # [M,N]
        sums = sums + (d[:, k] * xd[:, k, None]) * whole.astype(np.float32)
        if m is not None:
            sums = sums + m[:, k] * x["s"][:, k, None]
    sums = sums if b is None else sums + b
    return counted(sums if r is None else r + sums, n)


@dense8.result
def _result(
    x: TensorType, w: TensorType, b: TensorType | None = None, r: TensorType | None = None, n: TensorType | None = None
) -> TensorType:
    return TensorType(F32, (x.shape[0], w.shape[0]))


@dense8.cases
def _cases(rng: Rng) -> Cases:
    for kind in WEIGHTS:
        many = kind.block // 32
        for m, rows, k in ((1, 1, 32), (1, 24, 576), (1, 37, 96), (5, 17, 160), (67, 16, 64)):
            x, w = activations(rng, (m, k * many)), blocks(rng, (rows, k * many), kind)
            yield from ragged([x, w, floats(rng, (rows,)), floats(rng, (m, rows))], m)
        yield [activations(rng, (1, 64 * many)), blocks(rng, (48, 64 * many), kind)], {}
    for kind in WEIGHTS:  # sums as large as they get
        full = blocks(rng, (16, 512), kind)
        full["q"] = 255 if full["q"].dtype == np.uint8 else -128
        if "h" in (kind.numpy.names or ()):
            full["h"] = 255
        yield [quantised(np.full((5, 512), -1, np.float32)), full], {}

"""Windows that slide over pictures: what the convolutions and pools share.

Pictures are x [B,H,W,C]. The attributes in `WINDOW` say how a window moves; what leaves are the windows
themselves, and the type of whatever has one number for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from brainc.ir import Attrs
from brainc.ops import Array, Ints, TensorType

WINDOW: Attrs = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}  # pads: top, left, bottom, right


def windows(x: Array, kernel: Ints, fill: float, *, strides: Ints, pads: Ints, dilations: Ints) -> Array:
    """x [B,H,W,C] to its windows [B,OH,OW,KH,KW,C]; the border is `fill`."""
    (kh, kw), (sh, sw), (dh, dw) = kernel, strides, dilations
    border = ((0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0))
    padded = np.pad(x, border, constant_values=np.asarray(fill, x.dtype))
    span = ((kh - 1) * dh + 1, (kw - 1) * dw + 1)
    view = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(1, 2))
    return np.moveaxis(view[:, ::sh, ::sw, :, ::dh, ::dw], 3, 5)


def counts(shape: Ints, kernel: Ints, **window: Ints) -> Array:
    """How many cells of each window of x [B,H,W,C] lie inside the picture: [1,OH,OW,1]."""
    inside = np.ones((1, shape[1], shape[2], 1), np.int32)
    return np.asarray(windows(inside, kernel, 0, **window).sum(axis=(3, 4)))


def grouped(cols: Array, w: Array, group: int) -> Array:
    """Windows [B,OH,OW,KH,KW,C] times w [F,KH,KW,C/group]: [B,OH,OW,F]."""
    pieces = zip(np.split(cols, group, axis=-1), np.split(w, group), strict=True)
    return np.concatenate([np.tensordot(x, f, ((3, 4, 5), (1, 2, 3))) for x, f in pieces], axis=-1)


def window_result(x: TensorType, w: TensorType | None = None, *_: object, **attrs: Any) -> TensorType:
    """The result's type; a window's size is that of w [F,KH,KW,CG] or [KH,KW,C], or `kernel` without one."""
    kernel = attrs["kernel"] if w is None or "kernel" in attrs else w.shape[-3:-1]
    channels = w.shape[0] if w is not None and len(w.shape) == 4 else x.shape[3]
    pads, spans = attrs["pads"], [(k - 1) * d + 1 for k, d in zip(kernel, attrs["dilations"], strict=True)]
    high, wide = ((x.shape[1 + i] + pads[i] + pads[2 + i] - spans[i]) // attrs["strides"][i] + 1 for i in (0, 1))
    return TensorType(x.dtype, (x.shape[0], high, wide, channels))

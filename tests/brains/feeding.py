"""Real samples for the MLPerf Tiny models, fed as their sources say; used by several tests and benches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
QDQ = ("kws_dscnn_int8", "ad01_int8", "ic_resnet8_int8", "vww_mobilenetv1_025_int8", "sww_dscnn1d_int8")
AD_SCALE, AD_ZERO = 0.3910152316093445, 89
SWW_SCALE, SWW_ZERO = 0.003701042616739869, -128


def quantised(x: Array, scale: float, zero: int) -> Array:
    """Reals to int8."""
    return np.clip(np.round(x / scale) + zero, -128, 127).astype(np.int8)


def windows(frames: Array) -> Array:
    """A recording's [200,128] log-mel frames to its 196 windows of five frames, [196,640]."""
    view = np.lib.stride_tricks.sliding_window_view(frames, 5, axis=0)  # [196,128,5]
    return np.ascontiguousarray(view.transpose(0, 2, 1)).reshape(-1, 640)


def int8_samples(models: Path, name: str, count: int) -> Array:
    """The first `count` real inputs of a QDQ twin, int8, [count, *port shape without the batch axis]."""
    data = models / "mlperf-tiny" / "data"
    if name.startswith("kws"):
        return np.asarray(np.load(data / "kws01.npz")["x"][:count])
    if name.startswith("ic"):
        return (np.load(data / "ic01.npz")["x"][:count].astype(np.int16) - 128).astype(np.int8)
    if name.startswith("vww"):
        return (np.load(data / "vww01.npz")["x"][:count].astype(np.int16) - 128).astype(np.int8)
    if name.startswith("sww"):
        return quantised(np.load(data / "sww_calibration_samples.npz")["specs"][:count], SWW_SCALE, SWW_ZERO)
    frames = np.load(data / "ad01.npz")["x"]
    every = windows(frames[0])[:: max(1, 196 // count)]
    return quantised(every[:count], AD_SCALE, AD_ZERO)

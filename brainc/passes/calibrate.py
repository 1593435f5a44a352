"""What numbers flow through a float graph: a histogram per value, and the range that int8 should span.

Knocks: `assign_types` and `equalise`, with the user's samples. Leaves: a `Quant` per value. Ranges are
worked out in float64 and rounded to 10 significant bits, so that another machine's matrix library does
not change a firmware.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from brainc.dtypes import Array
from brainc.errors import UnsupportedError
from brainc.ir import Entry, Graph, Quant
from brainc.passes import batch

HALF: Final = 4096  # bins on either side of zero
SIGNIFICANT = 10  # bits of a range
PERCENTILE = 99.99
CANDIDATES = np.geomspace(1.0, 0.15, 64)  # of the largest magnitude, tried by `least_squares`
ROUNDS = 3

Range = tuple[float, float]


@dataclass(slots=True)
class Histogram:
    """How often each number came by: bin i (from -HALF) stands for i * width; the width doubles as needed."""

    width: float = 2.0**-40
    counts: Array = field(default_factory=lambda: np.zeros(2 * HALF + 1, np.int64))
    lo: float = 0.0
    hi: float = 0.0

    def add(self, x: Array) -> None:
        """Counts every number of x; those that are not finite are left out."""
        flat = x.reshape(-1)
        flat = flat[np.isfinite(flat)].astype(np.float64)
        if not flat.size:
            return
        self.lo, self.hi = min(self.lo, float(flat.min())), max(self.hi, float(flat.max()))
        self._reach(max(-self.lo, self.hi))
        bins = np.rint(flat / self.width).astype(np.int64) + HALF
        self.counts += np.bincount(bins, minlength=2 * HALF + 1)

    def merge(self, other: Histogram) -> None:
        """Counts what `other` counted."""
        self.lo, self.hi = min(self.lo, other.lo), max(self.hi, other.hi)
        self._reach(max(-self.lo, self.hi))
        self.counts += other.at_width(self.width)

    def at_width(self, width: float) -> Array:
        """The counts in bins of another, larger width."""
        bins = np.rint(np.arange(-HALF, HALF + 1) * (self.width / width)).astype(np.int64) + HALF
        return np.bincount(bins, self.counts, minlength=2 * HALF + 1).astype(np.int64)

    def _reach(self, largest: float) -> None:
        if largest > self.width * HALF:
            width = 2.0 ** math.ceil(math.log2(largest / HALF))
            self.counts, self.width = self.at_width(width), width

    def seen(self) -> tuple[Array, Array]:
        """(numbers, counts) of the bins that are not empty."""
        some = np.flatnonzero(self.counts)
        return np.clip((some - HALF) * self.width, self.lo, self.hi), self.counts[some]


def observe(graph: Graph, entry: Entry, samples: Mapping[str, Array], names: Iterable[str]) -> dict[str, Histogram]:
    """Runs the samples and counts the numbers of the values in `names`."""
    histograms = {name: Histogram() for name in names}
    for values in batch.runs(graph, entry, samples):
        for name, histogram in histograms.items():
            histogram.add(values[name])
    return histograms


def affine(lo: float, hi: float) -> Quant:
    """The int8 quantisation whose 255 steps span lo..hi (stretched to hold 0, which it hits exactly)."""
    lo, hi = rounded(min(lo, 0.0)), rounded(max(hi, 0.0))
    scale = float(np.float32((hi - lo) / 255)) or 1.0
    return Quant.tensor(scale, int(np.clip(np.rint(-128 - lo / scale), -128, 127)))


def rounded(x: float) -> float:
    """x with 10 significant bits."""
    fraction, exponent = math.frexp(x)
    return math.ldexp(round(math.ldexp(fraction, SIGNIFICANT)), exponent - SIGNIFICANT)


def min_max(h: Histogram) -> Range:
    """Everything that came by."""
    return h.lo, h.hi


def percentile(h: Histogram) -> Range:
    """All but the outermost 0.01 % at each end."""
    numbers, counts = h.seen()
    if not counts.size:
        return h.lo, h.hi
    share = np.cumsum(counts) / counts.sum()
    places = np.searchsorted(share, [1 - PERCENTILE / 100, PERCENTILE / 100])
    lo, hi = numbers[np.minimum(places, len(numbers) - 1)]
    return float(min(lo, 0.0)), float(max(hi, 0.0))


def least_squares(h: Histogram) -> Range:
    """The range with the smallest mean squared error of rounding and clipping, one end after the other."""
    lo, hi = h.lo, h.hi
    numbers, counts = h.seen()
    for _ in range(ROUNDS):
        highs = CANDIDATES * h.hi if h.hi > 0 else np.zeros(1)
        hi = float(highs[np.argmin(_error(numbers, counts, np.full_like(highs, lo), highs))])
        lows = CANDIDATES * h.lo if h.lo < 0 else np.zeros(1)
        lo = float(lows[np.argmin(_error(numbers, counts, lows, np.full_like(lows, hi)))])
    return lo, hi


def _error(numbers: Array, counts: Array, lows: Array, highs: Array) -> Array:
    """Summed squared error of the numbers quantised to each of the ranges."""
    scale = np.maximum(highs - lows, 1e-30)[:, None] / 255
    zero = np.rint(-128 - lows[:, None] / scale)
    steps = np.clip(np.rint(numbers / scale) + zero, -128, 127)
    return np.asarray((np.square((steps - zero) * scale - numbers) * counts).sum(axis=1))


METHODS: Final[dict[str, Callable[[Histogram], Range]]] = {
    **{"minmax": min_max, "percentile": percentile, "mse": least_squares}
}


def method(name: str) -> Callable[[Histogram], Range]:
    """The function that chooses a range from a histogram."""
    if name not in METHODS:
        raise UnsupportedError(f"there is no calibration {name!r}", fix="choose " + ", ".join(METHODS))
    return METHODS[name]

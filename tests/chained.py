"""Random integer networks of pictures: what layers that run row by row must get right.

Windows of all sizes, strides, pads and dilations, sums with what went before, several readers of one value, channels
put side by side, tables, pools, a mean over everything; deterministic in the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from graphs import Builder

from brainc.dtypes import I8
from brainc.ir import Graph
from brainc.numerics import multiplier

ZERO = -20


class Network:
    """A network in the making."""

    def __init__(self, seed: int, channels: tuple[int, ...]) -> None:
        self.b, self.channels = Builder(seed), channels
        self.rng = self.b.rng

    def scaled(self, op: str, x: str, w: np.ndarray, count: int, **given: object) -> str:
        shift = np.full(count, 31 + round(np.log2(60 * np.sqrt(w.size / count))), np.int8)
        mult = self.rng.integers(1 << 30, (1 << 31) - 1, count).astype(np.int32)
        arrays = (w, self.rng.integers(-2000, 2000, count).astype(np.int32), mult, shift)
        return self.b.add(op, x, *map(self.b.const, arrays), zy=ZERO, **given)  # type: ignore[arg-type]

    def weights(self, *shape: int) -> np.ndarray:
        return self.rng.integers(-127, 128, shape).astype(np.int8)

    def window(self, x: str, most: int = 3) -> dict[str, tuple[int, ...]]:
        """A window that fits the picture."""
        (_, high, wide, _), rng = self.b.shape(x), self.rng
        kernel = tuple(int(rng.integers(1, min(most, side) + 1)) for side in (high, wide))
        far = [(k - 1) * 2 + 1 <= side and rng.random() < 0.2 for k, side in zip(kernel, (high, wide), strict=True)]
        dilations = tuple(2 if f else 1 for f in far)
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        pads = [int(rng.integers(0, s)) for s in (spans[0], spans[1], spans[0], spans[1])]
        if rng.random() < 0.5:
            pads = [(s - 1) // 2 for s in spans] * 2
        strides = tuple(2 if rng.random() < 0.25 and side > 8 else 1 for side in (high, wide))
        return {"kernel": kernel, "strides": strides, "pads": tuple(pads), "dilations": dilations}

    def conv(self, x: str) -> str:
        window, c = self.window(x, 4), self.b.shape(x)[3]
        filters = int(self.rng.choice(self.channels))
        kernel = window.pop("kernel")
        return self.scaled("qconv2d", x, self.weights(filters, *kernel, c), filters, zx=ZERO, **window)

    def depthwise(self, x: str) -> str:
        window, c = self.window(x), self.b.shape(x)[3]
        kernel = window.pop("kernel")
        return self.scaled("qdwconv2d", x, self.weights(*kernel, c), c, zx=ZERO, **window)

    def point(self, x: str) -> str:
        _, high, wide, c = self.b.shape(x)
        filters = int(self.rng.choice(self.channels))
        flat = self.b.add("reshape", x, shape=(high * wide, c))
        y = self.scaled("qdense", flat, self.weights(filters, c), filters)
        return self.b.add("reshape", y, shape=(1, high, wide, filters))

    def largest(self, x: str) -> str:
        return self.b.add("maxpool2d", x, **self.window(x))

    def average(self, x: str) -> str:
        window = self.window(x) | {"pads": (0, int(self.rng.integers(0, 2)), 0, 0)}
        if window["kernel"][1] == 1:
            window["pads"] = (0, 0, 0, 0)
        return self.b.add("qavgpool2d", x, round="tflite", **window)

    def table(self, x: str) -> str:
        return self.b.add("qlut", x, self.b.const(self.rng.permutation(np.arange(-128, 128)).astype(np.int8)))

    def residual(self, x: str) -> str:
        c = self.b.shape(x)[3]
        y = x
        for _ in range(int(self.rng.integers(1, 3))):
            y = self.scaled("qdwconv2d", y, self.weights(3, 3, c), c, zx=ZERO, pads=(1,) * 4)
        return self.b.add("qadd", y, x, za=ZERO, zb=ZERO, ma=1 << 19, mb=1 << 19, shift=20, zy=ZERO)

    def beside(self, x: str) -> str:
        c = self.b.shape(x)[3]
        y = self.scaled("qconv2d", x, self.weights(4, 3, 3, c), 4, zx=ZERO, pads=(1,) * 4)
        return self.b.add("concat", x, y, axis=3)

    def mean(self, x: str) -> str:
        _, high, wide, c = self.b.shape(x)
        mult, shift = multiplier(1 / (high * wide))
        kind = int(self.rng.integers(0, 3))
        if kind == 2:
            flat = self.b.add("reshape", x, shape=(1, high * wide, c))
            return self.b.add("qmean", flat, zx=ZERO, zy=ZERO, mult=mult, shift=shift)
        given = {"kernel": (high, wide), "lo": -100}
        scale = [self.b.const(np.array([mult], np.int32)), self.b.const(np.array([shift], np.int8))]
        if kind:
            return self.b.add("qavgpool2d", x, round="tflite", **given)  # type: ignore[arg-type]
        return self.b.add("qavgpool2d", x, *scale, zx=ZERO, zy=ZERO, **given)  # type: ignore[arg-type]


def chained_network(seed: int) -> Graph:
    """Layers over pictures, then what is left of them, as an integer graph."""
    net = Network(seed, (4, 8, 12) if seed % 5 else (3, 4, 6))  # rows of 3 cannot always be read word by word
    rng = net.rng
    high, wide = (int(n) for n in rng.integers((14, 4), (30, 11)))
    x = net.b.input("x", (1, high, wide, int(rng.choice((1, *net.channels)))), I8)
    kinds: list[Callable[[str], str]] = [
        *(net.conv, net.conv, net.depthwise, net.depthwise, net.point, net.largest),
        *(net.average, net.table, net.residual, net.beside),
    ]
    x = net.conv(x)
    for _ in range(int(rng.integers(3, 9))):
        if min(net.b.shape(x)[1:3]) > 4:
            x = kinds[int(rng.integers(len(kinds)))](x)
    if rng.random() < 0.6:
        x = net.mean(x)
        x = net.b.add("reshape", x, shape=(1, prod(net.b.shape(x))))
        x = net.scaled("qdense", x, net.weights(5, net.b.shape(x)[1]), 5)
    return net.b.graph(x)

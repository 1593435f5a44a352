"""Arithmetic on reals that frontends have in common.

Their rules knock with the importer that they write with; the name of a result leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import pi, sqrt
from typing import Protocol

import numpy as np
import numpy.typing as npt

from brainc.frontends.moves import Writer, broadcast

ORDERED = ("div", "power", "prelu", "sub")  # ops whose operands do not change places


class Reckoner(Writer, Protocol):
    """What an importer offers to rules that compute."""

    @property
    def known(self) -> Mapping[str, object]: ...

    def constant(self, array: npt.ArrayLike, hint: str = "c") -> str: ...


def binary(g: Reckoner, op: str, a: str, b: str | float) -> str:
    """a op b; the first operand is made the one of full shape, the second loses leading ones."""
    b = b if isinstance(b, str) else g.constant(np.float32(b))
    shape = np.broadcast_shapes(g.shape(a), g.shape(b))
    if op not in ORDERED and (a in g.known or (g.shape(a) != shape and b not in g.known)):
        a, b = b, a
    elif a in g.known and op == "sub":
        a, b, op = g.emit("unary", b, fn="neg"), a, "add"
    elif a in g.known and op == "div":
        a, b, op = g.emit("unary", b, fn="reciprocal"), a, "mul"
    a = broadcast(g, a, shape)
    while g.shape(b)[:1] == (1,) and g.shape(b) != shape:
        b = g.reshape(b, g.shape(b)[1:])
    return g.emit(op, a, b)


def tanh_gelu(g: Reckoner, x: str) -> str:
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))"""
    times = partial(binary, g, "mul")
    inner = times(binary(g, "add", x, times(times(times(x, x), x), 0.044715)), sqrt(2 / pi))
    return times(times(x, 0.5), binary(g, "add", g.emit("unary", inner, fn="tanh"), 1.0))

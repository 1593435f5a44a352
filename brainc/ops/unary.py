"""A function of one real variable, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import floats

_erf = np.vectorize(math.erf, otypes=[np.float32])


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (np.tanh(0.5 * x) + 1.0))


FUNCTIONS: dict[str, Callable[[Array, float, float], Array]] = {
    "abs": lambda x, a, b: np.abs(x),
    "ceil": lambda x, a, b: np.ceil(x),
    "cos": lambda x, a, b: np.cos(x),
    "elu": lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
    "erf": lambda x, a, b: _erf(x),
    "exp": lambda x, a, b: np.exp(x),
    "floor": lambda x, a, b: np.floor(x),
    "gelu": lambda x, a, b: 0.5 * x * (1.0 + _erf(x * math.sqrt(0.5))),
    "hard_sigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "hard_swish": lambda x, a, b: x * np.clip(x / 6 + 0.5, 0, 1),
    "leaky_relu": lambda x, a, b: np.where(x < 0, a * x, x),
    "log": lambda x, a, b: np.log(x),
    "neg": lambda x, a, b: -x,
    "reciprocal": lambda x, a, b: 1.0 / x,
    "round": lambda x, a, b: np.rint(x),
    "selu": lambda x, a, b: b * np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
    "sigmoid": lambda x, a, b: _sigmoid(x),
    "sign": lambda x, a, b: np.sign(x),
    "silu": lambda x, a, b: x * _sigmoid(x),
    "sin": lambda x, a, b: np.sin(x),
    "softplus": lambda x, a, b: np.logaddexp(x, np.float32(0)),
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "sqrt": lambda x, a, b: np.sqrt(x),
    "tanh": lambda x, a, b: np.tanh(x),
}


@op("x[...] -> y[...]")
def unary(x: Array, *, fn: str, alpha: float = 0.0, beta: float = 0.0) -> Array:
    """y = fn(x); `alpha` and `beta` are the parameters of those functions that have some."""
    return FUNCTIONS[fn](x, alpha, beta).astype(x.dtype)


@unary.cases
def _cases(rng: Rng) -> Cases:
    ties = np.array([-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 3.0, -3.0, 1e-4, -1e-4, 20.0, -20.0], np.float32)
    for fn in FUNCTIONS:
        x = np.concatenate([floats(rng, (50,), 3.0), ties])
        positive = fn in ("log", "sqrt", "reciprocal")
        yield [np.abs(x) + np.float32(1e-3) if positive else x], {"fn": fn, "alpha": 0.2, "beta": 0.5}

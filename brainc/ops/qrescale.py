"""int8 or int16 on another scale, as int8 or int16, exact."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import DTYPES, integer_range
from brainc.numerics import clamp, scaled_twice, tflite_multiplier
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._samples import int8s, int16s


@op("x[...] -> y[...]")
def qrescale(x: Array, *, zx: int, mult: int, shift: int, zy: int, dtype: str) -> Array:
    """y = (x - zx) * mult / 2^shift + zy, rounded twice as TFLite does, held within what `dtype` holds."""
    scaled = scaled_twice(x.astype(np.int64) - zx, mult, shift)
    return clamp(scaled + zy, *integer_range(DTYPES[dtype])).astype(DTYPES[dtype].numpy)


@qrescale.result
def _result(x: TensorType, *, zx: int, mult: int, shift: int, zy: int, dtype: str) -> TensorType:
    return TensorType(DTYPES[dtype], x.shape)


@qrescale.cases
def _cases(rng: Rng) -> Cases:
    for make, dtype, real in ((int8s, "i16", 190.0), (int16s, "i8", 0.004), (int16s, "i16", 0.7), (int16s, "i16", 3.0)):
        mult, shift = tflite_multiplier(real)
        given = {"zx": 5 if make is int8s else 0, "mult": mult, "shift": shift, "zy": -3 if dtype == "i8" else 0}
        yield [make(rng, (3, 50))], {**given, "dtype": dtype}

"""The element types that values may have.

One table; the IR, the emitter and the interpreter read their own column of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class DType:
    """An element type: `name` in the IR, its `c` spelling, its numpy twin."""

    name: str
    kind: str  # "int" | "uint" | "float" | "bool"
    bits: int
    c: str

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype({"int": "i", "uint": "u", "float": "f", "bool": "?"}[self.kind] + self._width())

    def _width(self) -> str:
        return "" if self.kind == "bool" else str(self.nbytes)

    @property
    def nbytes(self) -> int:
        """Of one element by itself; two of 4 bits share a byte where kernels store them, see `TensorType.nbytes`."""
        return max(self.bits // 8, 1)

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    def __str__(self) -> str:
        return self.name


I4 = DType("i4", "int", 4, "int8_t")  # of constants only
I8 = DType("i8", "int", 8, "int8_t")
I16 = DType("i16", "int", 16, "int16_t")
I32 = DType("i32", "int", 32, "int32_t")
I64 = DType("i64", "int", 64, "int64_t")
U8 = DType("u8", "uint", 8, "uint8_t")
U16 = DType("u16", "uint", 16, "uint16_t")
U32 = DType("u32", "uint", 32, "uint32_t")
F32 = DType("f32", "float", 32, "float")
F64 = DType("f64", "float", 64, "double")
BOOL = DType("bool", "bool", 8, "uint8_t")

DTYPES = {d.name: d for d in (I8, I16, I32, I64, U8, U16, U32, F32, F64, BOOL, I4)}


def of_numpy(dtype: np.dtype[Any]) -> DType | None:
    """The element type of a numpy array, or None where brainc has none (float16, strings …)."""
    return next((d for d in DTYPES.values() if d.numpy == dtype), None)


def integer_range(dtype: DType) -> tuple[int, int]:
    """Smallest and largest value of an integer type."""
    if dtype.kind == "uint":
        return 0, (1 << dtype.bits) - 1
    return -(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1

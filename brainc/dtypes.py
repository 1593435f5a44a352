"""The element types that values may have.

One table; the IR, the emitter and the interpreter read their own column of it.

An element may be a block: numbers that share a scale, one element of the tensor together. A weight matrix [N,K] in
blocks of 32 is a tensor [N,K/32]. In numpy a block is a record with these fields, d, m and s being reals:

    w4   d(f16) q[16]            weights of 4 bits, two to a byte (k in the low half, k + 16 in the high): d * (q - 8)
    w4m  d(f16) m(f16) q[16]     the same with an offset of their own: d * q + m
    w5   d(f16) h[4] q[16]       weights of 5 bits, the low four as in w4, the fifth of k as bit k of h: d * (q - 16)
    w5m  d(f16) m(f16) h[4] q[16]  the same with an offset of their own: d * q + m
    w8   d(f16) q[32]            weights of 8 bits: d * q, q int8
    w4k  d(f16) m(f16) s[8] o[8] q[8,16]  256 weights as eight parts, each like a w4m: d s * q + m o, s and o int8
    w5k  d(f16) m(f16) s[8] o[8] h[8,4] q[8,16]  the same, each like a w5m
    w6k  d(f16) s[8,2] h[8,8] q[8,16]  256 weights of 6 bits as eight parts, the low four bits as in w4, the others of k
                                 as bits 2 (k % 4) and on of h[k / 4]: d s * (q - 32), with an s for each 16
    a8   d(f32) s(f32) n[2] q[32]  an activation: d * q, q int8 in -127 .. 127; n: the sums of q's two halves (int16),
                                 s: d times both of them
    bf16 bits                    one number: the upper half of a float32
    k8   d(f16)[16] q[16,16,2]   sixteen rows of a cache of keys, 32 numbers of each: d * q, q int8, with a d for each
                                 row; number 2 a + b of row r is q[a,r,b]
    v8   d(f16)[16] q[8,32,2]    the same of a cache of values: number i of row 2 a + b is q[a,i,b]
    k16, v16                     the same with q int16 in -8192 .. 8192, and d a power of two
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class DType:
    """An element type: `name` in the IR, its `c` spelling, its numpy twin."""

    name: str
    kind: str  # "int" | "uint" | "float" | "bool" | "block"
    bits: int
    c: str
    block: int = 1  # numbers that one element holds

    @property
    def numpy(self) -> np.dtype[Any]:
        if self.kind == "block":
            return _RECORDS[self.name]
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
F16 = DType("f16", "float", 16, "uint16_t")  # C computes with none: of constants only
F32 = DType("f32", "float", 32, "float")
F64 = DType("f64", "float", 64, "double")
BOOL = DType("bool", "bool", 8, "uint8_t")

_RECORDS: Mapping[str, np.dtype[Any]] = {
    "w4": np.dtype([("d", "<f2"), ("q", "u1", 16)]),
    "w4m": np.dtype([("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)]),
    "w5": np.dtype([("d", "<f2"), ("h", "u1", 4), ("q", "u1", 16)]),
    "w5m": np.dtype([("d", "<f2"), ("m", "<f2"), ("h", "u1", 4), ("q", "u1", 16)]),
    "w8": np.dtype([("d", "<f2"), ("q", "i1", 32)]),
    "w4k": np.dtype([("d", "<f2"), ("m", "<f2"), ("s", "i1", 8), ("o", "i1", 8), ("q", "u1", (8, 16))]),
    "w5k": np.dtype(
        [("d", "<f2"), ("m", "<f2"), ("s", "i1", 8), ("o", "i1", 8), ("h", "u1", (8, 4)), ("q", "u1", (8, 16))]
    ),
    "w6k": np.dtype([("d", "<f2"), ("s", "i1", (8, 2)), ("h", "u1", (8, 8)), ("q", "u1", (8, 16))]),
    "a8": np.dtype([("d", "<f4"), ("s", "<f4"), ("n", "<i2", 2), ("q", "i1", 32)]),
    "bf16": np.dtype([("bits", "<u2")]),
    "k8": np.dtype([("d", "<f2", 16), ("q", "i1", (16, 16, 2))]),
    "v8": np.dtype([("d", "<f2", 16), ("q", "i1", (8, 32, 2))]),
    "k16": np.dtype([("d", "<f2", 16), ("q", "<i2", (16, 16, 2))]),
    "v16": np.dtype([("d", "<f2", 16), ("q", "<i2", (8, 32, 2))]),
}


def _blocks(name: str, block: int) -> DType:
    return DType(name, "block", 8 * _RECORDS[name].itemsize, f"br_{name}_t", block)


W4, W4M, W5, W5M, W8, A8 = (_blocks(name, 32) for name in ("w4", "w4m", "w5", "w5m", "w8", "a8"))
W4K, W5K, W6K = (_blocks(name, 256) for name in ("w4k", "w5k", "w6k"))
BF16 = _blocks("bf16", 1)
K8, V8, K16, V16 = CACHES = tuple(_blocks(name, 512) for name in ("k8", "v8", "k16", "v16"))
BLOCKS = (W4, W4M, W5, W5M, W8, W4K, W5K, W6K, A8, BF16, *CACHES)

DTYPES = {d.name: d for d in (I8, I16, I32, I64, U8, U16, U32, F16, F32, F64, BOOL, I4, *BLOCKS)}


def of_numpy(dtype: np.dtype[Any]) -> DType | None:
    """The element type of a numpy array, or None where brainc computes with none (float16, strings …)."""
    return next((d for d in DTYPES.values() if d.numpy == dtype and d is not F16), None)


def integer_range(dtype: DType) -> tuple[int, int]:
    """Smallest and largest value of an integer type."""
    if dtype.kind == "uint":
        return 0, (1 << dtype.bits) - 1
    return -(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1

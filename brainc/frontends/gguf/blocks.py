"""Tensors of a GGUF file as constants of the element types that brainc computes with.

Knocks: the graph builder, with a tensor of a `Header`. Leaves: a constant that reads its numbers from the mapped file
when they are wanted. What brainc has no type for is refused with the way out.

All types keep every bit; Q4_K, Q5_K and Q6_K are put into another order, and the 6 bits of the scales of the first two
become bytes. (Layouts: ggml's block_q4_K and so on.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np

from brainc.dtypes import BF16, F16, F32, W4, W4K, W4M, W5, W5K, W5M, W6K, W8, Array, DType
from brainc.errors import ModelError, UnsupportedError, at
from brainc.frontends.gguf.reader import Header, Tensor
from brainc.ir import Const, Role, TensorType, Value

Unpack = Callable[[Array], Array]  # blocks [R,B,bytes] to records [R,B'] of the element type
_STRIDE = 1 << 22  # bytes that are worked on at a time


def constant(header: Header, name: str) -> Value:
    """The tensor as a CONST, f32 where it is a vector. ModelError: there is none; UnsupportedError: its type."""
    if name not in header.tensors:
        raise ModelError(f"the file has no tensor {name}", fix="convert the model once more")
    tensor = header.tensors[name]
    if tensor.kind not in KINDS:
        known = ", ".join(KINDS)
        raise UnsupportedError(f"tensor {name} is of type {tensor.kind}", fix=f"quantise the model to one of {known}")
    dtype, block, unpack = KINDS[tensor.kind]
    vector = len(tensor.shape) == 1
    if vector and dtype not in (F32, F16, BF16):
        raise UnsupportedError(f"vector {name} is of type {tensor.kind}", fix="keep vectors as F32")
    shape = (*tensor.shape[:-1], tensor.shape[-1] // dtype.block)
    key = hashlib.sha256(f"{tensor.kind}{tensor.shape}".encode())
    key.update(header.raw(tensor).data)
    kept = F32 if vector else dtype

    def load() -> Array:
        with at(file=header.file):  # long after the frontend named it
            found = _numbers(header, tensor, block, dtype, unpack).reshape(shape)
        return _widened(found) if vector else found

    return Value(name, TensorType(kept, shape), Role.CONST, Const(key.hexdigest(), load))


def _numbers(header: Header, tensor: Tensor, block: int, dtype: DType, unpack: Unpack) -> Array:
    """All of a tensor, some rows at a time."""
    columns = tensor.shape[-1] // block
    raw = header.raw(tensor).reshape(-1, columns, tensor.nbytes * block // int(np.prod(tensor.shape, dtype=np.int64)))
    found: Array = np.empty((len(raw), tensor.shape[-1] // dtype.block), dtype.numpy)
    step = max(1, _STRIDE // (columns * raw.shape[2]))
    for row in range(0, len(raw), step):
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is not finite
            found[row : row + step] = unpack(raw[row : row + step])
        if not _finite(found[row : row + step]):
            what = f"tensor {tensor.name} has numbers or scales that are not finite"
            raise ModelError(what, fix="convert the model once more")
    return found


def _finite(x: Array) -> bool:
    """Whether all numbers are, or the scales and offsets of all blocks."""
    if x.dtype == BF16.numpy:
        return bool((x["bits"] & 0x7F80 != 0x7F80).all())
    return all(bool(np.isfinite(x[n] if n else x).all()) for n in x.dtype.names or ("",) if n in ("", "d", "m"))


def _widened(x: Array) -> Array:
    """A vector of f32, f16 or bf16 as f32."""
    return np.asarray(
        x.astype(np.float32) if x.dtype != BF16.numpy else (x["bits"].astype(np.uint32) << 16).view("<f4")
    )


def _halves(raw: Array, at: int) -> Array:
    """The f16 at byte `at` of each block."""
    return np.ascontiguousarray(raw[..., at : at + 2]).view(np.float16)[..., 0]


def _plain(dtype: DType) -> Unpack:
    """Numbers, or records, that lie in the file as brainc has them."""
    return lambda raw: np.asarray(np.ascontiguousarray(raw).view(dtype.numpy)).reshape(len(raw), -1)


def _records(dtype: DType, **fields: Array) -> Array:
    """These fields, [R,B,..], as records [R,B]."""
    found: Array = np.empty(fields["d"].shape, dtype.numpy)
    for name, field in fields.items():
        found[name] = field
    return found


def _scales_k(raw: Array) -> Mapping[str, Array]:
    """Scales and offsets of Q4_K and Q5_K: d and m [R,B], and what the 8 parts have of them [R,B,8], in 6 bits each."""
    packed = raw[..., 4:16]
    low, middle, high = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
    scale = np.concatenate([low & 63, high & 15 | low >> 6 << 4], axis=-1)
    offset = np.concatenate([middle & 63, high >> 4 | middle >> 6 << 4], axis=-1)
    return {"d": _halves(raw, 0), "m": -_halves(raw, 2), "s": scale, "o": offset}


def _nibbles_k(raw: Array, at: int) -> Array:
    """The low 4 bits of the 8 parts of Q4_K and Q5_K, two to a byte as records have them: uint8 [R,B,8,16]."""
    pairs = raw[..., at : at + 128].reshape(*raw.shape[:2], 4, 32)  # k of one part below, of the next above
    q = np.stack([pairs & 15, pairs >> 4], axis=-2).reshape(*raw.shape[:2], 8, 32)
    return np.asarray(q[..., :16] | q[..., 16:] << 4)


def _q4_k(raw: Array) -> Array:
    return _records(W4K, q=_nibbles_k(raw, 16), **_scales_k(raw))


def _q5_k(raw: Array) -> Array:
    bits = np.unpackbits(raw[..., 16:48, None], axis=-1, bitorder="little")  # [R,B,32,8]: bit i is of part i
    h = np.packbits(bits.swapaxes(-1, -2), axis=-1, bitorder="little")
    return _records(W5K, h=h, q=_nibbles_k(raw, 48), **_scales_k(raw))


def _q6_k(raw: Array) -> Array:
    low, high = raw[..., :128].reshape(*raw.shape[:2], 2, 2, 32), raw[..., 128:192].reshape(*raw.shape[:2], 2, 1, 32)
    fours = np.stack([low[..., 0, :] & 15, low[..., 1, :] & 15, low[..., 0, :] >> 4, low[..., 1, :] >> 4], axis=-2)
    twos = high >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    fours, twos = (x.reshape(*raw.shape[:2], 8, 32) for x in (fours, twos))
    four = twos.reshape(*twos.shape[:-1], 8, 4) << np.array([0, 2, 4, 6], np.uint8)
    scale = raw[..., 192:208].view(np.int8).reshape(*raw.shape[:2], 8, 2)
    q = fours[..., :16] | fours[..., 16:] << 4
    return _records(W6K, d=_halves(raw, 208), s=scale, h=np.bitwise_or.reduce(four, axis=-1), q=q)


KINDS: Mapping[str, tuple[DType, int, Unpack]] = {  # element type, numbers of a block in the file, how it opens
    "F32": (F32, 1, _plain(F32)),
    "F16": (F16, 1, _plain(F16)),
    "BF16": (BF16, 1, _plain(BF16)),
    "Q4_0": (W4, 32, _plain(W4)),
    "Q4_1": (W4M, 32, _plain(W4M)),
    "Q5_0": (W5, 32, _plain(W5)),
    "Q5_1": (W5M, 32, _plain(W5M)),
    "Q8_0": (W8, 32, _plain(W8)),
    "Q4_K": (W4K, 256, _q4_k),
    "Q5_K": (W5K, 256, _q5_k),
    "Q6_K": (W6K, 256, _q6_k),
}

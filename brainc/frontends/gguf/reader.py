"""The header of a GGUF file: its settings and its table of tensors, read with bounds.

Knocks: the frontend, with a path. Leaves: a `Header`; ModelError where the file is not what it says. Every count,
length and offset is held against what is left of the file before anything is made of it, and a header against what
headers of real models have, so that a hostile file costs no more than a real one. (The format: ggml's docs/gguf.md,
versions 2 and 3.)
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from brainc.dtypes import Array
from brainc.errors import ModelError, UnsupportedError

MAGIC, VERSIONS, ALIGNMENT = b"GGUF", (2, 3), 32
DEPTH, AXES, NAME = 2, 4, 1 << 16  # of arrays in arrays; of a tensor; bytes of a name
HEADER, THINGS = 1 << 25, 1 << 16  # bytes of a header; settings, tensors and arrays in arrays, all together
_NUMBERS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 10: "<u8", 11: "<i8", 12: "<f8"}
_BOOL, _STRING, _ARRAY = 7, 8, 9
_FIX = "download it again, or convert the model once more"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An entry of the table: ggml's name of the type, the shape (rows first, as in numpy), and where its bytes are."""

    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself; `data` is all of it, mapped, and `file` its path."""

    meta: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    data: Array
    file: str | None = None

    def raw(self, tensor: Tensor) -> Array:
        """The bytes of a tensor, as they lie in the file."""
        return self.data[tensor.offset : tensor.offset + tensor.nbytes]


class _Cursor:
    """A place in the header that only moves forward, and never beyond the end."""

    def __init__(self, raw: bytes, size: int) -> None:
        self.raw, self.size, self.at, self.things = raw, size, 0, THINGS
        self.ends = "the file ends" if size <= HEADER else f"a header of {HEADER:,} bytes ends"

    def take(self, count: int, what: str) -> bytes:
        if count > len(self.raw) - self.at:
            raise ModelError(f"{self.ends} within {what}: {count:,} bytes from {self.at:,} on", fix=_FIX)
        self.at += count
        return self.raw[self.at - count : self.at]

    def number(self, form: str, what: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form), what))[0])

    def count(self, least: int, what: str) -> int:
        """A number of things that take at least so many bytes each."""
        count = self.number("<Q", what)
        if count > (len(self.raw) - self.at) // least:
            raise ModelError(f"{what} is {count:,}: more than the file has room for", fix=_FIX)
        return count

    def few(self, least: int, what: str) -> int:
        """The same of things that cost us more than their bytes; there is a bound to all of them together."""
        count = self.count(least, what)
        self.things -= count
        if self.things < 0:
            raise ModelError(f"{what} is {count:,}: more than {THINGS:,} with those before", fix=_FIX)
        return count

    def text(self, what: str) -> bytes:
        return self.take(self.count(1, f"the length of {what}"), what)


def read(path: Path) -> Header:
    """The header of `path`. ModelError: it is broken; UnsupportedError: a version or tensor type brainc has not."""
    with path.open("rb") as file:
        try:
            data: Array = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        except ValueError:
            raise ModelError("the file is empty", fix=_FIX) from None
        cursor = _Cursor(file.read(min(HEADER, len(data))), len(data))
    if cursor.take(4, "the magic") != MAGIC:
        raise ModelError("this is no GGUF file: it does not begin with GGUF", fix="check the path")
    version = cursor.number("<I", "the version")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
        what = "the file is big endian" if swapped else f"the file has version {version} of GGUF"
        raise UnsupportedError(f"{what}; brainc reads 2 and 3, little endian", fix="convert the model once more")
    tensors, settings = cursor.few(24, "the number of tensors"), cursor.few(13, "the number of settings")
    meta = _settings(cursor, settings)
    if isinstance(parts := meta.get("split.count"), int) and parts > 1:
        what = f"{path.name} is one of {parts:,} files that the model is split into"
        raise UnsupportedError(what, fix="make one file of them: llama-gguf-split --merge FIRST.gguf ALL.gguf")
    return Header(meta, _table(cursor, tensors, meta.get("general.alignment", ALIGNMENT)), data, str(path))


def _settings(cursor: _Cursor, count: int) -> Mapping[str, Any]:
    meta: dict[str, Any] = {}
    for _ in range(count):
        key = _name(cursor, "the name of a setting")
        if key in meta:
            raise ModelError(f"{key} is there twice", fix=_FIX)
        meta[key] = _value(cursor, cursor.number("<I", key), key, 0)
    return meta


def _name(cursor: _Cursor, what: str) -> str:
    raw = cursor.text(what)
    if len(raw) > NAME:
        raise ModelError(f"{what} has {len(raw):,} bytes", fix=_FIX)
    text = raw.decode("utf-8", "replace")
    if text.encode() != raw or not text.isprintable():
        raise ModelError(f"{what} is no text: {raw[:40]!r}", fix=_FIX)
    return text


def _value(cursor: _Cursor, kind: int, key: str, depth: int) -> Any:
    """A number, True or False, bytes, a numpy array of numbers, or a tuple of any other."""
    if kind in _NUMBERS:
        form = np.dtype(_NUMBERS[kind])
        return np.frombuffer(cursor.take(form.itemsize, key), form)[0].item()
    if kind == _BOOL:
        return bool(cursor.number("<B", key))
    if kind == _STRING:
        return cursor.text(key)
    if kind != _ARRAY:
        raise ModelError(f"{key} has type {kind}, which GGUF has not", fix=_FIX)
    if depth == DEPTH:
        raise ModelError(f"{key} has arrays within arrays within arrays", fix=_FIX)
    inner, what = cursor.number("<I", key), f"the length of {key}"
    form = np.dtype(_NUMBERS.get(inner, "u1"))
    if inner == _ARRAY:
        return tuple(_value(cursor, inner, key, depth + 1) for _ in range(cursor.few(12, what)))
    count = cursor.count(8 if inner == _STRING else form.itemsize, what)
    if inner in _NUMBERS or inner == _BOOL:
        return np.frombuffer(cursor.take(count * form.itemsize, key), form)
    if inner == _STRING:
        return _texts(cursor, count, key)
    raise ModelError(f"{key} is an array of type {inner}, which GGUF has not", fix=_FIX)


def _texts(cursor: _Cursor, count: int, key: str) -> tuple[bytes, ...]:
    """Many strings, in one go: vocabularies have hundreds of thousands."""
    raw, at, end = cursor.raw, cursor.at, len(cursor.raw)
    length = struct.Struct("<Q").unpack_from
    found = []
    for _ in range(count):
        if end - at < 8 or (size := length(raw, at)[0]) > end - at - 8:
            raise ModelError(f"{cursor.ends} within {key}, at {at:,}", fix=_FIX)
        at += 8 + size
        found.append(raw[at - size : at])
    cursor.at = at
    return tuple(found)


def _table(cursor: _Cursor, count: int, alignment: Any) -> Mapping[str, Tensor]:
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        raise ModelError(f"general.alignment is {alignment!r}, not a power of two", fix=_FIX)
    entries = [_entry(cursor) for _ in range(count)]
    base = -(-cursor.at // alignment) * alignment
    tensors: dict[str, Tensor] = {}
    for name, kind, shape, offset in entries:
        if name in tensors:
            raise ModelError(f"tensor {name} is there twice", fix=_FIX)
        tensor = tensors[name] = Tensor(name, kind.name, shape, base + offset, _nbytes(name, kind, shape))
        if offset % alignment or tensor.offset + tensor.nbytes > cursor.size:
            where = f"{tensor.nbytes:,} bytes at {tensor.offset:,} of a file of {cursor.size:,}"
            raise ModelError(f"tensor {name} does not lie where it may: {where}", fix=_FIX)
    placed = sorted(tensors.values(), key=lambda t: (t.offset, t.nbytes))
    for before, after in pairwise(placed):
        if before.offset + before.nbytes > after.offset:
            raise ModelError(f"tensors {before.name} and {after.name} overlap", fix=_FIX)
    return tensors


def _entry(cursor: _Cursor) -> tuple[str, GGMLQuantizationType, tuple[int, ...], int]:
    name = _name(cursor, "the name of a tensor")
    axes = cursor.number("<I", name)
    if not 1 <= axes <= AXES:
        raise ModelError(f"tensor {name} has {axes} axes", fix=_FIX)
    shape = tuple(cursor.number("<Q", name) for _ in range(axes))[::-1]
    number, offset = cursor.number("<I", name), cursor.number("<Q", name)
    if not all(1 <= size < 1 << 31 for size in shape) or prod(shape) >= 1 << 40 or offset >= 1 << 62:
        raise ModelError(f"tensor {name} has shape {list(shape)} at {offset:,}", fix=_FIX)
    try:
        return name, GGMLQuantizationType(number), shape, offset
    except ValueError:
        fix = "quantise the model to a type that is known, such as Q4_1 or Q8_0"
        raise UnsupportedError(f"tensor {name} has type {number}, which is not known", fix=fix) from None


def _nbytes(name: str, kind: GGMLQuantizationType, shape: tuple[int, ...]) -> int:
    block, size = GGML_QUANT_SIZES[kind]
    if shape[-1] % block:
        raise ModelError(f"tensor {name} has rows of {shape[-1]}, no multiple of {kind.name}'s {block}", fix=_FIX)
    return prod(shape) // block * size

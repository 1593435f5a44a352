"""Samples: what a brain is calibrated, checked and run on.

The command line knocks with a `.npz` or `.csv` file and the brain's input ports; one array per port, of
the port's own type, leaves. Files are not trusted: no pickles, and nothing is read before its size is
known. Conversions are those of the contract: uint8 for an int8 port is shifted by 128, reals for an
integer port are quantised with its scale, integers for a float port are numbers; all else is an error.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType

import numpy as np

from brainc import numerics
from brainc.brain import type_text
from brainc.dtypes import I8, Array, integer_range, of_numpy
from brainc.errors import ModelError, at
from brainc.ir import TensorType

Ports = Sequence[tuple[str, TensorType]]
MAX_BYTES = 1 << 31  # of one file's numbers
LABELS = ("y", "labels")
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True, slots=True)
class Samples:
    """Per port an array [count, *port shape] of the port's type; labels [count, ...] or None."""

    arrays: Mapping[str, Array]
    labels: Array | None
    count: int

    def sample(self, index: int) -> dict[str, Array]:
        """One input for every port."""
        return {name: array[index] for name, array in self.arrays.items()}


def load(path: Path, ports: Ports) -> Samples:
    """The samples in `path` for these input ports; ModelError if they are missing, broken or do not fit."""
    readers = {".npz": _read_npz, ".csv": _read_csv}
    with at(file=str(path)):
        if path.suffix not in readers:
            raise ModelError(f"{path.name} is neither .npz nor .csv", fix="save the samples with numpy.savez")
        if not path.is_file():
            raise ModelError(f"there is no samples file {path}", fix="check the path")
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path.name} is larger than 2 GiB", fix="give fewer samples")
        found = readers[path.suffix](path, ports)
        names = [name for name, _ in ports]
        arrays = {name: _fit(name, type_, _pick(name, names, found)) for name, type_ in ports}
        labels = next((found[key] for key in LABELS if key in found and key not in names), None)
        return Samples(MappingProxyType(arrays), labels, _count(arrays, labels))


def random(ports: Ports, count: int, seed: int) -> Samples:
    """Seeded noise for questions of size: reals in -1..1, integers over all they hold (wide ones: 0, 1)."""
    rng = np.random.default_rng(seed)
    arrays = {name: _noise(type_, (count, *type_.shape), rng) for name, type_ in ports}
    return Samples(MappingProxyType(arrays), None, count)


def _noise(type_: TensorType, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if type_.dtype.kind == "float":
        return np.asarray(rng.random(shape) * 2 - 1, type_.dtype.numpy)
    small = type_.dtype.is_integer and type_.dtype.bits <= 16  # wider ones may be indices
    lo, hi = integer_range(type_.dtype) if small else (0, 1)
    return np.asarray(rng.integers(lo, hi, shape, endpoint=True), type_.dtype.numpy)


def _read_npz(path: Path, ports: Ports) -> dict[str, Array]:
    """All arrays of a .npz by name; numpy's own reader would allocate whatever a header claims."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if sum(info.file_size for info in members) > MAX_BYTES:
                raise ModelError("the samples are larger than 2 GiB", fix="give fewer samples")
            return {info.filename[:-4]: _read_array(archive, info) for info in members}
    except ModelError:
        raise
    except Exception:  # zipfile, its compressors and numpy have a dozen kinds of them for broken bytes
        raise ModelError(f"{path.name} is not a sound .npz file", fix="save it with numpy.savez") from None


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError("unknown version")
        shape, by_columns, dtype = _HEADERS[version](stream)
        if dtype.hasobject:
            name = info.filename[:-4]
            raise ModelError(f'array "{name}" holds Python objects', fix="save arrays of numbers")
        nbytes = prod(shape) * dtype.itemsize
        if nbytes != info.file_size - stream.tell():
            raise ValueError("size")
        flat = np.frombuffer(stream.read(nbytes), dtype)
        return flat.reshape(shape, order="F" if by_columns else "C")


def _read_csv(path: Path, ports: Ports) -> dict[str, Array]:
    """A sample per row, the elements of the only port in the order of rows."""
    if len(ports) != 1:
        raise ModelError(f"a .csv holds one port, the brain has {len(ports)}", fix="save a .npz instead")
    ((name, type_),) = ports
    rows: list[list[float]] = []
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            with at(line=number):
                if line.strip():
                    rows.append(_read_row(line.strip().split(","), type_))
    array = np.array(rows, np.float64).reshape(len(rows), *type_.shape)
    return {name: _plain_integers(array, type_)}


def _read_row(row: list[str], type_: TensorType) -> list[float]:
    if len(row) != type_.size:
        raise ModelError(f"a row of {len(row)} numbers for {type_}", fix=f"write {type_.size} in every row")
    try:
        return [float(cell) for cell in row]
    except ValueError as error:
        raise ModelError(
            f"not a number: {str(error).rpartition(': ')[2]}", fix="write numbers only, without a header"
        ) from None


def _plain_integers(array: Array, type_: TensorType) -> Array:
    """A .csv has no types: whole numbers that an integer port can hold are taken as they stand."""
    if not type_.dtype.is_integer:
        return array
    lo, hi = integer_range(type_.dtype)
    whole = np.isfinite(array).all() and (array == np.rint(array)).all()
    fits = whole and array.size and lo <= array.min() and array.max() <= hi
    return array.astype(type_.dtype.numpy) if fits else array


def _pick(name: str, names: Sequence[str], found: Mapping[str, Array]) -> Array:
    if name in found:
        return found[name]
    if len(names) == 1 and "x" in found:
        return found["x"]
    wanted = f'"{name}" or "x"' if len(names) == 1 else f'"{name}"'
    raise ModelError(
        f'no samples for port "{name}": the file has {", ".join(sorted(found)) or "no arrays"}',
        fix=f"save an array named {wanted}, samples along its first axis",
    )


def _fit(name: str, type_: TensorType, array: Array) -> Array:
    """Samples of one port as [count, *shape] of its own type."""
    whole = type_.shape
    short = whole[1:] if whole[:1] == (1,) else whole
    if array.ndim == 0 or array.shape[1:] not in (whole, short):
        either = "".join(f" or {_shape(s)}" for s in (whole, short)[: 1 + (short != whole)])[4:]
        raise ModelError(
            f'samples for port "{name}" have the shape {list(array.shape)}, the port is {type_}',
            fix=f"give {either}, N samples along the first axis",
        )
    with np.errstate(over="ignore"):
        if array.dtype.kind == "f" and not np.isfinite(array.astype(np.float32)).all():
            raise ModelError(f'samples for port "{name}" hold NaN or infinity', fix="clean them first")
    return np.ascontiguousarray(_convert(name, type_, array).reshape(len(array), *whole))


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join(['N', *map(str, shape)])}]"


def _convert(name: str, type_: TensorType, array: Array) -> Array:
    dtype, kind = type_.dtype, array.dtype.kind
    if array.dtype == dtype.numpy:
        return array.astype(dtype.numpy)  # the machine's own byte order
    if dtype.kind == "float" and kind in "iufb":
        return array.astype(dtype.numpy)
    if dtype is I8 and array.dtype == np.uint8:
        return numerics.shift_u8(np.ascontiguousarray(array))
    if dtype.is_integer and kind == "f" and type_.quant is not None:
        lo, hi = integer_range(dtype)
        scale, zero = type_.quant.scale[0], type_.quant.zero[0]
        return numerics.to_int(array, scale, zero, lo, hi).astype(dtype.numpy)
    given = of_numpy(array.dtype) or array.dtype
    scaled = "a scale for the port, or " if dtype.is_integer and kind == "f" else ""
    raise ModelError(
        f'samples for port "{name}" are {given}, the port is {type_text(type_)}',
        fix=f"give {scaled}an array of {dtype.numpy}",
    )


def _count(arrays: Mapping[str, Array], labels: Array | None) -> int:
    """The number of samples, the same for all ports and labels, at least one."""
    counts = {name: len(array) for name, array in arrays.items()}
    if labels is not None:
        counts["labels"] = len(labels) if labels.ndim else 0
    if len(set(counts.values())) != 1 or 0 in counts.values():
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ModelError(f"the numbers of samples differ or are none: {told}", fix="give as many of each")
    return next(iter(counts.values()))

"""Samples: what a brain is calibrated, checked and run on.

The command line knocks with a `.npz` or `.csv` file and the brain's input ports; one array per port, of
the port's own type, leaves. Files are not trusted: no pickles, nothing is read before its size is known.
Conversions are the contract's: uint8 for an int8 port is shifted by 128, reals for an integer port are
quantised with its scale, integers for a float port are numbers; all else is an error.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainc import numerics
from brainc.dtypes import I8, Array, integer_range, of_numpy
from brainc.errors import ModelError, at
from brainc.ir import TensorType, type_text

Ports = Sequence[tuple[str, TensorType]]
MAX_BYTES = 1 << 31  # of one file's numbers
LABELS = ("y", "labels")


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
        _check_size(path.stat().st_size)
        found = readers[path.suffix](path, ports)
        names = [name for name, _ in ports]
        arrays = {name: _fit(name, type_, _pick(name, names, found)) for name, type_ in ports}
        labels = next((found[key] for key in LABELS if key in found and key not in names), None)
        return Samples(arrays, labels, _count(arrays, labels))


def random(ports: Ports, count: int, seed: int) -> Samples:
    """Seeded noise for questions of size: reals in -1..1, integers over all they hold (wide ones: 0, 1)."""
    rng, arrays = np.random.default_rng(seed), {}
    for name, type_ in ports:
        dtype, shape = type_.dtype, (count, *type_.shape)
        lo, hi = integer_range(dtype) if dtype.is_integer and dtype.bits <= 16 else (0, 1)  # wide: indices
        noise = rng.random(shape) * 2 - 1 if dtype.kind == "float" else rng.integers(lo, hi + 1, shape)
        arrays[name] = np.asarray(noise, dtype.numpy)
    return Samples(arrays, None, count)


def _check_size(nbytes: int) -> None:
    if nbytes > MAX_BYTES:
        raise ModelError("the samples are larger than 2 GiB", fix="give fewer samples")


def _read_npz(path: Path, ports: Ports) -> dict[str, Array]:
    """All arrays of a .npz by name."""
    found: dict[str, Array] = {}
    name = ""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            _check_size(sum(info.file_size for info in members))
            for info in members:
                name = info.filename.removesuffix(".npy")
                with archive.open(info) as stream:
                    found[name] = np.lib.format.read_array(stream)  # without pickles
    except ModelError:
        raise
    except Exception as error:  # zipfile, its compressors and numpy have a dozen kinds for broken bytes
        if "Object arrays" in str(error):
            raise ModelError(f'array "{name}" holds Python objects', fix="save arrays of numbers") from None
        raise ModelError(f"{path.name} is not a sound .npz file", fix="save it with numpy.savez") from None
    return found


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
        what = f"not a number: {str(error).rpartition(': ')[2]}"
        raise ModelError(what, fix="write numbers only, without a header") from None


def _plain_integers(array: Array, type_: TensorType) -> Array:
    """A .csv has no types: whole numbers that an integer port can hold are taken as they stand."""
    if type_.dtype.is_integer:
        lo, hi = integer_range(type_.dtype)
        if ((array == np.rint(array)) & (array >= lo) & (array <= hi)).all():
            return array.astype(type_.dtype.numpy)
    return array


def _pick(name: str, names: Sequence[str], found: Mapping[str, Array]) -> Array:
    keys = [name, "x"] if len(names) == 1 else [name]
    for key in keys:
        if key in found:
            return found[key]
    what = f'no samples for port "{name}": the file has {", ".join(sorted(found)) or "no arrays"}'
    wanted = " or ".join(f'"{key}"' for key in keys)
    raise ModelError(what, fix=f"save an array named {wanted}, samples along its first axis")


def _fit(name: str, type_: TensorType, array: Array) -> Array:
    """Samples of one port as [count, *shape] of its own type."""
    shapes = [type_.shape, type_.shape[1:]] if type_.shape[:1] == (1,) else [type_.shape]
    if array.ndim == 0 or array.shape[1:] not in shapes:
        wanted = " or ".join(f"[{','.join(map(str, ('N', *shape)))}]" for shape in shapes)
        what = f'samples for port "{name}" have the shape {list(array.shape)}, the port is {type_}'
        raise ModelError(what, fix=f"give {wanted}, N samples along the first axis")
    with np.errstate(over="ignore"):
        if array.dtype.kind == "f" and not np.isfinite(array.astype(np.float32)).all():
            raise ModelError(f'samples for port "{name}" hold NaN or infinity', fix="clean them first")
    return np.ascontiguousarray(_convert(name, type_, array).reshape(len(array), *type_.shape))


def _convert(name: str, type_: TensorType, array: Array) -> Array:
    dtype, kind = type_.dtype, array.dtype.kind
    if array.dtype == dtype.numpy or (dtype.kind == "float" and kind in "iufb"):
        return array.astype(dtype.numpy)  # this machine's byte order, too
    if dtype is I8 and array.dtype == np.uint8:
        return numerics.shift_u8(np.ascontiguousarray(array))
    reals = dtype.is_integer and kind == "f"
    if reals and type_.quant is not None:
        scale, zero = type_.quant.scale[0], type_.quant.zero[0]
        return numerics.to_int(array, scale, zero, *integer_range(dtype)).astype(dtype.numpy)
    given = of_numpy(array.dtype) or array.dtype
    what = f'samples for port "{name}" are {given}, the port is {type_text(type_)}'
    raise ModelError(what, fix=f"give {'a scale for the port, or ' * reals}an array of {dtype.numpy}")


def _count(arrays: Mapping[str, Array], labels: Array | None) -> int:
    """The number of samples, the same for all ports and labels, at least one."""
    counts = {name: len(array) for name, array in arrays.items()}
    if labels is not None:
        counts["labels"] = len(labels) if labels.ndim else 0
    if len(set(counts.values())) != 1 or 0 in counts.values():
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ModelError(f"the numbers of samples differ or are none: {told}", fix="give as many of each")
    return next(iter(counts.values()))

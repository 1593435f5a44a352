"""Constants on their way out: packed as the kernels ask, then as C arrays or as one blob.

Small brains carry C arrays, readable and easy to drop into a sketch. A compiler needs seconds and
hundreds of megabytes for megabytes of array text, so above `BLOB_BYTES`, and wherever constants lie in
far flash, the bytes go into `NAME_weights.S.bin`, included by a short assembler file.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from brainc import packs as portable_packs
from brainc.dtypes import Array, DType, of_numpy
from brainc.errors import KernelError
from brainc.expressions import Env
from brainc.target import Target

BLOB_BYTES = 256_000
_COLUMNS = 106
Pack = Callable[..., Array]


@dataclass(frozen=True, slots=True)
class Packed:
    """A constant as a kernel wants it: C symbol, element type, flat numbers, and a word for the reader."""

    symbol: str
    dtype: DType
    array: Array
    note: str


@cache
def _packs(target_folders: tuple[Path, ...]) -> Mapping[str, Pack]:
    """Every packing function a target may use, the most specific one winning."""
    found: dict[str, Pack] = {}
    modules: list[ModuleType] = [
        importlib.import_module(f"{portable_packs.__name__}.{info.name}")
        for info in sorted(pkgutil.iter_modules(portable_packs.__path__), key=lambda i: i.name)
    ]
    for folder in reversed(target_folders):
        modules += [_load(path) for path in sorted((folder / "packs").glob("*.py"))]
    for module in modules:
        public = {n: f for n, f in vars(module).items() if callable(f) and not n.startswith("_")}
        found.update({n: f for n, f in public.items() if getattr(f, "__module__", "") == module.__name__})
    return found


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"brainc_packs_{path.parent.parent.name}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Watched(Mapping[str, Any]):
    """An environment that remembers what was asked of it."""

    def __init__(self, env: Mapping[str, Any]) -> None:
        self._env = env
        self.asked: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        self.asked[name] = self._env[name]
        return self.asked[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._env)

    def __len__(self) -> int:
        return len(self._env)


def ingredients(recipe: str) -> list[str]:
    """The operands that `rows16(w)` packs."""
    return [a.strip() for a in recipe.partition("(")[2].rstrip(") ").split(",") if a.strip()]


def pack(target: Target, recipe: str, operands: Mapping[str, Array], env: Env) -> Array:
    """`rows16(w)`: the named packing of the named operands; dims and attributes are in `env`."""
    function, wanted = _packs(target.folders).get(recipe.partition("(")[0].strip()), ingredients(recipe)
    if function is None or not set(wanted) <= set(operands):
        raise KernelError(f"cannot pack constants by {recipe!r}", fix="see brainc/packs for what there is")
    packed = np.ascontiguousarray(function(*(operands[a] for a in wanted), env))
    if of_numpy(packed.dtype) is None:
        raise KernelError(f"{recipe!r} gives {packed.dtype}, which brainc cannot store", fix="cast it")
    return packed


def as_text(array: Array) -> Iterable[str]:
    """The numbers of a constant as lines of C."""
    flat = array.reshape(-1)
    words = [c_float(v) for v in flat] if array.dtype.kind == "f" else [_c_int(int(v)) for v in flat]
    return folded(word + "," for word in words)


def folded(words: Iterable[str], gap: str = "", taken: int = 0) -> Iterator[str]:
    """Words in lines that are not too long, `taken` columns of the first one being used already."""
    line, room = "", _COLUMNS - taken
    for word in words:
        if line and len(line + gap + word) > room:
            yield line
            line, room = "", _COLUMNS
        line += gap + word if line else word
    yield line


def _c_int(value: int) -> str:
    return "(-2147483647 - 1)" if value == -(1 << 31) else str(value)


def c_float(value: float) -> str:
    """A float32 as a C literal that reads back to the same bits."""
    if np.isnan(value):
        return "BR_NAN"
    if np.isinf(value):
        return "BR_INF" if value > 0 else "-BR_INF"
    text = str(np.float32(value))
    return (text if any(c in text for c in ".e") else text + ".0") + "f"


def blob(constants: Iterable[Packed]) -> tuple[bytes, list[dict[str, str | int]]]:
    """All constants in one run of bytes (little endian), and where in it each lies."""
    data, places = bytearray(), list[dict[str, str | int]]()
    for c in constants:
        places.append({"symbol": c.symbol, "offset": len(data), "nbytes": c.array.nbytes})
        data += c.array.astype(c.array.dtype.newbyteorder("<")).tobytes()
    return bytes(data), places

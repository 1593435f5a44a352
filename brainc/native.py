"""A built brain in this process: `brainc.load("DIR")` compiles the C in a folder for this machine and calls it.

Knocks: Python programs, with a folder that `brainc build` wrote for a desktop target. Leaves: a `Brain`, whose inputs
and outputs are numpy arrays. The library is made once and kept in the user's cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cffi
import numpy as np

from brainc import toolchain
from brainc.dtypes import DTYPES, Array
from brainc.errors import ModelError, UserError, at
from brainc.target import Target, load_target

DESKTOP = 64  # bits of a machine that may be this one
REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its name, the one it has in C, element type and shape."""

    name: str
    cname: str
    dtype: str
    shape: tuple[int, ...]

    def taken(self, given: Any) -> Array:
        """An array for this port as C wants it; UserError where it is another type or shape."""
        array = np.asarray(given)
        wanted = DTYPES[self.dtype].numpy
        if array.dtype != wanted or array.shape != self.shape:
            have, want = f"{array.dtype}{list(array.shape)}", f"{wanted}{list(self.shape)}"
            raise UserError(f"{self.name} takes {want}, not {have}", fix="convert the array first")
        return np.ascontiguousarray(array)


class Brain:
    """An instance of a brain, with a memory of its own."""

    def __init__(self, name: str, ram: int, library: Path, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> None:
        self.name, self.inputs, self.outputs = name, inputs, outputs
        types = ", ".join([*["void *"] * (1 + len(inputs) + len(outputs))])
        self._ffi = cffi.FFI()
        self._ffi.cdef(f"void {name}_init(void *); void {name}_step({types});")
        self._code = self._ffi.dlopen(str(library))
        self._memory = self._ffi.new("uint64_t[]", -(-ram // 8))
        self.forget()

    def forget(self) -> None:
        """State to its start."""
        getattr(self._code, f"{self.name}_init")(self._memory)

    def step(self, **inputs: Any) -> dict[str, Array]:
        """One call: an array per input port, by its name or the one it has in C; an array per output port leaves."""
        known = {p.cname: p for p in self.inputs}
        given = {name: value for name, value in inputs.items()}
        missing = [p.name for p in self.inputs if not {p.name, p.cname} & given.keys()]
        surplus = given.keys() - known.keys() - {p.name for p in self.inputs}
        if missing or surplus:
            ports = ", ".join(p.cname for p in self.inputs)
            raise UserError(f"{self.name} takes {ports}, not {', '.join(given) or 'nothing'}", fix="name its ports")
        arrays = [p.taken(given[p.cname] if p.cname in given else given[p.name]) for p in self.inputs]
        results = [np.empty(p.shape, DTYPES[p.dtype].numpy) for p in self.outputs]
        places = [self._ffi.from_buffer(a) for a in arrays]
        places += [self._ffi.from_buffer(a, require_writable=True) for a in results]
        getattr(self._code, f"{self.name}_step")(self._memory, *places)
        return {p.name: a for p, a in zip(self.outputs, results, strict=True)}


def load(folder: str | Path) -> Brain:
    """The brain in a folder that `brainc build -o` wrote for a desktop target, compiled for this machine.

    UserError: there is none, or it is for another machine; ToolMissing, ToolFailed: no C compiler, or it failed.
    """
    place = Path(folder)
    with at(file=str(place)):
        report = _report(place)
        name, target = str(report["brain"]), load_target(str(report["target"]))
        if target.word != DESKTOP or target.abstract:
            fix = f"build it once more with -t c99: brainc build … -t c99 -o {place}"
            raise UserError(f"{name} was built for {target.title}, not for this machine", fix=fix)
        library = _library(place, name, target)
        ports = report["ports"]
        ins, outs = (tuple(map(_port, ports[side])) for side in ("inputs", "outputs"))
        return Brain(name, _ram(place / f"{name}.h", name), library, ins, outs)


def _report(place: Path) -> Mapping[str, Any]:
    try:
        report = json.loads((place / REPORT).read_text(encoding="utf-8"))
        if {"brain", "target", "ports"} <= report.keys():
            return dict(report)
    except (OSError, ValueError, AttributeError):
        pass
    raise UserError(f"{place} holds no built brain", fix=f"write one: brainc build SOURCE -t c99 -o {place}")


def _port(entry: Mapping[str, Any]) -> Port:
    return Port(entry["name"], entry["c"], entry["dtype"], tuple(entry["shape"]))


def _ram(header: Path, name: str) -> int:
    found = re.search(rf"#define {name.upper()}_RAM_BYTES (\d+)", header.read_text(encoding="utf-8"))
    if found is None:
        raise ModelError(f"{header.name} does not say what memory {name} needs", fix="build it once more")
    return int(found[1])


def _library(place: Path, name: str, target: Target) -> Path:
    """The C of the folder as a shared library."""
    sources = [p for p in (place / f"{name}.c", place / f"{name}_weights.S") if p.is_file()]
    return toolchain.shared(target, sources, name)

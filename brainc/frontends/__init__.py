"""The intake: model files of every kind become graphs.

A frontend is a module (or folder) here with `KIND` (its name in `brain.toml`), `SUFFIXES` and
`load(path, name, shapes) -> Graph`, and for models of a language `language(path, shapes) -> Language`; it is found by
looking into this folder. One whose files may be large has a `MAX_FILE` of its own; one that gives names which people
know from the file says so, `NAMED = True`, and they stay. `link.py` and `cli.py` knock here; a graph at stage IMPORTED
with one entry, `step`, leaves (of a language: two).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

from brainc.errors import ModelError, at
from brainc.frontends import names
from brainc.ir import Graph
from brainc.language import Language

MAX_FILE = 2**31 - 1  # bytes; also what a protobuf message can hold
NO_SHAPES: Mapping[str, int] = MappingProxyType({})


class Frontend(Protocol):
    """What a module of this folder offers."""

    KIND: str
    SUFFIXES: tuple[str, ...]

    def load(self, path: Path, name: str, shapes: Mapping[str, int]) -> Graph: ...


@cache
def all_frontends() -> Mapping[str, Frontend]:
    """Kind to frontend, found by looking into this folder."""
    names_ = sorted(info.name for info in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names_]
    return {m.KIND: cast(Frontend, m) for m in modules if hasattr(m, "KIND")}


def load(path: Path, *, name: str, shapes: Mapping[str, int] = NO_SHAPES, kind: str | None = None) -> Graph:
    """The model in `path` as a graph called `name`.

    `shapes` gives sizes to symbolic axes; `kind` overrules the file's suffix. ModelError: the file is
    missing, too large, of no known kind, or broken; UnsupportedError: brainc cannot compile something in it.
    """
    with at(file=str(path)):
        frontend = _choose(path, kind)
        if not path.is_file():
            raise ModelError(f"there is no model file {path}", fix="check the path")
        if path.stat().st_size > getattr(frontend, "MAX_FILE", MAX_FILE):
            raise ModelError(f"{path.name} is too large for its kind", fix="keep its weights as external data")
        graph = frontend.load(path, name, shapes)
        return graph if getattr(frontend, "NAMED", False) else names.tidy(graph)


def language(path: Path, *, shapes: Mapping[str, int] = NO_SHAPES, kind: str | None = None) -> Language | None:
    """What a model of a language knows besides its graph; None where it is of another sort."""
    with at(file=str(path)):
        told = getattr(_choose(path, kind), "language", None)
        return cast(Language, told(path, shapes)) if told else None


def _choose(path: Path, kind: str | None) -> Frontend:
    known = all_frontends()
    suffixes = {suffix: frontend for frontend in known.values() for suffix in frontend.SUFFIXES}
    if kind is not None and kind not in known:
        raise ModelError(f"there is no model kind {kind!r}", fix="kinds: " + ", ".join(known))
    if kind is None and path.suffix.lower() not in suffixes:
        raise ModelError(
            f"{path.name} has no suffix that tells its kind",
            fix=f"rename it ({', '.join(suffixes)}), or say kind = ... in brain.toml",
        )
    return known[kind] if kind is not None else suffixes[path.suffix.lower()]

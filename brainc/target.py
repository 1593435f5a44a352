"""The machines: reads `targets/*/target.toml` into `Target`.

The kernel table, the planner, the emitter and the proof ask here what a machine can do, where its files
lie and how to build and run for it. A target `extends` another: tables merge key by key with the most
specific word winning, `features` and `toolchain.flags` add up, and files are looked for along the chain.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from brainc.errors import UserError, at
from brainc.resources import targets_dir

_Table = Mapping[str, Any]
_ADDED = ("features", "flags")  # lists that a target adds to its parent's
_OWN = ("title", "abstract", "extends")  # words about the folder itself: never inherited


@dataclass(frozen=True, slots=True)
class Space:
    """A memory of the machine; `reserve` bytes of it are kept for the stack and the board's own code."""

    bytes: int
    reserve: int = 0


@dataclass(frozen=True, slots=True)
class Toolchain:
    """How C becomes a firmware: compiler, flags, and our own `sources` that every simulator image needs."""

    cc: str
    std: str
    flags: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sim:
    """One way to run a firmware here. `memory` maps boot, rom and ram to (origin, length) in bytes."""

    kind: str
    machine: str = ""
    mcu: str = ""
    hz: int = 0
    memory: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Board:
    """The PlatformIO project a board gets."""

    env: str
    board: str
    platform: str
    framework: str


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A machine to compile for. `chain` and `folders` run from the most specific target to the base.

    A target is read once: the same name is the same object, so it may be a key.
    """

    name: str
    title: str
    chain: tuple[str, ...]
    folders: tuple[Path, ...]
    abstract: bool
    features: frozenset[str]
    fpu: bool
    word: int
    spaces: Mapping[str, Space]
    toolchain: Toolchain
    sims: tuple[Sim, ...]
    board: Board | None

    @property
    def sim(self) -> Sim | None:
        """The simulator used unless another is asked for."""
        return self.sims[0] if self.sims else None

    def find(self, relative: str) -> Path | None:
        """The most specific file of that name along the chain, for example `port.h`."""
        return next((f / relative for f in self.folders if (f / relative).is_file()), None)


def load_target(name: str, *, roots: tuple[Path, ...] = ()) -> Target:
    """The target called `name`; `roots` are further folders of targets, which win over our own.

    Raises UserError for an unknown name (with the nearest one) and for a `target.toml` that is wrong.
    """
    return _load(name, (*roots, targets_dir()))


def all_targets(*, roots: tuple[Path, ...] = ()) -> tuple[Target, ...]:
    """Every target that code can be compiled for, by name; those only others extend are left out."""
    found = (load_target(name, roots=roots) for name in sorted(_folders((*roots, targets_dir()))))
    return tuple(t for t in found if not t.abstract)


@cache
def _load(name: str, roots: tuple[Path, ...]) -> Target:
    tables = list(_ancestry(name, roots))
    merged: dict[str, Any] = {}
    for _, _, table in reversed(tables):
        merged = _merge(merged, {k: v for k, v in table.items() if k not in _OWN})
    own = tables[0][2]
    with at(file=str(tables[0][1] / "target.toml")):
        return Target(
            name=name,
            title=str(own.get("title", name)),
            chain=tuple(n for n, _, _ in tables),
            folders=tuple(folder for _, folder, _ in tables),
            abstract=bool(own.get("abstract", False)),
            features=frozenset(merged.pop("features", ())),
            fpu=bool(merged.pop("fpu", False)),
            word=int(merged.pop("word", 32)),
            spaces=MappingProxyType({k: _record(Space, v) for k, v in merged.pop("spaces", {}).items()}),
            toolchain=_record(Toolchain, merged.pop("toolchain", {})),
            sims=tuple(_record(Sim, table) for table in merged.pop("sim", ())),
            board=_board(merged),
        )


def _board(merged: dict[str, Any]) -> Board | None:
    table = merged.pop("board", None)
    if merged:
        raise UserError(f"unknown key {sorted(merged)[0]!r}", fix="see targets/c99/target.toml for the keys")
    return _record(Board, table) if table is not None else None


def _ancestry(name: str, roots: tuple[Path, ...]) -> Iterator[tuple[str, Path, _Table]]:
    """(name, folder, table) of a target and all that it extends, most specific first."""
    folders, next_name = _folders(roots), name
    seen: list[str] = []
    while True:
        if next_name not in folders:
            raise _unknown(next_name, folders)
        if next_name in seen:
            raise UserError(f"target {name} extends itself: {' > '.join((*seen, next_name))}",
                            fix="break the circle in one of their target.toml")
        seen.append(next_name)
        path = folders[next_name] / "target.toml"
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not TOML: {error}", fix="correct the file") from error
        yield next_name, folders[next_name], table
        if "extends" not in table:
            return
        next_name = str(table["extends"])


def _folders(roots: tuple[Path, ...]) -> dict[str, Path]:
    """Target folders by name; an earlier root wins."""
    return {p.parent.name: p.parent for root in reversed(roots) for p in root.glob("*/target.toml")}


def _unknown(name: str, folders: Mapping[str, Path]) -> UserError:
    near = difflib.get_close_matches(name, folders, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return UserError(f"there is no target {name!r}", fix=f"{hint}there are: {', '.join(sorted(folders))}")


def _merge(base: _Table, over: _Table) -> dict[str, Any]:
    """`over` laid on `base`: tables merge, the lists in `_ADDED` add up, everything else is replaced."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            out[key] = _merge(old, value)
        elif key in _ADDED and isinstance(value, list) and isinstance(old, list):
            out[key] = [*old, *value]
        else:
            out[key] = value
    return out


_R = TypeVar("_R", Space, Toolchain, Sim, Board)


def _record(cls: type[_R], table: _Table) -> _R:
    """A table of TOML as one of the records above, with its keys checked."""
    known = {f.name: f for f in fields(cls)}
    wrong = [k for k in table if k not in known]
    missing = [f.name for f in known.values()
               if f.default is MISSING and f.default_factory is MISSING and f.name not in table]
    if wrong or missing:
        word, key = ("unknown", wrong[0]) if wrong else ("missing", missing[0])
        raise UserError(f"{word} key {key!r} for {cls.__name__.lower()}",
                        fix=f"the keys are {', '.join(known)}")
    return cls(**{k: _frozen(v) for k, v in table.items()})


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(v) for v in value)
    if isinstance(value, dict):
        return MappingProxyType({k: _frozen(v) for k, v in value.items()})
    return value

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
    """A memory of the machine, in bytes.

    `board` is what a sketch with Serial takes of it, without the brain; `reserve` is kept where nobody has measured
    the brain: that sketch, and the stack (in RAM) or the brain's code (in flash).
    """

    bytes: int
    reserve: int = 0
    board: int = 0


@dataclass(frozen=True, slots=True)
class Toolchain:
    """How C becomes a firmware: compiler, flags, and our own `sources` that every simulator image needs."""

    cc: str
    std: str
    optimize: str = "-O2"  # as who builds for the machine has it
    flags: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    roomy: tuple[str, ...] = ()  # link flags of an image that is only measured: more memory than the machine has
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
class Timing:
    """A published table of cycles by instruction class, where a machine has no simulator that knows cycles.

    A multiple load or store costs `multiple` and as much again as `registers` says for each register.
    """

    load: int = 1
    store: int = 1
    multiple: int = 1
    registers: int = 1
    mul: int = 1
    branch: int = 1
    div: int = 1
    fp_mve: int = 1
    other: int = 1

    def cycles(self, counts: Mapping[str, int]) -> int:
        """The estimate for instructions counted by class."""
        return sum(getattr(self, f.name) * counts[f.name] for f in fields(self))


@dataclass(frozen=True, slots=True)
class Board:
    """The PlatformIO project a board gets, and how the Arduino tools call its kind.

    `serial_upload`: it is flashed over the serial port that it talks on; else over a probe or as a drive. `tools`:
    what PlatformIO flashes it with.
    """

    env: str
    board: str
    platform: str
    framework: str
    architectures: str = "*"
    serial_upload: bool = True
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accent:
    """One of several ways in which a single program says its kernels, chosen when it starts.

    `check`: C that says whether this CPU has what `features` ask for (the target's `accents.h` has the functions).
    """

    name: str
    title: str
    features: frozenset[str] = frozenset()
    check: str = "1"


PORTABLE = Accent("portable", "plain C, for every CPU")


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A machine to compile for. `chain` and `folders` run from the most specific target to the base.

    A target is read once: the same name is the same object, so it may be a key.
    """

    name: str
    chain: tuple[str, ...]
    folders: tuple[Path, ...]
    title: str
    spaces: Mapping[str, Space]
    toolchain: Toolchain
    sims: tuple[Sim, ...]
    features: frozenset[str]
    abstract: bool = False
    fpu: bool = False
    word: int = 32
    board: Board | None = None
    timing: Timing | None = None
    machines: tuple[str, ...] = ()  # of which this is the target, as `platform.machine` calls them
    accents: tuple[Accent, ...] = ()  # beside the portable one, each better than those before it

    @property
    def sim(self) -> Sim | None:
        """The simulator used unless another is asked for."""
        return self.sims[0] if self.sims else None

    def find(self, relative: str) -> Path | None:
        """The most specific file of that name along the chain, for example `port.h`."""
        return next((f / relative for f in self.folders if (f / relative).is_file()), None)

    def file(self, relative: str) -> Path:
        """The same for a file that must be there; UserError if it is not."""
        if (path := self.find(relative)) is None:
            what = f"target {self.name} needs {relative}, which none of its folders has"
            raise UserError(what, fix="correct its target.toml, or add the file")
        return path


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
    tables = tuple(_ancestry(name, _folders(roots)))
    chain, folders, (own, *_) = zip(*tables, strict=True)
    merged: dict[str, Any] = {}
    for table in reversed(tables):
        merged = _merge(merged, {k: v for k, v in table[2].items() if k not in _OWN})
    with at(file=str(folders[0] / "target.toml")):
        given = {"title": name, **merged, **{k: own[k] for k in ("title", "abstract") if k in own}}
        given["features"] = frozenset(merged.get("features", ()))
        given["spaces"] = {k: _record(Space, v) for k, v in merged.get("spaces", {}).items()}
        given["toolchain"] = _record(Toolchain, merged.get("toolchain", {}))
        given["sims"] = [_record(Sim, table) for table in given.pop("sim", ())]
        accents = (dict(table, features=frozenset(table.get("features", ()))) for table in given.pop("accents", ()))
        given["accents"] = [_record(Accent, table) for table in accents]
        given["board"] = _record(Board, merged["board"]) if "board" in merged else None
        given["timing"] = _record(Timing, merged["timing"]) if "timing" in merged else None
        return _record(Target, given, name=name, chain=chain, folders=folders)


def _ancestry(name: str, folders: Mapping[str, Path], *seen: str) -> Iterator[tuple[str, Path, _Table]]:
    """(name, folder, table) of a target and all that it extends, most specific first."""
    if name not in folders:
        near = "".join(f"did you mean {n}? " for n in difflib.get_close_matches(name, folders, n=1))
        raise UserError(f"there is no target {name!r}", fix=f"{near}there are: {', '.join(sorted(folders))}")
    if name in seen:
        what = f"target {seen[0]} extends itself: {' > '.join((*seen, name))}"
        raise UserError(what, fix="break the circle in one of their target.toml")
    path = folders[name] / "target.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}", fix="correct the file") from error
    yield name, folders[name], table
    if "extends" in table:
        yield from _ancestry(str(table["extends"]), folders, *seen, name)


def _folders(roots: tuple[Path, ...]) -> dict[str, Path]:
    """Target folders by name; an earlier root wins."""
    return {p.parent.name: p.parent for root in reversed(roots) for p in root.glob("*/target.toml")}


def _merge(base: _Table, over: _Table) -> dict[str, Any]:
    """`over` laid on `base`: tables merge, the lists in `_ADDED` add up, everything else is replaced."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            out[key] = _merge(old, value)
        else:
            out[key] = [*old, *value] if key in _ADDED and old is not None else value
    return out


_R = TypeVar("_R", Space, Toolchain, Sim, Board, Timing, Accent, Target)


def _record(cls: type[_R], table: _Table, **ours: Any) -> _R:
    """A table of TOML as one of the records above, its keys checked; `ours` it may not say."""
    known = [f for f in fields(cls) if f.name not in ours]
    keys = [f.name for f in known]
    needed = [f.name for f in known if f.default is MISSING and f.default_factory is MISSING]
    for word, wrong in (("unknown", set(table) - set(keys)), ("missing", set(needed) - set(table))):
        if wrong:
            what = f"{word} key {min(wrong)!r} for {cls.__name__.lower()}"
            raise UserError(what, fix=f"the keys are {', '.join(keys)}")
    return cls(**{k: _frozen(v) for k, v in table.items()}, **ours)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return MappingProxyType({k: _frozen(v) for k, v in value.items()})
    return tuple(map(_frozen, value)) if isinstance(value, list) else value

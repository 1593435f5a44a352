"""What can go wrong, and how it is told.

Every room raises these; the door (`cli.py`) prints them. An error says *what* happened and how to *fix*
it; *where* (file, line, module, node, op) is added by `at()` blocks while the exception rises, so deep
code need not carry it along.

    BraincError
    ├─ UserError      exit 2   ManifestError · ModelError · UnsupportedError · FitError · KernelError
    │                         LicenseError
    ├─ WorldError     exit 3   ToolMissing · ToolFailed · DeviceError
    ├─ ProofError     exit 4   Mismatch
    └─ BugError       exit 70  a stage broke its own rules: our fault
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Where:
    """A place in the user's files: any field may be unknown."""

    file: str | None = None
    line: int | None = None
    module: str | None = None
    node: str | None = None
    op: str | None = None

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place += f":{self.line}"
        parts = [place] if place else []
        parts += [f"module {self.module}"] if self.module else []
        parts += [f"node {self.node}"] if self.node else []
        parts += [f"op {self.op}"] if self.op else []
        return ", ".join(parts)

    def __bool__(self) -> bool:
        return bool(str(self))


class BraincError(Exception):
    """Base of all: `what` happened, how to `fix` it, and `where`."""

    exit_code = 70

    def __init__(self, what: str, *, fix: str, where: Where | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.where = where or Where()

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where  {self.where}")
        if self.fix:
            lines.append("  fix    " + self.fix.replace("\n", "\n         "))
        return "\n".join(lines)


class UserError(BraincError):
    """The user's input is at fault."""

    exit_code = 2


class ManifestError(UserError):
    """`brain.toml` says something that cannot be."""


class ModelError(UserError):
    """A model or sample file is broken or not what it should be."""


class UnsupportedError(UserError):
    """The model is right, but brainc cannot compile it (yet)."""


class FitError(UserError):
    """The brain does not fit the machine; `data` has the figures for programs."""

    data: Mapping[str, Any] = MappingProxyType({})


class KernelError(UserError):
    """A kernel or op file breaks its contract."""


class LicenseError(UserError):
    """A module may not be shared as asked."""


class WorldError(BraincError):
    """A tool or a device is at fault."""

    exit_code = 3


class ToolMissing(WorldError):
    """A program that is needed is not installed."""


class ToolFailed(WorldError):
    """A program ran and failed."""


class DeviceError(WorldError):
    """A board or simulator does not behave."""


class ProofError(BraincError):
    """Two machines that must agree do not."""

    exit_code = 4


class Mismatch(ProofError):
    """Bytes differ between the reference and a target."""


class BugError(BraincError):
    """A stage broke its own rules."""

    exit_code = 70


@contextmanager
def at(
    *,
    file: str | None = None,
    line: int | None = None,
    module: str | None = None,
    node: str | None = None,
    op: str | None = None,
) -> Iterator[None]:
    """Adds what it knows of the place to any error of ours that rises through; inner blocks win."""
    try:
        yield
    except BraincError as error:
        known = {"file": file, "line": line, "module": module, "node": node, "op": op}
        fresh = {k: v for k, v in known.items() if v is not None and getattr(error.where, k) is None}
        error.where = replace(error.where, **fresh)  # type: ignore[arg-type]
        raise

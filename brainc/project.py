"""What stands around a brain's C where it is delivered: its files, and what their templates show.

`formats.py` asks here and renders. A folder `templates/formats/FORMAT` mirrors what comes out: `src/main.cpp.j2`
becomes `src/main.cpp`, and NAME in a path is the brain's name. For a board's project the folders `project/` along
the target's chain say otherwise where they must, the most specific one winning. Last of all comes the brain's own
folder `project/`, whose plain files are laid over what was written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brainc import __version__
from brainc.errors import ManifestError, Where
from brainc.manifest import Brain
from brainc.program import Program
from brainc.resources import templates_dir
from brainc.views import comment, harness_view
from brainc.weights import as_text

OVERLAY_FILES, OVERLAY_BYTES = 200, 4 << 20  # that a brain may lay over its project


@dataclass(frozen=True, slots=True)
class Golden:
    """One run of the reference: the bytes of each port, and how far a float output may be from them.

    No tolerance: every byte must be the same.
    """

    ports: Mapping[str, bytes]
    tolerances: Mapping[str, float] = field(default_factory=dict)


def files(program: Program, form: str) -> list[tuple[Path, str]]:
    """(template, path where it is delivered) of every file but the C library."""
    roots = [templates_dir() / "formats" / form]
    roots += [folder / form for folder in reversed(program.target.folders)] if form == "project" else []
    found: dict[str, Path] = {}
    for root in roots:
        for template in root.rglob("*.j2"):
            inside = template.relative_to(root).as_posix().removesuffix(".j2")
            found[inside.replace("NAME", program.name)] = template
    return [(template, path) for path, template in sorted(found.items())]


def library_folder(program: Program) -> str:
    """Where in a board's project the C library goes."""
    return f"lib/{program.name}/src"


def digest(library: Mapping[str, bytes | Iterable[bytes]]) -> str:
    """The hash of a brain's C: what the board tells of itself when it is asked with `?`."""
    whole = hashlib.sha256()
    for name, given in sorted(library.items()):
        content = given if isinstance(given, bytes) else b"".join(given)
        whole.update(f"{name} {len(content)}\n".encode() + content)
    return whole.hexdigest()[:12]


def view(program: Program, library: Mapping[str, bytes], golden: Golden) -> dict[str, Any]:
    """What the templates of all formats show; `library` is the C library."""
    harness, board, target = harness_view(program), program.target.board, program.target
    inputs, entry = harness["inputs"], program.graph.entries[0]
    ports = zip((*entry.inputs, *entry.outputs), (*inputs, *harness["outputs"]), strict=True)
    own = [flag for flag in target.toolchain.flags if flag.startswith("-m")]  # of this very machine
    return {
        **harness,
        "upper": program.name.upper(),
        "version": __version__,
        "target": target.name,
        "title": comment(target.title),
        "board": board,
        "framework": board.framework if board else "*",
        "platform": board.platform if board else "*",
        "architectures": board.architectures if board else "*",
        "optimize": target.toolchain.optimize,
        "hash": digest(library),
        "ram": program.plan.nbytes,
        "ports": [*inputs, *harness["outputs"]],
        "longest_input": max((len(p.cname) for p in inputs), default=0),
        "every_input": f"{(1 << len(inputs)) - 1:#x}UL",  # one bit each
        "exact": not golden.tolerances,
        "golden": [_golden(port, name, golden) for name, port in ports],
        "sources": sorted(name for name in library if name.endswith((".c", ".S"))),
        "assembler": " ASM" if any(name.endswith(".S") for name in library) else "",
        "extensions": "ON" if target.toolchain.std.startswith("gnu") else "OFF",
        "crossed": target.word < 64,
        "machine": comment(" ".join(own)),
        "options": ";".join(["-ffp-contract=off", *(own if target.word == 64 else ())]),
        "links_m": "-lm" in target.toolchain.link,
    }


def _golden(port: Any, name: str, golden: Golden) -> dict[str, Any]:
    """A port of the self-test: the bytes it is filled with, or must hold, as lines of C."""
    tolerance = golden.tolerances.get(name)
    data = np.frombuffer(golden.ports.get(name, b""), np.uint8)
    return {
        **{key: getattr(port, key) for key in ("cname", "direction", "ctype", "count", "nbytes")},
        "lines": list(as_text(data)),
        "test": "same" if tolerance is None else "close",
        "tolerance": "" if tolerance is None else f", {tolerance:.3e}f",
    }


def overlay(brain: Brain, program: Program) -> dict[str, bytes]:
    """The brain's own files for its project: `project/` beside brain.toml, mirrored; only for boards.

    Raises ManifestError for links, for what is no plain file, for too many or too large ones, and for a file
    that would replace the compiled brain itself.
    """
    root = brain.folder / "project"
    if brain.bare or program.target.board is None or not os.path.lexists(root):
        return {}
    found: dict[str, bytes] = {}
    for path in _plain_files(root):
        place = path.relative_to(root).as_posix().replace("NAME", program.name)
        if place == "report.json" or place.startswith(f"{library_folder(program)}/{program.name}"):
            what = f"{path} would replace what brainc compiles"
            raise ManifestError(what, fix="give it another name", where=Where(str(path)))
        found[place] = path.read_bytes()
    return found


def _plain_files(root: Path) -> Iterator[Path]:
    """Every file under a folder, in the order of their names, as far as they are few, small and no links."""
    count = total = 0
    for path in (root, *sorted(root.rglob("*"))):
        if path.is_symlink() or not (path.is_file() or path.is_dir()) or (path == root and not path.is_dir()):
            what = f"{path} is {'a link' if path.is_symlink() else 'no plain file'}, which no project takes"
            raise ManifestError(what, fix="put plain files and folders there", where=Where(str(path)))
        if path.is_dir():
            continue
        count, total = count + 1, total + path.stat().st_size
        if count > OVERLAY_FILES or total > OVERLAY_BYTES:
            what = f"{root} holds more than {OVERLAY_FILES} files or {OVERLAY_BYTES:,} bytes"
            raise ManifestError(what, fix="keep there only what the board's project needs", where=Where(str(root)))
        yield path

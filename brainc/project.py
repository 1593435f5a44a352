"""The project around a brain's C on a board: which files it has and what they show.

`emit.py` asks here and renders. A target's `project/` folder mirrors what comes out: `src/main.cpp.j2`
becomes `src/main.cpp`, and NAME in a path is the brain's name. Files are found along the target's chain, the
most specific one winning, so a new board brings only what it says otherwise. Last of all comes the brain's own
folder `project/`, whose plain files are laid over what was written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brainc import __version__
from brainc.errors import ManifestError, Where
from brainc.manifest import Brain
from brainc.program import Program
from brainc.views import harness_view

OVERLAY_FILES, OVERLAY_BYTES = 200, 4 << 20  # that a brain may lay over its project


def files(program: Program) -> list[tuple[Path, str]]:
    """(template, path in the project) of every file but the C library; none for a target without a board."""
    if program.target.board is None:
        return []
    found: dict[str, Path] = {}
    for folder in reversed(program.target.folders):
        root = folder / "project"
        for template in root.rglob("*.j2"):
            inside = template.relative_to(root).as_posix().removesuffix(".j2")
            found[inside.replace("NAME", program.name)] = template
    return [(template, path) for path, template in sorted(found.items())]


def library_folder(program: Program) -> str:
    """Where in the project the C library goes."""
    return f"lib/{program.name}/src"


def view(program: Program, library: Mapping[str, bytes]) -> dict[str, Any]:
    """What the project's templates show; `library` is the C library, whose bytes give the brain's hash."""
    digest = hashlib.sha256()
    for name, content in sorted(library.items()):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    harness = harness_view(program)
    inputs = harness["inputs"]
    return {
        **harness,
        "version": __version__,
        "target": program.target.name,
        "title": program.target.title,
        "board": program.target.board,
        "hash": digest.hexdigest()[:12],
        "longest_input": max((len(p.cname) for p in inputs), default=0),
        "every_input": f"{(1 << len(inputs)) - 1:#x}UL",  # one bit each
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

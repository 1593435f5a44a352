"""The project around a brain's C on a board: which files it has and what they show.

`emit.py` asks here and renders. A target's `project/` folder mirrors what comes out: `src/main.cpp.j2`
becomes `src/main.cpp`, and NAME in a path is the brain's name. Files are found along the target's chain, the
most specific one winning, so a new board brings only what it says otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainc import __version__
from brainc.program import Program
from brainc.views import harness_view


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

"""Where the folders of data are: `templates/`, `targets/`, `examples/`.

Asked by everything that reads a kernel, a target or a file skeleton. In a wheel they lie inside the
package (`_data`), in a checkout beside it; nothing else is ever believed, since a bare `templates` folder
in site-packages could be anybody's.
"""

from __future__ import annotations

from pathlib import Path

from brainc.errors import BugError

_HERE = Path(__file__).resolve().parent


def _folder(kind: str) -> Path:
    packaged = _HERE / "_data" / kind
    if packaged.is_dir():
        return packaged
    if (_HERE.parent / "pyproject.toml").is_file() and (_HERE.parent / kind).is_dir():
        return _HERE.parent / kind
    raise BugError(f"the folder {kind!r} is missing from this installation", fix="reinstall brainc")


def templates_dir() -> Path:
    """Portable kernels, epilogues and file skeletons."""
    return _folder("templates")


def targets_dir() -> Path:
    """One folder per machine."""
    return _folder("targets")


def examples_dir() -> Path:
    """One folder per example brain."""
    return _folder("examples")

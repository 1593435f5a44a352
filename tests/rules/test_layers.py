"""A file imports only downward, and each outside package has its one door."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "brainc"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the ground to the door. A room may use what stands before it; a folder is one room.
ROOMS = (
    *("errors", "resources", "dtypes", "c_names", "toml_lines"),
    *("expressions", "ir", "numerics", "lanes", "ops", "spec", "interp", "ranges"),
    *("target", "kernels", "packs", "planner_pack", "planner_search", "planner", "chain", "memory"),
    *("rows", "weave", "stream", "spmd"),
    *("port_types", "language", "vocabulary_section", "manifest", "samples", "frontends", "link"),
    *("passes",),
    *("program", "weights", "chain_views", "views", "host_views", "project", "emit", "formats", "compiler"),
    *("toolchain", "native", "flash", "runners", "check", "host_check", "board", "footprint", "fit", "bench"),
    *("quality", "report", "skeletons"),
    *("speak", "actions", "cli_language", "cli", "__main__"),
)

# Who may import it; everyone else comes to them.
DOORS = {
    "jinja2": ("emit.py", "frontends/gguf/sandbox.py"),
    "onnx": ("frontends/onnx/",),
    "tflite": ("frontends/tflite/",),
    "cffi": ("native.py",),
    "gguf": ("frontends/gguf/",),
    "click": ("cli.py", "cli_language.py"),
    "serial": ("board.py",),
    "subprocess": ("toolchain.py", "flash.py", "runners.py", "frontends/gguf/sandbox.py"),
}


def imports(path: Path) -> Iterator[str]:
    """Full dotted names of all that a file imports."""
    package = ("brainc", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            yield from (".".join((*base, *filter(None, (node.module, a.name)))) for a in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downward_and_through_the_doors(path: Path) -> None:
    inside = path.relative_to(PACKAGE).as_posix()
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert room in (*ROOMS, "__init__"), f"give {room} its place in ROOMS"
    below = ROOMS[: ROOMS.index(room) + 1] if room in ROOMS else ROOMS  # the package itself lets anyone in
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "brainc" and rest[0] != "__version__":
            assert rest[0] in below, f"{inside} reaches up to {name}"
        doors = DOORS.get(top, ("",))
        assert inside.startswith(doors), f"{inside} imports {top}; only {', '.join(doors)} may"


def test_every_room_exists() -> None:
    rooms = {p.relative_to(PACKAGE).with_suffix("").parts[0] for p in FILES} - {"__init__"}
    assert rooms == set(ROOMS)

"""Adding an op, a kernel or a target is adding a file: nothing else knows them by name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from brainc import ops
from brainc.kernels import KernelTable
from brainc.resources import targets_dir, templates_dir
from brainc.target import load_target

PACKAGE = Path(__file__).parents[2] / "brainc"
TARGETS = {p.parent.name for p in targets_dir().glob("*/target.toml")} - {"c99"}  # c99: the reference itself
OPS = set(ops.all_ops())
KNOWN = {"reshape", "to_int", "from_int"}  # the view, which needs no kernel, and the doors to integers

# Rooms that handle every op alike. (Passes and frontends are about ops, and name them.)
BLIND = (
    *("kernels", "memory", "planner", "planner_pack", "planner_search"),
    *("program", "weights", "views", "project", "emit", "formats", "compiler"),
    *("check", "bench", "report"),
)


def words(path: Path) -> set[str]:
    """The string constants of a file."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {n.value for n in found if isinstance(n, ast.Constant) and isinstance(n.value, str)}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_target_is_known_by_name(path: Path) -> None:
    assert not words(path) & TARGETS


@pytest.mark.parametrize("room", BLIND)
def test_no_op_is_known_by_name(room: str) -> None:
    assert not words(PACKAGE / f"{room}.py") & (OPS - KNOWN)


def test_a_new_target_and_its_kernel_are_two_new_files(tmp_path: Path) -> None:
    """A folder that extends another is a target, and the kernel in it competes, without an edit anywhere."""
    kernels = tmp_path / "toy" / "kernels" / "qdense"
    kernels.mkdir(parents=True)
    (tmp_path / "toy" / "target.toml").write_text('extends = "c99"\ntitle = "a toy"\n')
    (kernels / "mine.c.j2").write_text((templates_dir() / "qdense" / "i8.c.j2").read_text())
    table = KernelTable(load_target("toy", roots=(tmp_path,)))
    assert table.candidates("qdense")[0].name == "toy/qdense/mine"


def test_every_op_file_is_found() -> None:
    files = {p.stem for p in (PACKAGE / "ops").glob("*.py") if not p.stem.startswith("_")}
    modules = {f.meaning.__module__.rsplit(".", 1)[1] for f in ops.all_ops().values()}
    assert modules == files

"""Whoever reads an error of ours is told what to do: each is made with `fix=`, and it says something."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainc import errors

PACKAGE = Path(__file__).parents[2] / "brainc"
OURS = {n for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, errors.BraincError)}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """(name of the class or function, call) for each call in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield node.func.id if isinstance(node.func, ast.Name) else node.func.attr, node


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_errors_have_fixes(path: Path) -> None:
    for name, call in calls(path):
        if name in OURS:
            fix = next((k.value for k in call.keywords if k.arg == "fix"), None)
            assert fix is not None, f"line {call.lineno}: {name} without fix="
            assert not (isinstance(fix, ast.Constant) and not fix.value), f"line {call.lineno}: an empty fix"

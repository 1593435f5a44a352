"""Published budgets: what is too long to read is too long."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "brainc"
FILES = sorted(PACKAGE.rglob("*.py"))

PACKAGE_LINES = 8_500
FILE_LINES = 400
FUNCTION_LINES = 40


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_package_keeps_its_budget() -> None:
    total = sum(map(lines, FILES))
    assert total <= PACKAGE_LINES, f"brainc/ has {total:,} lines, {total - PACKAGE_LINES:,} too many"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path: Path) -> None:
    assert lines(path) <= FILE_LINES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"

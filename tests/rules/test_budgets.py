"""Published budgets: what is too long to read is too long."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "brainc"
FILES = sorted(PACKAGE.rglob("*.py"))

CODE_LINES = 16_800  # of the package, without blank lines, comments and docstrings
FILE_LINES = 400  # all lines of a file
FUNCTION_LINES = 40


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def code_lines(path: Path) -> int:
    """Lines that hold something a machine reads."""
    source = path.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [n.body[0] for n in ast.walk(ast.parse(source)) if isinstance(n, documented) and ast.get_docstring(n)]
    words = {n for t in texts for n in range(t.lineno, (t.end_lineno or t.lineno) + 1)}
    empty = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type not in empty]
    return len({n for t in tokens for n in range(t.start[0], t.end[0] + 1)} - words)


def test_the_package_keeps_its_budget() -> None:
    total = sum(map(code_lines, FILES))
    assert total <= CODE_LINES, f"brainc/ has {total:,} lines of code, {total - CODE_LINES:,} too many"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path: Path) -> None:
    assert lines(path) <= FILE_LINES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"

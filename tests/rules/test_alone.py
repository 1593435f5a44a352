"""The project speaks of itself alone: no file names the machine it was written on, or who serves packages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPPED = {".git", ".venv", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", "dist", "build"}
DATA = {".npz", ".onnx", ".bin", ".tflite", ".gguf", ".png"}
FORBIDDEN = re.compile(
    r"(?<![\w.])/(work|home|root|Users)/|(?<![\w-])shared/"  # places
    r"|pypi\.org|pythonhosted|npmjs|deb\.debian|crates\.io|proxy\.golang"  # registries
    r"|\b(claude|anthropic|chatgpt|openai|copilot)\b",  # tools of whoever writes
    re.IGNORECASE,
)
EXCUSED = {Path(".ci/run"), Path("tests/rules/test_alone.py")}  # knows where models may lie; the words above


def files() -> list[Path]:
    found = (p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file() and p.suffix not in DATA)
    return sorted(p for p in found if not SKIPPED & set(p.parts) and p not in EXCUSED)


@pytest.mark.parametrize("path", files(), ids=str)
def test_nothing_foreign_is_named(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8", errors="replace")
    found = FORBIDDEN.search(text)
    assert found is None, f"line {text.count(chr(10), 0, found.start()) + 1}: {found[0]}"

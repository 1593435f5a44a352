"""What tests of all rooms share: a C compiler, the folder of real models, golden files.

Tools and files that are missing skip their tests, with the reason.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Werror"]
Compile = Callable[..., ctypes.CDLL]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")


@pytest.fixture(scope="session")
def cc(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """`cc(source, *flags)` compiles C text with gcc (or another), warnings being errors, and loads it."""

    def build(source: str, *flags: str, std: str = "c99", compiler: str = "gcc") -> ctypes.CDLL:
        found = shutil.which(compiler)
        if found is None:
            pytest.skip(f"{compiler} is not installed")
        folder = tmp_path_factory.mktemp("cc")
        (folder / "code.c").write_text(source)
        command = [found, f"-std={std}", "-O2", "-ffp-contract=off", *WARNINGS, *flags, "-fPIC", "-shared"]
        done = subprocess.run([*command, "-o", "code.so", "code.c", "-lm"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:4000]
        return ctypes.CDLL(str(folder / "code.so"))

    return build


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of real model files."""
    folder = os.environ.get("BRAINC_MODELS")
    if not folder:
        pytest.skip("BRAINC_MODELS is not set")
    return Path(folder)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(text, name)` compares with tests/golden/NAME; --update-golden writes it instead."""

    def compare(text: str, name: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path.name} is missing: run pytest --update-golden and read what it wrote"
        assert text == path.read_text(encoding="utf-8")

    return compare

"""The project of a board: what a brain lays over it, and what it may not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from brainc import project
from brainc.actions import build
from brainc.compiler import Request
from brainc.errors import ManifestError
from brainc.resources import examples_dir


@pytest.fixture
def brain(tmp_path: Path) -> Path:
    """A copy of the digits example with a folder `project` of its own."""
    folder = tmp_path / "digits"
    shutil.copytree(examples_dir() / "digits", folder)
    (folder / "project" / "src").mkdir(parents=True)
    (folder / "project" / "src" / "main.cpp").write_bytes(b"/* {{ mine }} */\r\n")
    return folder


def written(brain: Path, target: str, out: Path) -> Path:
    build(Request(brain), target, out, "project", lambda _: None)
    return out


def test_a_brain_lays_its_own_files_over_the_project(brain: Path, tmp_path: Path) -> None:
    """Mirrored, byte for byte, with NAME in a path for the brain's name; the rest stays as brainc wrote it."""
    (brain / "project" / "lib" / "NAME_words").mkdir(parents=True)
    (brain / "project" / "lib" / "NAME_words" / "words.h").write_text("/* words */\n")
    out = written(brain, "uno", tmp_path / "out")
    assert (out / "src" / "main.cpp").read_bytes() == b"/* {{ mine }} */\r\n"
    assert (out / "lib" / "digits_words" / "words.h").read_text() == "/* words */\n"
    assert "[env:uno]" in (out / "platformio.ini").read_text()
    assert (out / "lib" / "digits" / "src" / "digits.c").exists()


def test_only_boards_take_it_and_only_from_a_brain(brain: Path, tmp_path: Path) -> None:
    """A folder that happens to lie beside a bare model file is nobody's project."""
    assert not (written(brain, "c99", tmp_path / "host") / "src").exists()
    out = tmp_path / "bare"
    build(Request(brain / "digits.onnx", calibrate="random"), "uno", out, "project", lambda _: None)
    assert "mine" not in (out / "src" / "main.cpp").read_text()


def link_out(folder: Path) -> None:
    (folder / "secret.h").symlink_to(folder.parent / "brain.toml")


def link_itself(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere")


def linked_folder(folder: Path) -> None:
    (folder / "src" / "more").symlink_to(folder.parent, target_is_directory=True)


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "src" / "pipe")


def plain_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def too_many(folder: Path) -> None:
    for number in range(project.OVERLAY_FILES):
        (folder / f"{number}.h").touch()


def too_large(folder: Path) -> None:
    with (folder / "large.bin").open("wb") as file:
        file.truncate(project.OVERLAY_BYTES + 1)


def the_brain_itself(folder: Path) -> None:
    (folder / "lib" / "NAME" / "src").mkdir(parents=True)
    (folder / "lib" / "NAME" / "src" / "NAME.c").write_text("")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (link_out, "secret.h is a link"),
        (link_itself, "project is a link"),
        (linked_folder, "more is a link"),
        (pipe, "pipe is no plain file"),
        (plain_file, "project is no plain file"),
        (too_many, "holds more than 200 files"),
        (too_large, "or 4,194,304 bytes"),
        (the_brain_itself, "would replace what brainc compiles"),
    ],
)
def test_what_a_brain_may_not_lay_over_it(
    brain: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    """Models and their folders are untrusted: nothing outside is read, and nothing is written then."""
    spoil(brain / "project")
    with pytest.raises(ManifestError, match=message) as caught:
        written(brain, "uno", tmp_path / "out")
    assert caught.value.fix and caught.value.where and not (tmp_path / "out").exists()

"""The shapes in which a brain is delivered: as others' tools want them, and the same bytes every time."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from brainc import formats
from brainc.compiler import Request, compile_job, prepare
from brainc.emit import emit
from brainc.errors import UserError
from brainc.program import Program
from brainc.resources import examples_dir
from brainc.toolchain import write

DIGITS = Request(examples_dir() / "digits", quantize="int8")


def program(target: str) -> Program:
    return compile_job(prepare(DIGITS, target))


def unzipped(data: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(data))


@pytest.mark.parametrize("target", ["mega", "teensy41", "c99"])
def test_arduino_library_keeps_the_specification(target: str) -> None:
    """https://arduino.github.io/arduino-cli/latest/library-specification: format 1.5, layout with src/."""
    brain = program(target)
    bundle = formats.make("arduino-library", formats.Delivery(brain), {})
    assert set(bundle) == {"digits.zip", "report.json"}
    archive = unzipped(bundle["digits.zip"])
    files = {name: archive.read(name) for name in archive.namelist()}
    library = {f"digits/src/{name}": data for name, data in emit(brain).items()}
    beside = {f"digits/{name}" for name in ("library.properties", "keywords.txt", "examples/digits/digits.ino")}
    assert files.keys() == library.keys() | beside and files.items() >= library.items()
    lines = files["digits/library.properties"].decode().splitlines()
    said = dict(line.split("=", 1) for line in lines)
    fields = "name version author maintainer sentence paragraph category url architectures includes"
    assert list(said) == fields.split() and all(said.values())
    assert re.fullmatch(r"[A-Za-z0-9][\w .-]{0,62}", said["name"]) and re.fullmatch(r"\d+\.\d+\.\d+", said["version"])
    assert said["category"] == "Data Processing" and said["includes"] == "digits.h"
    assert said["architectures"] == {"mega": "avr", "teensy41": "avr", "c99": "*"}[target]
    words = [line.split("\t") for line in files["digits/keywords.txt"].decode().splitlines() if line[0] != "#"]
    assert ["digits_step", "KEYWORD2"] in words and all(
        kind in ("KEYWORD1", "KEYWORD2", "LITERAL1") for _, kind in words
    )
    assert all(word in files["digits/src/digits.h"].decode() for word, _ in words)


def test_a_zip_has_no_dates_and_is_not_packed() -> None:
    """Dates, users and what a version of zlib makes of it would differ from machine to machine."""
    archive = unzipped(formats.make("arduino-library", formats.Delivery(program("uno")), {})["digits.zip"])
    kinds = {(entry.date_time, entry.compress_type, entry.create_system) for entry in archive.infolist()}
    assert kinds == {((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, 3)}
    assert archive.namelist() == sorted(archive.namelist())


@pytest.mark.parametrize("form", ["arduino-library", "platformio-library"])
def test_a_desktop_accent_is_no_arduino_library(form: str) -> None:
    with pytest.raises(UserError, match="x86-avx2 is no machine of Arduino's") as caught:
        formats.make(form, formats.Delivery(program("x86-avx2")), {})
    assert "board" in caught.value.fix


def test_platformio_library() -> None:
    files = formats.make("platformio-library", formats.Delivery(program("pico")), {})
    library = json.loads(files["library.json"])
    assert (library["name"], library["platforms"], library["headers"]) == ("digits", "raspberrypi", "digits.h")
    assert {"src/digits.c", "src/digits.h", "examples/digits/main.cpp", "report.json"} < set(files)
    anywhere = json.loads(formats.make("platformio-library", formats.Delivery(program("c99")), {})["library.json"])
    assert (anywhere["platforms"], anywhere["frameworks"]) == ("*", "*")


USER = """
#include "digits.h"
static digits_t brain;
static float image[DIGITS_IMAGE_LEN], scores[DIGITS_SCORES_LEN];
int main(void) { digits_init(&brain); digits_step(&brain, image, scores); return !(scores[0] < 0); }
"""


def cmake(*words: object) -> None:
    done = subprocess.run(["cmake", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("target", ["c99", "x86-avx2"])
@pytest.mark.parametrize("found", ["added", "installed"])
def test_cmake_builds_it_and_finds_it_again(target: str, found: str, tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    if target == "x86-avx2" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("needs AVX2")
    write(tmp_path / "digits", formats.make("cmake", formats.Delivery(program(target)), {}))
    take = "add_subdirectory(../digits digits)"
    if found == "installed":
        cmake("-S", tmp_path / "digits", "-B", tmp_path / "b")
        cmake("--build", tmp_path / "b")
        cmake("--install", tmp_path / "b", "--prefix", tmp_path / "prefix")
        take = "find_package(digits CONFIG REQUIRED)"
    lists = f"cmake_minimum_required(VERSION 3.13)\nproject(user C)\n{take}\nadd_executable(user main.c)\n"
    lists += "target_link_libraries(user PRIVATE brainc::digits)\n"
    write(tmp_path / "user", {"CMakeLists.txt": lists.encode(), "main.c": USER.encode()})
    cmake("-S", tmp_path / "user", "-B", tmp_path / "u", f"-DCMAKE_PREFIX_PATH={tmp_path / 'prefix'}")
    cmake("--build", tmp_path / "u")
    assert subprocess.run([str(tmp_path / "u" / "user")]).returncode == 0


def test_cmake_for_another_machine_leaves_its_flags_to_the_toolchain_file() -> None:
    lists = formats.make("cmake", formats.Delivery(program("mega")), {})["CMakeLists.txt"].decode()
    assert "LANGUAGES C ASM" in lists and "src/digits_weights.S" in lists
    assert "-mmcu=atmega2560" in lists.split("cmake_minimum_required")[0]
    assert "-mmcu" not in lists.split("cmake_minimum_required")[1]

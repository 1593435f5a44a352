"""What leaves with `-o`: the brain's C in one of the shapes that other people's tools take.

`actions.py` asks for a format by name and gets a Bundle, path to bytes, `report.json` always among it. A new
format is one function here and a folder of templates under `templates/formats`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from brainc import emit, project, vocabulary_section
from brainc.emit import Bundle, Files
from brainc.errors import UserError
from brainc.program import Program
from brainc.project import Golden

_OLDEST = (1980, 1, 1, 0, 0, 0)  # the date of everything in a .zip: it has no other that is always the same
_LONGEST_NAME = 63  # of an Arduino library
SKETCH = "src/main.cpp"
HOSTED = ("project", "library", "cmake")  # formats of a language model: the same files, with a CMakeLists.txt


@dataclass(frozen=True, slots=True)
class Delivery:
    """What all formats are made of: the brain, one run of the reference, and the brain's own files for a board."""

    program: Program
    golden: Golden = field(default_factory=lambda: Golden({}))
    overlay: Bundle = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.program.name


def make(form: str, delivery: Delivery, report: Mapping[str, Any]) -> Files:
    """All files of a delivery; UserError where the target has no use for the format."""
    told = (json.dumps(report, indent=2) + "\n").encode()
    if host := delivery.program.host:
        if form not in HOSTED:
            what = f"{delivery.name} is a language model, so --format {form} has no use for it"
            raise UserError(what, fix=f"choose {', '.join(HOSTED[:-1])} or {HOSTED[-1]}")
        section = vocabulary_section.pack(host.language.vocabulary)
        return {**emit.emit_host(delivery.program, section), "report.json": told}
    return {**FORMATS[form](delivery, emit.emit(delivery.program)), "report.json": told}


def _rendered(form: str, delivery: Delivery, library: Bundle) -> dict[str, bytes]:
    view = project.view(delivery.program, library, delivery.golden)
    return {place: emit.render(template, view) for template, place in project.files(delivery.program, form)}


def _library(_: Delivery, library: Bundle) -> Bundle:
    """The C alone: files for any build system."""
    return library


def _project(delivery: Delivery, library: Bundle) -> Bundle:
    """For a board its PlatformIO project with the library inside; elsewhere the library alone."""
    if delivery.program.target.board is None:
        return library
    inside = {f"{project.library_folder(delivery.program)}/{name}": data for name, data in library.items()}
    return {**inside, **_rendered("project", delivery, library), **delivery.overlay}


def _platformio_library(delivery: Delivery, library: Bundle) -> Bundle:
    """A folder for `lib/` or lib_deps: library.json, src/ and the sketch as an example."""
    return _with_example("platformio-library", "main.cpp", delivery, library)


def _arduino_library(delivery: Delivery, library: Bundle) -> Bundle:
    """One .zip for the Arduino IDE's "Add .ZIP Library"; the same bytes on every machine, so nothing is packed."""
    if len(delivery.name) > _LONGEST_NAME:
        what = f"the name {delivery.name} is longer than the {_LONGEST_NAME} letters of an Arduino library"
        raise UserError(what, fix="give the brain a shorter one: name in [brain]")
    files = _with_example("arduino-library", f"{delivery.name}.ino", delivery, library)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for place, data in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{delivery.name}/{place}", _OLDEST)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, data)
    return {f"{delivery.name}.zip": stream.getvalue()}


def _cmake(delivery: Delivery, library: Bundle) -> Bundle:
    """A static library with its header, to be added or installed and found."""
    folders = {name: "include" if name.endswith(".h") else "src" for name in library}
    placed = {f"{folder}/{name}": library[name] for name, folder in folders.items()}
    return {**placed, **_rendered("cmake", delivery, library)}


def _with_example(form: str, example: str, delivery: Delivery, library: Bundle) -> dict[str, bytes]:
    """Library files in src/, the format's own beside it, and a board's sketch as the example."""
    program = delivery.program
    if program.target.board is None and program.target.word == 64 and len(program.target.chain) > 1:
        what = f"{program.target.name} is no machine of Arduino's, so --format {form} has no use for it"
        raise UserError(what, fix="choose a board (`brainc targets`), or c99 for plain C")
    template = next(t for t, place in project.files(program, "project") if place == SKETCH)
    view = project.view(program, library, delivery.golden)
    sketch = delivery.overlay.get(SKETCH) or emit.render(template, view)
    placed = {f"src/{name}": data for name, data in library.items()}
    placed[f"examples/{delivery.name}/{example}"] = sketch
    return {**placed, **_rendered(form, delivery, library)}


FORMATS: Mapping[str, Callable[[Delivery, Bundle], Bundle]] = {
    "project": _project,
    "library": _library,
    "arduino-library": _arduino_library,
    "platformio-library": _platformio_library,
    "cmake": _cmake,
}

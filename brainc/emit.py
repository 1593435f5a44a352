"""Views to text: C, header, weights, and the test program around them.

`emit` renders a `Program` into a Bundle, path to bytes. The templates see views only (`views.py`);
nothing touches the disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from brainc import project
from brainc.kernels import Kernel
from brainc.program import Program
from brainc.resources import templates_dir
from brainc.views import brain_view, comment, harness_view, uses_float
from brainc.weights import c_float

Bundle = Mapping[str, bytes]


@cache
def environment(*folders: Path) -> jinja2.Environment:
    """Jinja as brainc uses it: control lines start with `//%`, a missing name is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        line_statement_prefix="//%",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def render_kernel(kernel: Kernel, env: Mapping[str, Any], fn: str, params: str) -> str:
    """One kernel as C: its template with the baked values filled in."""
    baked = {b: env[b] for b in kernel.bake}
    lists = {k: v for k, v in env.items() if k.endswith(("_names", "_shapes", "_shape"))}
    shown = {k: c_float(v) if isinstance(v, float) else v for k, v in {**lists, **baked}.items()}
    text = environment(kernel.path.parent).from_string(kernel.body).render(fn=fn, params=params, **shown)
    values = " ".join(f"{k}={v}" for k, v in baked.items())
    return f"/* {comment(f'{kernel.name}  {values}')} */\n{text.strip()}\n"


def _machine_header(program: Program) -> str:
    """The target's port (types, where constants lie) and, unless the brain is to be plain C, its primitives."""
    names = ["port.h"] if program.portable else ["port.h", "primitives.h"]
    found = [path for path in map(program.target.find, names) if path is not None]
    return "\n".join(_guts(path.read_text(encoding="utf-8")) for path in found)


def _arithmetic(program: Program) -> str:
    text = _guts((templates_dir() / "fixed.h").read_text(encoding="utf-8"))
    if uses_float(program):
        text += "\n" + _guts((templates_dir() / "float.h").read_text(encoding="utf-8"))
    return text


def _guts(header: str) -> str:
    """A header's text without its include guard: it becomes a chapter of a larger file."""
    lines = header.splitlines()
    names = {line.split()[1] for line in lines if line.startswith("#ifndef") and line.split()[1].endswith("_H")}
    if not names:
        return header
    guard = next(iter(names))
    last = max(i for i, line in enumerate(lines) if line.startswith("#endif"))
    kept = [
        line
        for i, line in enumerate(lines)
        if i != last and line.strip() not in (f"#ifndef {guard}", f"#define {guard}")
    ]
    return "\n".join(kept).strip() + "\n"


def emit(program: Program, trace: str = "") -> Bundle:
    """The C library: NAME.h, NAME.c and, where weights are large, NAME_weights.S and its .bin."""
    view = brain_view(program, trace)
    view["port_h"] = _machine_header(program)
    view["fixed_h"] = _arithmetic(program)
    view["kernels"] = [render_kernel(k.kernel, k.env, k.fn, k.params) for k in view["kernels"]]
    skeletons = environment(templates_dir())
    name = program.name
    files = {f"{name}.h": "brain.h.j2", f"{name}.c": "brain.c.j2"}
    if view["places"]:
        files[f"{name}_weights.S"] = "weights.S.j2"
    bundle = {f: skeletons.get_template(t).render(brain=view).encode() for f, t in files.items()}
    if view["places"]:
        bundle[f"{name}_weights.S.bin"] = view["blob"]
    return bundle


def emit_harness(program: Program, *, empty: bool = False) -> Bundle:
    """main.c for the simulators: reads samples, runs the entry, writes the outputs."""
    view = harness_view(program, empty=empty)
    text = environment(templates_dir()).get_template("harness.c.j2").render(brain=view)
    return {"main.c": text.encode()}


def emit_library(program: Program, report: Mapping[str, Any]) -> Bundle:
    """The C library and its report, side by side: files for any build system."""
    return {**emit(program), "report.json": _report(report)}


def emit_project(program: Program, report: Mapping[str, Any]) -> Bundle:
    """For a board its PlatformIO project with the library inside; elsewhere the library alone."""
    templates = project.files(program)
    if not templates:
        return emit_library(program, report)
    library = emit(program)
    view = project.view(program, library)
    files = {f"{project.library_folder(program)}/{name}": data for name, data in library.items()}
    for path, place in templates:
        text = environment(path.parent).get_template(path.name).render(brain=view)
        files[place] = text.encode()
    return {**files, "report.json": _report(report)}


def _report(report: Mapping[str, Any]) -> bytes:
    return (json.dumps(report, indent=2) + "\n").encode()

"""Views to text: C, header, weights, and the test program around them.

`emit` renders a `Program` into a Bundle, path to bytes; `formats.py` comes for what stands around it. The
templates see views only (`views.py`); nothing touches the disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import Extension

from brainc import ops
from brainc.host_views import host_view
from brainc.kernels import shown
from brainc.program import Program
from brainc.resources import templates_dir
from brainc.views import KernelView, brain_view, comment, harness_view
from brainc.weights import c_float

Bundle = Mapping[str, bytes]
Files = Mapping[str, bytes | Iterable[bytes]]  # a value may be a file's chunks, made as they are written


class _BlankLines(Extension):
    """Keeps a blank line after a control line; by itself Jinja takes it for a part of that line."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return re.sub(r"(?m)^([ \t]*//%.*\n)\n", r"\1{# +#}\n", source)


@cache
def environment(*folders: Path) -> jinja2.Environment:
    """Jinja as brainc uses it: control lines start with `//%`, a missing name is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        extensions=[_BlankLines],
        undefined=jinja2.StrictUndefined,
        line_statement_prefix="//%",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def render(template: Path, view: Mapping[str, Any]) -> bytes:
    """A template of files as text; it calls the view `brain`."""
    return environment(template.parent).get_template(template.name).render(brain=view).encode()


def render_kernel(view: KernelView) -> str:
    """One kernel as C: its template with the baked values filled in."""
    kernel, env = view.kernel, view.env
    values = {k: c_float(v) if isinstance(v, float) else v for k, v in shown(kernel, env).items()}
    folders = (kernel.path.parent, kernel.path.parents[1], templates_dir())  # for what it includes
    template = environment(*folders).from_string(kernel.body)
    text = template.render(fn=view.fn, params=view.params, **values, **view.parts)
    baked = " ".join(f"{name}={env[name]}" for name in kernel.bake)
    return f"/* {comment(f'{kernel.name}  {baked}'.strip())} */\n{text.strip()}\n"


def _machine(program: Program) -> str:
    """The target's port (types, where constants lie) and, unless the brain is to be plain C, its primitives."""
    names = ["port.h"] if program.portable else ["port.h", "primitives.h"]
    names += ["accents.h"] if program.host and len(program.host.voices) > 1 else []
    return "\n".join(_guts(path) for path in map(program.target.find, names) if path is not None)


def _arithmetic(program: Program) -> str:
    kinds = {kind[0] for c in program.choices.values() for kind in (*c.kernel.ins, *c.kernel.outs)}
    names = ["fixed.h", *(["float.h"] if "f" in kinds else [])]
    names += ["lanes.h"] if any(ops.get(node.op).bits for node in program.graph.nodes()) else []
    return "\n".join(_guts(templates_dir() / name) for name in names)


def _guts(header: Path) -> str:
    """A header's text without its include guard: it becomes a chapter of a larger file."""
    text = header.read_text(encoding="utf-8")
    if guard := re.search(r"^#ifndef (\w+_H)\n#define \1\n", text, re.MULTILINE):
        text = text.replace(guard[0], "").rpartition("#endif")[0]
    return text.strip() + "\n"


def emit(program: Program, trace: str = "") -> Bundle:
    """The C library: NAME.h, NAME.c and, where weights are large, NAME_weights.S and its .bin."""
    view, name = brain_view(program, trace), program.name
    view["port_h"], view["fixed_h"] = _machine(program), _arithmetic(program)
    view["kernels"] = [render_kernel(kernel) for kernel in view["kernels"]]
    bundle = {f"{name}.{end}": render(templates_dir() / f"brain.{end}.j2", view) for end in ("h", "c")}
    if view["places"]:
        bundle[f"{name}_weights.S"] = render(templates_dir() / "weights.S.j2", view)
        bundle[f"{name}_weights.S.bin"] = view["blob"]
    return bundle


def emit_harness(program: Program, *, empty: bool = False) -> Bundle:
    """main.c for the simulators: reads samples, runs the entry, writes the outputs."""
    return {"main.c": render(templates_dir() / "harness.c.j2", harness_view(program, empty=empty))}


def emit_host(program: Program, vocabulary: bytes = b"") -> Files:
    """A host program: NAME.h, NAME.c, NAME.weights (in chunks, with `vocabulary` as its last section), what both need
    of templates/runtime, and a CMakeLists.txt."""
    view, kernels, weights = host_view(program, vocabulary)
    view["port_h"], view["fixed_h"] = _machine(program), _arithmetic(program)
    view["kernels"] = [render_kernel(kernel) for kernel in kernels]
    name, folder = program.name, templates_dir() / "host"
    made = {f"{name}.h": "header.j2", f"{name}.c": "source.j2"}
    made |= {"main.c": "main.j2", "CMakeLists.txt": "CMakeLists.txt.j2"}
    runtime = {file: (templates_dir() / "runtime" / file).read_bytes() for file in view["runtime"]}
    return {**{path: render(folder / file, view) for path, file in made.items()}, **runtime, f"{name}.weights": weights}

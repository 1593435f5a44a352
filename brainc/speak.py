"""Language models that are talked with: built on first use, kept in the user's cache, then run.

`actions.py` knocks for `chat`, `generate` and `bench`; the path of a program leaves, or what it measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from brainc import __version__, formats, manifest, native, report, toolchain
from brainc.compiler import Request, compile_job, prepare
from brainc.errors import UserError
from brainc.formats import Delivery
from brainc.resources import targets_dir, templates_dir
from brainc.target import load_target

Note = Callable[[str], None]


def program(request: Request, target: str, note: Note, *, chats: bool = False) -> Path:
    """The program of a language model, as it was built before from the same content, or new.

    UserError: the brain is none, or is to chat and cannot.
    """
    brain = manifest.load(request.source)
    folder = toolchain.cache_dir() / "languages" / f"{brain.name}-{_digest(brain, request, target)}"
    if not (folder / native.REPORT).is_file():
        job = prepare(request, target)
        if job.language is None:
            what = f"{brain.name} is no language model"
            raise UserError(what, fix="`brainc run` and `brainc bench` are for other brains")
        for remark in (*job.remarks, *job.language.remarks):
            note(f"{brain.name} {remark}")
        note(f"building {brain.name} (once; it is kept in {folder})")
        made = compile_job(job)
        told = {"brain": brain.name, "target": target, "ports": report.ports(made), **report.host_data(made)}
        toolchain.write(folder, formats.make("project", Delivery(made), told))
    found = json.loads((folder / native.REPORT).read_text(encoding="utf-8"))["language"]
    if chats and not found["chats"]:
        what = f"{brain.name} cannot chat: its file has no chat template that brainc can follow"
        raise UserError(what, fix=f"let it continue a text: brainc generate {request.source} --prompt TEXT")
    return native.program(folder, brain.name, load_target(target))


def _digest(brain: manifest.Brain, request: Request, target: str) -> str:
    """Of all that the program is made from: models, wishes, and brainc itself."""
    sha = hashlib.sha256(repr((__version__, target, request.shapes, request.portable, request.isa)).encode())
    files = [module.file for module in brain.modules.values()]
    for path in [*files, *([request.source / manifest.FILE] if request.source.is_dir() else [])]:
        with path.open("rb") as stream:
            sha.update(hashlib.file_digest(stream, "sha256").digest())
    for folder in (Path(__file__).parent, templates_dir(), targets_dir()):
        newest = max(path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix not in (".pyc", ""))
        sha.update(str(newest).encode())
    return sha.hexdigest()[:16]


def run(path: Path, arguments: Sequence[str]) -> None:
    """Becomes the program; does not come back."""
    os.execv(path, [str(path), *arguments])


def is_language(source: Path) -> bool:
    """Whether a brain is a language model."""
    return any(module.kind == "gguf" for module in manifest.load(source).modules.values())


def figures(request: Request, target: str, threads: int | None, depths: Sequence[int], note: Note) -> dict[str, Any]:
    """Rates of reading 512 tokens and of writing behind `depths` others (0 first), memory, and the time to start."""
    path = program(request, target, note)
    given = ["--threads", str(threads)] if threads else []
    given += ["--isa", request.isa] if request.isa else []
    decode, data = [], dict[str, Any]()
    for depth in dict.fromkeys((0, *depths)):
        data = json.loads(toolchain.output([str(path), "--measure", "--depth", str(depth), *given]))
        decode.append(data["decode"])
    began = time.perf_counter()
    toolchain.output([str(path), "--prompt", "a", "--tokens", "1", *given])
    entries = {"prefill": data["prefill"], "decode": decode}
    told = {key: data[key] for key in ("threads", "isa")}
    header = (path.parent / f"{path.name}.h").read_text(encoding="utf-8")
    sizes = dict(re.findall(r"_(ARENA|STATE|THREAD|WEIGHTS)_BYTES (\d+)", header))
    memory = {word.lower(): int(size) for word, size in sizes.items()}
    start = {"start_seconds": time.perf_counter() - began, "memory_bytes": memory}
    return {"brain": path.name, "target": target, "brainc": __version__, "entries": entries, **told, **start}

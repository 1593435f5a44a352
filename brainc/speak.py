"""Language models that are talked with: built on first use, kept in the user's cache, then run.

`actions.py` knocks for `chat`, `generate` and `bench`; the path of a program leaves, or what it measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from brainc import __version__, formats, manifest, native, report, toolchain
from brainc.compiler import Request, check_speech, compile_job, prepare
from brainc.errors import ToolFailed, UserError
from brainc.formats import Delivery
from brainc.resources import targets_dir, templates_dir
from brainc.target import load_target

Note = Callable[[str], None]
END = 1 << 20  # bytes of a model's beginning and end that tell it from others
BEHIND = 128  # tokens that are written behind others to measure, see templates/runtime/report.c
UNUSED = 30 * 24 * 3600  # seconds after which a built model gives its room back, see `_forget`


def program(request: Request, target: str, note: Note, *, chats: bool = False) -> Path:
    """The program of a language model, as it was built before from the same files, or new.

    UserError: the brain is none, or is to chat and cannot; ToolMissing, ToolFailed: no C compiler, or it failed.
    """
    brain, machine = manifest.load(request.source), load_target(target)
    if not brain.speaks:
        what = f"{brain.name} is no language model"
        raise UserError(what, fix="`brainc run` and `brainc bench` are for other brains")
    check_speech(request, brain, machine)
    folder = toolchain.cache_dir() / "languages" / f"{brain.name}-{_digest(brain, request, target)}"
    if not _is_whole(folder, brain.name):
        _forget(folder.parent)
        _build(request, target, folder, note, chats)
    with suppress(OSError):
        os.utime(folder)  # it is in use, see `_forget`
    found = native.report_of(folder)
    if chats and not found["language"]["chats"]:
        raise _silent(request, brain.name, found["notes"])
    return native.program(folder, brain.name, machine)


def _is_whole(folder: Path, name: str) -> bool:
    """Whether a folder has what `_build` writes."""
    try:
        found, size = native.report_of(folder), native.number(folder / f"{name}.h", f"{name.upper()}_WEIGHTS_BYTES")
        told = "notes" in found and "chats" in found["language"]
        return told and (folder / f"{name}.weights").stat().st_size == size
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return False


def _build(request: Request, target: str, folder: Path, note: Note, chats: bool) -> None:
    """The sources and weights, where there is a compiler for them and, if it `chats`, a way to."""
    job = prepare(request, target)
    chain, language = job.target.toolchain, job.language
    toolchain.find_tool(chain.cc, packages=chain.packages)
    if chats and language is not None:
        if language.chat is None:
            raise _silent(request, job.brain.name, language.remarks)
        for remark in language.remarks:
            note(f"{job.brain.name}: {remark}")
    note(f"building {job.brain.name}; this is done once, and kept in {folder}")
    made = compile_job(job)
    told = {"brain": made.name, "target": target, "ports": report.ports(made), "notes": list(made.notes)}
    files = formats.make("project", Delivery(made), {**told, **report.host_data(made)})
    toolchain.write(folder, files, other=toolchain.CACHE)


def _forget(shelf: Path) -> None:
    """Removes the models built there that nobody has used for long: each is as large as its file."""
    with suppress(OSError):
        for folder in [each for each in shelf.iterdir() if each.stat().st_mtime < time.time() - UNUSED]:
            shutil.rmtree(folder, ignore_errors=True)


def _silent(request: Request, name: str, why: Sequence[str]) -> UserError:
    fix = f"let it continue a text: brainc generate {shlex.quote(str(request.source))} --prompt TEXT"
    return UserError(f"{name}: {'; '.join(why)}", fix=fix)


def _digest(brain: manifest.Brain, request: Request, target: str) -> str:
    """Of all that the program is made from: files (by place, size, date and both ends), wishes, and brainc itself."""
    sha = hashlib.sha256(repr((__version__, target, request.shapes, request.portable, request.isa)).encode())
    for module in brain.choose(target).modules.values():
        sha.update(repr((module.language, module.file.resolve())).encode())
        with module.file.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            sha.update(repr((size, os.fstat(file.fileno()).st_mtime_ns)).encode())
            for start in (0, max(size - END, 0)):
                file.seek(start)
                sha.update(file.read(END))
    for folder in (Path(__file__).parent, templates_dir(), targets_dir()):
        newest = max(path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix not in (".pyc", ""))
        sha.update(str(newest).encode())
    return sha.hexdigest()[:16]


def run(path: Path, arguments: Sequence[str]) -> None:
    """Becomes the program; does not come back."""
    if hasattr(signal, "SIGPIPE"):  # which Python ignores, and the program would, too: nobody reads any more
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(path, [str(path), *arguments])


def figures(request: Request, target: str, threads: int | None, depths: Sequence[int], note: Note) -> dict[str, Any]:
    """Rates of reading 512 tokens and of writing behind `depths` others (0 first), memory, and the time to start."""
    path = program(request, target, note)
    header = path.parent / f"{path.name}.h"
    context, deepest = native.number(header, f"{path.name.upper()}_CONTEXT"), max(depths, default=0)
    if deepest >= context:
        what = f"--depth {deepest:,}: there is a context of {context:,} tokens"
        raise UserError(what, fix=f"choose less, or give it more, if the model has it: --context {deepest + BEHIND}")
    given = ["--threads", str(threads)] if threads else []
    given += ["--isa", request.isa] if request.isa else []
    decode, data = [], dict[str, Any]()
    for depth in dict.fromkeys((0, *depths)):
        data = json.loads(toolchain.output([str(path), "--measure", "--depth", str(depth), *given]))
        decode.append(data["decode"])
    entries = {"prefill": data["prefill"], "decode": decode}
    told = {key: data[key] for key in ("threads", "isa")}
    sizes = dict(re.findall(r"_(ARENA|STATE|THREAD|WEIGHTS)_BYTES (\d+)", header.read_text(encoding="utf-8")))
    memory = {word.lower(): int(size) for word, size in sizes.items()}
    start = {"start_seconds": _started([str(path), *given]), "memory_bytes": memory}
    return {"brain": path.name, "target": target, "brainc": __version__, "entries": entries, **told, **start}


def _started(command: Sequence[str]) -> float | None:
    """Seconds until a token behind one letter was written; None where vocabulary or context have no room for it."""
    began = time.perf_counter()
    try:
        toolchain.output([*command, "--prompt", "a", "--tokens", "1"])
    except ToolFailed as error:
        if " ended with 2:" not in str(error):  # else it refused the text
            raise
        return None
    return time.perf_counter() - began

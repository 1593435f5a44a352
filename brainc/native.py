"""A built brain in this process: `brainc.load("DIR")` compiles the C in a folder for this machine and calls it.

Knocks: Python programs, with a folder that `brainc build` wrote for a desktop target. Leaves: a `Brain`, whose inputs
and outputs are numpy arrays, or a `Speaker` where it is a language model. The library is made once and kept in the
user's cache.
"""

from __future__ import annotations

import json
import operator
import os
import platform
import re
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cffi
import numpy as np

from brainc import toolchain
from brainc.dtypes import DTYPES, Array
from brainc.errors import ModelError, UserError, at
from brainc.target import Target, load_target

DESKTOP = 64  # bits of a machine that may be this one
REPORT = "report.json"
THREADS = 64  # at most, as templates/runtime/pool.h has it


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its name, the one it has in C, element type and shape."""

    name: str
    cname: str
    dtype: str
    shape: tuple[int, ...]

    def taken(self, given: Any) -> Array:
        """An array for this port as C wants it; UserError where it is another type or shape."""
        array = np.asarray(given)
        wanted = DTYPES[self.dtype].numpy
        if array.dtype != wanted or array.shape != self.shape:
            have, want = f"{array.dtype}{list(array.shape)}", f"{wanted}{list(self.shape)}"
            raise UserError(f"{self.name} takes {want}, not {have}", fix="convert the array first")
        return np.ascontiguousarray(array)


class Brain:
    """An instance of a brain, with a memory of its own."""

    def __init__(self, name: str, ram: int, library: Path, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> None:
        self.name, self.inputs, self.outputs = name, inputs, outputs
        types = ", ".join(["void *"] * (1 + len(inputs) + len(outputs)))
        self._ffi = cffi.FFI()
        self._ffi.cdef(f"void {name}_init(void *); void {name}_step({types});")
        self._code = self._ffi.dlopen(str(library))
        self._memory = self._ffi.new("uint64_t[]", -(-ram // 8))
        self.forget()

    def forget(self) -> None:
        """State to its start."""
        getattr(self._code, f"{self.name}_init")(self._memory)

    def step(self, **inputs: Any) -> dict[str, Array]:
        """One call: an array per input port, by its name or the one it has in C; an array per output port leaves."""
        missing = [p.name for p in self.inputs if not {p.name, p.cname} & inputs.keys()]
        surplus = inputs.keys() - {name for p in self.inputs for name in (p.name, p.cname)}
        if missing or surplus:
            ports = ", ".join(p.cname for p in self.inputs)
            raise UserError(f"{self.name} takes {ports}, not {', '.join(inputs) or 'nothing'}", fix="name its ports")
        arrays = [p.taken(inputs[p.cname if p.cname in inputs else p.name]) for p in self.inputs]
        results = [np.empty(p.shape, DTYPES[p.dtype].numpy) for p in self.outputs]
        places = [self._ffi.from_buffer(a) for a in arrays]
        places += [self._ffi.from_buffer(a, require_writable=True) for a in results]
        getattr(self._code, f"{self.name}_step")(self._memory, *places)
        return {p.name: a for p, a in zip(self.outputs, results, strict=True)}


class Speaker:
    """An instance of a language model, with threads and a memory of its own, until it is closed or nobody has it."""

    def __init__(self, folder: Path, name: str, library: Path, threads: int, isa: str | None) -> None:
        self.name, self._ffi, self._weights = name, cffi.FFI(), folder / f"{name}.weights"
        if _whole(threads, THREADS + 1) is None:
            raise UserError(f"threads={threads} is no whole number up to {THREADS}", fix="0: one for each processor")
        self.tokens = number(folder / f"{name}.h", f"{name.upper()}_TOKENS")  # in its vocabulary
        self._ffi.cdef(_SPEAKER.replace("NAME", name))
        self._library = self._ffi.dlopen(str(library))
        path, word = (self._ffi.new("char[]", text.encode()) for text in (str(self._weights), isa or ""))
        options = self._ffi.new(f"{name}_options *", (path, int(threads), 0, word if isa else self._ffi.NULL))
        place = self._ffi.new("void **")
        self._checked(self._call("open", place, options))
        self._place = place
        self._end = weakref.finalize(self, _close, self._library, name, place, os.getpid())  # when Python ends, too
        self._vocabulary = self._ffi.new("uint64_t[32]")  # br_vocabulary: pointers into the mapped file
        count = self._ffi.new("size_t *")
        section = self._call("vocabulary", self._brain, count)
        if self._library.br_vocabulary_open(self._vocabulary, section, count[0]) != 0:
            self.close()
            raise UserError(f"{self._weights} has no good vocabulary", fix="build it once more")

    def _call(self, function: str, *given: Any) -> Any:
        return getattr(self._library, f"{self.name}_{function}")(*given)

    def _open(self, part: Any) -> Any:
        """A part of the brain, which is there as long as it is not closed."""
        if not self._end.alive:
            raise UserError(f"{self.name} is closed", fix="load it once more")
        return part

    @property
    def _brain(self) -> Any:
        return self._open(self._place[0])

    def _checked(self, error: int) -> None:
        if error:
            what = self._ffi.string(self._call("error", error)).decode()
            what += f" ({self._weights})" if error in _OF_WEIGHTS else ""
            fix = _FIXES.get(error, "see NAME.h in the folder for what this means").replace("NAME", self.name)
            raise UserError(f"{self.name}: {what}", fix=fix)

    @property
    def isa(self) -> str:
        """The kernels that run: a word of those that NAME.h lists."""
        return str(self._ffi.string(self._call("isa", self._brain)).decode())

    def _logits(self) -> Array:
        place = self._call("logits", self._brain)
        return np.frombuffer(self._ffi.buffer(place, 4 * self.tokens), np.float32).copy()

    def _token(self, given: Any) -> int:
        token = _whole(given, self.tokens)
        if token is None:
            what = f"{given!r} is not in the vocabulary of {self.name}, the numbers from 0 to {self.tokens - 1}"
            raise UserError(what, fix="give tokens: whole numbers, as its tokenize makes them")
        return token

    def _tokens(self, given: Iterable[int]) -> list[int]:
        if isinstance(given, str | bytes):
            raise UserError("a text is no list of tokens", fix="tokenize it first: model.read(model.tokenize(text))")
        return [self._token(token) for token in given]

    def read(self, tokens: Iterable[int]) -> Array:
        """Reads tokens behind those before; the logits of what follows, float32 [tokens of the vocabulary]."""
        given = self._tokens(tokens)
        if not given:
            raise UserError("there are no tokens to read", fix="give at least one")
        self._checked(self._call("prefill", self._brain, self._ffi.new("int32_t[]", given), len(given)))
        return self._logits()

    def step(self, token: int) -> Array:
        """Reads one token; the logits of what follows."""
        self._checked(self._call("decode", self._brain, self._token(token), self._ffi.NULL))
        return self._logits()

    def forget(self) -> None:
        """Back to the first position."""
        self._call("forget", self._brain)

    def tokenize(self, text: str, special: bool = False, ends: bool = True) -> list[int]:
        """The tokens of a text. special: what looks like a control token is one; ends: begins as the model wants."""
        data, vocabulary = _utf8(text), self._open(self._vocabulary)
        room = int(self._library.br_tokenize_work(len(data)))
        work, tokens = self._ffi.new("uint64_t[]", room // 8 + 1), self._ffi.new("int32_t[]", 3 * len(data) + 8)
        flags = (1 if special else 0) | (2 if ends else 0)
        count = self._library.br_tokenize(vocabulary, data, len(data), flags, work, room, tokens, len(tokens))
        if count < 0:
            raise UserError(f"a text of {len(data):,} bytes is too long to be cut in one piece", fix="give it in parts")
        return list(tokens[0:count])

    def text(self, tokens: Iterable[int], special: bool = False) -> str:
        """The text that tokens stand for; control tokens are left out unless `special`."""
        return b"".join(self._piece(token, special) for token in self._tokens(tokens)).decode("utf-8", "replace")

    def _piece(self, token: int, special: bool) -> bytes:
        def spell(*room: Any) -> int:
            return int(self._library.br_token_text(self._open(self._vocabulary), token, int(special), *room))

        room = self._ffi.new("char[]", spell(self._ffi.NULL, 0) or 1)
        return bytes(self._ffi.buffer(room, spell(room, len(room))))

    def close(self) -> None:
        """Gives back its memory and threads; nothing can be called afterwards but this."""
        self._end()

    def __enter__(self) -> Speaker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _close(library: Any, name: str, place: Any, owner: int) -> None:
    """Ends a brain's threads while the code that they run is there; in a fork there are none that could end."""
    if os.getpid() == owner:
        getattr(library, f"{name}_close")(place[0])


def _whole(given: Any, end: int) -> int | None:
    """A whole number from 0 to below `end`, or None."""
    try:
        found = operator.index(given)
        return found if 0 <= found < end and not isinstance(given, bool) else None
    except TypeError:
        return None


def _utf8(text: str) -> bytes:
    if not isinstance(text, str):
        raise UserError(f"a text is a str, not {type(text).__name__}", fix="decode it first, as bytes.decode does")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        what = f"character {error.start} of the text is half a character, which UTF-8 cannot spell"
        raise UserError(what, fix='mend it: text.encode("utf-8", "replace").decode()') from error


_OF_WEIGHTS = (1, 2)  # codes of NAME.h
_FIXES = {
    **dict.fromkeys(_OF_WEIGHTS, "build it once more"),
    3: "build it with a smaller --context, or with --kv q8",
    4: "load it with fewer threads",
    5: "leave isa out, or give another of those that NAME.h lists",
    8: "forget what was read, or build it with a larger --context",
}
_SPEAKER = """
typedef struct { const char *weights; int32_t threads, context; const char *isa; } NAME_options;
int NAME_open(void **brain, const NAME_options *options);
int NAME_prefill(void *brain, const int32_t *tokens, size_t n);
int NAME_decode(void *brain, int32_t token, const float **logits);
const float *NAME_logits(const void *brain);
void NAME_forget(void *brain);
void NAME_close(void *brain);
const char *NAME_error(int code);
const char *NAME_isa(const void *brain);
const void *NAME_vocabulary(const void *brain, size_t *bytes);
int br_vocabulary_open(void *vocabulary, const void *section, size_t bytes);
size_t br_tokenize_work(size_t bytes);
int32_t br_tokenize(const void *vocabulary, const char *text, size_t bytes, int flags, void *work, size_t room,
    int32_t *tokens, size_t capacity);
size_t br_token_text(const void *vocabulary, int32_t token, int special, char *text, size_t capacity);
"""


def load(folder: str | Path, *, threads: int = 0, isa: str | None = None) -> Brain | Speaker:
    """The brain in a folder that `brainc build -o` wrote for a desktop target, compiled for this machine.

    threads (0: one for each processor) and isa (None: the best there is) are for language models.
    UserError: there is none, or it is for another machine; ToolMissing, ToolFailed: no C compiler, or it failed.
    """
    place = Path(folder)
    if not isinstance(isa, str | None):
        raise UserError(f"isa is a str, not {type(isa).__name__}", fix='give isa="avx2", or leave it out')
    with at(file=str(place)):
        report = report_of(place)
        name, target = str(report["brain"]), load_target(str(report["target"]))
        if not _is_here(target):
            fix = f"build it once more with -t c99: brainc build … -t c99 -o {place}"
            raise UserError(f"{name} was built for {target.title}, not for this machine", fix=fix)
        if "language" in report:
            return Speaker(place, name, speaker_library(place, name, target), threads, isa)
        library = _library(place, name, target)
        ports = report["ports"]
        ins, outs = (tuple(map(_port, ports[side])) for side in ("inputs", "outputs"))
        return Brain(name, number(place / f"{name}.h", f"{name.upper()}_RAM_BYTES"), library, ins, outs)


def speaker_library(place: Path, name: str, target: Target) -> Path:
    """The C in a language model's folder as a shared library (its program is in it, which does no harm)."""
    return toolchain.shared(target, sorted(place.glob("*.c")), name, plain=True)


def program(place: Path, name: str, target: Target) -> Path:
    """The program in a folder, compiled there."""
    made = place / name
    if not os.access(made, os.X_OK) or made.stat().st_size == 0:
        toolchain.link_here(target, sorted(place.glob("*.c")), made)
    return made


def _is_here(target: Target) -> bool:
    """Whether a target may be this machine."""
    named = not target.machines or platform.machine() in target.machines
    return target.word == DESKTOP and not target.abstract and named


def report_of(place: Path) -> Mapping[str, Any]:
    """What `brainc build` told of the brain in a folder; UserError: there is none."""
    try:
        report = json.loads((place / REPORT).read_text(encoding="utf-8"))
        if {"brain", "target", "ports"} <= report.keys():
            return dict(report)
    except (OSError, ValueError, AttributeError):
        pass
    raise UserError(f"{place} holds no built brain", fix=f"write one: brainc build SOURCE -t c99 -o {place}")


def _port(entry: Mapping[str, Any]) -> Port:
    return Port(entry["name"], entry["c"], entry["dtype"], tuple(entry["shape"]))


def number(header: Path, macro: str) -> int:
    """What a header defines."""
    found = re.search(rf"#define {macro} (\d+)", header.read_text(encoding="utf-8"))
    if found is None:
        raise ModelError(f"{header.name} does not say what {macro} is", fix="build it once more")
    return int(found[1])


def _library(place: Path, name: str, target: Target) -> Path:
    """The C of the folder as a shared library."""
    sources = [p for p in (place / f"{name}.c", place / f"{name}_weights.S") if p.is_file()]
    return toolchain.shared(target, sources, name)

"""What the templates of host programs see: a brain with a language, its kernels in several accents, threads, a file of
weights.

Made for `emit.py`. A call of a kernel is a word: the same in every accent for who reads the entry, one C function in
each, which knows the sizes. Constants lie in NAME.weights, each packed once and made again when the file is written,
so that no more than one of them is ever in memory.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from brainc import __version__, ops
from brainc.chain_views import Spots
from brainc.dtypes import Array, of_numpy
from brainc.errors import BugError
from brainc.ir import Node
from brainc.kernels import Choice
from brainc.program import Host, Program
from brainc.spec import changes_state
from brainc.spmd import ALIGN, EntryLayout, Home, Who
from brainc.views import KernelView, Viewer, comment, listed
from brainc.weights import Packed, c_float

MAGIC, HEAD = b"BRAINCW1", struct.Struct("<8sQ32s16x")  # of NAME.weights: its size, and the hash of all behind the head
# Of templates/runtime, for the library and for the program.
LIBRARY = ("map", "pool", "vocabulary", "tokenize", "merge", "words", "unicode", "unicode_table", "sample")
LITERAL = 4095  # bytes of a string that C99 promises to take
PROGRAM = ("talk", "typing", "options", "report", "program")
WITHOUT_HEADER = ("tokenize", "unicode_table")  # which another one's header declares
HEADERS = ("exact",)  # that declare nothing


@dataclass(frozen=True, slots=True)
class Stored:
    """A constant in the file of weights: where, and how to make it."""

    offset: int
    nbytes: int
    make: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Weights:
    """NAME.weights in chunks, made anew every time they are asked for."""

    head: bytes
    tensors: tuple[Stored, ...]
    vocabulary: bytes
    vocabulary_at: int

    @property
    def nbytes(self) -> int:
        return self.vocabulary_at + len(self.vocabulary)

    def __iter__(self) -> Iterator[bytes]:
        yield self.head
        end = len(self.head)
        for tensor in self.tensors:
            yield bytes(tensor.offset - end)
            yield tensor.make()
            end = tensor.offset + tensor.nbytes
        yield bytes(self.vocabulary_at - end) + self.vocabulary


@dataclass(frozen=True, slots=True)
class WordView:
    """A kernel call as entries make it: name, parameters, and the statements that say it in each accent."""

    name: str
    params: str
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AccentView:
    """One accent: its words as (name, parameters, statements)."""

    name: str
    title: str
    check: str
    words: tuple[WordView, ...]


@dataclass(frozen=True, slots=True)
class HostStep:
    """A step of an entry. meets: all threads meet before it; spare: from here on only the results are worked out."""

    note: str
    call: str
    meets: bool
    spare: bool


@dataclass(frozen=True, slots=True)
class HostEntry:
    """An entry: its steps and where its ports lie, as C writes them."""

    name: str
    ports: tuple[str, ...]
    steps: tuple[HostStep, ...]


class HostViewer(Viewer):
    """Views of a Program that is a host program."""

    def __init__(self, program: Program, host: Host) -> None:
        super().__init__(program)
        self.host = host
        self.tensors: list[Stored] = []
        self.words: dict[tuple[object, ...], WordView] = {}
        self._end, self._split = HEAD.size, False
        self._sha = hashlib.sha256()

    # -- constants ----------------------------------------------------------------------------------

    def stored(self, layer: str, name: str, recipe: str, make: Callable[[], Array]) -> Packed:
        """A constant gets its place in the file; its numbers are not kept."""
        array = make()
        dtype, offset = of_numpy(array.dtype) or self.graph.type(name).dtype, -(-self._end // ALIGN) * ALIGN
        self._sha.update(bytes(offset - self._end) + _little(array))
        self._end = offset + array.nbytes
        self.tensors.append(Stored(offset, array.nbytes, lambda: _little(make())))
        return Packed(f"W({dtype.c}, {offset})", dtype, np.empty(0, array.dtype), name)

    def weights(self, vocabulary: bytes) -> Weights:
        """The file, when every constant has its place."""
        at = -(-self._end // ALIGN) * ALIGN
        self._sha.update(bytes(at - self._end) + vocabulary)
        head = HEAD.pack(MAGIC, at + len(vocabulary), self._sha.digest())
        return Weights(head, tuple(self.tensors), vocabulary, at)

    # -- words --------------------------------------------------------------------------------------

    def share(self, end: str, shares: int) -> str:
        if not self._split:
            return super().share(end, shares)
        return f"br_{end}({shares}, part)"

    def place(self, name: str, spots: Spots | None, kind: str = "") -> str:
        if spots is None:
            return ""
        ctype = "uint8_t" if kind == "any" else self.graph.type(name).dtype.c
        return spots.at[name].replace("TYPE", ctype)

    def _argument(self, node: Node, choice: Choice, arg: str, spots: Spots | None) -> list[tuple[str, str]]:
        if arg == "scratch":
            return [("uint8_t *scratch", f"own + {spots.scratch}" if spots else "")]
        return [(p, re.sub(r"^BR_CREF\((.*)\)$", r"\1", a)) for p, a in super()._argument(node, choice, arg, spots)]

    def word(self, node: Node, layout: EntryLayout) -> str:
        """The statement that runs a node on this thread."""
        who = layout.who[node.name]
        self._split = who is Who.SHARES
        names = (*node.operands, *node.outputs)
        at = {n: _at(layout.homes[n]) for n in names if n in layout.homes}
        spots = Spots(at, str(layout.scratch.get(node.name, 0)))
        given: dict[tuple[str, str], str] = {}  # (parameter, what it gets) to its name
        said = tuple(self._said(node, voice.choices[node.name], spots, given) for voice in self.host.voices)
        params = [_named(parameter, name) for (parameter, _), name in given.items()]
        params += ["br_part part"] if self._split else []
        word = self._word(node.op, params, said, set(given.values()))
        arguments = [argument for _, argument in given] + (["part"] if self._split else [])
        call = f"run->{word.name}({listed(arguments, len(word.name) + 10)});"
        return f"if (thread == 0) {{\n        {call}\n    }}" if who is Who.FIRST else call

    def _said(self, node: Node, choice: Choice, spots: Spots, given: dict[tuple[str, str], str]) -> str:
        """A node's kernel called with what is given as pointers, each under a name, and with the sizes in numbers."""
        arguments = []
        for parameter, argument in self._arguments(node, choice, spots):
            if "*" in parameter or parameter.startswith("BR_CP"):
                name = re.findall(r"\w+", parameter)[-1]
                while (parameter, argument) not in given and name in given.values():
                    name += "_"
                argument = given.setdefault((parameter, argument), name)
            arguments.append(argument)
        fn = self.function(node, choice)
        return f"{fn}({listed(arguments, len(fn))});"

    def _word(self, op: str, params: Sequence[str], said: tuple[str, ...], names: set[str]) -> WordView:
        key = (tuple(params), said)
        if key not in self.words:
            name = f"{op}_{len(self.words)}"
            unused = [
                sorted(n for n in {*names, *(["part"] if self._split else [])} if not _mentions(s, n)) for s in said
            ]
            bodies = (f"{s}{''.join(f' (void){n};' for n in rest)}" for s, rest in zip(said, unused, strict=True))
            self.words[key] = WordView(name, listed(params, len(name) + 24), tuple(bodies))
        return self.words[key]

    def accents(self) -> Iterator[AccentView]:
        """Every accent with what it says for each word."""
        for index, voice in enumerate(self.host.voices):
            words = (replace(word, said=word.said[index : index + 1]) for word in self.words.values())
            yield AccentView(voice.accent.name, comment(voice.accent.title), voice.accent.check, tuple(words))

    # -- entries ------------------------------------------------------------------------------------

    def host_entry(self, layout: EntryLayout) -> HostEntry:
        entry = next(e for e in self.graph.entries if e.name == layout.name)
        last = max((i for i, node in enumerate(layout.nodes) if changes_state(node)), default=-1)
        steps = tuple(
            HostStep(self.told(node, layout), self.word(node, layout), node.name in layout.meets, index == last + 1)
            for index, node in enumerate(layout.nodes)
        )
        places = (
            _at(layout.homes[p]).replace("TYPE", self.graph.type(p).dtype.c) for p in (*entry.inputs, *entry.outputs)
        )
        return HostEntry(entry.name, tuple(places), steps)

    def told(self, node: Node, layout: EntryLayout) -> str:
        """What a step does, for the reader."""
        known = (f"{i} " if self.graph.is_const(i) else "" for i in node.operands)  # weights by their names
        shapes = ", ".join(f"{name}{self.graph.type(i)}" for name, i in zip(known, node.operands, strict=True))
        outs = ", ".join(str(self.graph.type(o)) for o in node.outputs)
        work = f"  {macs:,} MACs" if (macs := self.program.macs(node)) else ""
        return comment(
            f"{node.name}: {node.op} {shapes}{f' -> {outs}' if outs else ''}{work}; {layout.who[node.name].value}"
        )

    def starts(self) -> Iterator[str]:
        """Statements that put states to their start, those that would else be seen."""
        users = self.graph.consumers()
        for name, home in self.host.layout.states.items():
            value = self.graph.values[name]
            if value.const is not None:
                packed = self.stored(name, name, "", value.array)
                yield f"memcpy(m + {home.offset}, {packed.symbol}, {home.nbytes});"
            elif not all(ops.get(node.op).fresh for node in users.get(name, ())):
                zero = value.type.quant.zero[0] if value.type.quant else 0
                yield f"memset(m + {home.offset}, {zero & 0xFF}, {home.nbytes});"


def _little(array: Array) -> bytes:
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _at(home: Home) -> str:
    return f"{'OWN' if home.own else 'AT'}(TYPE, {home.offset})"


def _named(parameter: str, name: str) -> str:
    return re.sub(r"\w+$", name, parameter)


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def host_view(program: Program, vocabulary: bytes = b"") -> tuple[dict[str, Any], list[KernelView], Weights]:
    """(what the templates show, the kernels to render, the file of weights)."""
    if program.host is None:
        raise BugError(f"{program.name} is no host program", fix="please report this")
    viewer = HostViewer(program, program.host)
    entries = [viewer.host_entry(layout) for layout in program.host.layout.entries]
    starts = list(viewer.starts())
    weights = viewer.weights(vocabulary)
    files = (*LIBRARY, *PROGRAM)
    view = {
        "name": program.name,
        "upper": program.name.upper(),
        "version": __version__,
        "target": program.target.name,
        "title": comment(program.target.title),
        "notes": [f"{comment(note)}." for note in program.notes],
        "entries": entries,
        "words": [*viewer.words.values()],
        "accents": [*viewer.accents()],
        "starts": starts,
        "tokens": program.graph.type(program.graph.entries[0].outputs[0]).shape[-1],
        "runtime": [*(f"{n}.c" for n in files), *(f"{n}.h" for n in (*HEADERS, *files) if n not in WITHOUT_HEADER)],
        "sources": [f"{program.name}.c", *(f"{name}.c" for name in LIBRARY)],
        "program": ["main.c", *(f"{name}.c" for name in PROGRAM)],
        **_speaking(program.host),
        **_sizes(program.host, weights),
    }
    return view, list(viewer.functions.values()), weights


def _speaking(host: Host) -> dict[str, Any]:
    """How the program chats and draws, as C writes it."""
    language, chat, s = host.language, host.language.chat, host.language.sampling
    texts = ("opening", "after_user", "after_answer")
    chats = chat and {
        **{key: c_text(getattr(chat, key)) for key in texts},
        "system": chat.system and [*map(c_text, chat.system)],
        "trims": int(chat.trims),
    }
    reals = ("temperature", "top_p", "min_p", "repeat_penalty")
    sampling = {key: c_float(getattr(s, key)) for key in reals} | {"top_k": s.top_k, "seed": s.seed}
    system = "NULL" if language.system is None else c_text(language.system)
    return {"chat": chats, "sampling": sampling, "system": system}


def c_text(text: str) -> str:
    """A text as a C string: line ends as such, else what is no plain letter in octal, which ends after three digits.
    What is longer than compilers need to take: letter by letter."""
    data = text.encode()
    if len(data) > LITERAL:
        return "(const char[]){" + ", ".join(f"'\\{b:03o}'" for b in (*data, 0)) + "}"
    plain = (chr(b) if 0x20 <= b < 0x7F and chr(b) not in '"\\?' else f"\\{b:03o}" for b in data)
    return '"' + "".join(plain).replace("\\012", "\\n") + '"'


def _sizes(host: Host, weights: Weights) -> dict[str, Any]:
    lines = (weights.head[i : i + 16] for i in range(0, HEAD.size, 16))
    return {
        "context": host.language.context,
        "block": host.language.block,
        "arena": host.layout.arena,
        "state": host.layout.state,
        "own": host.layout.own,
        "weights_bytes": weights.nbytes,
        "weights_head": [", ".join(f"{b:#04x}" for b in line) for line in lines],
        "vocabulary_at": weights.vocabulary_at,
        "vocabulary_bytes": len(weights.vocabulary),
    }

"""What a brain that reads and writes text knows besides its graph.

A frontend fills it in; the compiler carries it along, and the host program is made with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from brainc.dtypes import Array
from brainc.errors import UnsupportedError
from brainc.toml_lines import Table, one_of

Settings = Mapping[str, int | float | str]
SIZES = ("context", "block", "kv")  # of a graph, see frontends/gguf
BITS = {"q16": 16, "q8": 8, "f16": 16}  # how people call what kv may be; the last as llama.cpp calls 16 bits
SYSTEM = 32_000  # bytes of a system prompt
LIMITS: Mapping[str, tuple[type[int] | type[float], float, float]] = {
    "temperature": (float, 0.0, 100.0),
    "top_k": (int, 0, 1 << 30),
    "top_p": (float, 0.0, 1.0),
    "min_p": (float, 0.0, 1.0),
    "repeat_penalty": (float, 0.01, 100.0),
    "seed": (int, 0, (1 << 64) - 1),
}


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The texts between what two sides say: opening, user, after_user, answer, after_answer, user, after_user …

    system: before and behind what the system says, up to what the user says first, in place of the opening; None: there
    is no such thing. trims: what they say loses the spaces at its ends.
    """

    opening: str
    after_user: str
    after_answer: str
    system: tuple[str, str] | None = None
    trims: bool = False

    def text(self, messages: Sequence[Mapping[str, str]]) -> str:
        """A conversation of messages (role, content), the system's first if it speaks at all."""
        said = [m["content"].strip() if self.trims else m["content"] for m in messages]
        parts = [self.opening]
        if messages[0]["role"] == "system":
            before, behind = self.system or ("", "")
            parts, said = [before, said[0], behind], said[1:]
        for index, text in enumerate(said):
            parts += [text, self.after_answer if index % 2 else self.after_user]
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a language model, and how a text becomes some of them.

    kind: "bpe" merges bytes pair by pair, in the order of `merges` ("left right"); "spm" merges characters into the
    piece of the highest score. pre: how GGUF files call the way "bpe" cuts a text before. pieces: the token's text as
    the file has it ("bpe": a character for each byte; "spm": U+2581 for a space). types: 1 normal, 2 unknown, 3
    control, 4 user defined, 5 unused, 6 a byte; any other is read like a normal one and writes nothing. bos, eos, eot,
    unk: tokens that begin, end, end a turn, stand for what is unknown.
    """

    kind: str
    pre: str
    pieces: tuple[bytes, ...]
    scores: Array  # f32[N]
    types: Array  # i32[N]
    merges: tuple[bytes, ...] = ()
    bos: int | None = None
    eos: int | None = None
    eot: int | None = None
    unk: int | None = None
    add_bos: bool = False
    add_eos: bool = False
    add_space_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a program draws tokens where nobody says otherwise; see templates/runtime/sample.h."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Language:
    """What a language model knows besides its graph: how far it looks back, how much it reads at a time, its tokens,
    how a conversation is written (None: it only continues texts), and what the user should be told."""

    context: int
    block: int
    vocabulary: Vocabulary
    chat: ChatFormat | None = None
    remarks: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    system: str | None = None

    def told(self, settings: Settings) -> Language:
        """The same, as a manifest's settings have it."""
        own: dict[str, Any] = {key: settings[key] for key in LIMITS if key in settings}
        system = settings.get("system", self.system)
        return replace(self, sampling=replace(self.sampling, **own), system=None if system is None else str(system))


def without(options: Mapping[str, object]) -> None:
    """UnsupportedError where the user gave one of these, which mean nothing to a language model."""
    if given := [name for name, value in options.items() if value]:
        fix = f"leave {'it' if len(given) == 1 else 'them'} out"
        raise UnsupportedError(f"a language model has no use for {' and '.join(given)}", fix=fix)


def settings_of(table: Table, key: str) -> Settings:
    """A manifest's `language = { context = 4096, kv = "q8", system = "…", temperature = 0.7 }`, all within limits."""
    table = table.table(key).only((*SIZES, *LIMITS, "system"))
    said: dict[str, Any] = {}
    for name in ("context", "block"):
        if (size := table.get(name, int)) is not None:
            said[name] = size
    if (kv := table.get("kv", str)) is not None:
        said["kv"] = BITS[one_of(kv, BITS, f'kv = "{kv}" is not available', table.where("kv"))]
    for name, (kind, least, most) in LIMITS.items():
        item = table.items.get(name)
        number: Any = float(item) if kind is float and type(item) is int else item
        if number is not None and (type(number) is not kind or not least <= number <= most):
            raise table.error(f"{name} = {item} is not a number from {least} to {most}", fix="correct it", key=name)
        said |= {} if number is None else {name: number}
    system = table.get("system", str)
    if system is not None and ("\0" in system or len(system.encode()) > SYSTEM):
        what = f"the system prompt is longer than {SYSTEM:,} bytes, or has a zero in it"
        raise table.error(what, fix="shorten it, or leave the zero out", key="system")
    return said if system is None else {**said, "system": system}

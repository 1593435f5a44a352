# ruff: noqa: RUF001, SIM905
"""Tokenizers of host programs for tests: the runtime's C around a packed vocabulary, and texts to try them on."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from runtime import library

from brainc.language import Vocabulary
from brainc.resources import templates_dir
from brainc.vocabulary_section import pack

SOURCES = ("vocabulary", "tokenize", "merge", "words", "unicode", "unicode_table")
SPECIAL, ENDS = 1, 2
U32 = ctypes.c_uint32


class Opened(ctypes.Structure):
    """br_vocabulary: pointers."""

    _fields_ = [(f"part{i}", ctypes.c_void_p) for i in range(13)]


def runtime_files() -> list[Path]:
    return [templates_dir() / "runtime" / f"{name}.c" for name in SOURCES]


def runtime_library(folder: Path, compiler: str = "gcc") -> ctypes.CDLL:
    """The C of tokenizers, loaded."""
    code = library(folder, *runtime_files(), compiler=compiler)
    code.br_tokenize_work.restype = code.br_token_text.restype = ctypes.c_size_t
    return code


def unicode_runs(code: ctypes.CDLL) -> list[int]:
    """The table of kinds of characters, as unicode.h describes it."""
    count = U32.in_dll(code, "br_unicode_run_count").value
    return list((U32 * count).in_dll(code, "br_unicode_runs"))


@dataclass
class Tokenizer:
    """A vocabulary as C reads it. work: bytes of work space given, what surely suffices if None."""

    code: ctypes.CDLL
    vocabulary: Vocabulary
    work: int | None = None

    def __post_init__(self) -> None:
        section = pack(self.vocabulary)
        self.section = np.zeros(len(section) + 64, np.uint8)
        start = -self.section.ctypes.data % 64
        self.section[start : start + len(section)] = np.frombuffer(section, np.uint8)
        self.opened = Opened()
        place = ctypes.c_void_p(self.section.ctypes.data + start)
        assert self.code.br_vocabulary_open(ctypes.byref(self.opened), place, ctypes.c_size_t(len(section))) == 0

    def ids(self, text: str | bytes, flags: int = 0) -> list[int]:
        """The tokens of a text; their number alone is checked first."""
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        size = ctypes.c_size_t(len(data))
        room = self.code.br_tokenize_work(size) if self.work is None else self.work
        work = ctypes.create_string_buffer(room + 8)
        aligned = ctypes.c_void_p(ctypes.addressof(work) + -ctypes.addressof(work) % 8)
        capacity = 3 * len(data) + 8
        tokens = (ctypes.c_int32 * capacity)()
        rest = (ctypes.byref(self.opened), data, size, flags, aligned, ctypes.c_size_t(room))
        count: int = self.code.br_tokenize(*rest, tokens, ctypes.c_size_t(capacity))
        if count < 0:
            raise MemoryError(f"{room} bytes of work space do not suffice")
        return tokens[:count]

    def text(self, tokens: Sequence[int], special: bool = False) -> bytes:
        """What tokens stand for, together."""
        return b"".join(self.piece(token, special) for token in tokens)

    def piece(self, token: int, special: bool = False) -> bytes:
        """What a token stands for."""
        room = ctypes.create_string_buffer(1024)
        count = self.code.br_token_text(
            ctypes.byref(self.opened), ctypes.c_int32(token), int(special), room, ctypes.c_size_t(len(room))
        )
        return room.raw[:count]

    def ends(self, token: int) -> bool:
        """Whether a model is done when it says this."""
        return bool(self.code.br_token_ends(ctypes.byref(self.opened), ctypes.c_int32(token)))


def vocabulary(kind: str, pieces: Sequence[bytes], **more: object) -> Vocabulary:
    """One of these pieces, normal ones of falling scores if not told otherwise."""
    count = len(pieces)
    given: dict[str, object] = {
        "pre": "gpt-2",
        "scores": np.arange(0, -count, -1).astype(np.float32),
        "types": np.ones(count, np.int32),
    }
    return Vocabulary(kind, pieces=tuple(pieces), **{**given, **more})  # type: ignore[arg-type]


SPACES = " |  |    |\t|\n|\n\n|\r\n|\r|\v|\f|\x85|\xa0|\u1680|\u2003|\u2028|\u3000".split("|")
WORDS = "Hello world the naïve can't CAN'T We'Ll it'S 're ' ''s I'D ſ'ſ L'été d'Or".split()
SCRIPTS = """
    Ελληνικά русский язык עברית العربية हिन्दी ไทย 中文字 日本語です 한국어 አማርኛ ქართული Việt İstanbul ıI ǅungla
    ﬀ ﬁ 𝔘𝔫𝔦 𐍈𐌰 مرحبا\u200fabc e\u0301a\u0308\u0323 \u0301\u0302 ᾳ
""".split()
SIGNS = """
    ! ?!… «» — $5.00 € a_b C++ x<=y>=z ^_^ ~ | ` @#%&* (a)[b]{c} \\n °C ™ 👍 👩‍👩‍👧‍👦 🇩🇪🇫🇷 1️⃣ ☺️ 👋🏽 ▁ ▁▁a <0x41> [UNK]
    <|im_start|> <s> </s> <bos> <unk> <end_of_turn> <b> </table>
""".split()
DIGITS = "0 12 123 1234 12345678901 3.14159 1,000,000 ½ ²³ Ⅷ ٣٤٥ १२३ ①② 𝟘𝟙 1²3 99°".split()
ODD = """
    \0 a\0b \x01\x02 \x7f \xad \u200b \u200d \u2060 \ufeff \ufffd \ue000 \U000f0000 \u0378 \U0001e000\U0001fbff
    \U0010ffff \ufdd0 \ud800 \udfff\ud834 \u061c \u180e \u2fff \U000323af
""".split()
KINDS = (SPACES, WORDS, SCRIPTS, SIGNS, DIGITS, ODD)


def random_text(seed: int) -> str:
    """A text of up to 40 parts of all kinds, seldom of one kind alone; some characters from anywhere."""
    rng = random.Random(seed)
    kinds = KINDS if rng.random() < 0.8 else (rng.choice(KINDS), SPACES)
    parts = [rng.choice(rng.choice(kinds)) for _ in range(rng.randrange(40))]
    parts += [chr(rng.randrange(0xD800)) for _ in range(rng.randrange(6))]
    parts += [chr(rng.randrange(0xE000, 0x110000)) for _ in range(rng.randrange(3))]
    rng.shuffle(parts)
    return rng.choice(("", " ")).join(parts)


def nasty_texts() -> list[str]:
    """200 and more: every part alone, between spaces, between letters, and long runs of one."""
    parts = [part for kind in KINDS for part in kind]
    runs = [c * n for c in " \n\ta1.'▁é中" for n in (1, 2, 3, 7, 31, 64, 300)]
    return ["", *parts, *(f" {p} {p}\n" for p in parts), *(f"a{p}1{p}!{p}" for p in parts), *runs]

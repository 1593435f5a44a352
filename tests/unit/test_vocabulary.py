"""Tokenizers on small vocabularies whose answers are known; bytes that are no text, long texts, damaged sections."""

from __future__ import annotations

import ctypes
import random
import shutil
import struct
import subprocess
import unicodedata
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unicode_classes
from runtime import WARNINGS
from tokenizing import (
    ENDS,
    SPECIAL,
    Opened,
    Tokenizer,
    nasty_texts,
    random_text,
    runtime_files,
    runtime_library,
    unicode_runs,
    vocabulary,
)

from brainc.errors import ModelError, UnsupportedError
from brainc.language import Vocabulary
from brainc.resources import templates_dir
from brainc.vocabulary_section import BYTE_OF, pack, splitter

GPT2, QWEN2, LLAMA3, NUMBER, NUMBERS, DIGITS, MARKS = range(1, 8)
CHAR_OF = {ord(byte): chr(char) for char, byte in BYTE_OF.items() if byte != "\u0100"}
SINGLE = [bytes([b]).decode("latin-1").translate(CHAR_OF).encode() for b in range(256)]
BYTES = [b"<0x%02X>" % b for b in range(256)]


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return runtime_library(tmp_path_factory.mktemp("vocabulary"))


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_it_is_c99_without_a_warning(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    files = map(str, runtime_files())
    subprocess.run([compiler, "-std=c99", "-pedantic", "-O2", *WARNINGS, "-c", *files], cwd=tmp_path, check=True)


def pairs(merges: Sequence[str], more: Sequence[bytes] = (), types: Sequence[int] = (), **rest: object) -> Vocabulary:
    """All bytes (token b is byte b), then what the merges make, then more tokens of these types."""
    made = [merge.replace(" ", "").encode() for merge in merges]
    pieces = list(dict.fromkeys([*SINGLE, *made])) + list(more)
    kinds = np.array([1] * (len(pieces) - len(types)) + list(types), np.int32)
    return vocabulary("bpe", pieces, merges=tuple(m.encode() for m in merges), types=kinds, **rest)


def scored(
    words: dict[str, float], more: Sequence[bytes] = (), types: Sequence[int] = (), **rest: object
) -> Vocabulary:
    """<unk>, all bytes (token 1 + b), then words by their scores, then more tokens of these types."""
    pieces = [b"<unk>", *BYTES, *(w.encode() for w in words), *more]
    kinds = np.array([2, *[6] * 256, *[1] * len(words), *types], np.int32)
    scores = np.array([0.0] * 257 + list(words.values()) + [0.0] * len(more), np.float32)
    return vocabulary("spm", pieces, types=kinds, scores=scores, unk=0, **rest)


def said(tokenizer: Tokenizer, text: str | bytes, flags: int = 0) -> list[str]:
    """The pieces that a text becomes, as the vocabulary writes them."""
    return [tokenizer.vocabulary.pieces[token].decode() for token in tokenizer.ids(text, flags)]


def test_pairs_merge_in_the_order_of_their_rank(code: ctypes.CDLL) -> None:
    t = Tokenizer(code, pairs(["l l", "h e", "ll o", "he llo", "Ġ w", "a a", "aa a"]))
    assert said(t, "hello hell") == ["hello", "Ġ", "he", "ll"]
    assert said(t, " world") == ["Ġw", "o", "r", "l", "d"]
    assert said(t, "aaaaa") == ["aa", "aaa"]  # "a a" from the left, twice; then "aa a" at the end
    assert said(t, "aaaa") == ["aa", "aa"]


def test_of_two_like_pairs_the_left_one_merges(code: ctypes.CDLL) -> None:
    assert said(Tokenizer(code, pairs(["a b", "b a"])), "bab") == ["b", "ab"]
    assert said(Tokenizer(code, pairs(["a a"])), "aaa") == ["aa", "a"]


def test_a_merge_counts_by_its_first_place(code: ctypes.CDLL) -> None:
    assert said(Tokenizer(code, pairs(["b c", "a b", "a b", "b c"])), "abc") == ["a", "bc"]


def test_merges_pass_through_what_is_no_token(code: ctypes.CDLL) -> None:
    """Symbols that end up as no token are written byte by byte; bytes that cannot be seen get lost, as in llama.cpp."""
    pieces = [piece for piece in SINGLE if piece != SINGLE[7]] + [b"abc"]
    t = Tokenizer(code, vocabulary("bpe", pieces, merges=(b"a b", b"ab c", b"x \xc4\xa0"), pre="gpt-2"))
    assert said(t, "abc") == ["abc"]
    assert said(t, "ab") == ["a", "b"]
    assert said(t, "a\x07b") == ["a", "b"]


def test_a_word_that_is_a_token_stays_whole_where_the_way_says_so(code: ctypes.CDLL) -> None:
    whole, merged = (Tokenizer(code, pairs(["a b"], [b"abc", b"\xc4\xa0abc"], pre=pre)) for pre in ("llama3", "dbrx"))
    assert said(whole, "abc abc") == ["abc", "Ġabc"]
    assert said(merged, "abc abc") == ["ab", "c", "Ġ", "ab", "c"]


def test_scores_merge_the_highest_first(code: ctypes.CDLL) -> None:
    t = Tokenizer(
        code, scored({"a": -9, "b": -9, "ab": -2, "bc": -1, "abc": -3, "bb": -5, "\u2581": -4, "\u2581a": -6})
    )
    assert said(t, "abc") == ["abc"]
    assert said(t, "cab") == ["<0x63>", "ab"]
    assert said(t, "abab") == ["ab", "ab"]
    assert said(t, "bbb") == ["bb", "b"]
    assert said(t, " a\u2581a") == ["\u2581a", "\u2581a"]
    assert said(t, "é\n") == ["<0xC3>", "<0xA9>", "<0x0A>"]
    assert t.text(t.ids("aé b\n")) == "aé b\n".encode()


def test_bytes_without_a_token_are_unknown(code: ctypes.CDLL) -> None:
    bare = vocabulary("spm", [b"<unk>", b"a", b"\n"], types=np.array([2, 1, 1], np.int32), unk=0)
    assert Tokenizer(code, bare).ids("aé\n") == [1, 0, 0, 2]


def test_a_space_comes_before_text_that_begins_or_follows_a_special_token(code: ctypes.CDLL) -> None:
    words = {"\u2581": -1.0, "a": -2.0, "\u2581a": -3.0}
    more = {"more": [b"<x>"], "types": [3]}
    with_space, without = (Tokenizer(code, scored(words, add_space_prefix=on, **more)) for on in (True, False))  # type: ignore[arg-type]
    assert said(with_space, "a<x>aa", SPECIAL) == ["\u2581a", "<x>", "\u2581a", "a"]
    assert said(without, "a<x>aa", SPECIAL) == ["a", "<x>", "a", "a"]
    assert said(with_space, "", SPECIAL) == []


def test_special_tokens_are_found_longest_first(code: ctypes.CDLL) -> None:
    """Control tokens where asked for, those that users defined always."""
    more = [b"<a>", b"<a><a>", b"  ", b"bb<a", b"<c>"]
    t = Tokenizer(code, pairs([], more, [3, 3, 4, 4, 2]))
    assert said(t, "<a><a><a>", SPECIAL) == ["<a><a>", "<a>"]
    assert said(t, "b<a>bb<a>", SPECIAL) == ["b", "<a>", "bb<a", ">"]
    assert said(t, "b<a>bb<a><c>") == ["b", "<", "a", ">", "bb<a", ">", "<", "c", ">"]
    assert said(t, "     ") == ["  ", "  ", "Ġ"]
    assert said(t, "<c>", SPECIAL) == ["<c>"]
    control, user = (t.vocabulary.pieces.index(piece) for piece in (b"<a>", b"  "))
    assert (t.piece(control), t.piece(control, special=True), t.piece(user)) == (b"", b"<a>", b"  ")
    assert t.piece(-1) == t.piece(len(t.vocabulary.pieces)) == b""


def test_a_token_whose_name_says_so_controls_and_ends(code: ctypes.CDLL) -> None:
    """Whatever its type: as in llama.cpp."""
    t = Tokenizer(code, pairs([], [b"<|im_end|>", b"<|fim_prefix|>"], [4, 1]))
    assert said(t, "<|im_end|><|fim_prefix|>", SPECIAL) == ["<|im_end|>", "<|fim_prefix|>"]
    assert {"<|im_end|>", "<|fim_prefix|>"}.isdisjoint(said(t, "<|im_end|><|fim_prefix|>"))
    assert (t.ends(256), t.ends(257)) == (True, False)


def test_begin_and_end_are_added_as_the_vocabulary_says(code: ctypes.CDLL) -> None:
    more = [b"<s>", b"</s>", b"<e>"]
    both = Tokenizer(code, pairs([], more, [3, 3, 3], bos=256, eos=257, eot=258, add_bos=True, add_eos=True))
    assert said(both, "a", ENDS) == ["<s>", "a", "</s>"]
    assert said(both, "", ENDS) == ["<s>", "</s>"]
    assert said(both, "a") == ["a"]
    assert [both.ends(token) for token in (0, 256, 257, 258, 999, -1)] == [False, False, True, True, False, False]


CUTS = (
    (GPT2, "it's 'tis we'll  go", ["it", "'s", " '", "tis", " we", "'ll", " ", " go"]),
    (GPT2, "a1 2b!? \t\n", ["a", "1", " 2", "b", "!?", " \t\n"]),
    (GPT2, "IT'S  ", ["IT", "'", "S", "  "]),
    (GPT2, "x \u3000 y\n", ["x", " \u3000", " y", "\n"]),
    (QWEN2, "IT'S 12a !b\n\n c  ", ["IT", "'S", " ", "1", "2", "a", " !", "b", "\n\n", " c", "  "]),
    (QWEN2, "a ?!\r\n\tb \n \n  c", ["a", " ?!\r\n", "\tb", " \n \n", " ", " c"]),
    (QWEN2, "IT'Sx I'LLx'Lx", ["IT", "'S", "x", " I", "'LL", "x", "'Lx"]),
    (LLAMA3, "12345 678", ["123", "45", " ", "678"]),
    (LLAMA3, "'\u017fx'", ["'\u017fx", "'"]),
    (NUMBER, "ab12\u00bdc", ["ab", "1", "2", "\u00bd", "c"]),
    (NUMBERS, "ab12\u00bdc", ["ab", "12\u00bd", "c"]),
    (DIGITS, "12345\u00b2678", ["123", "45\u00b2", "678"]),
    (MARKS, "a+b <=> `c`", ["a", "+", "b ", "<=>", " `c`"]),
)


@pytest.mark.parametrize(("cut", "text", "words"), CUTS)
def test_texts_are_cut_into_words(code: ctypes.CDLL, cut: int, text: str, words: list[str]) -> None:
    data, at, found = text.encode(), 0, []
    code.br_word_end.restype = ctypes.c_size_t
    while at < len(data):
        stop = code.br_word_end(cut, data, ctypes.c_size_t(at), ctypes.c_size_t(len(data)))
        found.append(data[at:stop].decode())
        at = stop
    assert found == words


def test_bytes_that_are_no_text_are_read_as_replacement_characters(code: ctypes.CDLL) -> None:
    """One a byte; spelling that is too long, and surrogates, as what they stand for. By scores: bytes stay bytes."""
    t = Tokenizer(code, pairs(["a b"]))
    broken = {b"\xff": "\ufffd", b"a\xe2\x82": "a\ufffd\ufffd", b"\xf4\x90\x80\x80": "\ufffd" * 4, b"\xc1\xa1b": "ab"}
    for spelt, meant in broken.items():
        assert t.ids(spelt) == t.ids(meant), spelt
    assert t.text(t.ids(b"\xed\xa0\x80")) == b"\xed\xa0\x80"
    assert Tokenizer(code, scored({})).ids(b"\xff\xe2\x82") == [1 + 0xFF, 1 + 0xE2, 1 + 0x82]


def test_text_comes_back(code: ctypes.CDLL) -> None:
    merges = ["t h", "th e", "Ġ the", "Ð \u00b8", "â ĸ", "âĸ ģ", "1 2"]
    for t in (
        Tokenizer(code, pairs(merges, pre="smollm")),
        Tokenizer(code, scored({"th": -1.0, "the": -2.0, "é": -3.0})),
    ):
        for text in (*nasty_texts(), *map(random_text, range(200))):
            data = text.encode("utf-8", "surrogatepass")
            want = data if t.vocabulary.kind == "bpe" else data.replace(b"\xe2\x96\x81", b" ")
            assert t.text(t.ids(data)).replace(b"\xe2\x96\x81", b" ") == want.replace(b"\xe2\x96\x81", b" ")
    assert t.ids("") == []


def test_work_space_is_asked_for_and_kept_to(code: ctypes.CDLL) -> None:
    """A long word needs it all; too little is told. (Nothing is written past its end: the sanitized run below.)"""
    made = pairs(["a a", "aa aa"])
    assert Tokenizer(code, made).ids(b"\xff" * 1000) == Tokenizer(code, made).ids("\ufffd" * 1000)
    for work in (0, 100, 20_000):
        with pytest.raises(MemoryError):
            Tokenizer(code, made, work).ids("a" * 1000)
    assert len(Tokenizer(code, made, 2000).ids("ab " * 300)) == 900


COUNTER = """
#include <stdint.h>
uint64_t blocks;
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void) { blocks++; }
"""


def test_a_long_text_takes_its_length_times_its_logarithm(tmp_path: Path) -> None:
    """Basic blocks run, counted by the compiler, for 1 MB of one letter, and for less of what else may go wrong."""
    (tmp_path / "counter.c").write_text(COUNTER)
    subprocess.run(["gcc", "-O2", "-fPIC", "-c", "counter.c", "-o", "counter.o"], cwd=tmp_path, check=True)
    flags = ["-std=c99", "-O2", "-shared", "-fPIC", "-fsanitize-coverage=trace-pc"]
    subprocess.run(
        ["gcc", *flags, *map(str, runtime_files()), "counter.o", "-o", "counted.so"], cwd=tmp_path, check=True
    )
    counted = ctypes.CDLL(str(tmp_path / "counted.so"))
    counted.br_tokenize_work.restype = ctypes.c_size_t
    blocks = ctypes.c_uint64.in_dll(counted, "blocks")
    words = {"a" * n: float(n % 7) for n in range(1, 17)}
    for made in (
        pairs(["a a", "aa aa", "aaaa aaaa"], [b"\n", b"\n\n", b"\n" * 30], [4, 4, 4]),
        scored(words, [b"\n", b"\n\n", b"\n" * 30], [4, 4, 4]),
    ):
        t = Tokenizer(counted, made)
        for letter, size in ((b"a", 1 << 20), (b"a", 1 << 14), (b"\n", 1 << 16), (b" ", 1 << 16), (b"\xff", 1 << 16)):
            blocks.value = 0
            assert t.ids(letter * size)
            assert blocks.value < 15 * size * size.bit_length(), (made.kind, letter, size)


HARNESS = """
#include "vocabulary.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char letters[] = "a<s> '1b\\n\\xE2\\x96\\x81";
static uint32_t seed = 1;

static uint32_t next(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

int main(int argc, char **argv)
{
    static unsigned char section[1 << 20];
    br_vocabulary v;
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    const size_t size = file == NULL ? 0 : fread(section, 1, sizeof section, file);
    unsigned char *exact = malloc(size);
    memcpy(exact, section, size);
    if (file == NULL || fclose(file) != 0 || br_vocabulary_open(&v, exact, size) != 0) {
        return 1;
    }
    for (int round = 0; round < 3000; round++) {
        const size_t bytes = next(60), room = round % 3 == 0 ? next(4000) : br_tokenize_work(bytes);
        const size_t capacity = next(100);
        char *text = malloc(bytes + 1), piece[8];
        void *work = malloc(room + 1);
        int32_t *tokens = malloc((capacity + 1) * sizeof *tokens);
        for (size_t i = 0; i < bytes; i++) {
            text[i] = (char)(round % 2 ? (uint8_t)letters[next(12)] : next(256));
        }
        text = realloc(text, bytes > 0 ? bytes : 1);
        tokens = realloc(tokens, capacity > 0 ? capacity * sizeof *tokens : 1);
        const int32_t count = br_tokenize(&v, text, bytes, round % 4, work, room, tokens, capacity);
        if (count < 0 && round % 3 != 0) {
            return 2;
        }
        for (int32_t i = 0; i < count && (size_t)i < capacity; i++) {
            if (tokens[i] < 0 || (uint32_t)tokens[i] >= v.head->tokens) {
                return 3;
            }
            br_token_text(&v, tokens[i], i % 2, piece, (size_t)(i % 9));
        }
        free(text);
        free(work);
        free(tokens);
    }
    free(exact);
    puts("done");
    return 0;
}
"""


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harness")
    (folder / "harness.c").write_text(HARNESS)
    flags = ["-std=c99", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover", *WARNINGS]
    files = [f"-I{templates_dir() / 'runtime'}", "harness.c", *map(str, runtime_files())]
    subprocess.run(["gcc", *flags, *files, "-o", "harness"], cwd=folder, check=True)
    return folder / "harness"


@pytest.mark.parametrize("pre", ["gpt2", "default", "smollm", "qwen2", "llama3", "spm"])
def test_random_bytes_hurt_nobody(pre: str, harness: Path, tmp_path: Path) -> None:
    """3,000 texts of any bytes, in memory just large enough, under the address and undefined-behaviour sanitizers."""
    special: dict[str, Any] = {"more": [b"<s>", b"\n\n", b"<u>"], "types": [3, 4, 2]}
    if pre == "spm":
        made = scored({"a": -1.0, "\u2581a": -2.0, "\u2581": -1.0, "a1": -3.0}, add_space_prefix=True, **special)
    else:
        made = pairs(["a a", "Ġ a", "a b", "' 1", "âĸ ģ"], pre=pre, bos=3, add_bos=True, **special)
    (tmp_path / "section").write_bytes(pack(made))
    done = subprocess.run([harness, tmp_path / "section"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]


def test_a_damaged_section_is_refused(code: ctypes.CDLL) -> None:
    """Cut short anywhere, or with a number in its head that leads out of it."""
    section = pack(pairs(["a b"], [b"<s>"], [3]))

    def opens(data: bytes) -> bool:
        room = ctypes.create_string_buffer(len(data) + 64)
        start = ctypes.addressof(room) + -ctypes.addressof(room) % 64
        ctypes.memmove(start, data, len(data))
        size = ctypes.c_size_t(len(data))
        return bool(code.br_vocabulary_open(ctypes.byref(Opened()), ctypes.c_void_p(start), size) == 0)

    assert opens(section)
    assert not any(opens(section[:size]) for size in (0, 3, 100, 123, 124, 200, len(section) // 2, len(section) - 1))
    for place in (0, 4, 8, 12, 40, 44, 48, 60, 64, 68, *range(72, 124, 4)):
        assert not opens(section[:place] + b"\xfb\xff\xff\xff" + section[place + 4 :]), place


@pytest.mark.parametrize("kind", ["bpe", "spm"])
def test_damage_anywhere_in_a_section_hurts_nobody(kind: str, harness: Path, tmp_path: Path) -> None:
    """It is refused, or it is another vocabulary: nobody reads out of bounds, no search goes on for ever."""
    special: dict[str, Any] = {"more": [b"<s>", b"\n\n"], "types": [3, 4]}
    made = pairs(["a a", "a b"], **special) if kind == "bpe" else scored({"a": -1.0, "ab": -2.0}, **special)
    good, rng, refused = pack(made), random.Random(7), 0
    for _ in range(40):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 3, 30))):
            at = rng.randrange(16, len(data) // 4 * 4) // 4 * 4
            data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\1\0", rng.randbytes(4)))
        (tmp_path / "section").write_bytes(data)
        done = subprocess.run([harness, tmp_path / "section"], capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, 1), done.stderr[-2000:]
        refused += done.returncode
    assert 0 < refused < 40


def test_scores_are_of_tokens_alone(harness: Path, tmp_path: Path) -> None:
    """A table of scores has no place for symbols that are no tokens."""
    data = bytearray(pack(scored({"a": -1.0, "ab": -2.0, "b": -3.0})))
    (tokens,) = struct.unpack_from("<I", data, 40)
    assert struct.unpack_from("<I", data, 44) == (tokens,)
    struct.pack_into("<I", data, 40, tokens - 1)
    (tmp_path / "section").write_bytes(data)
    assert subprocess.run([harness, tmp_path / "section"], capture_output=True, timeout=60).returncode == 1


def test_what_is_unknown_or_hostile_is_told() -> None:
    with pytest.raises(UnsupportedError, match="'elvish'") as told:
        pack(pairs([], pre="elvish"))
    assert "qwen2" in told.value.fix
    assert splitter("") == splitter("default")
    rng = random.Random(1)
    alike: list[bytes] = []
    while len(alike) < 300:
        if zlib.crc32(text := b"%x" % rng.getrandbits(64)) % 1024 == 0:
            alike.append(text)
    with pytest.raises(ModelError, match="one place"):
        pack(vocabulary("spm", alike, types=np.full(300, 4, np.int32)))


def test_kinds_of_characters_are_those_of_unicode(code: ctypes.CDLL) -> None:
    """Of all characters that this Python knows; later versions of Unicode move a few."""
    if unicodedata.unidata_version > unicode_classes.VERSION:
        pytest.skip(f"Unicode {unicodedata.unidata_version} is newer than {unicode_classes.VERSION}")
    runs = unicode_runs(code)
    assert runs == sorted(runs)
    kinds = np.zeros(0x110000, np.int64)
    for run, end in zip(runs, [*(r >> 3 for r in runs[1:]), 0x110000], strict=True):
        kinds[run >> 3 : end] = run & 7
    known = [c for c in range(0x110000) if unicodedata.category(chr(c)) != "Cn"]
    assert [hex(c) for c in known if kinds[c] != unicode_classes.kind(unicodedata, c)] == []

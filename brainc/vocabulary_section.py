"""The vocabulary section of a weights file: the bytes that templates/runtime/vocabulary.c reads where they lie.

A `Vocabulary` comes in; its pieces, marks, merges and the tables to find them by leave, packed one behind the other.
The head (vocabulary.h) says where. What a token is for follows its type in the file, and its name where llama.cpp
goes by names.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from brainc.dtypes import Array
from brainc.errors import ModelError, UnsupportedError
from brainc.language import Vocabulary

MAGIC, FORMAT, ALIGN = b"brv1", 1, 64
HEAD = struct.Struct("<4sIII4BI4i8I13I")
BPE, SPM = 1, 2
ADD_BOS, ADD_EOS, ADD_SPACE, WHOLE = 1, 2, 4, 8
UNKNOWN, UNUSED, NORMAL, CONTROL, USER, BYTE, ENDS = (1 << i for i in range(7))
MARKS = {1: NORMAL, 2: UNKNOWN, 3: CONTROL, 4: USER, 5: UNUSED, 6: BYTE}
SPECIAL = UNKNOWN | CONTROL | USER
LONGEST_SEARCH = 256  # places of a table looked at; more only in a file made for it

GPT2, QWEN2, LLAMA3, NUMBER, NUMBERS, DIGITS, PUNCTUATION = range(1, 8)  # BR_CUT_… of words.h


@dataclass(frozen=True, slots=True)
class Splitter:
    """How a text is cut before pairs are merged; whole: a word that is a token stays whole; the file's names for it.

    adds_bos: a text begins with bos where the file does not say.
    """

    cuts: tuple[int, ...]
    names: str
    whole: bool = False
    adds_bos: bool = False


SPLITTERS = (
    Splitter((PUNCTUATION, GPT2, NUMBERS, DIGITS), "default"),
    Splitter(
        (GPT2,), "gpt2 gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 modern-bert mellum gigachat a.x-4.0"
    ),
    Splitter((NUMBER, GPT2), "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2"),
    Splitter((QWEN2,), "qwen2 stablelm2 deepseek-r1-qwen megrez hunyuan solar-open kormo f2llmv2"),
    Splitter((LLAMA3,), "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2", True, True),
    Splitter((LLAMA3,), "dbrx smaug-bpe chatglm-bpe"),
    Splitter((LLAMA3,), "glm4 glm5", True),
)

# Tokens that control something, whatever their type says; the first of them end what a model says.
ENDING = """
    <|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> <|eom_id|>
    <EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> [e~[ <|fim_pad|>
    <fim-pad> <fim_pad> <PAD> [PAD] <|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame> <|file_sep|>
    <\uff5cend\u2581of\u2581sentence\uff5c>
"""
FILLING = """
    <|fim_prefix|> <fim-prefix> <fim_prefix> <PRE> \u2581<PRE> <|code_prefix|> <|prefix|> <|fim_suffix|> <fim-suffix>
    <fim_suffix> <SUF> \u2581<SUF> <|code_suffix|> <|suffix|> <|fim_middle|> <fim-middle> <fim_middle> <MID>
    \u2581<MID> <|code_middle|> <|middle|> <\uff5cfim\u2581begin\uff5c> <\uff5cfim\u2581hole\uff5c>
    <\uff5cfim\u2581end\uff5c>
"""

# The characters that "bpe" writes for bytes: those that can be seen for themselves, the others from U+0100 on.
SEEN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
HIDDEN = [b for b in range(256) if b not in SEEN]
BYTE_OF = {
    **{c: chr(c) for c in SEEN},
    **{c: "\u0100" for c in HIDDEN},
    **{256 + i: chr(b) for i, b in enumerate(HIDDEN)},
}


def splitter(pre: str) -> Splitter:
    """The way to cut that a GGUF file means by `tokenizer.ggml.pre`; no word there is "default"."""
    for candidate in SPLITTERS:
        if (pre or "default") in candidate.names.split():
            return candidate
    known = ", ".join(s.names.split()[0] for s in SPLITTERS)
    raise UnsupportedError(
        f"the vocabulary cuts words in the way of {pre!r}", fix=f"known: {known}, and what cuts like one of these"
    )


def bytes_of(piece: bytes) -> bytes | None:
    """The bytes that a piece of "bpe" stands for, None if it has a character that is not for a byte."""
    try:
        return piece.decode().translate(BYTE_OF).encode("latin-1")
    except UnicodeError:
        return None


def marks_of(vocabulary: Vocabulary) -> Array:
    """u8[N]: BR_TOKEN_… of each token."""
    marks = np.array([MARKS.get(int(t), 0) for t in vocabulary.types], np.uint8)
    named = {piece: token for token, piece in enumerate(vocabulary.pieces)}
    for names, more in ((ENDING, CONTROL | ENDS), (FILLING, CONTROL)):
        for name in names.split():
            if (token := named.get(name.encode())) is not None:
                marks[token] |= more
    for end in (vocabulary.eos, vocabulary.eot):
        if end is not None:
            marks[end] |= ENDS
    return marks


def places(hashes: Iterable[int], entries: Iterable[int], count: int) -> Array:
    """u32[a power of two, at most half full]: 1 + entry at its hash, or at the next empty place."""
    size = 1 << max(count * 2 - 1, 1).bit_length()
    table = [0] * size
    for key, entry in zip(hashes, entries, strict=True):
        for place in range(key, key + LONGEST_SEARCH):
            if not table[place % size]:
                table[place % size] = 1 + entry
                break
        else:
            raise ModelError("too many tokens or merges fall on one place of a table", fix="the file is damaged")
    return np.array(table, "<u4")


def by_text(found: dict[bytes, int]) -> Array:
    return places(map(zlib.crc32, found), found.values(), len(found))


def by_pair(merges: Array) -> Array:
    keys = merges[:, 0].astype(np.uint64) << np.uint64(32) | merges[:, 1]
    return places((keys * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)).tolist(), range(len(merges)), len(merges))


@dataclass(frozen=True, slots=True)
class Symbols:
    """texts: of each symbol, the tokens first. others i32: the token that each later symbol is, or -1.

    found: symbols that a text may be looked up as. bytes i32[256], merges u32[M,3]: as in vocabulary.h.
    """

    texts: list[bytes]
    others: list[int]
    found: dict[bytes, int]
    bytes: list[int]
    merges: Array


def pair_symbols(vocabulary: Vocabulary, marks: Array) -> Symbols:
    """Of "bpe": tokens by their bytes, and what merges pass through though it is no token."""
    texts, others, found = list(vocabulary.pieces), list[int](), dict[bytes, int]()

    def add(text: bytes, token: int) -> int:
        texts.append(text)
        others.append(token)
        return len(texts) - 1

    for token, piece in enumerate(vocabulary.pieces):
        if spelt := bytes_of(piece):
            if not marks[token] & SPECIAL:
                texts[token] = spelt
            found[spelt] = token if texts[token] == spelt else add(spelt, token)
    symbols = dict(found)

    def symbol(text: bytes) -> int:
        if text not in symbols:
            symbols[text] = add(text, -1)
        return symbols[text]

    single = [symbol(bytes([b])) for b in range(256)]
    merges: dict[tuple[int, int], int] = {}
    for merge in vocabulary.merges:
        space = merge.find(b" ", 1)
        left, right = (bytes_of(part) for part in (merge[: max(space, 0)], merge[space + 1 :]))
        if left and right:
            merges.setdefault((symbol(left), symbol(right)), symbol(left + right))
    rows = np.array([(*pair, made) for pair, made in merges.items()], np.uint32).reshape(-1, 3)
    return Symbols(texts, others, found, single, rows)


def score_symbols(vocabulary: Vocabulary) -> Symbols:
    """Of "spm": tokens by their text; a byte that no token has is the token <0xHH>, itself, or the unknown."""
    found = {piece: token for token, piece in enumerate(vocabulary.pieces) if piece}
    none = -1 if vocabulary.unk is None else vocabulary.unk
    single = [found.get(b"<0x%02X>" % b, found.get(bytes([b]), none)) for b in range(256)]
    return Symbols(list(vocabulary.pieces), [], found, single, np.zeros((0, 3), np.uint32))


def pack(vocabulary: Vocabulary) -> bytes:
    """The section: a multiple of 64 bytes, to lie at such a multiple. Errors: an unknown way to cut, hostile tables."""
    pairs, marks = vocabulary.kind == "bpe", marks_of(vocabulary)
    way = splitter(vocabulary.pre) if pairs else Splitter((), "")
    symbols = pair_symbols(vocabulary, marks) if pairs else score_symbols(vocabulary)
    found = symbols.found if way.whole or not pairs else {}
    scores = vocabulary.scores[: 0 if pairs else None]
    ranks = np.unique(-scores, return_inverse=True)[1].reshape(-1)
    specials = {p: t for t, p in enumerate(vocabulary.pieces) if p and marks[t] & SPECIAL}
    firsts = np.zeros(256, np.uint8)
    for piece, token in specials.items():
        firsts[piece[0]] |= marks[token] & SPECIAL
    lengths = sorted({len(piece) for piece in specials}, reverse=True)
    starts = np.cumsum([0, *map(len, symbols.texts)])
    tables = [by_text(found), by_pair(symbols.merges), by_text(specials)]
    bits = [len(t).bit_length() - 1 for t in tables]
    wanted = (vocabulary.add_bos, vocabulary.add_eos, vocabulary.add_space_prefix, way.whole)
    flags = sum(flag for flag, on in zip((ADD_BOS, ADD_EOS, ADD_SPACE, WHOLE), wanted, strict=True) if on)
    body, at = bytearray(), list[int]()
    for part, dtype in (
        (starts, "<u4"), (np.frombuffer(b"".join(symbols.texts), np.uint8), "u1"), (marks, "u1"), (ranks, "<u4"),
        (symbols.others, "<i4"), (symbols.bytes, "<i4"), (tables[0], "<u4"), (tables[1], "<u4"),
        (symbols.merges, "<u4"), (tables[2], "<u4"), (lengths, "<u4"), (firsts, "u1"),
    ):  # fmt: skip
        at.append(-(-HEAD.size // ALIGN) * ALIGN + len(body))
        body += np.asarray(part, dtype).tobytes()
        body += bytes(-len(body) % ALIGN)
    ids = [-1 if token is None else token for token in (vocabulary.bos, vocabulary.eos, vocabulary.eot, vocabulary.unk)]
    head = HEAD.pack(
        MAGIC, FORMAT, -(-HEAD.size // ALIGN) * ALIGN + len(body), BPE if pairs else SPM,
        *(*way.cuts, 0, 0, 0, 0)[:4], flags, *ids, len(vocabulary.pieces), len(symbols.texts), len(symbols.merges),
        max(map(len, found), default=0), len(lengths), *bits, *at[:2], int(starts[-1]), *at[2:],
    )  # fmt: skip
    return head + bytes(-len(head) % ALIGN) + bytes(body)

"""Text that leaves a host program: whole characters only, up to a stop string and no further."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from runtime import library

from brainc.resources import templates_dir

OUT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t)


class Typing(ctypes.Structure):
    _fields_ = [
        ("stops", ctypes.c_char_p * 16),
        ("stop_count", ctypes.c_size_t),
        ("held", ctypes.c_char * 512),
        ("held_count", ctypes.c_size_t),
        ("stopped", ctypes.c_int),
        ("out", OUT),
        ("to", ctypes.c_void_p),
    ]


Type = Callable[..., list[bytes]]


@pytest.fixture(scope="module")
def type_(tmp_path_factory: pytest.TempPathFactory) -> Type:
    """(pieces, stop strings, how many calls somebody listens) -> what went out, call by call."""
    code = library(tmp_path_factory.mktemp("typing"), templates_dir() / "runtime" / "typing.c")

    def typed(pieces: list[bytes], *stops: bytes, listens: int = -1) -> list[bytes]:
        gone: list[bytes] = []

        def out(_: int, text: Any, count: int) -> int:
            gone.append(text[:count])
            return int(len(gone) == listens)

        typing = Typing(out=OUT(out))
        for stop in stops:
            assert code.br_typing_stop(ctypes.byref(typing), stop) == 0
        for piece in pieces:
            code.br_typing_put(ctypes.byref(typing), piece, ctypes.c_size_t(len(piece)))
        code.br_typing_end(ctypes.byref(typing))
        return gone

    return typed


def test_a_character_waits_until_it_is_whole(type_: Type) -> None:
    text = "héllo €uro 😀 ünd 漢字".encode()
    found = type_([text[i : i + 1] for i in range(len(text))])
    assert b"".join(found) == text
    for part in found:
        part.decode()


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"a\xffb", "a\ufffdb"),
        (b"\xe2\x82", "\ufffd"),
        (b"\xe2\x82x", "\ufffd\ufffdx"),
        (b"\xc0\x80!", "\ufffd\ufffd!"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xf4\x90\x80\x80.", "\ufffd\ufffd\ufffd\ufffd."),
    ],
)
def test_what_is_no_utf8_is_replaced(type_: Type, raw: bytes, wanted: str) -> None:
    assert b"".join(type_([raw])).decode() == wanted
    assert b"".join(type_([raw[i : i + 1] for i in range(len(raw))], b"never")).decode() == wanted


def test_nothing_of_a_stop_string_goes_out(type_: Type) -> None:
    assert b"".join(type_([b"one tw", b"o<e", b"n", b"d>three"], b"<end>")) == b"one two"
    assert b"".join(type_([b"a<en", b"d<end>b"], b"<end>")) == b"a<end"
    assert b"".join(type_([b"a<en"], b"<end>")) == b"a<en"
    assert b"".join(type_([b"aaab"], b"aab")) == b"a"
    assert b"".join(type_([b"xyz"], b"yy", b"z")) == b"xy"


def test_the_stop_string_that_is_whole_first_ends_it(type_: Type) -> None:
    """Whatever others may still become whole; of those that end with the same letter the longest."""
    assert b"".join(type_([b"saw my friends in a"], b"saw my friends in X", b"friends")) == b"saw my "
    rng = np.random.default_rng(5)
    for _ in range(2000):
        text, *stops = (bytes(rng.choice([97, 98], size).tolist()) for size in (20, *rng.integers(1, 7, 3)))
        ends = [end for end in range(1, 21) if text[:end].endswith(tuple(stops))][:1] or [20]
        size = max((len(stop) for stop in stops if text[: ends[0]].endswith(stop)), default=0)
        assert b"".join(type_([text], *stops)) == text[: ends[0] - size]


def test_any_cutting_gives_the_same_text(type_: Type) -> None:
    rng = np.random.default_rng(4)
    text = ("ab€cab😀cabcab" * 40 + "abcabd" + "never").encode()
    wanted = text[: text.index(b"abcabd")]
    for _ in range(50):
        cuts = [0, *sorted(rng.integers(0, len(text), 20).tolist()), len(text)]
        pieces = [text[a:b] for a, b in pairwise(cuts)]
        assert b"".join(type_(pieces, b"abcabd", b"zzz")) == wanted


def test_long_text_without_a_stop_string_flows(type_: Type) -> None:
    text = "漢".encode() * 5000
    assert b"".join(type_([text])) == text


def test_a_piece_goes_out_at_once(type_: Type) -> None:
    """Not letter by letter: each call ends in a write to the terminal."""
    assert type_([b" capital", b"\xc3\xa9t\xc3", b"\xa9", b"a\xffb"]) == [
        *(b" capital", b"\xc3\xa9t", b"\xc3\xa9"),
        *(b"a", b"\xef\xbf\xbd", b"b"),
    ]


def test_nothing_goes_out_where_nobody_listens(type_: Type) -> None:
    assert type_([b"one ", b"two ", b"three"], listens=2) == [b"one ", b"two "]

"""GGUF headers: what is in the file is read; what is cut off or hostile ends in an error that says so, at once."""

from __future__ import annotations

import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import gguf_files
import numpy as np
import pytest

from brainc import frontends
from brainc.errors import ModelError, UnsupportedError, UserError
from brainc.frontends.gguf import language, load, reader
from brainc.vocabulary_section import pack

Edit = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return gguf_files.write(tmp_path_factory.mktemp("g") / "good.gguf", "llama", "Q8_0").read_bytes()


def test_a_header_is_what_the_gguf_package_reads(tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", "gemma3", "Q5_K")
    ours, theirs = reader.read(path), gguf.GGUFReader(path)
    assert {t.name for t in theirs.tensors} == ours.tensors.keys()
    for tensor in theirs.tensors:
        mine = ours.tensors[tensor.name]
        assert mine.kind == tensor.tensor_type.name and mine.shape == tuple(int(n) for n in tensor.shape[::-1])
        np.testing.assert_array_equal(ours.raw(mine), np.ascontiguousarray(tensor.data).reshape(-1).view(np.uint8))
    for key, field in theirs.fields.items():
        if not key.startswith("GGUF."):
            wanted, found = field.contents(), ours.meta[key]
            if isinstance(wanted, list) and isinstance(found, tuple):
                assert [text.decode() for text in found] == wanted
            else:
                assert np.array_equal(found.decode() if isinstance(found, bytes) else found, wanted)


def settings(*items: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(items)) + b"".join(items)


def setting(key: bytes, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value


def table(*entries: bytes, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, len(entries), 0) + b"".join(entries) + rest


def entry(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    axes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return struct.pack("<Q", len(name)) + name + axes + struct.pack("<IQ", kind, offset)


ROOM = bytes(256)
HOSTILE = {
    "empty": b"",
    "another kind": b"GGML" + ROOM,
    "version 1": b"GGUF" + struct.pack("<I", 1) + ROOM,
    "big endian": b"GGUF" + struct.pack(">I", 3) + ROOM,
    "settings without end": b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 63) + ROOM,
    "tensors without end": b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 0) + ROOM,
    "a long string": settings(setting(b"a", 8, struct.pack("<Q", 1 << 50))) + ROOM,
    "a long key": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 62) + ROOM,
    "a key that is no text": settings(setting(b"\xff\xfe", 4, bytes(4))),
    "a key that moves the cursor": settings(setting(b"a\x1b[2J", 4, bytes(4))),
    "a long array": settings(setting(b"a", 9, struct.pack("<IQ", 4, 1 << 60))) + ROOM,
    "an array of strings": settings(setting(b"a", 9, struct.pack("<IQ", 8, 10) + struct.pack("<Q", 1 << 61))) + ROOM,
    "arrays in arrays": settings(setting(b"a", 9, struct.pack("<IQ", 9, 1) * 20)) + ROOM,
    "many empty arrays": settings(setting(b"a", 9, struct.pack("<IQ", 9, 1 << 59))) + ROOM,
    "many arrays that are there": settings(setting(b"a", 9, struct.pack("<IQ", 9, 1 << 17))) + bytes(12 << 17),
    "an array of an unknown type": settings(setting(b"a", 9, struct.pack("<IQ", 13, 1))) + ROOM,
    "many settings that are there": b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 17) + bytes(13 << 17),
    "many tensors that are there": b"GGUF" + struct.pack("<IQQ", 3, 1 << 17, 0) + bytes(24 << 17),
    "one of several files": settings(setting(b"split.count", 2, struct.pack("<H", 3))) + ROOM,
    "an unknown type": settings(setting(b"a", 77, bytes(8))),
    "a key twice": settings(setting(b"a", 4, bytes(4)), setting(b"a", 4, bytes(4))),
    "an odd alignment": table(rest=b"")[:8]
    + struct.pack("<QQ", 0, 1)
    + setting(b"general.alignment", 4, struct.pack("<I", 48)),
    "no axes": table(entry(b"t", ()), rest=ROOM),
    "five axes": table(entry(b"t", (1, 1, 1, 1, 1)), rest=ROOM),
    "a size of zero": table(entry(b"t", (0, 4)), rest=ROOM),
    "sizes that overflow": table(entry(b"t", (1 << 30, 1 << 30, 1 << 30)), rest=ROOM),
    "a tensor beyond the end": table(entry(b"t", (1 << 20,)), rest=ROOM),
    "an offset beyond the end": table(entry(b"t", (4,), offset=1 << 40), rest=ROOM),
    "an offset that overflows": table(entry(b"t", (4,), offset=(1 << 64) - 32), rest=ROOM),
    "an unaligned offset": table(entry(b"t", (4,), offset=4), rest=ROOM),
    "an unknown tensor type": table(entry(b"t", (32,), 999), rest=ROOM),
    "a row that is no block": table(entry(b"t", (33, 2), 8), rest=ROOM),
    "a tensor twice": table(entry(b"t", (4,)), entry(b"t", (4,), offset=32), rest=ROOM),
    "tensors that overlap": table(entry(b"t", (16,)), entry(b"u", (4,), offset=32), rest=ROOM),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises((ModelError, UnsupportedError)) as caught:
        reader.read(path)
    assert time.process_time() - began < 1.0
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert caught.value.fix


def test_a_header_longer_than_any_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    path.write_bytes(settings(setting(b"a", 8, struct.pack("<Q", reader.HEADER))))
    os.truncate(path, 3 * reader.HEADER)  # zeros that take no room on the disk
    with pytest.raises(ModelError, match="more than the file has room for"):
        reader.read(path)
    path.write_bytes(settings(setting(b"a", 9, struct.pack("<IQ", 8, 1 << 20)))[:-1])
    os.truncate(path, 3 * reader.HEADER)
    assert len(reader.read(path).meta["a"]) == 1 << 20
    with path.open("r+b") as file:
        file.seek(-8 + len(settings(setting(b"a", 9, struct.pack("<IQ", 8, 1 << 20)))))
        file.write(struct.pack("<QQ", 4096, reader.HEADER - 4096))
    with pytest.raises(ModelError, match="header of 33,554,432 bytes ends within a"):
        reader.read(path)


def test_a_file_may_be_larger_than_two_gibibytes(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    path.write_bytes(good)
    os.truncate(path, (2 << 30) + 100)
    assert frontends.load(path, name="m").entries[0].name == "prefill"


def test_a_large_vocabulary_is_read_fast(tmp_path: Path) -> None:
    texts = b"".join(struct.pack("<Q", 1 + i % 12) + b"a" * (1 + i % 12) for i in range(262_144))
    path = tmp_path / "words.gguf"
    path.write_bytes(settings(setting(b"a", 9, struct.pack("<IQ", 8, 262_144) + texts)))
    began = time.process_time()
    found = reader.read(path).meta["a"]
    assert time.process_time() - began < 1.0
    assert len(found) == 262_144 and found[13] == b"aa"


def whole(path: Path) -> None:
    """All that is made of a file: graph, constants, vocabulary."""
    graph = load(path, "m", {})
    language(path, {})
    for name in graph.values:
        if graph.is_const(name):
            graph.array(name)


def test_a_file_cut_off_anywhere_is_refused(good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and within everything that the header has, and in the tensors."""
    path, places, take = tmp_path / "cut.gguf", set[int](), reader._Cursor.take

    def watched(cursor: reader._Cursor, count: int, what: str) -> bytes:
        places.update((cursor.at, cursor.at + count // 2))
        return take(cursor, count, what)

    path.write_bytes(good)
    with monkeypatch.context() as patch:
        patch.setattr(reader._Cursor, "take", watched)
        reader.read(path)
    assert len(places) > 500
    for size in [*sorted(places), *np.linspace(max(places), len(good) - 1, 60).astype(int).tolist()]:
        path.write_bytes(good[:size])
        with pytest.raises(UserError):
            reader.read(path)


def test_a_damaged_file_is_read_or_refused(good: bytes, tmp_path: Path) -> None:
    rng, path, refused = np.random.default_rng(5), tmp_path / "damaged.gguf", 0
    header = good.index(b"blk.6.ffn_down.weight") + 60
    for _ in range(300):
        data = bytearray(good)
        for place in rng.integers(4, header, rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            whole(path)
        except UserError:
            refused += 1
    assert 100 < refused < 300


def edited(good: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new) and old in good
    return good.replace(old, new, 1)


def test_what_is_not_supported_is_named(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    for old, new, told in (
        (b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0mamba", "mamba"),
        (b"blk.3.attn_q.weight", b"blk.3.attn_z.weight", "attn_q.weight"),
        (b"blk.0.ffn_norm.weight", b"blk.9.ffn_norm.weight", "blk.0.ffn_norm.weight"),
    ):
        path.write_bytes(edited(good, old, new))
        with pytest.raises((ModelError, UnsupportedError), match=told):
            load(path, "m", {})


STRANGE = (
    *(True, -1, 0, 1, 3, 2**31, 2**32 - 1, 2**63, -(2**63), 0.0, 1e308, 1e-300, float("nan"), float("inf"), b"", b"x"),
    *(b"\xff", (), (b"",), (b"a b", b"a b"), ((1, 2),), np.zeros(0, np.int32), np.arange(7), np.full(7, np.nan)),
)
MORE = (
    *("llama.rope.scaling.type", "llama.rope.scaling.factor", "llama.expert_count", "llama.attention.scale"),
    *("tokenizer.ggml.add_bos_token", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.scores"),
)


def test_settings_that_make_no_sense_are_refused_or_do_no_harm(
    good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(good)
    header, rng, refused = reader.read(path), np.random.default_rng(3), 0
    for key in (*header.meta, *MORE):
        for value in (STRANGE[i] for i in rng.permutation(len(STRANGE))[:8]):
            changed = reader.Header({**header.meta, key: value}, header.tensors, header.data)
            monkeypatch.setattr(reader, "read", lambda _, changed=changed: changed)
            try:
                load(path, "m", {})
                pack(language(path, {}).vocabulary)
            except UserError:
                refused += 1
    assert refused > 100

"""Tensors of GGUF files become the numbers that the gguf package says they are; what is no number is refused."""

from __future__ import annotations

from pathlib import Path

import gguf
import gguf_files
import numpy as np
import pytest

from brainc.dtypes import F32, Array
from brainc.errors import ModelError, UnsupportedError
from brainc.frontends.gguf import reader
from brainc.frontends.gguf.blocks import KINDS, constant
from brainc.ops._blocks import reals

ROWS, BLOCKS = 5, 3
F16S = {  # where a block has its scale, and its offset
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    "Q6_K": (208,),
}


def written(path: Path, raw: Array, kind: str) -> reader.Header:
    """A file with one tensor, `w`, of these bytes."""
    out = gguf.GGUFWriter(path, "llama")
    out.add_tensor("w", raw, raw_dtype=gguf.GGMLQuantizationType[kind])
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return reader.read(path)


def random_bytes(kind: str, scales: tuple[float, ...], seed: int = 0) -> Array:
    """Blocks of any bytes at all, but with scales out of these: uint8 [ROWS, bytes]."""
    rng = np.random.default_rng(seed)
    _, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    raw = rng.integers(0, 256, (ROWS, BLOCKS, size), dtype=np.uint8)
    for at in F16S[kind]:
        raw[..., at : at + 2] = rng.choice(np.array(scales, np.float16), (ROWS, BLOCKS, 1)).view(np.uint8)
    return raw.reshape(ROWS, -1)


def theirs(raw: Array, kind: str) -> Array:
    return np.asarray(gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_files_hold_is_what_they_mean(kind: str, tmp_path: Path) -> None:
    block = KINDS[kind][1]
    raw = gguf_files.weights(np.random.default_rng(1), ROWS, BLOCKS * block if block > 1 else 7, kind, 0.1)
    value = constant(written(tmp_path / "m.gguf", raw, kind), "w")
    found, wanted = value.array(), theirs(raw.view(np.uint8) if kind == "BF16" else raw, kind)
    assert (
        value.type.dtype is KINDS[kind][0] and found.shape == value.type.shape and found.dtype == value.type.dtype.numpy
    )
    np.testing.assert_array_equal(reals(found), wanted)


@pytest.mark.parametrize("kind", F16S)
def test_any_bytes_mean_the_same(kind: str, tmp_path: Path) -> None:
    """With scales of zero, below it, subnormal, and so large that a scale of a K type's scale would not fit f16."""
    scales = (0.0, 1.0, -0.3, 0.0017, 2.0**-16, -4.0, 65504.0)
    raw = random_bytes(kind, scales)
    found = constant(written(tmp_path / "m.gguf", raw, kind), "w").array()
    np.testing.assert_array_equal(reals(found), theirs(raw, kind))


@pytest.mark.parametrize("kind", F16S)
def test_pieces_of_a_large_tensor_are_the_whole(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = written(tmp_path / "m.gguf", random_bytes(kind, (0.5, 1.0)), kind)
    whole = constant(header, "w").array()
    monkeypatch.setattr("brainc.frontends.gguf.blocks._STRIDE", 1)
    np.testing.assert_array_equal(constant(header, "w").array(), whole)


@pytest.mark.parametrize("kind", F16S)
@pytest.mark.parametrize("scale", [np.nan, np.inf, -np.inf])
def test_scales_that_are_no_numbers_are_refused(kind: str, scale: float, tmp_path: Path) -> None:
    """And the file is named, though the tensor is read long after the frontend is done."""
    for place in F16S[kind]:
        raw = random_bytes(kind, (1.0,))
        raw[3, place : place + 2] = np.array([scale], np.float16).view(np.uint8)
        value = constant(written(tmp_path / f"{place}.gguf", raw, kind), "w")
        with pytest.raises(ModelError, match=r"tensor w has .* not finite") as caught:
            value.array()
        assert caught.value.where.file == str(tmp_path / f"{place}.gguf")


@pytest.mark.parametrize(("kind", "bad"), [("F32", b"\0\0\xc0\x7f"), ("F16", b"\0\x7c"), ("BF16", b"\x80\xff")])
@pytest.mark.parametrize("shape", [(4, 6), (24,)])
def test_numbers_that_are_none_are_refused(kind: str, bad: bytes, shape: tuple[int, ...], tmp_path: Path) -> None:
    dtype = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[kind]
    raw = np.zeros(shape, dtype)
    raw.reshape(-1)[5] = np.frombuffer(bad, dtype)[0]
    with pytest.raises(ModelError, match=r"tensor w has .* not finite"):
        constant(written(tmp_path / "m.gguf", raw, kind), "w").array()


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_vectors_are_f32(kind: str, tmp_path: Path) -> None:
    raw = gguf_files.weights(np.random.default_rng(2), 1, 9, kind, 1.0)[0]
    value = constant(written(tmp_path / "m.gguf", raw, kind), "w")
    wanted = theirs(raw.view(np.uint8) if kind == "BF16" else raw, kind)
    assert value.type.dtype is F32 and value.type.shape == (9,)
    np.testing.assert_array_equal(value.array(), wanted)


def test_a_key_tells_contents_and_types_apart(tmp_path: Path) -> None:
    keys = set()
    for number, (kind, seed) in enumerate([("Q4_0", 0), ("Q4_0", 1), ("Q4_1", 0), ("Q4_0", 0)]):
        value = constant(written(tmp_path / f"{number}.gguf", random_bytes(kind, (1.0,), seed), kind), "w")
        assert value.const is not None
        keys.add(value.const.key)
    assert len(keys) == 3


def test_what_cannot_be_a_constant_is_named(tmp_path: Path) -> None:
    other = written(tmp_path / "other.gguf", np.zeros((2, 110), np.uint8), "Q3_K")
    with pytest.raises(UnsupportedError, match="tensor w is of type Q3_K"):
        constant(other, "w")
    with pytest.raises(ModelError, match="no tensor v"):
        constant(other, "v")
    with pytest.raises(UnsupportedError, match="vector w is of type Q8_0"):
        constant(written(tmp_path / "v.gguf", np.zeros(34, np.uint8), "Q8_0"), "w")

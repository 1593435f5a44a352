"""Samples arrive as the ports' own types, by the contract's conversions; what does not fit is told."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainc import samples
from brainc.dtypes import Array
from brainc.errors import ModelError
from brainc.port_types import port_type

IMAGE = [("image", port_type("f32[1,1,2,2]"))]
INT8 = [("image", port_type("i8[1,4] scale=0.5 zero=-3"))]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors name the file as given: a relative path."""
    monkeypatch.chdir(tmp_path)


def npz(**arrays: Any) -> Path:
    path = Path("s.npz")
    np.savez_compressed(path, **arrays)
    return path


def error(path: Path, ports: samples.Ports) -> str:
    with pytest.raises(ModelError) as caught:
        samples.load(path, ports)
    return str(caught.value)


def text(what: str, fix: str, where: str = "s.npz") -> str:
    return f"{what}\n  where  {where}\n  fix    {fix}"


@pytest.mark.parametrize("key", ["image", "x"])
@pytest.mark.parametrize("shape", [(3, 1, 1, 2, 2), (3, 1, 2, 2)])
def test_samples_with_and_without_the_batch_axis(key: str, shape: tuple[int, ...]) -> None:
    """Both shapes and both names are taken; labels and count come along."""
    array = np.arange(12, dtype=np.float64).reshape(shape)
    found = samples.load(npz(**{key: array, "y": [4, 5, 6]}), IMAGE)
    assert found.arrays["image"].shape == (3, 1, 1, 2, 2) and found.arrays["image"].dtype == np.float32
    assert np.array_equal(found.arrays["image"].ravel(), array.ravel()) and found.count == 3
    assert found.labels is not None and found.labels.tolist() == [4, 5, 6]
    assert np.array_equal(found.sample(1)["image"].ravel(), [4, 5, 6, 7])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.array([[0, 127, 128, 255]], np.uint8), [-128, -1, 0, 127]),  # an image: shifted by 128
        (np.array([[0.0, 1.0, 0.75, -1e9]]), [-3, -1, -1, -128]),  # reals: q = round_half_even(x / 0.5) - 3
        (np.array([[0.25, -0.25, 100, 0.5]], np.float16), [-3, -3, 127, -2]),
        (np.array([[-5, 6, 7, 8]], np.int8), [-5, 6, 7, 8]),
    ],
)
def test_conversions_to_an_integer_port(given: Array, expected: list[int]) -> None:
    found = samples.load(npz(image=given), INT8).arrays["image"]
    assert found.dtype == np.int8 and found.ravel().tolist() == expected


@pytest.mark.parametrize("dtype", ["u1", "i8", "?", ">f4", "f2"])
def test_numbers_for_a_float_port(dtype: str) -> None:
    """Integers are numbers; byte order and width do not matter."""
    found = samples.load(npz(image=np.array([[[[0, 1], [1, 0]]]], dtype)), IMAGE).arrays["image"]
    assert found.dtype == np.float32 and found.ravel().tolist() == [0, 1, 1, 0]


def test_order_in_memory_does_not_matter() -> None:
    array = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 1, 2, 2))
    found = samples.load(npz(image=array), IMAGE).arrays["image"]
    assert found.ravel().tolist() == list(range(12))


def test_two_ports_and_labels_by_either_name() -> None:
    ports = [("a", port_type("f32[2]")), ("y", port_type("f32[]"))]
    found = samples.load(npz(a=np.ones((2, 2)), y=np.ones(2), labels=np.zeros(2)), ports)
    assert list(found.arrays) == ["a", "y"] and found.labels is not None and found.labels.sum() == 0


def test_csv_holds_a_sample_per_row() -> None:
    """Reals for a float port; whole numbers for an integer port as they stand, reals through its scale."""
    path = Path("s.csv")
    path.write_text("1, 2.5,3,4\n\n5,6,7,8\n")
    found = samples.load(path, IMAGE)
    assert found.count == 2 and found.arrays["image"].ravel().tolist() == [1, 2.5, 3, 4, 5, 6, 7, 8]
    path.write_text("1,2,3,-4\n")
    assert samples.load(path, INT8).arrays["image"].tolist() == [[[1, 2, 3, -4]]]
    path.write_text("1,2,3,0.5\n")
    assert samples.load(path, INT8).arrays["image"].tolist() == [[[-1, 1, 3, -2]]]


def test_noise_is_seeded_and_of_the_ports_types() -> None:
    ports = [(t, port_type(t)) for t in ("f32[1,500]", "i8[500]", "u8[500]", "i64[9]", "bool[9]")]
    noise, again = samples.random(ports, 3, 7), samples.random(ports, 3, 7)
    for name, type_ in ports:
        array = noise.arrays[name]
        assert array.shape == (3, *type_.shape) and array.dtype == type_.dtype.numpy
        assert np.array_equal(array, again.arrays[name])
    assert abs(noise.arrays["f32[1,500]"]).max() <= 1 and np.ptp(noise.arrays["i8[500]"].astype(int)) > 250
    assert set(noise.arrays["i64[9]"].ravel().tolist()) == {0, 1} and noise.labels is None


def test_wrong_shape() -> None:
    assert error(npz(image=np.zeros((3, 2, 2))), IMAGE) == text(
        'samples for port "image" have the shape [3, 2, 2], the port is f32[1,1,2,2]',
        "give [N,1,1,2,2] or [N,1,2,2], N samples along the first axis",
    )
    assert error(npz(image=np.float32(1)), [("image", port_type("f32[2]"))]) == text(
        'samples for port "image" have the shape [], the port is f32[2]', "give [N,2], N samples along the first axis"
    )


def test_missing_array() -> None:
    assert error(npz(picture=np.zeros((3, 4)), y=np.zeros(3)), IMAGE) == text(
        'no samples for port "image": the file has picture, y',
        'save an array named "image" or "x", samples along its first axis',
    )


def test_missing_file() -> None:
    assert error(Path("s.npz"), IMAGE) == text("there is no samples file s.npz", "check the path")
    assert error(Path("s.txt"), IMAGE) == text(
        "s.txt is neither .npz nor .csv", "save the samples with numpy.savez", "s.txt"
    )


def test_types_that_do_not_fit() -> None:
    """Both types are named."""
    assert error(npz(image=np.zeros((3, 4), np.int64)), INT8) == text(
        'samples for port "image" are i64, the port is i8[1,4] scale=0.5 zero=-3', "give an array of int8"
    )
    assert error(npz(image=np.zeros((3, 4), np.float32)), [("image", port_type("i8[4]"))]) == text(
        'samples for port "image" are f32, the port is i8[4]', "give a scale for the port, or an array of int8"
    )
    assert error(npz(image=np.array(["a", "b"])), [("image", port_type("f32[]"))]) == text(
        'samples for port "image" are <U1, the port is f32[]', "give an array of float32"
    )


def test_not_finite() -> None:
    for bad in (np.nan, np.inf, 1e300):
        assert error(npz(image=np.full((1, 4), bad)), INT8) == text(
            'samples for port "image" hold NaN or infinity', "clean them first"
        )


def test_counts_differ() -> None:
    assert error(npz(image=np.zeros((3, 1, 2, 2)), y=np.zeros(2)), IMAGE) == text(
        "the numbers of samples differ or are none: image 3, labels 2", "give as many of each"
    )
    assert error(npz(image=np.zeros((0, 1, 2, 2))), IMAGE) == text(
        "the numbers of samples differ or are none: image 0", "give as many of each"
    )


def test_corrupt_npz() -> None:
    """Cut, garbled, lying about its size, or full of pickles: never an exception of another kind."""
    broken = text("s.npz is not a sound .npz file", "save it with numpy.savez")
    path = npz(image=np.zeros((3, 1, 2, 2)))
    whole = path.read_bytes()
    for data in (b"", b"PK", whole[: len(whole) // 2], whole[:60] + b"\xff" * 9 + whole[69:]):
        path.write_bytes(data)
        assert error(path, IMAGE) == broken
    for header in ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,1,2,2), }", "((((", "'''"):
        line = header.encode().ljust(117) + b"\n"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("image.npy", b"\x93NUMPY\x01\x00\x76\x00" + line + bytes(16))
        assert error(path, IMAGE) == broken
    path = npz(image=np.array([{}], object))
    assert error(path, IMAGE) == text('array "image" holds Python objects', "save arrays of numbers")


def test_bad_csv() -> None:
    path = Path("s.csv")
    for content, what, fix in (
        ("a,b,c,d\n", "not a number: 'a'", "write numbers only, without a header"),
        ("1,2,3\n", "a row of 3 numbers for f32[1,1,2,2]", "write 4 in every row"),
    ):
        path.write_text(content)
        assert error(path, IMAGE) == text(what, fix, "s.csv:1")
    assert error(path, [*IMAGE, *INT8]) == text(
        "a .csv holds one port, the brain has 2", "save a .npz instead", "s.csv"
    )
    path.write_text("")
    assert "image 0" in error(path, IMAGE)

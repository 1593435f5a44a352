"""The reals of language models have two tellings, lanes.py and lanes.h; here they are held together, to the bit.

All cases where there are few, else millions with the extremes among them. What both might have wrong in the same way
is held against float64.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from brainc import lanes
from brainc.dtypes import A8, Array
from brainc.resources import templates_dir

MAP = """
void {0}_all(const {1} *x, {2} *y, int32_t n);
void {0}_all(const {1} *x, {2} *y, int32_t n)
{{
    for (int32_t i = 0; i < n; i++) {{
        y[i] = {0}(x[i]);
    }}
}}
"""
SHIM = """
void quantise_all(const float *x, br_a8_t *y, int32_t n);
void quantise_all(const float *x, br_a8_t *y, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        br_quantise(x + 32 * i, y + i);
    }
}

void whole_16_all(const float *x, int16_t *q, float *d, int32_t n);
void whole_16_all(const float *x, int16_t *q, float *d, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        d[i] = br_lane_whole_16(x + 32 * i, q + 32 * i);
    }
}

float dot(const float *x, const float *y, int32_t n);
float dot(const float *x, const float *y, int32_t n)
{
    return br_lane_dot(x, y, n);
}
"""
REALS = ("br_lane_exp", "br_lane_silu", "br_lane_gelu", "br_lane_rint")
EXTREMES = (0.0, 1e-45, 1e-38, 1e-30, 2.0**-24, 0.5, 1.0, 86.9, 87.0, 87.1, 88.0, 88.1, 104.0, 1e10, 1e20, 3.4e38)


@pytest.fixture(scope="module")
def c(cc) -> ctypes.CDLL:  # type: ignore[no-untyped-def]
    parts = [(templates_dir() / name).read_text(encoding="utf-8") for name in ("fixed.h", "lanes.h")]
    parts += [MAP.format(name, "float", "float") for name in REALS]
    parts += [MAP.format("br_from_f16", "uint16_t", "float"), MAP.format("br_to_f16", "float", "uint16_t"), SHIM]
    library: ctypes.CDLL = cc("\n".join(parts), "-O3", "-fsanitize=undefined", "-fno-sanitize-recover=all")
    library.dot.restype = ctypes.c_float
    return library


def pointer(a: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(a.ctypes.data)


def mapped(function: object, x: Array, dtype: np.dtype | type) -> Array:  # type: ignore[type-arg]
    y = np.zeros(x.shape, dtype)
    function(pointer(x), pointer(y), x.size)  # type: ignore[operator]
    return y


def values() -> Array:
    """Every size of number: bits at random, numbers where exp is alive, extremes of both signs."""
    rng = np.random.default_rng(0)
    anything = rng.integers(0, 1 << 32, 500_000, dtype=np.uint32).view(np.float32)
    alive = rng.uniform(-90.0, 90.0, 500_000).astype(np.float32)
    ends = np.array(EXTREMES, np.float32)
    return np.concatenate([anything[np.isfinite(anything)], alive, alive / 30, ends, -ends])


def same(a: Array, b: Array) -> None:
    np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32))


@pytest.mark.parametrize("name", ["exp", "silu", "gelu"])
def test_functions_have_the_same_bits(name: str, c: ctypes.CDLL) -> None:
    x = values()
    with np.errstate(over="ignore", under="ignore"):
        want = getattr(lanes, name)(x)
    same(mapped(c[f"br_lane_{name}_all"], x, np.float32), want)


def test_exp_is_as_near_as_it_says() -> None:
    x = np.concatenate([np.linspace(-87.0, 88.0, 2_000_001), np.linspace(-1.0, 1.0, 500_001)]).astype(np.float32)
    want = np.exp(x.astype(np.float64))
    wrong = np.abs(lanes.exp(x).astype(np.float64) - want) / want
    assert (wrong <= (4 + 1.2 * np.abs(x)) * 2.0**-24).all()
    assert lanes.exp(np.zeros(1, np.float32)) == 1  # the likeliest weighs one


def test_gates_are_what_they_are_called() -> None:
    x = np.linspace(-20.0, 20.0, 400_001).astype(np.float32)
    wide = x.astype(np.float64)
    tanh = np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3))
    np.testing.assert_allclose(lanes.silu(x), wide / (1 + np.exp(-wide)), rtol=2e-6)
    np.testing.assert_allclose(lanes.gelu(x), wide / 2 * (1 + tanh), rtol=1e-5, atol=1e-6)


def test_whole_numbers_are_the_nearest_half_to_even(c: ctypes.CDLL) -> None:
    x = np.arange(-(1 << 20), (1 << 20) + 1, dtype=np.float32) / np.float32(4)
    np.testing.assert_array_equal(mapped(c.br_lane_rint_all, x, np.float32), np.rint(x))


@pytest.mark.parametrize("length", [1, 15, 16, 17, 31, 32, 50, 64, 576, 1000])
def test_sums_have_the_same_bits(length: int, c: ctypes.CDLL) -> None:
    rng = np.random.default_rng(length)
    for _ in range(50):
        x, y = (rng.standard_normal((2, length)) * 10.0 ** rng.integers(-3, 4, (2, length))).astype(np.float32)
        same(np.array(c.dot(pointer(x), pointer(y), length), np.float32), lanes.lane_sum(x * y))


def test_a_sum_has_sixteen_lanes_and_a_tree() -> None:
    """By hand: numbers 16 apart are one lane's, and the tree adds lanes eight apart first."""
    x = np.zeros(32, np.float32)
    x[0], x[16], x[8] = 2.0**24, 1.0, -(2.0**24)
    assert lanes.lane_sum(x) == 0.0  # 2^24 + 1 is rounded in lane 0
    x[16], x[1] = 0.0, 1.0
    assert lanes.lane_sum(x) == 1.0  # lanes 0 and 8 meet before lane 1 comes
    x[8], x[4] = 0.0, -(2.0**24)
    assert lanes.lane_sum(x) == 1.0
    x[9] = 1.0
    assert lanes.lane_sum(x) == 2.0


def test_blocks_have_the_same_bytes(c: ctypes.CDLL) -> None:
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((40_000, 32)) * 10.0 ** rng.uniform(-36, 36, (40_000, 1))).astype(np.float32)
    x[:128] = np.rint(rng.uniform(-127, 127, (128, 32)) * 2) / 2  # halves, to even
    x[:128, 0] = 127.0
    x[128], x[129], x[130] = 0.0, 9e-31, 1.1e-30
    x[131], x[132] = 3.4e38, -3.4e38
    x[133:150, 1:] = 0.0
    with np.errstate(over="ignore"):  # of s, where numbers are near the largest
        want = lanes.quantised(x)[:, 0]
    got = np.zeros_like(want)
    c.quantise_all(pointer(x), pointer(got), len(x))
    assert got.tobytes() == want.tobytes()


def test_a_block_holds_what_its_words_say() -> None:
    x = np.random.default_rng(2).standard_normal((500, 64)).astype(np.float32)
    blocks = lanes.quantised(x)
    assert blocks.shape == (500, 2) and blocks.dtype == A8.numpy
    most = np.abs(x.reshape(500, 2, 32)).max(axis=-1)
    back = blocks["d"][..., None].astype(np.float64) * blocks["q"]
    assert np.all(np.abs(back - x.reshape(500, 2, 32)) <= most[..., None] * (0.5 / 127 * 1.001))
    assert np.all(np.abs(blocks["q"].astype(np.int32)).max(axis=-1) == 127)
    np.testing.assert_array_equal(blocks["n"], blocks["q"].astype(np.int32).reshape(500, 2, 2, 16).sum(axis=-1))
    np.testing.assert_allclose(blocks["s"], back.sum(axis=-1), rtol=1e-6, atol=1e-7)


def test_what_a_cache_keeps_in_16_bits_has_the_same_bits(c: ctypes.CDLL) -> None:
    """And it is nearer to what was there than f16 is, where numbers are as large as each other."""
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((40_000, 32)) * 2.0 ** rng.uniform(-30, 20, (40_000, 1))).astype(np.float32)
    x[:64] = 2.0 ** np.arange(-40, 24, dtype=np.float32)[:, None] * np.linspace(-1, 1, 32, dtype=np.float32)
    x[64:128] = np.nextafter(np.abs(x[:64]), np.float32(0))
    x[128:132, 5] = np.inf, -np.inf, np.nan, -3e38
    x[132] = 0.0
    q, d = lanes.whole_16(x)
    got, unit = np.zeros(x.shape, np.int16), np.zeros(len(x), np.float32)
    c.whole_16_all(pointer(x), pointer(got), pointer(unit), len(x))
    np.testing.assert_array_equal(got, q)
    same(unit, d)
    assert np.abs(q).max() == 8192 and np.all(d.astype(np.float16) == d) and np.all(np.frexp(d)[0] == 0.5)
    assert np.all(np.abs(q * d[:, None] - lanes.held(x)) <= d[:, None] / 2)
    plain = x[(np.abs(x).max(axis=1) < 65000) & (np.abs(x).max(axis=1) > 2.0**-11)]
    q, d = lanes.whole_16(plain)
    ours, halves = q * d[:, None] - plain, plain.astype(np.float16).astype(np.float32) - plain
    assert np.median(np.linalg.norm(ours, axis=1) / np.linalg.norm(halves, axis=1)) < 1


def test_every_number_of_16_bits_becomes_the_real_it_is(c: ctypes.CDLL) -> None:
    every = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    want, got = every.view(np.float16).astype(np.float32), mapped(c.br_from_f16_all, every, np.float32)
    number = ~np.isnan(want)
    assert number.sum() == (1 << 16) - 2 * 1023
    same(got[number], want[number])
    assert np.isnan(got[~number]).all()
    finite = np.isfinite(want)
    np.testing.assert_array_equal(mapped(c.br_to_f16_all, got, np.uint16)[finite], every[finite])


def test_reals_become_the_nearest_number_of_16_bits(c: ctypes.CDLL) -> None:
    """Also those in the middle between two, and their neighbours on both sides; what is beyond all becomes the last."""
    finite = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middle = (finite[:-1] + finite[1:]) / 2
    near = np.concatenate([finite, middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(1e9))])
    limit = np.array([65519.996, 65520.0, 65535.0, 65536.0, np.inf], np.float32)
    x = np.concatenate([near, -near, limit, -limit, values()])
    x = np.concatenate([x, np.array([np.nan, -np.nan], np.float32)])
    with np.errstate(under="ignore"):
        want = lanes.held(x).astype(np.float16)
    assert np.isfinite(want).all()
    np.testing.assert_array_equal(mapped(c.br_to_f16_all, x, np.uint16), want.view(np.uint16))


@pytest.mark.parametrize(("width", "base"), [(64, 1e4), (128, 1e6), (24, 5e5)])
@pytest.mark.parametrize("slower", [1.0, 8.0])
def test_turns_are_cosines_and_sines(width: int, base: float, slower: float) -> None:
    table = lanes.turns(9000, width, base, slower)
    assert table.shape == (9000, width // 2, 2) and table.dtype == np.float32
    angles = np.arange(9000.0)[:, None] * base ** (-2.0 * np.arange(width // 2) / width) / slower
    np.testing.assert_allclose(table[..., 0], np.cos(angles), rtol=0, atol=1e-7)
    np.testing.assert_allclose(table[..., 1], np.sin(angles), rtol=0, atol=1e-7)


def test_every_turn_may_be_slower_by_its_own() -> None:
    by = [1.0, 2.0, 32.0, 7.5]
    table = lanes.turns(100, 8, 1e4, by)
    for i, factor in enumerate(by):
        np.testing.assert_array_equal(table[:, i], lanes.turns(100, 8, 1e4, factor)[:, i])


def test_far_places_are_reduced_well() -> None:
    """The last rows of a long context, where an angle is many turns."""
    angles = np.linspace(0.0, 2.0**20 - 1, 300_001)
    cosine, sine = lanes._cos_sin(angles)
    np.testing.assert_allclose(cosine, np.cos(angles), rtol=0, atol=1e-9)
    np.testing.assert_allclose(sine, np.sin(angles), rtol=0, atol=1e-9)

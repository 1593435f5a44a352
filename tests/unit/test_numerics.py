"""The arithmetic contract has two tellings, numerics.py and fixed.h; here they are held together.

All cases where there are few, a million random ones with the extremes among them elsewhere.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from brainc import numerics
from brainc.resources import templates_dir

MILLION = 1_000_000
I32 = np.iinfo(np.int32)

SHIM = """
void requant(const int32_t *acc, const int32_t *mult, const int8_t *shift, int8_t *y, int32_t n,
             int32_t zero, int32_t lo, int32_t hi);
void requant(const int32_t *acc, const int32_t *mult, const int8_t *shift, int8_t *y, int32_t n,
             int32_t zero, int32_t lo, int32_t hi)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_requant_once_i8(acc[i], mult[i], shift[i], zero, lo, hi);
    }
}

void requant_tflite(const int32_t *acc, const int32_t *mult, const int8_t *shift, int8_t *y, int32_t n,
                    int32_t zero, int32_t lo, int32_t hi);
void requant_tflite(const int32_t *acc, const int32_t *mult, const int8_t *shift, int8_t *y, int32_t n,
                    int32_t zero, int32_t lo, int32_t hi)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_requant_tflite_i8(acc[i], mult[i], shift[i], zero, lo, hi);
    }
}

void requant_even(const int32_t *acc, const int32_t *mult, const int8_t *shift, int8_t *y, int32_t n,
                  int32_t zero, int32_t lo, int32_t hi);
void requant_even(const int32_t *acc, const int32_t *mult, const int8_t *shift, int8_t *y, int32_t n,
                  int32_t zero, int32_t lo, int32_t hi)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_requant_even_i8(acc[i], mult[i], shift[i], zero, lo, hi);
    }
}

void rounding_shift(const int64_t *v, const int8_t *shift, int64_t *y, int32_t n);
void rounding_shift(const int64_t *v, const int8_t *shift, int64_t *y, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_rounding_shift(v[i], shift[i]);
    }
}

void scaled_sum(const int8_t *a, const int8_t *b, int8_t *y, int32_t n, const int32_t *p);
void scaled_sum(const int8_t *a, const int8_t *b, int8_t *y, int32_t n, const int32_t *p)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_add_i8(a[i], b[i], p[0], p[1], p[2], p[3], (int8_t)p[4], p[5], p[6], p[7]);
    }
}

void tflite_sum(const int8_t *a, const int8_t *b, int8_t *y, int32_t n, const int32_t *p);
void tflite_sum(const int8_t *a, const int8_t *b, int8_t *y, int32_t n, const int32_t *p)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_add_tflite_i8(a[i], b[i], p[0], p[1], p[2], p[3], (int8_t)p[4], (int8_t)p[5], (int8_t)p[6], p[7],
                                (int8_t)p[8], p[9], p[10], p[11]);
    }
}

void prelu(const int8_t *x, const int8_t *b, int8_t *y, int32_t n, const int32_t *p);
void prelu(const int8_t *x, const int8_t *b, int8_t *y, int32_t n, const int32_t *p)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_prelu_tflite_i8(x[i] - p[0], b[i] - p[1], p[2], (int8_t)p[3], p[4], (int8_t)p[5], p[6]);
    }
}

void inverse_root(const uint32_t *x, int32_t *y, int8_t *shift, int32_t n);
void inverse_root(const uint32_t *x, int32_t *y, int8_t *shift, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_inverse_root(x[i], shift + i);
    }
}

void total(const int8_t *a, const int8_t *b, int32_t *y, int32_t n, const int32_t *p);
void total(const int8_t *a, const int8_t *b, int32_t *y, int32_t n, const int32_t *p)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_total_tflite(a[i], b[i], p[0], p[1], p[2], p[3], (int8_t)p[4], (int8_t)p[5], (int8_t)p[6]);
    }
}

void high_product(const int32_t *a, const int32_t *b, int32_t *y, int32_t n);
void high_product(const int32_t *a, const int32_t *b, int32_t *y, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_high_product(a[i], b[i]);
    }
}

void half_away_shift(const int32_t *v, const int8_t *shift, int32_t *y, int32_t n);
void half_away_shift(const int32_t *v, const int8_t *shift, int32_t *y, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_half_away_shift(v[i], shift[i]);
    }
}

void reciprocal(const int32_t *x, int32_t *y, int32_t n);
void reciprocal(const int32_t *x, int32_t *y, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_reciprocal(x[i]);
    }
}

void mean_tflite(const int32_t *sum, const int32_t *count, int32_t *y, int32_t n);
void mean_tflite(const int32_t *sum, const int32_t *count, int32_t *y, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_mean_tflite(sum[i], count[i]);
    }
}

void dot(const int8_t *x, const int8_t *w, int32_t *y, int32_t rows, int32_t n);
void dot(const int8_t *x, const int8_t *w, int32_t *y, int32_t rows, int32_t n)
{
    for (int32_t i = 0; i < rows; i++) {
        y[i] = br_dot_i8(x, w + i * n, n);
    }
}

void sum(const int8_t *x, int32_t *y, int32_t n, int32_t step);
void sum(const int8_t *x, int32_t *y, int32_t n, int32_t step)
{
    *y = br_sum_i8(x, n, step);
}

void shift_u8(const uint8_t *x, uint8_t *y, int32_t n);
void shift_u8(const uint8_t *x, uint8_t *y, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_shift_u8(x[i]);
    }
}

void probability(const uint32_t *weight, const uint32_t *total, int32_t *y, int32_t n);
void probability(const uint32_t *weight, const uint32_t *total, int32_t *y, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_softmax_probability(weight[i], total[i]);
    }
}

void clamp(const int32_t *v, int32_t *y, int32_t n, int32_t lo, int32_t hi);
void clamp(const int32_t *v, int32_t *y, int32_t n, int32_t lo, int32_t hi)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_clamp_i32(v[i], lo, hi);
    }
}

void to_int(const float *x, int32_t *y, int32_t n, float scale, int32_t zero, int32_t lo, int32_t hi);
void to_int(const float *x, int32_t *y, int32_t n, float scale, int32_t zero, int32_t lo, int32_t hi)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_to_int(x[i], 1.0f / scale, zero, lo, hi);
    }
}

void to_int_tflite(const float *x, int32_t *y, int32_t n, float scale, int32_t zero, int32_t lo, int32_t hi);
void to_int_tflite(const float *x, int32_t *y, int32_t n, float scale, int32_t zero, int32_t lo, int32_t hi)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_to_int_tflite(x[i], scale, zero, lo, hi);
    }
}

void from_int(const int32_t *x, float *y, int32_t n, float scale, int32_t zero);
void from_int(const int32_t *x, float *y, int32_t n, float scale, int32_t zero)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] = br_from_int(x[i], scale, zero);
    }
}
"""


@pytest.fixture(scope="module")
def c(cc) -> ctypes.CDLL:  # type: ignore[no-untyped-def]
    texts = [(templates_dir() / name).read_text() for name in ("fixed.h", "float.h")]
    return cc("\n".join([*texts, SHIM]))  # type: ignore[no-any-return]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def call(function, *args):  # type: ignore[no-untyped-def]
    """Calls C with arrays as pointers, ints as int32 and floats as float."""
    kinds = {int: ctypes.c_int32, float: ctypes.c_float}
    function(*(a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else kinds[type(a)](a) for a in args))


def wide_numbers(rng: np.random.Generator, bits: int, n: int) -> np.ndarray:
    """Signed numbers of every magnitude below 2^bits, with the ends among them."""
    size = rng.integers(0, bits + 1, n)
    v = np.floor(rng.random(n) * 2.0**size).astype(np.int64) * rng.choice([-1, 1], n)
    v[:4] = [(1 << bits) - 1, -(1 << bits), 0, -1]
    return v


@pytest.mark.parametrize("profile", numerics.PROFILES)
def test_requant_is_the_same_for_every_shift(c, rng, profile: str) -> None:  # type: ignore[no-untyped-def]
    function = {"once": c.requant, "tflite": c.requant_tflite}[profile]
    acc = wide_numbers(rng, 31, MILLION).astype(np.int32)
    mult = np.abs(wide_numbers(rng, 30, MILLION)).astype(np.int32)
    mult[: MILLION // 2] = rng.integers(1 << 30, I32.max, MILLION // 2, endpoint=True)
    mult[-3:] = [0, 1, I32.max]
    shift = rng.integers(1, 63, MILLION).astype(np.int8)
    for zero, lo, hi in ((0, -128, 127), (-128, -128, 127), (127, -20, 100), (5, 7, 7)):
        y = np.empty(MILLION, np.int8)
        call(function, acc, mult, shift, y, MILLION, zero, lo, hi)
        np.testing.assert_array_equal(y, numerics.requant(acc, mult, shift, zero, lo, hi, profile))


def test_requant_rounds_half_up(c) -> None:  # type: ignore[no-untyped-def]
    acc = np.arange(-6, 7, dtype=np.int32)
    y, mult, shift = np.empty(13, np.int8), np.ones(13, np.int32), np.ones(13, np.int8)
    call(c.requant, acc, mult, shift, y, 13, 0, -128, 127)
    assert y.tolist() == [-3, -2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 3, 3]


def test_requant_even_is_the_same_and_ties_go_to_even(c, rng) -> None:  # type: ignore[no-untyped-def]
    acc = wide_numbers(rng, 31, MILLION).astype(np.int32)
    mult = (1 << rng.integers(0, 31, MILLION)).astype(np.int32)  # powers of two: ties are common
    mult[::3] = np.abs(wide_numbers(rng, 30, len(mult[::3]))).astype(np.int32)
    shift = rng.integers(1, 63, MILLION).astype(np.int8)
    y = np.empty(MILLION, np.int8)
    call(c.requant_even, acc, mult, shift, y, MILLION, 3, -128, 127)
    np.testing.assert_array_equal(y, numerics.requant_even(acc, mult, shift, 3))
    acc = np.arange(-6, 7, dtype=np.int32)
    y, mult, shift = np.empty(13, np.int8), np.ones(13, np.int32), np.ones(13, np.int8)
    call(c.requant_even, acc, mult, shift, y, 13, 0, -128, 127)
    assert y.tolist() == np.rint(acc / 2).astype(int).tolist()


def test_rounding_shift(c, rng) -> None:  # type: ignore[no-untyped-def]
    v, shift = wide_numbers(rng, 62, MILLION), rng.integers(1, 63, MILLION).astype(np.int8)
    y = np.empty(MILLION, np.int64)
    call(c.rounding_shift, v, shift, y, MILLION)
    np.testing.assert_array_equal(y, numerics.rounding_shift(v, shift))


def test_scaled_sum_for_all_pairs_of_bytes(c, rng) -> None:  # type: ignore[no-untyped-def]
    a, b = (g.reshape(-1).astype(np.int8) for g in np.mgrid[-128:128, -128:128])
    extremes = [((1 << 21) - 1, (1 << 21) - 1, 1), (1 - (1 << 21), (1 << 21) - 1, 30), (1 << 20, -(1 << 20), 21)]
    random = [numerics.sum_multipliers(*(rng.random(2) * 2 - 0.5)) for _ in range(20)]
    for ma, mb, shift in extremes + random:
        za, zb, zero = (int(z) for z in rng.integers(-128, 128, 3))
        p = np.array([za, zb, ma, mb, shift, zero, -128, 120], np.int32)
        y = np.empty(a.size, np.int8)
        call(c.scaled_sum, a, b, y, a.size, p)
        np.testing.assert_array_equal(y, numerics.scaled_sum(a, b, za, zb, ma, mb, shift, zero, -128, 120))


def test_tflite_sum_for_all_pairs_of_bytes(c, rng) -> None:  # type: ignore[no-untyped-def]
    a, b = (g.reshape(-1).astype(np.int8) for g in np.mgrid[-128:128, -128:128])
    for left, sign in ((20, 1), (20, -1), (15, 1), (0, -1)):
        reals = (0.5, rng.random() / 2, 2 * rng.random() / (1 << left))
        (ma, sa), (mb, sb), (mult, shift) = map(numerics.tflite_multiplier, reals)
        za, zb, zero = (int(z) for z in rng.integers(-128, 128, 3))
        p = np.array([za, zb, ma, sign * mb, sa, sb, left, mult, shift, zero, -128, 120], np.int32)
        y = np.empty(a.size, np.int8)
        call(c.tflite_sum, a, b, y, a.size, p)
        each = {"zeros": (za, zb), "mults": (ma, sign * mb), "shifts": (sa, sb), "left": left}
        want = numerics.tflite_sum(a, b, **each, mult=mult, shift=shift, zero=zero, lo=-128, hi=120)
        np.testing.assert_array_equal(y, want)
        total = np.empty(a.size, np.int32)
        call(c.total, a, b, total, a.size, p)
        np.testing.assert_array_equal(total, numerics.tflite_total(a, b, **each))


def test_prelu_for_all_pairs_of_bytes(c, rng) -> None:  # type: ignore[no-untyped-def]
    a, b = (g.reshape(-1).astype(np.int8) for g in np.mgrid[-128:128, -128:128])
    for real in (0.4, 1.0, 7.3):
        positive, negative = numerics.tflite_multiplier(real), numerics.tflite_multiplier(real * rng.random() / 50)
        zx, zb, zero = (int(z) for z in rng.integers(-128, 128, 3))
        y = np.empty(a.size, np.int8)
        call(c.prelu, a, b, y, a.size, np.array([zx, zb, *positive, *negative, zero], np.int32))
        np.testing.assert_array_equal(y, numerics.tflite_prelu(a, b, (zx, zb), positive, negative, zero))


def test_inverse_root(c, rng) -> None:  # type: ignore[no-untyped-def]
    x = np.abs(wide_numbers(rng, 31, MILLION)).astype(np.uint32)
    x[: 1 << 17] = np.arange(1 << 17)
    x = np.minimum(x, I32.max).astype(np.uint32)
    y, shift = np.empty(x.size, np.int32), np.empty(x.size, np.int8)
    call(c.inverse_root, x, y, shift, x.size)
    mult, shifts = numerics.inverse_root(x.astype(np.int64))
    np.testing.assert_array_equal(y, mult)
    np.testing.assert_array_equal(shift, shifts)
    np.testing.assert_allclose(y * 2.0**-shift, 1 / np.sqrt(np.maximum(x, 1)), rtol=2e-6)


def test_fractions_of_31_bits(c, rng) -> None:  # type: ignore[no-untyped-def]
    """Products, shifts, reciprocals and means that softmax and the pools are made of."""
    a, b = (wide_numbers(rng, 31, MILLION).astype(np.int32) for _ in range(2))
    b[b == I32.min] = 1
    shift, y = rng.integers(0, 32, MILLION).astype(np.int8), np.empty(MILLION, np.int32)
    call(c.high_product, a, b, y, MILLION)
    np.testing.assert_array_equal(y, numerics.high_product(a.astype(np.int64), b.astype(np.int64)))
    call(c.half_away_shift, a, shift, y, MILLION)
    np.testing.assert_array_equal(y, numerics.half_away_shift(a.astype(np.int64), shift))
    x = np.abs(b)
    x[:2] = 0, I32.max
    call(c.reciprocal, x, y, MILLION)
    np.testing.assert_array_equal(y, numerics.reciprocal(x.astype(np.int64)))
    np.testing.assert_allclose(y / 2**31, 1 / (1 + x / 2**31), rtol=0, atol=1e-8)
    count = np.maximum(x >> 12, 1)
    total = (a >> 3).astype(np.int32)
    call(c.mean_tflite, total, count, y, MILLION)
    np.testing.assert_array_equal(y, numerics.tflite_mean(total.astype(np.int64), count))


def test_dot_and_sum(c, rng) -> None:  # type: ignore[no-untyped-def]
    for n in (*range(1, 40), 511, 512, 513, 1024, 3000):
        x, w = rng.integers(-128, 128, n).astype(np.int8), rng.integers(-128, 128, (4, n)).astype(np.int8)
        if n > 500:
            x[:], w[0], w[1] = -128, -128, 127
        y, total = np.empty(4, np.int32), np.empty(1, np.int32)
        call(c.dot, x, w, y, 4, n)
        np.testing.assert_array_equal(y, numerics.dot(x[None], w)[0])
        call(c.sum, x, total, (n + 2) // 3, 3)
        assert total[0] == x[::3].sum(dtype=np.int32)


def test_shift_u8_for_all_bytes(c) -> None:  # type: ignore[no-untyped-def]
    x, y = np.arange(256, dtype=np.uint8), np.empty(256, np.uint8)
    call(c.shift_u8, x, y, 256)
    np.testing.assert_array_equal(y.view(np.int8), numerics.shift_u8(x))
    np.testing.assert_array_equal(numerics.shift_u8(y.view(np.int8)), x)


def test_softmax_probability(c, rng) -> None:  # type: ignore[no-untyped-def]
    weight = np.abs(wide_numbers(rng, 16, MILLION)).astype(np.uint32)
    total = np.maximum(np.abs(wide_numbers(rng, 31, MILLION)), np.maximum(weight, 1)).astype(np.uint32)
    weight[:3], total[:3] = [65536, 65536, 1], [65536, 1 << 31, 1 << 31]
    y = np.empty(MILLION, np.int32)
    call(c.probability, weight, total, y, MILLION)
    pairs = np.stack([weight, total - weight], 1)
    np.testing.assert_array_equal(y, numerics.softmax_probability(pairs)[:, 0].astype(np.int32))


def test_clamp(c, rng) -> None:  # type: ignore[no-untyped-def]
    v, y = wide_numbers(rng, 31, 10_000).astype(np.int32), np.empty(10_000, np.int32)
    for lo, hi in ((-128, 127), (I32.min, I32.max), (3, 3)):
        call(c.clamp, v, y, v.size, lo, hi)
        np.testing.assert_array_equal(y, numerics.clamp(v, lo, hi))


@pytest.mark.parametrize("profile", numerics.PROFILES)
@pytest.mark.parametrize(("lo", "hi"), [(-128, 127), (0, 255), (-32768, 32767), (0, 65535)])
def test_to_int_at_ties_and_everywhere(lo: int, hi: int, profile: str, c, rng) -> None:  # type: ignore[no-untyped-def]
    function = {"once": c.to_int, "tflite": c.to_int_tflite}[profile]
    ties = (np.arange(2 * lo - 9, 2 * hi + 9) / 2).astype(np.float32)
    around = [ties, np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))]
    odd = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-40, -0.0], np.float32)
    every = rng.integers(0, 1 << 32, MILLION, dtype=np.uint32).view(np.float32)
    every = every[np.isfinite(every)]
    x = np.concatenate([*around, odd, every])
    for scale, zero in ((1.0, 0 if lo else lo), (0.5, lo), (0.0173, hi), (3.1, (lo + hi) // 2)):
        y = np.empty(x.size, np.int32)
        call(function, x, y, x.size, scale, zero, lo, hi)
        with np.errstate(over="ignore", invalid="ignore"):
            np.testing.assert_array_equal(y, numerics.to_int(x, scale, zero, lo, hi, profile))


def test_from_int(c) -> None:  # type: ignore[no-untyped-def]
    q = np.arange(-70_000, 70_000, dtype=np.int32)
    for scale, zero in ((1.0, 0), (0.0173, -128), (1e-9, 65535)):
        y = np.empty(q.size, np.float32)
        call(c.from_int, q, y, q.size, scale, zero)
        np.testing.assert_array_equal(y, numerics.from_int(q, scale, zero))

"""The sampler of host programs: against its definition in numpy, and the shares of what it draws."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
from runtime import library

from brainc import lanes
from brainc.dtypes import Array
from brainc.resources import templates_dir

F = np.float32
RECENT = 64


class Settings(ctypes.Structure):
    _fields_ = [
        ("temperature", ctypes.c_float),
        ("top_k", ctypes.c_int32),
        ("top_p", ctypes.c_float),
        ("min_p", ctypes.c_float),
        ("repeat_penalty", ctypes.c_float),
        ("seed", ctypes.c_uint64),
    ]


Draw = Callable[[Settings, Array, list[int], int], list[int]]


@pytest.fixture(scope="module")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Draw:
    """(settings, logits, tokens noted before, how many) -> the tokens drawn one after the other."""
    code = library(tmp_path_factory.mktemp("sample"), templates_dir() / "runtime" / "sample.c")

    def drawn(settings: Settings, logits: Array, noted: list[int], count: int) -> list[int]:
        sampler = ctypes.create_string_buffer(1024)
        work = ctypes.create_string_buffer(12 * len(logits))
        code.br_sampler_start(sampler, ctypes.byref(settings))
        for token in noted:
            code.br_sampler_note(sampler, ctypes.c_int32(token))
        x = np.ascontiguousarray(logits, np.float32)
        size = ctypes.c_size_t(len(x))
        return [code.br_sample(sampler, x.ctypes.data_as(ctypes.c_void_p), size, work) for _ in range(count)]

    return drawn


def uniform(seed: int) -> list[float]:
    """The numbers that the sampler's generator gives: splitmix64."""
    numbers, state, mask = [], seed, (1 << 64) - 1
    for _ in range(50):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        numbers.append(((z ^ (z >> 31)) >> 40) * 2.0**-24)
    return numbers


def allowed(s: Settings, logits: Array) -> list[int]:
    """The tokens that may be drawn, the likeliest first, by the definition and in float64."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if s.top_k > 0:
        order = order[: s.top_k]
    weights = np.exp(logits[order].astype(np.float64) - logits[order[0]])
    shares = np.cumsum(weights) / weights.sum()
    most = int(np.searchsorted(shares, s.top_p)) + 1 if s.top_p < 1 else len(order)
    return [t for t, w in zip(order[:most], weights, strict=False) if w >= s.min_p]


def setting(**given: float) -> Settings:
    plain: dict[str, float] = {
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
        "seed": 5,
    }
    return Settings(**{**plain, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", [{"top_k": 5}, {"top_p": 0.7}, {"min_p": 0.1}, {"top_k": 30, "top_p": 0.9, "min_p": 0.02}]
)
def test_only_what_the_settings_allow_is_drawn_and_all_of_it(draw: Draw, given: dict[str, float]) -> None:
    logits = np.random.default_rng(1).standard_normal(200).astype(np.float32) * 2
    settings = setting(**given)
    wanted = allowed(settings, logits)
    found = draw(settings, logits, [], 20_000)
    assert set(found) <= set(wanted)
    likely = [t for t in wanted if np.exp(logits[t] - logits[wanted[0]]) > 0.05]
    assert set(likely) <= set(found)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_what_is_drawn_has_the_shares_of_a_softmax(draw: Draw, temperature: float) -> None:
    logits = np.array([2.0, 1.0, 0.0, -1.0, 0.5], np.float32)
    found = np.bincount(draw(setting(temperature=temperature), logits, [], 40_000), minlength=5) / 40_000
    wanted = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    assert np.abs(found - wanted).max() < 0.01


def test_each_draw_is_the_one_of_its_random_number(draw: Draw) -> None:
    logits = np.random.default_rng(2).standard_normal(50).astype(np.float32) * 3
    weights = lanes.exp(logits - logits.max())
    total = F(0)
    for weight in weights:
        total = F(total + weight)
    wanted = []
    for number in uniform(77):
        place, token = F(F(number) * total), 0
        for i in range(49, 0, -1):
            place = F(place - weights[i])
            if place < 0:
                token = i
                break
        wanted.append(token)
    assert draw(setting(seed=77), logits, [], 50) == wanted


def test_greedy_takes_the_first_of_the_largest(draw: Draw) -> None:
    logits = np.array([0.0, 3.0, 3.0, -1.0], np.float32)
    assert draw(setting(temperature=0.0), logits, [], 3) == [1, 1, 1]


def test_a_penalty_counts_a_token_once_and_forgets_it_in_time(draw: Draw) -> None:
    logits = np.array([2.0, 1.5, -1.0, -1.2], np.float32)
    greedy = setting(temperature=0.0, repeat_penalty=1.4)
    assert draw(greedy, logits, [0, 0, 0], 1) == [1]  # 2 / 1.4 < 1.5; three times it would be 0.73
    assert draw(greedy, logits, [0, 1, 1], 1) == [0]
    assert draw(greedy, logits, [0] + [3] * RECENT, 1) == [0]
    assert draw(greedy, logits, [-5, 4, 1 << 30], 1) == [0]
    assert draw(setting(temperature=0.0, repeat_penalty=1.4), np.array([-1.0, -1.2], np.float32), [0], 1) == [1]


def test_many_candidates_and_one(draw: Draw) -> None:
    logits = np.random.default_rng(3).standard_normal(49_152).astype(np.float32) * 4
    settings = setting(top_k=40, top_p=0.95, min_p=0.05, temperature=0.8)
    assert set(draw(settings, logits, [], 300)) <= set(allowed(settings, logits))
    assert draw(setting(top_k=1), logits, [], 2) == [int(logits.argmax())] * 2
    assert draw(settings, np.array([7.0], np.float32), [], 2) == [0, 0]


@pytest.mark.parametrize("given", [{}, {"temperature": 0.0}, {"top_k": 2}, {"top_p": 0.5}, {"repeat_penalty": 0.01}])
def test_what_is_no_number_is_never_drawn_where_one_is(draw: Draw, given: dict[str, float]) -> None:
    """Under the sanitizer: a model's numbers may be any."""
    logits = np.array([np.nan, 1.0, -np.inf, np.nan, 1.0], np.float32)
    assert set(draw(setting(**given), logits, [1, 4], 50)) <= {1, 4}
    assert set(draw(setting(**given), np.array([np.inf, 3e38, 1.0], np.float32), [0, 1], 50)) <= {0, 1}
    assert set(draw(setting(**given), np.full(4, np.nan, np.float32), [2], 50)) <= set(range(4))

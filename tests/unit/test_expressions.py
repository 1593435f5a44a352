"""Formulas of kernel heads: what they are worth, and which part of a condition fails."""

from __future__ import annotations

import pytest

from brainc.expressions import evaluate, unmet

ENV = {"M": 125, "K": 64, "round": "tflite"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("M == 1", "M == 1, but M is 125"),
        ("K % 4 == 0 and M == 1 and round == 'once'", "M == 1, but M is 125"),
        ("K % 4 == 0 and round == 'once'", "round == 'once', but round is tflite"),
        ("M == 1 or min(K, M) > 100", "M == 1 or min(K, M) > 100, but K is 64, M is 125"),
    ],
)
def test_what_does_not_hold_is_named_with_its_values(text: str, told: str) -> None:
    assert not evaluate(text, ENV)
    assert unmet(text, ENV) == told

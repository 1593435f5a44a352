"""The scribe types the same text for the same seed on every machine, and keeps to its figures on an Uno.

The truth is the text of this computer's build. A machine that is fed the symbols of that text and answers each with the
next one would have typed it by itself; that the sketch does so is proved in tests/boards.
"""

from __future__ import annotations

from itertools import islice

import pytest
from test_ladder import needs_tools
from writing import LENGTH, PROMPT, SEED, TEMPERATURE, desktop, text, write

from brainc import bench

CYCLES = 600_000  # of a symbol on the Uno: 26 a second


@pytest.mark.sim
@pytest.mark.parametrize("target", ["uno", "cortex-m0plus", "cortex-m4"])
def test_the_same_text_everywhere(target: str) -> None:
    needs_tools("c99")
    needs_tools(target)
    inputs = write.vectors(PROMPT, desktop(), SEED, TEMPERATURE)
    assert write.answers(target, inputs)[-LENGTH:] == list(desktop())


@pytest.mark.sim
def test_a_symbol_takes_the_uno_what_is_promised() -> None:
    needs_tools("uno")
    inputs = write.vectors("", desktop()[:3], SEED, TEMPERATURE)
    (step,) = bench.measure(write.compiled("uno"), inputs)["entries"].values()
    assert 0 < step["cycles"] <= CYCLES


def test_the_seed_and_the_temperature_matter() -> None:
    """Another seed gives another text; without chance there is one text."""
    needs_tools("c99")
    other = [tuple(islice(write.symbols(PROMPT, seed, heat), LENGTH)) for seed, heat in ((8, 0.7), (1, 0.0), (2, 0.0))]
    assert other[0] != desktop() and other[1] == other[2]


def test_it_writes_words() -> None:
    needs_tools("c99")
    assert all(len(word) < 15 for word in text().split()) and " " in text()

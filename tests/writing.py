"""examples/scribe/write.py as a module, and the text that tests of several rooms hold machines against."""

from __future__ import annotations

import sys
from functools import cache
from itertools import islice

from brainc.resources import examples_dir

FOLDER = examples_dir() / "scribe"
sys.path.insert(0, str(FOLDER))

import write  # noqa: E402

PROMPT, SEED, TEMPERATURE, LENGTH = "And it came", 7, 0.7, 40


@cache
def desktop() -> tuple[int, ...]:
    """The symbols that this computer writes."""
    return tuple(islice(write.symbols(PROMPT, SEED, TEMPERATURE), LENGTH))


def text() -> str:
    return "".join(write.SYMBOLS[symbol] for symbol in desktop())

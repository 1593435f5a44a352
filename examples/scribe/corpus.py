"""The text: the King James Bible of Debian's package `bible-kjv`, as numbers.

One verse a line without its reference, lower case: 4,137,849 characters of 38 symbols. The last 5 % (from the middle of
Colossians on) are held out: nothing is ever trained or calibrated on them.
"""

from __future__ import annotations

import math
import re
import subprocess

import numpy as np
from numpy.typing import NDArray

SYMBOLS = "\n !'(),-.:;?abcdefghijklmnopqrstuvwxyz"
HELD_OUT = 0.05
Tokens = NDArray[np.int64]


def text() -> str:
    """All of it. Needs the program `bible`."""
    book = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], capture_output=True, text=True, check=True).stdout
    return "".join(re.sub(r"^\S+ ", "", line.rstrip()) + "\n" for line in book.splitlines()).lower()


def load() -> tuple[Tokens, Tokens]:
    """(to learn from, held out)."""
    number = {symbol: i for i, symbol in enumerate(SYMBOLS)}
    tokens = np.array([number[c] for c in text()])
    cut = len(tokens) - math.ceil(len(tokens) * HELD_OUT)
    return tokens[:cut], tokens[cut:]

"""Writes templates/runtime/unicode_table.c: which characters are letters, numbers, punctuation, spaces.

    python tests/unicode_classes.py > templates/runtime/unicode_table.c

llama.cpp has the table of Unicode 15.1, and so have we: a letter of a later version would be cut out of words that
models saw whole. Python 3.13 has that version, or the package unicodedata2 in its version 15.1.0.
"""

from __future__ import annotations

import importlib
from types import ModuleType

VERSION = "15.1.0"
OTHER, LETTER, NUMBER, PUNCTUATION, SPACE = range(5)
CATEGORIES = {"L": LETTER, "N": NUMBER, "P": PUNCTUATION}
# White_Space of Unicode: no category says it.
SPACES = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}

HEAD = """\
/* SPDX-License-Identifier: 0BSD
 * Runs of characters of one kind, of Unicode {version}; see unicode.h. Written by tests/unicode_classes.py. */
#include "unicode.h"

const uint32_t br_unicode_run_count = {count};

const uint32_t br_unicode_runs[] = {{
{rows}
}};
"""


def kind(data: ModuleType, code: int) -> int:
    """The number of a character's kind, by Python's unicodedata or one like it."""
    return SPACE if code in SPACES else CATEGORIES.get(data.category(chr(code))[0], OTHER)


def table(data: ModuleType) -> str:
    """The C file."""
    kinds = [kind(data, code) for code in range(0x110000)]
    runs = [8 * code + k for code, k in enumerate(kinds) if code == 0 or kinds[code - 1] != k]
    rows = [", ".join(f"0x{run:06X}" for run in runs[i : i + 10]) for i in range(0, len(runs), 10)]
    return HEAD.format(version=VERSION, count=len(runs), rows="\n".join(f"    {row}," for row in rows).rstrip(","))


def unicode_data() -> ModuleType:
    """The first module at hand that knows the version."""
    for name in ("unicodedata", "unicodedata2"):
        try:
            data = importlib.import_module(name)
        except ImportError:
            continue
        if data.unidata_version == VERSION:
            return data
    raise SystemExit(f"no Unicode {VERSION} here: take Python 3.13, or pip install unicodedata2==15.1.0")


if __name__ == "__main__":
    print(table(unicode_data()), end="")

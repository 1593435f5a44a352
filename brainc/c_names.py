"""Names for C: any text to an identifier, never the same one twice.

Used by the emitter for the brain, its ports and its constants. Keywords, leading digits and characters
that C does not know are mended; what collides gets a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# fmt: off
_KEYWORDS = frozenset({
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else",
    "enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "register",
    "restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "typedef",
    "union", "unsigned", "void", "volatile", "while", "asm", "class", "delete", "new", "private",
    "public", "this", "template", "true", "false", "bool", "main",
})
# fmt: on
_LONGEST = 40


def c_identifier(text: str) -> str:
    """`text` as a C identifier: `serving_default:0` becomes `serving_default_0`."""
    name = re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_") or "x"
    if len(name) > _LONGEST:  # the end of a path says more than its beginning
        name = name[-_LONGEST:].lstrip("_")
    if name[0].isdigit():
        name = "n" + name
    return name + "_" if name.lower() in _KEYWORDS else name


class Names:
    """Hands out identifiers that differ from each other and from those reserved."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = {name.lower() for name in reserved}
        self._given: dict[str, str] = {}

    def of(self, text: str) -> str:
        """The identifier of `text`; the same text always gets the same one."""
        if text not in self._given:
            name = wanted = c_identifier(text)
            number = 2
            while name.lower() in self._taken:
                name, number = f"{wanted}_{number}", number + 1
            self._taken.add(name.lower())
            self._given[text] = name
        return self._given[text]

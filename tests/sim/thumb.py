"""What Thumb instructions are by their names, as a disassembler prints them: the truth for sim/count.c.

`named` splits a line of a disassembly; `meaning` gives the class and the words moved by a multiple load or store.
"""

from __future__ import annotations

import re

CONDITIONS = "eq|ne|cs|cc|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le"
LINE = re.compile(r"^\s*([0-9a-f]+):\t([0-9a-f]{4})(?: ([0-9a-f]{4}))?\s*\t(\S+)(?:\t([^;@<]*))?")
JUMP = rf"(b|bl|blx|bx|bxns|blxns)({CONDITIONS})?(\.[nw])?"
BRANCH = re.compile(JUMP + r"|cbn?z(\.n)?|tb[bh](\.w)?|(le|letp|wls|wlstp)(\.\w+)?")
KINDS = (
    ("multiple", r"(ldm|stm|push|pop|vldm|vstm|vpush|vpop|fldm|fstm|ldrd|strd)"),
    ("load", r"(ldr|lda)|vldr(?!\w)"),
    ("store", r"(str|stl)|vstr(?!\w)"),
    ("div", r"[su]div"),
    ("mul", r"mul|mla|mls|smul|smla|smls|smmu|smml|smua|smus|umull|umlal|umaal|usada?8"),
    ("fp_mve", r"v|bfcsel|mcr|mrc|mcrr|mrrc|cdp|ldc|stc"),  # binutils takes VCTP.32 for a BFCSEL
)


def named(line: str) -> tuple[int, int, int, str, str] | None:
    """(address, first half, second half or -1, mnemonic, operands) of a line that holds an instruction."""
    found = LINE.match(line)
    if found is None or found[4].startswith("."):
        return None
    return int(found[1], 16), int(found[2], 16), int(found[3] or "-1", 16), found[4], (found[5] or "").strip()


def meaning(mnemonic: str, operands: str) -> tuple[str, int]:
    """(class, registers) of an instruction by its name."""
    if BRANCH.fullmatch(mnemonic) or (re.match("(mov|add)", mnemonic) and operands.startswith("pc,")):
        return "branch", 0
    for kind, names in KINDS:
        if re.match(names, mnemonic):
            return kind, _registers(mnemonic, operands) if kind == "multiple" else 0
    return "other", 0


def _registers(mnemonic: str, operands: str) -> int:
    """Words that a multiple load or store moves: a double is two."""
    if mnemonic.startswith(("ldrd", "strd")):
        return 2
    words = 0
    for part in operands.partition("{")[2].rstrip("}").split(","):
        first, _, last = part.strip().partition("-")
        count = int(last[1:]) - int(first[1:]) + 1 if last else 1
        words += count * (2 if first.startswith("d") else 1)
    return words

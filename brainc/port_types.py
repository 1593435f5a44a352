"""Port types as people write them: "i8[1,49,10] scale=0.10 zero=-3".

The manifest knocks with a text; a `TensorType` leaves.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from brainc.dtypes import BLOCKS, DTYPES, F16, I4, integer_range
from brainc.errors import ManifestError
from brainc.ir import Quant, TensorType
from brainc.toml_lines import one_of

_SIZE = r" *[1-9]\d{0,8} *"
_KNOWN = [name for name, dtype in DTYPES.items() if dtype not in (F16, I4, *BLOCKS)]  # of what crosses a port
_TYPE = re.compile(rf"(\w+)\[( *|{_SIZE}(?:,{_SIZE})*)\]((?: +\w+=\S+)*)", re.ASCII)


def port_type(text: str) -> TensorType:
    """The type in "i8[1,49,10] scale=0.10 zero=-3"; ManifestError (without a place) if it is none."""
    match = _TYPE.fullmatch(text.strip())
    if match is None:
        fix = 'write it like "i8[1,49,10] scale=0.10 zero=-3"'
        raise ManifestError(f'cannot read the port type "{text}"', fix=fix)
    name, sizes, words = match.groups()
    dtype = DTYPES[one_of(name, _KNOWN, f'unknown element type "{name}"')]
    plain = TensorType(dtype, tuple(map(int, re.findall(r"\d+", sizes))))
    return replace(plain, quant=_port_quant(plain, words)) if words else plain


def _port_quant(plain: TensorType, text: str) -> Quant:
    said = dict(word.split("=", 1) for word in text.split())
    try:
        scale, zero = float(said.pop("scale")), int(said.pop("zero", "0"))
    except (KeyError, ValueError):
        scale, zero = math.nan, 0
    if said or not (plain.dtype.is_integer and 0 < scale < math.inf):
        fix = 'an integer type may be followed by "scale=0.10 zero=-3": a number above 0, a whole number'
        raise ManifestError(f'cannot read "{text.strip()}" after {plain}', fix=fix)
    low, high = integer_range(plain.dtype)
    if not low <= zero <= high:
        raise ManifestError(f"zero={zero} is no value of {plain.dtype}", fix=f"it lies within {low}..{high}")
    return Quant.tensor(scale, zero)

"""What a rule is: the small language between the importer and the files `rules_*.py`.

Rules register here by the ONNX ops' names; the importer looks them up and hands each a `Call`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Quant

Result = str | tuple[str, ...]  # the names of the results
Apply = Callable[..., Result]  # (Importer, Call)


@dataclass(frozen=True, slots=True)
class Call:
    """One ONNX node as its rule sees it: names resolved, attributes decoded."""

    op: str
    name: str
    inputs: tuple[str, ...]  # "" where left out
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]
    opset: int  # version of the node's own domain

    def input(self, index: int) -> str:
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass(frozen=True, slots=True)
class Known:
    """Numbers known now; with `quant` they stand for (q - zero) * scale. `four`: the file keeps them in 4 bits."""

    array: Array
    quant: Quant | None = None
    four: bool = False

    def real(self) -> Array:
        """What the numbers stand for."""
        if self.quant is None:
            return self.array
        scale = self.quant.along(self.quant.scale, self.array.shape)
        zero = self.quant.along(self.quant.zero, self.array.shape, np.int32)
        return np.asarray((self.array.astype(np.int32) - zero).astype(np.float32) * scale)


class Rule(NamedTuple):
    """What an ONNX op means: a function that writes brainc's ops."""

    apply: Apply
    any_type: bool  # else all operands must be float32 (or constants that stand for reals)
    constants: bool  # sees constant operands itself; else a node of constants is folded away


_RULES: dict[str, Rule] = {}


def rule(*names: str, any_type: bool = False, constants: bool = False) -> Callable[[Apply], Apply]:
    """Decorator: this function imports the ONNX ops `names` (`domain.Name` outside the standard domain)."""

    def keep(apply: Apply) -> Apply:
        _RULES.update({name: Rule(apply, any_type, constants) for name in names})
        return apply

    return keep


rule_of_any = partial(rule, any_type=True)
rule_of_constants = partial(rule, any_type=True, constants=True)


@cache
def all_rules() -> Mapping[str, Rule]:
    """Every rule, found in the files `rules_*.py` of this folder."""
    for info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if info.name.startswith("rules_"):
            importlib.import_module(f"{__package__}.{info.name}")
    return _RULES

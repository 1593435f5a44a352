"""What a rule is: the small language between the importer and the files `rules_*.py`.

Rules register here by the schema's names for op and first operand's type; the importer looks them up and hands
each a `Call`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from brainc.errors import ModelError
from brainc.frontends.tflite.reader import DAMAGED, Tensor

Result = str | tuple[str, ...]  # the names of the results
Apply = Callable[..., Result]  # (Importer, Call)
ANY = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One node as its rule sees it: our names of its operands, the file's tensors, and the op's options."""

    op: str
    name: str
    inputs: tuple[str, ...]  # "" where left out
    ins: tuple[Tensor, ...]
    outs: tuple[Tensor, ...]
    options: Any

    def input(self, index: int) -> str:
        return self.inputs[index] if index < len(self.inputs) else ""

    def option(self, name: str, default: Any = 0) -> Any:
        """A number of the op's options; `default` where the file has none."""
        return default if self.options is None else getattr(self.options, name)()


def scale_zero(tensor: Tensor) -> tuple[float, int]:
    """What a tensor's integers mean: one scale and zero point."""
    if tensor.quant is None or tensor.quant.axis is not None:
        raise ModelError(f"tensor {tensor.name!r} has not one scale", fix=DAMAGED)
    return tensor.quant.scale[0], tensor.quant.zero[0]


_RULES: dict[tuple[str, str], Apply] = {}


def rule(*names: str, of: str = ANY) -> Callable[[Apply], Apply]:
    """Decorator: this function imports the ops `names` whose first operand is `of` a type (ANY: of every one)."""

    def keep(apply: Apply) -> Apply:
        _RULES.update({(name, of): apply for name in names})
        return apply

    return keep


@cache
def all_rules() -> dict[tuple[str, str], Apply]:
    """Every rule, found in the files `rules_*.py` of this folder."""
    for info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if info.name.startswith("rules_"):
            importlib.import_module(f"{__package__}.{info.name}")
    return _RULES

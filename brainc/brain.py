"""What a brain is made of: the frozen words that a manifest becomes.

`manifest.py` builds a `Brain`; the linker and the command line read it. Port types are read and written here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from brainc.dtypes import DTYPES, integer_range
from brainc.errors import ManifestError, Where
from brainc.ir import NOWHERE, Quant, TensorType
from brainc.toml_lines import one_of

_SIZE = r" *[1-9]\d{0,8} *"
_TYPE = re.compile(rf"(\w+)\[( *|{_SIZE}(?:,{_SIZE})*)\]((?: +\w+=\S+)*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class PortSpec:
    """What the manifest says of a module's port; a scale it does not say is None in `type.quant`."""

    name: str
    type: TensorType
    where: Where


@dataclass(frozen=True, slots=True)
class Quantise:
    """How a module of floats becomes integers; None: as the command line or the default says."""

    quantize: str | None = None  # "int8" | "none"
    calibration: str | None = None  # "minmax" | "percentile" | "mse"


@dataclass(frozen=True, slots=True)
class Module:
    """One model of the brain; `variants` are other whole modules under the same name."""

    name: str
    kind: str
    file: Path
    license: str = "unstated"
    share: bool = False
    inputs: tuple[PortSpec, ...] = ()
    outputs: tuple[PortSpec, ...] = ()
    samples: Path | None = None
    calibrate: Path | None = None
    metric: str | None = None
    quant: Quantise = Quantise()
    adapt: bool = False
    variants: Mapping[str, Module] = field(default_factory=dict)
    where: Where = NOWHERE


@dataclass(frozen=True, slots=True)
class End:
    """One end of a wire; module "in" or "out" is the brain's own door."""

    module: str
    port: str

    def __str__(self) -> str:
        return f"{self.module}.{self.port}"


@dataclass(frozen=True, slots=True)
class Wire:
    """`source` feeds `target`; with `adapt` another type is converted instead of refused."""

    target: End
    source: End
    adapt: bool = False
    where: Where = NOWHERE


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes of RAM and flash, cycles per step; None: what the machine has."""

    ram: int | None = None
    flash: int | None = None
    cycles: int | None = None


@dataclass(frozen=True, slots=True)
class TargetChoice:
    """What the brain wants on one target: variants by module, a budget, kernels by node."""

    use: Mapping[str, str]
    budget: Budget
    pin: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Brain:
    """A whole manifest. `wires` empty: the only module's own ports. `entries` empty: one `step`, its
    order left to the wires. `samples`, `calibrate` and `metric` speak of the brain's own ports."""

    name: str
    folder: Path
    modules: Mapping[str, Module]
    wires: tuple[Wire, ...] = ()
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    targets: Mapping[str, TargetChoice] = field(default_factory=dict)
    samples: Path | None = None
    calibrate: Path | None = None
    metric: str | None = None
    bare: bool = False
    where: Where = NOWHERE

    def choose(self, target: str | None) -> Brain:
        """The brain as `target` wants it: its variants are the modules now."""
        choice = self.targets.get(target or "")
        if choice is None:
            return self
        chosen = {n: m.variants[choice.use[n]] if n in choice.use else m for n, m in self.modules.items()}
        return replace(self, modules=chosen)


def port_type(text: str) -> TensorType:
    """The type in "i8[1,49,10] scale=0.10 zero=-3"; ManifestError (without a place) if it is none."""
    match = _TYPE.fullmatch(text.strip())
    if match is None:
        fix = 'write it like "i8[1,49,10] scale=0.10 zero=-3"'
        raise ManifestError(f'cannot read the port type "{text}"', fix=fix)
    name, sizes, words = match.groups()
    dtype = DTYPES[one_of(name, DTYPES, f'unknown element type "{name}"')]
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


def type_text(type_: TensorType) -> str:
    """A type as a manifest writes it."""
    quant = type_.quant
    if quant is None:
        return str(type_)
    if quant.axis is not None:
        return f"{type_} with a scale per slice of axis {quant.axis}"
    return f"{type_} scale={quant.scale[0]:.6g} zero={quant.zero[0]}"

"""What a GGUF file says of its decoder: sizes, norms, positions, windows.

Knocks: the graph builder, with a header. Leaves: frozen `Facts`; UnsupportedError names the setting that brainc cannot
follow, ModelError the one that is missing or makes no sense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from brainc.errors import ModelError, UnsupportedError
from brainc.frontends.gguf.reader import Header

GEMMA_PERIOD = 6  # of gemma3's layers every sixth sees everything (Gemma 3 report, 2025)
GEMMA_27B = 62  # layers; its scores are scaled by the width that heads would have without key_length
_WIDEST = 4096  # a head
_WIDTHS = ("value_length", "key_length_swa", "value_length_swa")  # all as wide as its keys
_LIMITS = {"block_count": 512, "embedding_length": 1 << 20, "head_count": 1 << 14, "context_length": 1 << 26}
_REFUSED = (
    *("expert_count", "attn_logit_softcapping", "final_logit_softcapping", "attention.kv_lora_rank"),
    *("attention.scale", "attention.max_alibi_bias", "attention.clamp_kqv"),
)
_FACTORS = ("logit_scale", "residual_scale", "embedding_scale", "rope.scaling.attn_factor")  # refused unless 1


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a family of decoders does in its own way, and no setting says."""

    far: bool  # rotary pairs half a head apart, not side by side
    act: str = "silu"
    scaled: bool = False  # embeddings times the root of their width
    local_base: float = 0.0  # rotary base of layers with a window; 0: no layer has one


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture(far=False),
    "qwen2": Architecture(far=True),
    "qwen3": Architecture(far=True),
    "gemma3": Architecture(far=True, act="gelu", scaled=True, local_base=10_000.0),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """A decoder in numbers; `width` is a head's."""

    architecture: Architecture
    layers: int
    model: int
    heads: int
    groups: int
    width: int
    eps: float
    base: float
    slower: float  # by which positions are divided (linear scaling)
    rotated: int  # numbers of a head that turn
    window: int  # of the layers that have one; 0: none has
    period: int  # every so manieth layer has none
    local_base: float  # rotary base of the layers that have one
    trained: int  # positions
    scale: float

    def is_local(self, layer: int) -> bool:
        return self.window > 0 and layer % self.period < self.period - 1


def facts_of(header: Header) -> Facts:
    """The facts in a header."""
    family = header.meta.get("general.architecture", b"")
    name = family.decode("utf-8", "replace") if isinstance(family, bytes) else str(family)
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UnsupportedError(f"the architecture is {name!r}", fix=f"choose a model of one of these: {known}")
    settings = _Settings(header.meta, name)
    settings.refuse()
    architecture = ARCHITECTURES[name]
    layers, model, heads = (settings.whole(k) for k in ("block_count", "embedding_length", "attention.head_count"))
    groups = settings.whole("attention.head_count_kv", heads)
    width = settings.whole("attention.key_length", model // heads)
    others = (settings.whole(f"attention.{key}", width) for key in _WIDTHS)
    if heads % groups or width % 2 or width > _WIDEST or {*others} != {width}:
        what = f"{heads} heads in {groups} groups, {width} numbers wide, do not go together"
        raise UnsupportedError(what, fix="choose another model")
    rotated = settings.whole("rope.dimension_count", width)
    if rotated % 2 or rotated > width:
        raise UnsupportedError(f"{rotated} numbers of {width} turn", fix="choose another model")
    root = model // heads if name == "gemma3" and layers == GEMMA_27B else width
    return Facts(
        architecture=architecture,
        layers=layers,
        model=model,
        heads=heads,
        groups=groups,
        width=width,
        eps=settings.number("attention.layer_norm_rms_epsilon"),
        base=settings.base("rope.freq_base", 10_000.0),
        slower=settings.slower(),
        rotated=rotated,
        window=settings.whole("attention.sliding_window", 0) if architecture.local_base else 0,
        period=settings.whole("attention.sliding_window_pattern", GEMMA_PERIOD),
        local_base=settings.base("rope.freq_base_swa", architecture.local_base),
        trained=settings.whole("context_length"),
        scale=1.0 / sqrt(root),
    )


class _Settings:
    """The settings of one architecture, each held to be what it should."""

    def __init__(self, meta: Mapping[str, Any], name: str) -> None:
        self.meta, self.name = meta, name

    def whole(self, key: str, default: int | None = None) -> int:
        found = self.meta.get(f"{self.name}.{key}", default)
        limit = _LIMITS.get(key.removeprefix("attention."), 1 << 24)
        least = 0 if default == 0 else 1
        if isinstance(found, np.ndarray | tuple):
            what = f"{self.name}.{key} differs from layer to layer"
            raise UnsupportedError(what, fix="choose a model whose layers are alike")
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= limit:
            raise self._wrong(key, found)
        return found

    def number(self, key: str, default: float | None = None) -> float:
        found = self.meta.get(f"{self.name}.{key}", default)
        if not isinstance(found, int | float) or isinstance(found, bool) or not 0 <= found <= 1e12:
            raise self._wrong(key, found)
        return float(found)

    def refuse(self) -> None:
        """UnsupportedError where one is set that brainc cannot follow."""
        for key in (*_REFUSED, *_FACTORS):
            if self.number(key, 0.0) not in ((0.0, 1.0) if key in _FACTORS else (0.0,)):
                what = f"{self.name}.{key} is set, which brainc cannot follow"
                raise UnsupportedError(what, fix="choose another model")
        if self.meta.get(f"{self.name}.attention.causal") is False:
            raise UnsupportedError(f"{self.name}.attention.causal is off: it is no decoder", fix="choose another model")

    def base(self, key: str, default: float) -> float:
        """That of rotary positions: less than 1 would turn faster from number to number, without bounds."""
        found = self.number(key, 0.0) or default
        if 0 < found < 1:
            raise self._wrong(key, found)
        return found

    def slower(self) -> float:
        """What linear scaling, the default, divides positions by; any other scaling is refused."""
        kind = self.meta.get(f"{self.name}.rope.scaling.type", b"linear")
        if not isinstance(kind, bytes):
            raise self._wrong("rope.scaling.type", kind)
        if kind == b"linear":
            return self.number("rope.scaling.factor", 0.0) or self.number("rope.scale_linear", 0.0) or 1.0
        if kind != b"none":
            told = kind.decode("utf-8", "replace")
            fix = "choose a model without, such as the one that this one was made longer from"
            raise UnsupportedError(f"{self.name}.rope.scaling.type is {told!r}", fix=fix)
        return 1.0

    def _wrong(self, key: str, found: object) -> ModelError:
        told = "is missing" if found is None else f"is {str(found)[:60]}"
        return ModelError(f"{self.name}.{key} {told}", fix="convert the model once more")

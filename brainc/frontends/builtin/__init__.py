"""Modules that come with brainc: what a brain needs around its models, and no model file holds.

The linker knocks with a name out of a manifest (`builtin = "sampler"`); one of the files of this folder answers,
found by its name. It makes its graph for the types of what is wired to it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Protocol, cast

from brainc.ir import Graph, TensorType
from brainc.toml_lines import one_of


class Builtin(Protocol):
    """What a file of this folder offers."""

    PORTS: tuple[str, ...]  # inputs that may be wired
    SETTINGS: Mapping[str, int]  # keys of the manifest, and what they are where it does not say

    def build(self, name: str, settings: Mapping[str, int], wired: Mapping[str, TensorType | None]) -> Graph:
        """The module. `wired`: its inputs, each with the type of what feeds it (None: whatever it likes); one that
        is not there has no wire. ManifestError where a type will not do."""


@cache
def _known() -> tuple[str, ...]:
    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__)))


def find(name: str) -> Builtin:
    """The builtin of that name; ManifestError where there is none."""
    one_of(name, _known(), f'there is no builtin "{name}"')
    return cast(Builtin, importlib.import_module(f"{__name__}.{name}"))

"""What a pass may know beside the graph. The compiler makes one per build; frozen, so that no pass can talk
to another through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from brainc.dtypes import Array
from brainc.ir import Graph, Node

NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for."""

    quantize: str | None = None  # "int8" | "none" | None: as the model is
    calibration: str = "mse"  # "minmax" | "percentile" | "mse"
    io: str = "native"  # "native" | "int8": ports keep the model's own types, or become int8
    layout: str = "native"  # "native" | "nhwc": image ports keep the model's order, or have channels last
    without: frozenset[str] = frozenset()  # passes left out, by name: for tests
    # layers whose weights get 4 bits, by how their names begin, to the terms that share a scale
    four: Mapping[str, int] = field(default_factory=lambda: NONE)


@dataclass(frozen=True, slots=True)
class Context:
    """All that a pass is given beside the graph."""

    options: Options = field(default_factory=Options)
    samples: Mapping[str, Array] | None = None  # one array per input port, first axis = samples
    has_kernel: Callable[[Graph, Node], bool] = lambda graph, node: True  # can the target run this node?
    flat: bool = True  # constants can be read like any other memory (not so on AVR)
    note: Callable[[str], None] = lambda line: None  # a line for the user: what a pass saved or chose

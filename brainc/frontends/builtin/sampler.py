"""The sampler: draws one of many by the softmax of their logits, the same one from the same seed everywhere.

    [modules.sampler]
    kind = "builtin"
    builtin = "sampler"
    temperature = 64        # in 64ths, where nobody wires a temperature; 0: always the likeliest
    seed = 1                # of the generator, before anybody gives it another

    [wires]
    "sampler.logits" = "net.logits"
    "sampler.temperature" = "in.temperature"        # i32[1], or u8[1] where `in` says so
    "sampler.seed" = "in.seed"                      # i32[1]; 0: carry on, else start again from there
    "out.token" = "sampler.token"                   # i32[1]

`brainc/ops/qsample.py` says what it computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from brainc.dtypes import F32, I8, I32, U8, DType
from brainc.errors import ManifestError
from brainc.ir import Attr, Const, Entry, Graph, Node, Role, TensorType, Value, attrs, const_value, type_text
from brainc.ops._draws import as_i32, scrambled
from brainc.ops.sample import ONE

PORTS = ("logits", "temperature", "seed")
SETTINGS: Mapping[str, int] = MappingProxyType({"temperature": ONE, "seed": 1})
MOST = 1 << 16  # logits
WORD = TensorType(I32, (1,))


def build(name: str, settings: Mapping[str, int], wired: Mapping[str, TensorType | None]) -> Graph:
    """The module's graph; ManifestError where logits are missing, of another type than int8 or reals, or too many."""
    made = _Made()
    operands = [made.logits(wired.get("logits"))]
    if "temperature" in wired:
        operands.append(made.word("temperature", wired["temperature"], (I32, U8)))
    else:
        heat = min(max(settings["temperature"], 0), (1 << 31) - 1)
        operands.append(made.keep(const_value("temperature", np.array([heat]), I32)))
    start = as_i32(scrambled(settings["seed"]))
    operands.append(made.keep(Value("rng", WORD, Role.STATE, Const.of(np.array([start], np.int32)))))
    if "seed" in wired:
        operands.append(made.word("seed", wired["seed"], (I32,)))
    made.values["token"] = Value("token", WORD, Role.OUTPUT)
    made.nodes.append(Node("draw", "sample", tuple(operands), ("token",)))
    inputs = tuple(port for port in PORTS if port in wired)
    return Graph(name, made.values, (Entry("step", inputs, ("token",), tuple(made.nodes)),))


class _Made:
    """The graph in the making."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.nodes: list[Node] = []

    def keep(self, value: Value) -> str:
        self.values[value.name] = value
        return value.name

    def then(self, op: str, x: str, type_: TensorType, **given: Attr) -> str:
        """The result of a node on `x`."""
        name = self.keep(Value(f"{x}/{op}", type_))
        self.nodes.append(Node(name, op, (x,), (name,), attrs(**given)))
        return name

    def logits(self, type_: TensorType | None) -> str:
        """Reals, or int8 behind a door that says their scale."""
        if type_ is None:
            what = "nothing says how many logits the sampler draws from"
            fix = 'wire "logits" to a module\'s output, or add in = { logits = "i8[1,38] scale=0.1 zero=0" }'
            raise ManifestError(what, fix=fix)
        if type_.size > MOST:
            raise ManifestError(f"{type_} are more than {MOST:,} logits", fix="draw from fewer")
        x = self.keep(Value("logits", type_, Role.INPUT))
        if type_.dtype is F32:
            return x
        quant = type_.quant
        if type_.dtype is not I8 or quant is None or quant.axis is not None:
            what = f"the logits are {type_text(type_)}: the sampler takes int8 with a scale, or floats to be quantised"
            raise ManifestError(what, fix='say their type: in = { logits = "i8[1,38] scale=0.1 zero=0" }')
        return self.then("from_int", x, TensorType(F32, type_.shape), scale=quant.scale[0], zero=quant.zero[0])

    def word(self, port: str, type_: TensorType | None, kinds: tuple[DType, ...]) -> str:
        """One whole number, as i32[1]."""
        type_ = type_ or WORD
        if type_.dtype not in kinds or type_.size != 1:
            wanted = " or ".join(f"{kind}[1]" for kind in kinds)
            raise ManifestError(f"{port} is {type_text(type_)}, not {wanted}", fix="wire something of that type to it")
        x = self.keep(Value(port, type_, Role.INPUT))
        if type_.shape != (1,):
            x = self.then("reshape", x, TensorType(type_.dtype, (1,)), shape=(1,))
        return x if type_.dtype is I32 else self.then("cast", x, WORD, to="i32")

"""Names for what goes in and out, as a person would choose them, and the sizes of what goes in.

The importer knocks with a model; a valid C identifier for each port leaves. A signature's names stand as they are;
without one, the tensors' names lose what exporters put around them, and one that says nothing is `input` or `output`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, count

from brainc.c_names import c_identifier
from brainc.errors import ModelError, UnsupportedError
from brainc.frontends.tflite.reader import Model, Tensor

_AROUND = re.compile(r"^serving_default_|(_u?int(8|16)|_quantized|_dequantize|:\d+)+$", re.IGNORECASE)
_SILENT = re.compile(r"(.*[/_.])?(input(_layer)?|output|identity|(stateful)?partitionedcall)(_?\d+)?|", re.IGNORECASE)


def port_names(model: Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the inputs and of the outputs, no two alike."""
    graph, taken = model.subgraphs[0], list[str]()
    for ends, word in ((graph.inputs, "input"), (graph.outputs, "output")):
        for index in ends:
            name = c_identifier(model.ports.get(index) or _plain(graph.tensors[index].name, word))
            numbered = (f"{name}_{number}" for number in count(2))
            taken.append(next(n for n in chain([name], numbered) if n not in taken))
    ins = len(graph.inputs)
    return tuple(taken[:ins]), tuple(taken[ins:])


def sized(names: Sequence[str], inputs: Sequence[Tensor], given: Mapping[str, int]) -> list[Tensor]:
    """The inputs in the sizes that the user gives, as PORT.AXIS, to axes left open; the first is the batch, else 1."""
    axes = {f"{name}.{axis}" for name, tensor in zip(names, inputs, strict=True) for axis in tensor.open}
    if wrong := [axis for axis in given if not axis.rpartition(".")[2].isdigit()]:
        told = ", ".join(sorted(axes)) or "none"
        raise ModelError(f"the model has no symbolic axis {', '.join(wrong)}", fix=f"its open axes: {told}")
    if unknown := sorted(axes - set(given) - {f"{name}.0" for name in names}):
        flags = " ".join(f"--shape {axis}=N" for axis in unknown)
        raise UnsupportedError(f"the model leaves sizes open: {', '.join(unknown)}", fix=f"fix them: {flags}")
    made = []
    for name, tensor in zip(names, inputs, strict=True):
        sizes = {axis: given.get(f"{name}.{axis}", 1) for axis in tensor.open}
        if wrong := [f"{name}.{axis}" for axis, n in sizes.items() if n < 1]:
            raise ModelError(f"axis {wrong[0]} cannot be {given[wrong[0]]}", fix="give at least 1")
        made.append(replace(tensor, shape=tuple(sizes.get(axis, n) for axis, n in enumerate(tensor.shape))))
    return made


def node_name(name: str, op: str) -> str:
    """A node's name, which is that of its result; its op's where that says nothing."""
    return name if _plain(name, "") else op.lower()


def _plain(name: str, word: str) -> str:
    """The last part of a path, without what says nothing."""
    last = name.split(";")[-1]
    while last != (shorter := _AROUND.sub("", last)):
        last = shorter
    return word if _SILENT.fullmatch(last) else last.rsplit("/", 1)[-1]

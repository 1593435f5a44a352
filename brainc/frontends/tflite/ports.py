"""Names for what goes in and out, as a person would choose them.

The importer knocks with a model; a valid C identifier for each port leaves. A signature's names stand as they are;
without one, the tensors' names lose what exporters put around them, and one that says nothing is `input` or `output`.
"""

from __future__ import annotations

import re
from itertools import chain, count

from brainc.c_names import c_identifier
from brainc.frontends.tflite.reader import Model

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


def _plain(name: str, word: str) -> str:
    """The last part of a path, without what says nothing."""
    last = name.split(";")[-1]
    while last != (shorter := _AROUND.sub("", last)):
        last = shorter
    return word if _SILENT.fullmatch(last) else last.rsplit("/", 1)[-1]

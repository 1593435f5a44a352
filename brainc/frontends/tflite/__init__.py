"""TFLite files: quantised networks, to the byte as TFLite Micro's reference kernels compute them.

`reader.py` opens the file and trusts nothing in it, `ports.py` names what goes in and out, `importer.py` walks
the nodes, and `rules_*.py` say op by op what TFLite means in brainc's own. A new op is one function there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from brainc.errors import ModelError
from brainc.ir import Graph

KIND = "tflite"
SUFFIXES = (".tflite",)


def load(path: Path, name: str, shapes: Mapping[str, int]) -> Graph:
    """The TFLite model in `path` as a graph; see `brainc.frontends.load`.

    Its shapes are fixed: `shapes` may only repeat them, as PORT.AXIS, and the linker compares.
    """
    from brainc.frontends.tflite.importer import import_model  # the schema's package is slow to load
    from brainc.frontends.tflite.reader import read_model

    if wrong := [axis for axis in shapes if not axis.rpartition(".")[2].isdigit()]:
        raise ModelError(
            f"the model has no symbolic axis {', '.join(wrong)}", fix="TFLite fixes all sizes: leave it out"
        )
    return import_model(read_model(path), path, name)

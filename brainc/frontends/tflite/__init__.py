"""TFLite files: real networks, and quantised ones to the byte as TFLite Micro's reference kernels compute them.

`reader.py` opens the file and trusts nothing in it, `ports.py` names what goes in and out, `importer.py` walks
the nodes, and `rules_*.py` say op by op what TFLite means in brainc's own. A new op is one function there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from brainc.ir import Graph

KIND = "tflite"
SUFFIXES = (".tflite",)


def load(path: Path, name: str, shapes: Mapping[str, int]) -> Graph:
    """The TFLite model in `path` as a graph; see `brainc.frontends.load`.

    `shapes` are sizes of axes that the file leaves open, as PORT.AXIS; those of others the linker compares.
    """
    from brainc.frontends.tflite.importer import import_model  # the schema's package is slow to load
    from brainc.frontends.tflite.reader import read_model

    return import_model(read_model(path), path, name, shapes)

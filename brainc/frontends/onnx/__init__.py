"""ONNX files: float32 and quantised networks.

`reader.py` opens the file and trusts nothing in it, `model.py` and `importer.py` walk the nodes, `folding.py`
works out what is constant, and `rules_*.py` say op by op what ONNX means in brainc's own. A new op is one
function there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from brainc.ir import Graph

KIND = "onnx"
SUFFIXES = (".onnx",)


def load(path: Path, name: str, shapes: Mapping[str, int]) -> Graph:
    """The ONNX model in `path` as a graph; see `brainc.frontends.load`."""
    from brainc.frontends.onnx.model import import_model  # the onnx package is slow to load
    from brainc.frontends.onnx.reader import read_model

    return import_model(read_model(path), path, name, shapes)

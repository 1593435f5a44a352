"""What ONNX itself knows of a node: the shapes of its results, and their numbers if its operands are known.

The importer and the rules knock with a node; ONNX's own shape inference and reference evaluator do the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from brainc.dtypes import Array
from brainc.errors import ModelError, UnsupportedError
from brainc.frontends.onnx.reader import DAMAGED, first_line

LIMIT = 2**26  # elements of a folded result
Kind = tuple[np.dtype[Any], tuple[int, ...]]
SMALL = 4096  # operands up to here may decide a shape
# Ops that compute shapes and indices; without a rule of their own they must fold.
FOLDABLE = frozenset({
    "And", "ConstantOfShape", "CumSum", "Equal", "EyeLike", "GatherElements", "GatherND",
    "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "Not", "OneHot", "Or", "Range",
    "ScatterElements", "ScatterND", "Trilu", "Where", "Xor",
})  # fmt: skip


def infer(
    node: onnx.NodeProto, kinds: Mapping[str, Kind], known: Mapping[str, Array], opset: int
) -> tuple[onnx.ModelProto, list[tuple[int, ...] | None]]:
    """A model of this one node, and its results' shapes (None where ONNX cannot tell)."""
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(d), s) for n, (d, s) in kinds.items()],
        [helper.make_empty_tensor_value_info(o) for o in node.output if o],
        [numpy_helper.from_array(a, n) for n, a in known.items() if a.size <= SMALL],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    shapes: list[tuple[int, ...] | None] = []
    for port in onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output:
        kind = port.type.tensor_type
        fixed = kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim)
        shapes.append(tuple(d.dim_value for d in kind.shape.dim) if fixed else None)
    return model, shapes


def fold(node: onnx.NodeProto, operands: Mapping[str, Array], opset: int) -> dict[str, Array]:
    """The node's results by name; UnsupportedError where their size is unknown or too large."""
    if node.domain not in ("", "ai.onnx"):
        raise UnsupportedError("its operands are all constant", fix="fold constants before export")
    try:
        model, shapes = infer(node, {n: (a.dtype, a.shape) for n, a in operands.items()}, operands, opset)
        if any(shape is None or prod(shape) > LIMIT for shape in shapes):
            what = "its constant result is too large, or of unknown size"
            raise UnsupportedError(what, fix="fold constants before export")
        results = ReferenceEvaluator(model).run(None, dict(operands))
    except UnsupportedError:
        raise
    except Exception as error:  # a C++ checker and a numpy evaluator: anything may come
        raise ModelError(f"its constant operands do not fit it: {first_line(error)}", fix=DAMAGED) from error
    return {o.name: np.asarray(r) for o, r in zip(model.graph.output, results, strict=True)}

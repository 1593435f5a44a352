"""Nodes whose operands are all constant, computed now.

The importer knocks with a node and its numbers; its results leave. ONNX's own reference evaluator does the
work, after the result's size has been inferred and found harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, prod

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from brainc.dtypes import Array
from brainc.errors import ModelError, UnsupportedError
from brainc.frontends.onnx.reader import DAMAGED, first_line

LIMIT = 2**26  # elements of a folded result
SMALL = 4096  # operands up to here may decide a shape
# Ops that compute shapes and indices; without a rule of their own they must fold.
FOLDABLE = frozenset({
    "And", "ConstantOfShape", "CumSum", "Equal", "EyeLike", "GatherElements", "GatherND",
    "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "Not", "OneHot", "Or", "Range",
    "ScatterElements", "ScatterND", "Trilu", "Where", "Xor",
})  # fmt: skip


def fold(node: onnx.NodeProto, operands: Mapping[str, Array], opsets: Mapping[str, int]) -> dict[str, Array]:
    """The node's results by name; UnsupportedError where their size is unknown or too large."""
    if node.domain not in ("", "ai.onnx"):
        raise UnsupportedError("its operands are all constant", fix="fold constants before export")
    info, small = helper.make_tensor_value_info, [n for n, a in operands.items() if a.size <= SMALL]
    graph = helper.make_graph(
        [node],
        "fold",
        [info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in operands.items()],
        [helper.make_empty_tensor_value_info(o) for o in node.output if o],
        [numpy_helper.from_array(operands[n], n) for n in small],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opsets.get("", 13))])
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
        if any(_size(port) > LIMIT for port in inferred):
            what = "its constant result is too large, or of unknown size"
            raise UnsupportedError(what, fix="fold constants before export")
        results = ReferenceEvaluator(model).run(None, dict(operands))
    except UnsupportedError:
        raise
    except Exception as error:  # a C++ checker and a numpy evaluator: anything may come
        raise ModelError(f"its constant operands do not fit it: {first_line(error)}", fix=DAMAGED) from error
    return {o.name: np.asarray(r) for o, r in zip(graph.output, results, strict=True)}


def _size(port: onnx.ValueInfoProto) -> float:
    """Elements of a result; infinite where that is not known."""
    kind = port.type.tensor_type
    known = kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim)
    return prod(d.dim_value for d in kind.shape.dim) if known else inf

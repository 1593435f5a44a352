"""Nodes whose operands are all constant, computed now.

The importer knocks with a node and its numbers; its results leave. ONNX's own reference evaluator does the
work, after the result's size has been inferred and found harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from brainc.dtypes import Array
from brainc.errors import ModelError, UnsupportedError
from brainc.frontends.onnx.reader import DAMAGED

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
    protos = {n: numpy_helper.from_array(a, n) for n, a in operands.items() if a.size <= SMALL}
    ports = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in operands.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(o) for o in node.output if o]
    opset_imports = [helper.make_opsetid("", opsets.get("", 13))]
    model = helper.make_model(
        helper.make_graph([node], "fold", ports, outputs, list(protos.values())), opset_imports=opset_imports
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
        sizes = [_size(o) for o in inferred]
        if any(s is None or s > LIMIT for s in sizes):
            raise UnsupportedError(
                "its constant result is too large, or of unknown size", fix="fold constants before export"
            )
        results = ReferenceEvaluator(model).run(None, dict(operands))
    except UnsupportedError:
        raise
    except Exception as error:  # a C++ checker and a numpy evaluator: anything may come
        raise ModelError(
            f"its constant operands do not fit it: {(str(error).splitlines() or [''])[0]}", fix=DAMAGED
        ) from error
    return {o.name: np.asarray(r) for o, r in zip(outputs, results, strict=True)}


def _size(port: onnx.ValueInfoProto) -> int | None:
    shape = port.type.tensor_type.shape
    if not port.type.tensor_type.HasField("shape") or any(not d.HasField("dim_value") for d in shape.dim):
        return None
    return prod(int(d.dim_value) for d in shape.dim)

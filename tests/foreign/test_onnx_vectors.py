"""ONNX's own test vectors, through the frontend and the interpreter.

They prove that a rule means what the standard means: every single-node case of float32, int8 or uint8 for
an op that has a rule is compiled and run. A case is either right or refused; the number that is right may
only grow.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from brainc import frontends, interp, spec
from brainc.errors import ModelError, UnsupportedError
from brainc.frontends.onnx.folding import FOLDABLE
from brainc.frontends.onnx.rules import all_rules

FLOOR = {"node": 521, "pytorch-converted": 65, "pytorch-operator": 28, "simple": 6}  # cases that are right
# Ops of several activations; of the others only the first input is one, the rest are parameters.
SEVERAL = {"Add", "Concat", "Div", "Gemm", "MatMul", "Max", "Mean", "Min", "Mul", "PRelu", "Pow", "Sub", "Sum"}
FIRST_ONLY = {"BatchNormalization", "Dropout", "LayerNormalization", "MaxPool"}  # further outputs are left out
NO_ELEMENTS = re.compile(r"would have the shape .*\b0\b")
TYPES = {onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8}


def cases(kind: str) -> Iterator[object]:
    """Test cases of one of ONNX's sets that are made of ops with rules."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package's own numpy is not ours to judge
        found = load_model_tests(kind=kind)
    for case in found:
        if case.model is None:
            case.model = onnx.load(Path(case.model_dir) / "model.onnx")
        nodes = case.model.graph.node
        if any(n.op_type not in all_rules() and n.op_type not in FOLDABLE for n in nodes):
            continue
        yield case


def numbers(case: object, model: onnx.ModelProto) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and outputs of a case's first data set."""
    if case.data_sets:
        return tuple([numpy_helper.to_array(a) if isinstance(a, onnx.TensorProto) else a for a in side]
                     for side in case.data_sets[0])  # fmt: skip
    folder, sides = Path(case.model_dir) / "test_data_set_0", []
    for word in ("input", "output"):
        files = sorted(folder.glob(f"{word}_*.pb"), key=lambda f: int(f.stem.split("_")[1]))
        sides.append([numpy_helper.to_array(onnx.load_tensor(str(f))) for f in files])
    return sides[0], sides[1]


def bind(model: onnx.ModelProto, inputs: list[np.ndarray]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The model with its parameters as constants, and what is left to feed."""
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    graph, single = bound.graph, model.graph.node[0].op_type if len(model.graph.node) == 1 else ""
    names = {t.name for t in graph.initializer}
    ports = [p for p in graph.input if p.name not in names]
    feed = {}
    for index, (port, array) in enumerate(zip(ports, inputs, strict=False)):
        if index == 0 or (array.dtype == np.float32 and (single in SEVERAL or not single)):
            feed[port.name] = array
        else:
            graph.initializer.append(numpy_helper.from_array(array, port.name))
            graph.input.remove(port)
    if single in FIRST_ONLY:
        del graph.output[1:]
    return bound, feed


def outcome(case: object, folder: Path) -> str:
    """'right', 'refused', 'not ours' or what is wrong."""
    inputs, wanted = numbers(case, case.model)
    if not all(isinstance(a, np.ndarray) for a in (*inputs, *wanted)):
        return "not ours"  # sequences and optionals
    model, feed = bind(case.model, inputs)
    if any(p.type.tensor_type.elem_type not in TYPES for p in model.graph.input):
        return "not ours"
    if not all(a.size for a in (*inputs, *wanted)):
        return "not ours"  # tensors without elements
    file = folder / f"{case.name}.onnx"
    file.write_bytes(model.SerializeToString())
    try:
        graph = frontends.load(file, name="vector", shapes={})
    except UnsupportedError as error:
        return f"refused: {error.what.splitlines()[-1].strip()}"
    except ModelError as error:
        return f"{'empty' if NO_ELEMENTS.search(error.what) else 'wrong'}: {error.what}"
    if found := list(spec.problems(graph)):
        return f"wrong: {found}"
    with np.errstate(all="ignore"):
        got = interp.outputs(graph, None, feed)
    return compare([got[o.name] for o in model.graph.output], wanted)


def compare(got: list[np.ndarray], wanted: list[np.ndarray]) -> str:
    for ours, theirs in zip(got, wanted, strict=False):
        if ours.shape != theirs.shape:
            return f"wrong: shape {ours.shape}, not {theirs.shape}"
        step = 1 if theirs.dtype in (np.int8, np.uint8) else 0
        short = theirs.dtype.itemsize == 2  # half floats are float32 here
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
        rough = 1e-2 if short else 1e-4
        if not np.allclose(ours, theirs, rtol=rough, atol=step + 1e-4, equal_nan=True):
            return f"wrong: off by {np.nanmax(np.abs(ours - theirs))}"
    return "right"


@pytest.mark.parametrize("kind", FLOOR)
def test_vectors(kind: str, tmp_path: Path) -> None:
    """No case is wrong, and no fewer than before are right."""
    results = {case.name: outcome(case, tmp_path) for case in cases(kind)}
    wrong = {name: text for name, text in results.items() if text.startswith("wrong")}
    counts = Counter(text.split(":")[0] for text in results.values())
    assert not wrong, (counts, wrong)
    assert counts["right"] >= FLOOR[kind], counts

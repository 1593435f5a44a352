"""Quantised pictures of uint8 at the ports, channels first: what onnxruntime's default settings produce.

Outputs must be onnxruntime's to a step, and proven in C; the shift to int8 stays at the port.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from making import compiled, proven, save
from onnx import helper

ort = pytest.importorskip("onnxruntime")
RNG = np.random.default_rng(3)
CONSTANTS = {
    "sx": np.float32(0.02),
    "zx": np.uint8(120),
    "sw": np.float32(0.01),
    "zw": np.uint8(128),
    "w": RNG.integers(0, 256, (16, 3, 3, 3)).astype(np.uint8),
    "sy": np.float32(0.1),
    "zy": np.uint8(128),
}


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


OPERATORS = [node("QLinearConv", "x sx zx w sw zw sy zy", "y", kernel_shape=[3, 3])]
PAIRS = [
    node("DequantizeLinear", "x sx zx", "f"),
    node("DequantizeLinear", "w sw zw", "v"),
    node("Conv", "f v", "g", kernel_shape=[3, 3]),
    node("Relu", "g", "r"),
    node("QuantizeLinear", "r sy zy", "y"),
]
POOL = node("MaxPool", "y", "z", kernel_shape=[2, 2])
TAIL = [
    node("DequantizeLinear", "y sy zy", "h"),
    node("Sigmoid", "h", "k"),
    node("QuantizeLinear", "k sy zy", "s"),
    node("Flatten", "s", "z"),
]
CASES = {
    "operators": (OPERATORS, []),
    "pairs": (PAIRS, []),
    "a port that is read again": ([*OPERATORS, POOL], [("z", [1, 16, 6, 6])]),
    "a port and its flattened function": ([*PAIRS, *TAIL], [("z", [1, 784])]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layout", ["native", "nhwc"])
def test_uint8_pictures(tmp_path: Path, case: str, layout: str) -> None:
    nodes, more = CASES[case]
    outputs = [("y", [1, 16, 7, 7]), *more]
    source = save(tmp_path / "net.onnx", nodes, CONSTANTS, [("x", [1, 3, 9, 9])], outputs, dtype=np.uint8)
    x = np.random.default_rng(4).integers(0, 256, (3, 1, 3, 9, 9)).astype(np.uint8)
    session = ort.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    wanted = zip(*(session.run(None, {"x": sample}) for sample in x), strict=True)
    program = compiled(source, layout=layout)
    turned = program.graph.type("x").shape == (1, 9, 9, 3)
    assert turned == (layout == "nhwc")
    got = proven(program, {"x": np.ascontiguousarray(x.transpose(0, 1, 3, 4, 2)) if turned else x})
    for (port, shape), want in zip(outputs, wanted, strict=True):
        ours = got[port].transpose(0, 1, 4, 2, 3) if got[port].shape[1:] != tuple(shape) else got[port]
        assert np.abs(ours.astype(np.int32) - np.stack(want)).max() <= 1

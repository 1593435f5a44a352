"""Models for the AVR's figures, made here: an int8 dense layer to its sums and to int8, a convolution, a wide network.

The benches and the tests call these with a seed and a size; what leaves is a file of ONNX.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INT8 = TensorProto.INT8


def dense_sums(path: Path, seed: int = 0, terms: int = 64, rows: int = 64) -> Path:
    """MatMulInteger of int8 with zero points, then its int32 biases: what comes out are the sums."""
    rng = np.random.default_rng(seed)
    w, b = _weights(rng, (terms, rows)), rng.integers(-9000, 9000, rows).astype(np.int32)
    constants = {"w": w, "zero": np.int8(rng.integers(-128, 128)), "b": b}
    nodes = [
        helper.make_node("MatMulInteger", ["x", "w", "zero"], ["dot"], "dense"),
        helper.make_node("Add", ["dot", "b"], ["y"], "biases"),
    ]
    return _saved(path, nodes, constants, ("x", INT8, (1, terms)), ("y", TensorProto.INT32, (1, rows)))


def dense_int8(path: Path, seed: int = 0, terms: int = 64, rows: int = 64) -> Path:
    """An int8 dense layer with a scale for every row, in QLinear form, offsets and biases included."""
    rng = np.random.default_rng(seed)
    scales = (0.01 * np.exp(rng.normal(0, 0.3, rows))).astype(np.float32)
    constants = _ends(rng, 0.01 * 74 * np.sqrt(terms) * 74 / 60 * 0.02) | {
        "w": _weights(rng, (terms, rows)),
        "w_scale": scales,
        "w_zero": np.zeros(rows, np.int8),
        "b": rng.integers(-4000, 4000, rows).astype(np.int32),
    }
    real = [
        helper.make_node("DequantizeLinear", ["x", "x_scale", "x_zero"], ["x_real"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_real"], axis=1),
        helper.make_node("DequantizeLinear", ["b", "b_scale"], ["b_real"], axis=0),
        helper.make_node("Gemm", ["x_real", "w_real", "b_real"], ["y_real"], "dense"),
        helper.make_node("QuantizeLinear", ["y_real", "y_scale", "y_zero"], ["y"]),
    ]
    constants["b_scale"] = (scales * constants["x_scale"]).astype(np.float32)
    return _saved(path, real, constants, ("x", INT8, (1, terms)), ("y", INT8, (1, rows)))


def conv_int8(path: Path, seed: int = 0, size: int = 8, channels: int = 16, filters: int = 16, kernel: int = 3) -> Path:
    """An int8 convolution, SAME padding, with a scale for every filter."""
    rng = np.random.default_rng(seed)
    scales = (0.01 * np.exp(rng.normal(0, 0.3, filters))).astype(np.float32)
    terms, pad = channels * kernel * kernel, kernel // 2
    constants = _ends(rng, 0.01 * 74 * np.sqrt(terms) * 74 / 60 * 0.02) | {
        "w": _weights(rng, (filters, channels, kernel, kernel)),
        "w_scale": scales,
        "w_zero": np.zeros(filters, np.int8),
        "b": rng.integers(-4000, 4000, filters).astype(np.int32),
    }
    names = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero", "b"]
    nodes = [helper.make_node("QLinearConv", names, ["y"], "conv", pads=[pad] * 4, kernel_shape=[kernel] * 2)]
    ends = [("x", INT8, (1, channels, size, size)), ("y", INT8, (1, filters, size, size))]
    return _saved(path, nodes, constants, *ends)


def wide(path: Path, widths: tuple[int, ...], seed: int = 7, relu: bool = False) -> Path:
    """A float network of dense layers, with a ReLU after each but the last if that is wanted."""
    rng = np.random.default_rng(seed)
    nodes, constants, name = [], {}, "x"
    for index, (k, n) in enumerate(pairwise(widths)):
        constants[f"w{index}"] = (rng.standard_normal((k, n)) / k**0.5).astype(np.float32)
        out = "y" if index == len(widths) - 2 else f"h{index}"
        nodes.append(helper.make_node("MatMul", [name, f"w{index}"], [out], f"fc{index}"))
        if relu and out != "y":
            nodes.append(helper.make_node("Relu", [out], [out := f"r{index}"]))
        name = out
    return _saved(path, nodes, constants, *(_real(n, size) for n, size in (("x", widths[0]), ("y", widths[-1]))))


def _real(name: str, size: int) -> tuple[str, int, tuple[int, ...]]:
    return name, TensorProto.FLOAT, (1, size)


def _weights(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-127, 128, shape).astype(np.int8)


def _ends(rng: np.random.Generator, y_scale: float) -> dict[str, np.ndarray]:
    """Scales and zero points of the input and of the result."""
    zeros = {name: np.array(rng.integers(-128, 100), np.int8) for name in ("x_zero", "y_zero")}
    return {"x_scale": np.array(0.02, np.float32), "y_scale": np.array(y_scale, np.float32), **zeros}


def _saved(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    x: tuple[str, int, tuple[int, ...]],
    y: tuple[str, int, tuple[int, ...]],
) -> Path:
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    ends = [[helper.make_tensor_value_info(*end)] for end in (x, y)]
    graph = helper.make_graph(nodes, path.stem, *ends, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path

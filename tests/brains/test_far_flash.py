"""Weights beyond 64 KB and arrays beyond 32 KB on the Mega: read across the line, byte for byte."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from brainc import check, samples, toolchain
from brainc.compiler import Request, compile_job, ports, prepare


def model(path: Path, widths: tuple[int, ...]) -> Path:
    """A float network of dense layers."""
    rng = np.random.default_rng(7)
    nodes, weights, name = [], [], "x"
    for index, (k, n) in enumerate(pairwise(widths)):
        weights.append(numpy_helper.from_array(rng.standard_normal((k, n)).astype(np.float32) / k**0.5, f"w{index}"))
        out = "y" if index == len(widths) - 2 else f"h{index}"
        nodes.append(helper.make_node("MatMul", [name, f"w{index}"], [out], f"fc{index}"))
        name = out
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, widths[0]))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, widths[-1]))
    graph = helper.make_graph(nodes, "wide", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.sim
@pytest.mark.parametrize("widths", [(300, 300, 10), (200, 200, 330, 40), (509, 140, 11)])
@pytest.mark.parametrize("portable", [False, True])
def test_far_weights_give_the_reference_bytes(widths: tuple[int, ...], portable: bool, tmp_path: Path) -> None:
    if toolchain.locate("avr-gcc") is None or toolchain.locate("libsimavr") is None:
        pytest.skip("needs avr-gcc and libsimavr")
    request = Request(model(tmp_path / "wide.onnx", widths), calibrate="random", io="int8", portable=portable)
    program = compile_job(prepare(request, "mega"))
    rung = check.prove(program, samples.random(ports(program.graph), 3, 5).arrays)
    assert rung.first_difference is None

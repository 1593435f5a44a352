"""Weights of 4 bits from a model file to the bytes of every machine.

They prove that dense layers and convolutions of odd sizes, blocks of any length, float models and files with 4-bit
constants give the reference's bytes on this machine and in the simulators, and that the C holds half a byte a weight.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from making import compiled, noise, numbers, proven, save
from onnx import TensorProto, helper, numpy_helper

from brainc import check, interp
from brainc.compiler import Request, compile_job, prepare
from brainc.errors import ToolMissing

MACHINES = ("uno", "mega", "cortex-m0plus", "cortex-m4", "cortex-m55")


def picture(folder: Path) -> Path:
    """A 3x3 convolution of 3 channels, one of 1x1, a depthwise one, and a dense layer of odd sizes."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="wide", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "w2"], ["p"], name="point"),
        helper.make_node("Conv", ["p", "w3"], ["d"], name="deep", group=5),
        helper.make_node("Flatten", ["d"], ["f"]),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["y"], name="last", transB=1),
    ]
    sizes = {"w1": (7, 3, 3, 3), "b1": (7,), "w2": (5, 7, 1, 1), "w3": (5, 1, 3, 2), "w4": (9, 75), "b4": (9,)}
    constants = {name: numbers(*size, seed=i) / 4 for i, (name, size) in enumerate(sizes.items())}
    return save(folder / "picture.onnx", nodes, constants, [("x", (1, 3, 7, 4))], [("y", (1, 9))])


def cell(folder: Path, k: int = 37, n: int = 21, block: int = 16) -> Path:
    """x @ w + b, the weights as 4-bit integers in blocks."""
    rng = np.random.default_rng(1)
    w, s = rng.integers(-8, 8, (k, n)), rng.uniform(0.01, 0.05, (-(-k // block), n)).astype(np.float32)
    tensors = [helper.make_tensor("w", TensorProto.INT4, w.shape, w.reshape(-1).tolist())]
    tensors += [numpy_helper.from_array(a, name) for name, a in (("s", s), ("b", numbers(n)))]
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["wr"], axis=0, block_size=block),
        helper.make_node("MatMul", ["x", "wr"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, 1, (1, size)) for name, size in (("x", k), ("y", n))]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), folder / "cell.onnx"
    )
    return folder / "cell.onnx"


def request(source: Path, shape: tuple[int, ...]) -> Request:
    """With samples beside the model."""
    samples = source.with_suffix(".npz")
    np.savez(samples, x=numbers(40, *shape, seed=9))
    quantize = "int4" if source.stem == "picture" else "int8"
    return Request(source, quantize=quantize, calibrate=str(samples))


@pytest.mark.parametrize("name", ["picture", "cell"])
def test_plain_c(name: str, tmp_path: Path) -> None:
    """The reference's bytes, near the reals of the file's or the found 4 bits."""
    source, shape = (picture(tmp_path), (3, 7, 4)) if name == "picture" else (cell(tmp_path), (37,))
    asked = request(source, shape)
    program = compiled(source, quantize=asked.quantize, calibrate=asked.calibrate)
    x = numbers(6, 1, *shape, seed=5)
    got = proven(program, {"x": x})["y"]
    real = prepare(Request(source, quantize="none"), "c99").graph
    want = np.stack([interp.outputs(real, None, {"x": one})["y"] for one in x])
    assert noise(want, got) < (0.05 if name == "picture" else 2e-3)
    weights = [v for v in program.graph.values.values() if v.type.dtype.name == "i4"]
    assert weights and all(v.type.nbytes == -(-v.type.size // 2) for v in weights)
    assert {n.op for n in program.graph.nodes()} >= (
        {"qconv4", "qdense4", "qdwconv2d"} if name == "picture" else {"qdense4"}
    )


@pytest.mark.sim
@pytest.mark.parametrize("target", MACHINES)
def test_machines(target: str, tmp_path: Path) -> None:
    """Both in every simulator; on the AVR by its own kernels."""
    for source, shape in ((picture(tmp_path), (3, 7, 4)), (cell(tmp_path), (37,))):
        program = compile_job(prepare(request(source, shape), target))
        used = {program.choices[n.name].kernel.name for n in program.graph.nodes() if n.op in ("qdense4", "qconv4")}
        assert target not in ("uno", "mega") or all(name.startswith("avr/") for name in used)
        try:
            rung = check.prove(program, {"x": numbers(3, 1, *shape, seed=5)})
        except ToolMissing as missing:
            pytest.skip(str(missing))
        assert rung.equal, rung.first_difference


def test_the_manifest_says_which_module_and_how_fine(tmp_path: Path) -> None:
    """One module with 4 bits in groups of 16 beside one that keeps 8."""
    wide = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    for name, k, n in (("eyes", 12, 32), ("judge", 32, 4)):
        save(tmp_path / f"{name}.onnx", wide, {"w": numbers(k, n)}, [("x", (1, k))], [("y", (1, n))])
    np.savez(tmp_path / "s.npz", x=numbers(20, 1, 12))
    (tmp_path / "brain.toml").write_text(
        '[brain]\nname = "both"\ncalibrate = "s.npz"\n'
        '[modules.eyes]\nfile = "eyes.onnx"\n'
        '[modules.judge]\nfile = "judge.onnx"\nquant = { weights = "i4", group = 16 }\n'
        '[wires]\n"eyes.x" = "in.x"\n"judge.x" = "eyes.y"\n"out.y" = "judge.y"\n'
    )
    program = compiled(tmp_path)
    found = {n.name.partition("/")[0]: n for n in program.graph.nodes() if n.op in ("qdense", "qdense4")}
    assert found["eyes"].op == "qdense" and found["judge"].op == "qdense4" and found["judge"].attrs["group"] == 16

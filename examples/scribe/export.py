"""One step of a trained network as an ONNX file: ordinary nodes, weights as 4-bit integers with their scales.

`train.py` knocks with a network; `scribe.onnx` leaves. Whoever runs it keeps `h`: 0 before the first symbol.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from cell import STATE
from corpus import SYMBOLS
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from rows import GROUP, Rows
from scribe import KEPT, LOGITS, SCALED, TOKEN, FloatScribe, Scribe
from torch import nn

OPSET, IR = 21, 10  # the first with 4-bit integers in blocks
LAYERS = ("gates", "new", "kept", "out")
Layer = Rows | nn.Linear


class Writer:
    """Nodes and constants that grow together."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def node(self, op: str, inputs: list[str], outputs: list[str], **attributes: int) -> None:
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], **attributes))

    def held(self, x: str, ends: tuple[float, float], result: str) -> None:
        """result = x within its ends, as in training."""
        names = [self.array(f"{result}.{i}", np.array(end, np.float32)) for i, end in enumerate(ends)]
        self.node("Clip", [x, *names], [result])

    def array(self, name: str, array: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def dense(self, name: str, x: str, layer: Layer, result: str) -> None:
        """result = x times the layer's rows, plus its bias."""
        weight, bias = f"{name}.weight", self.array(f"{name}.bias", layer.bias.detach().numpy())
        if isinstance(layer, Rows):
            integers, scales = (part.numpy() for part in layer.integers())
            held = helper.make_tensor(f"{name}.integers", TensorProto.INT4, integers.shape, integers.reshape(-1))
            self.constants.append(held)
            scale = self.array(f"{name}.scale", scales)
            self.node("DequantizeLinear", [held.name, scale], [weight], axis=1, block_size=GROUP)
        else:
            self.array(weight, layer.weight.detach().numpy())
        self.node("Gemm", [x, weight, bias], [result], transB=1)


def write_onnx(net: Scribe, path: Path) -> None:
    """`path`: (token int32[1], h [1,H]) -> (logits [1,38], h_next [1,H])."""
    writer = Writer()
    held = (
        writer.array("table.integers", net.table_integers().numpy()),
        writer.array("table.scale", np.array(STATE, np.float32)),
    )
    writer.node("DequantizeLinear", list(held), ["table"])
    _write_step(writer, net.size, {name: getattr(net, name) for name in LAYERS}, path)


def write_floats(net: FloatScribe, path: Path) -> None:
    """The same of a network in floats."""
    writer, twin = Writer(), Scribe(net.state_dict())
    writer.array("table", twin.table.detach().numpy())
    layers = {name: getattr(twin, name) for name in LAYERS}
    plain = {name: nn.Linear(*reversed(rows.weight.shape)) for name, rows in layers.items()}
    for name, rows in layers.items():
        plain[name].load_state_dict({"weight": rows.weight, "bias": rows.bias})
    _write_step(writer, net.size, plain, path)


def _write_step(writer: Writer, size: int, layers: Mapping[str, Layer], path: Path) -> None:
    writer.node("Gather", ["table", "token"], ["symbol"], axis=0)
    writer.node("Concat", ["h", "symbol"], ["both"], axis=1)
    writer.dense("gates", "both", layers["gates"], "gates.sum")
    writer.node("Sigmoid", ["gates.sum"], ["gates.open"])
    writer.node("Split", ["gates.open"], ["reset", "keep"], axis=1, num_outputs=2)
    writer.dense("new", "symbol", layers["new"], "new.sum")
    writer.held("new.sum", (-TOKEN, TOKEN), "new.held")
    writer.dense("kept", "h", layers["kept"], "kept.sum")
    writer.held("kept.sum", (-KEPT, KEPT), "kept.held")
    writer.node("Mul", ["reset", "kept.held"], ["kept.scaled"])
    writer.held("kept.scaled", (-SCALED, SCALED), "kept.open")
    writer.node("Add", ["new.held", "kept.open"], ["wish"])
    writer.node("Tanh", ["wish"], ["candidate"])
    writer.node("Sub", ["h", "candidate"], ["way"])
    writer.node("Mul", ["keep", "way"], ["part"])
    writer.node("Add", ["candidate", "part"], ["h_next"])
    writer.dense("out", "h_next", layers["out"], "out.sum")
    writer.held("out.sum", LOGITS, "logits")
    ports = {"token": (TensorProto.INT32, [1]), "h": (TensorProto.FLOAT, [1, size])}
    results = {"logits": [1, len(SYMBOLS)], "h_next": [1, size]}
    graph = helper.make_graph(
        writer.nodes,
        "scribe",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in ports.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in results.items()],
        writer.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)

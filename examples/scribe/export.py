"""One step of a trained network as an ONNX file: ordinary nodes, weights as 4-bit integers with their scales.

`train.py` knocks with a network; `scribe.onnx` leaves. Whoever runs it keeps `h`: 0 before the first symbol.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from cell import STATE
from corpus import SYMBOLS
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from rows import GROUP, Plain, Rows
from scribe import LOGITS, Scribe

OPSET, IR = 21, 10  # the first with 4-bit integers in blocks


class Writer:
    """Nodes and constants that grow together."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def node(self, op: str, inputs: list[str], outputs: list[str], **attributes: int) -> None:
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], **attributes))

    def table(self, net: Scribe) -> None:
        """What the symbols are: integers if the network is rounded."""
        if net.steps.state:
            held = self.array("table.integers", net.table_integers().numpy())
            self.node("DequantizeLinear", [held, self.array("table.scale", np.array(STATE, np.float32))], ["table"])
        else:
            self.array("table", net.table.detach().numpy())

    def held(self, x: str, ends: tuple[float, float], result: str) -> None:
        """result = x within its ends, as in training."""
        names = [self.array(f"{result}.{i}", np.array(end, np.float32)) for i, end in enumerate(ends)]
        self.node("Clip", [x, *names], [result])

    def array(self, name: str, array: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def dense(self, name: str, x: str, layer: Plain | Rows, result: str) -> None:
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
    writer, layers, size = Writer(), net.layers, net.size
    writer.table(net)
    writer.node("Gather", ["table", "token"], ["symbol"], axis=0)
    writer.node("Concat", ["h", "symbol"], ["seen"], axis=1)
    writer.dense("gates", "seen", layers["gates"], "gates.sum")
    writer.node("Sigmoid", ["gates.sum"], ["gates.open"])
    writer.node("Split", ["gates.open"], ["reset", "keep"], axis=1, num_outputs=2)
    writer.node("Mul", ["reset", "h"], ["opened"])
    writer.node("Concat", ["opened", "symbol"], ["kept"], axis=1)
    writer.dense("new", "kept", layers["new"], "new.sum")
    writer.node("Tanh", ["new.sum"], ["candidate"])
    writer.node("Sub", ["h", "candidate"], ["way"])
    writer.node("Mul", ["keep", "way"], ["part"])
    writer.node("Add", ["candidate", "part"], ["h_next"])
    if net.steps.state:
        writer.dense("out", "h_next", layers["out"], "out.sum")
        writer.held("out.sum", LOGITS, "logits")
    else:
        writer.dense("out", "h_next", layers["out"], "logits")
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

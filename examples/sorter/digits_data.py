"""The handwritten digits both modules learn from, parted the same way for each; and how a module is written.

`train_eyes.py` and `train_judge.py` import this file; nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
HELD_OUT, VALIDATION = 360, 288

Images = NDArray[np.float32]  # [N,1,8,8], 0 = paper, 1 = ink
Labels = NDArray[np.int64]  # [N]


class Digits(NamedTuple):
    images: Images
    labels: Labels


def load() -> tuple[Digits, Digits, Digits]:
    """1,149 digits to learn from, 288 to choose by, 360 held out for the last figure alone."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    x, x_held, y, y_held = train_test_split(
        images, digits.target, test_size=HELD_OUT, stratify=digits.target, random_state=0
    )
    x, x_val, y, y_val = train_test_split(x, y, test_size=VALIDATION, stratify=y, random_state=0)
    return Digits(x, y), Digits(x_val, y_val), Digits(x_held, y_held)


def jiggle(images: Images, dice: np.random.Generator) -> Images:
    """Half of the images move by up to one pixel each way; all get a little noise."""
    corner = dice.integers(0, 3, (len(images), 2))
    corner[dice.random(len(images)) < 0.5] = 1
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    moved = np.stack([image[:, y : y + 8, x : x + 8] for image, (y, x) in zip(padded, corner, strict=True)])
    noise = 0.05 * dice.standard_normal(moved.shape, dtype=np.float32)
    clipped: Images = np.clip(moved + noise, 0, 1, dtype=np.float32)
    return clipped


def node(name: str, op: str, inputs: str, output: str = "", **attributes: Any) -> onnx.NodeProto:
    """A layer whose result carries the layer's own name, unless `output` says otherwise."""
    return helper.make_node(op, inputs.split(), [output or name], name=name, **attributes)


def write_onnx(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: Mapping[str, NDArray[np.float32]],
    source: tuple[str, list[int]],
    result: tuple[str, list[int]],
) -> None:
    """Checks and saves one float32 module with one input port and one output port."""
    taken, given = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (source, result))
    taught = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, path.stem, [taken], [given], taught)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)

"""Trains the digit reader and writes `digits.onnx`, `calibration.npz` and `test.npz` beside this file.

    pip install torch scikit-learn numpy onnx      # torch is needed only here, never by brainc
    python examples/digits/train.py                # about a minute on one core

scikit-learn's 1,797 digits are parted once: 360 are held out and looked at only for the figure printed last;
the rest are parted again into 1,149 to learn from and 288 to choose the best of five seeds.
The same machine and library versions give the same files, byte for byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
SEEDS, EPOCHS, BATCH = range(5), 60, 32
HELD_OUT, VALIDATION, CALIBRATION = 360, 288, 150

Images = NDArray[np.float32]  # [N,1,8,8], 0 = paper, 1 = ink
Labels = NDArray[np.int64]  # [N], the digit


def load() -> tuple[Images, Images, Labels, Labels]:
    """Images and labels of the training part, and of the part that is held out."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    return part(images, digits.target, HELD_OUT)


def part(images: Images, labels: Labels, count: int) -> tuple[Images, Images, Labels, Labels]:
    """Sets `count` images aside, every digit equally often; the same ones on every run."""
    kept, aside, y_kept, y_aside = train_test_split(images, labels, test_size=count, stratify=labels, random_state=0)
    return kept, aside, y_kept, y_aside


def network() -> nn.Sequential:
    """3,818 weights, 25,600 multiply-accumulates, at most 640 activations alive at once."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),  # [8,8,8]
        nn.ReLU(),
        nn.MaxPool2d(2),  # [8,4,4]
        nn.Conv2d(8, 16, 3, padding=1),  # [16,4,4]
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def jiggle(images: torch.Tensor, dice: torch.Generator) -> torch.Tensor:
    """Half of the images move by up to one pixel each way; all get a little noise."""
    count = len(images)
    corner = torch.randint(0, 3, (count, 2), generator=dice)
    corner[torch.rand(count, generator=dice) < 0.5] = 1
    padded = functional.pad(images, (1, 1, 1, 1))
    moved = [image[:, y : y + 8, x : x + 8] for image, (y, x) in zip(padded, corner.tolist(), strict=True)]
    noise = 0.05 * torch.randn(images.shape, generator=dice)
    return (torch.stack(moved) + noise).clamp(0, 1)


def fit(images: Images, labels: Labels, seed: int) -> nn.Sequential:
    """One network, trained from one seed."""
    torch.manual_seed(seed)
    dice = torch.Generator().manual_seed(seed)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    net = network()
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=8e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x), generator=dice).split(BATCH):
            loss = functional.cross_entropy(net(jiggle(x[batch], dice)), y[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def grade(net: nn.Sequential, images: Images, labels: Labels) -> tuple[float, float]:
    """Accuracy, and the negated loss that breaks ties between equal accuracies."""
    scores, truth = net(torch.from_numpy(images)), torch.from_numpy(labels)
    right = (scores.argmax(1) == truth).double().mean().item()
    return right, -functional.cross_entropy(scores, truth).item()


def write_onnx(net: nn.Sequential, path: Path) -> None:
    """The trained weights as an ONNX graph, every layer under the name a person would give it."""
    layers = {"conv1": net[0], "conv2": net[3], "dense": net[6]}
    weights = [
        numpy_helper.from_array(getattr(layer, kind).detach().numpy(), f"{name}.{kind}")
        for name, layer in layers.items()
        for kind in ("weight", "bias")
    ]

    def node(name: str, op: str, source: str, result: str = "", **attributes: Any) -> onnx.NodeProto:
        taught = [f"{name}.weight", f"{name}.bias"] if name in layers else []
        return helper.make_node(op, [source, *taught], [result or name], name=name, **attributes)

    same: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        node("conv1", "Conv", "image", **same),
        node("relu1", "Relu", "conv1"),
        node("pool1", "MaxPool", "relu1", kernel_shape=[2, 2], strides=[2, 2]),
        node("conv2", "Conv", "pool1", **same),
        node("relu2", "Relu", "conv2"),
        node("flatten", "Flatten", "relu2", axis=1),
        node("dense", "Gemm", "flatten", "scores", transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(nodes, "digits", [image], [scores], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    images, held_images, labels, held_labels = load()
    x, x_val, y, y_val = part(images, labels, VALIDATION)
    nets = [fit(x, y, seed) for seed in SEEDS]
    grades = [grade(net, x_val, y_val) for net in nets]
    for seed, (accuracy, loss) in enumerate(grades):
        print(f"seed {seed}: validation accuracy {accuracy:.4f}, loss {-loss:.4f}")
    best = max(SEEDS, key=grades.__getitem__)
    write_onnx(nets[best], HERE / "digits.onnx")
    np.savez_compressed(HERE / "calibration.npz", image=x[:CALIBRATION], y=y[:CALIBRATION])
    np.savez_compressed(HERE / "test.npz", image=held_images, y=held_labels)
    print(f"seed {best}: held-out accuracy {grade(nets[best], held_images, held_labels)[0]:.4f}")


if __name__ == "__main__":
    main()

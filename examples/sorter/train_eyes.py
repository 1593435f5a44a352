"""Trains the eyes: an image of 8 x 8 pixels in, 24 features out. Writes `eyes.onnx`.

    pip install torch scikit-learn numpy onnx      # torch is needed only here, never by brainc
    python examples/sorter/train_eyes.py           # about a minute on one core

The eyes learn without labels. They are the first half of an autoencoder that is shown a shifted, noisy digit
and has to draw the clean one from its 24 features; the second half is then thrown away. Of three seeds the
one that draws the validation digits best is kept, so no label and no held-out digit has any say.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from digits_data import HERE, Images, jiggle, load, node, write_onnx
from torch import nn
from torch.nn import functional

SEEDS, EPOCHS, BATCH = range(3), 80, 32
FEATURES = 24


def encoder() -> nn.Sequential:
    """5,352 weights (norms folded), 18,432 multiply-accumulates, at most 576 activations alive at once."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),  # [6,8,8]
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 12, 3, stride=2, padding=1, bias=False),  # [12,4,4]
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(192, FEATURES),
    )


def fit(images: Images, seed: int) -> nn.Sequential:
    """Encoder and decoder, trained together from one seed."""
    torch.manual_seed(seed)
    dice, order = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    clean = torch.from_numpy(images)
    net = nn.Sequential(encoder(), nn.Linear(FEATURES, 96), nn.ReLU(), nn.Linear(96, 64))
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-3)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=8e-3, total_steps=steps)
    for _ in range(EPOCHS):
        shown = torch.from_numpy(jiggle(images, dice))
        for batch in torch.randperm(len(images), generator=order).split(BATCH):
            loss = functional.mse_loss(net(shown[batch]), clean[batch].flatten(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def drawing_error(net: nn.Sequential, images: Images) -> float:
    """Mean squared error per pixel of the redrawn images."""
    clean = torch.from_numpy(images)
    return functional.mse_loss(net(clean), clean.flatten(1)).item()


def write_eyes(eyes: nn.Sequential) -> None:
    """BatchNormalization is written as trained: folding it into the convolution is the compiler's work."""
    layers = {"conv1": eyes[0], "norm1": eyes[1], "conv2": eyes[3], "norm2": eyes[4], "squeeze": eyes[7]}
    weights = {
        f"{name}.{kind}": array.numpy()
        for name, layer in layers.items()
        for kind, array in layer.state_dict().items()
        if kind != "num_batches_tracked"
    }
    norm = "{0}.weight {0}.bias {0}.running_mean {0}.running_var"
    same: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        node("conv1", "Conv", "image conv1.weight", **same),
        node("norm1", "BatchNormalization", "conv1 " + norm.format("norm1"), epsilon=1e-5),
        node("relu1", "Relu", "norm1"),
        node("conv2", "Conv", "relu1 conv2.weight", strides=[2, 2], **same),
        node("norm2", "BatchNormalization", "conv2 " + norm.format("norm2"), epsilon=1e-5),
        node("relu2", "Relu", "norm2"),
        node("flatten", "Flatten", "relu2", axis=1),
        node("squeeze", "Gemm", "flatten squeeze.weight squeeze.bias", "features", transB=1),
    ]
    write_onnx(HERE / "eyes.onnx", nodes, weights, ("image", [1, 1, 8, 8]), ("features", [1, FEATURES]))


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    learn, choose, _ = load()
    nets = [fit(learn.images, seed) for seed in SEEDS]
    errors = [drawing_error(net, choose.images) for net in nets]
    for seed, error in enumerate(errors):
        print(f"seed {seed}: drawing error {error:.5f} on the validation digits")
    eyes = nets[min(SEEDS, key=errors.__getitem__)][0]
    assert isinstance(eyes, nn.Sequential)
    write_eyes(eyes)


if __name__ == "__main__":
    main()

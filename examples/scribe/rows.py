"""Weights of four bits whose scales are learned: what training sees of a dense layer of the compiled brain.

A scale belongs to 52 weights along a row and is a multiple of a 255th of the layer's largest, as the brain keeps it in
a byte. The method: Esser et al., Learned Step Size Quantization, 2020.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

GROUP = 52  # weights that share a scale: half of what comes from the state; a symbol's part has its own
LOW, HIGH = -8, 7
GRID = 255  # of the scales


class Through(torch.autograd.Function):
    """Rounds forward, lets the gradient through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def through(x: Tensor) -> Tensor:
    """x rounded, with the gradient of x."""
    rounded: Tensor = Through.apply(x)
    return rounded


class Plain(nn.Module):
    """A matrix [N,K] and a bias [N] as they are; the bias begins at 0."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(len(weight)))

    def forward(self) -> Tensor:
        return self.weight


class Rows(nn.Module):
    """A matrix [N,K] and bias [N] whose weights are of four bits."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())
        parts = [best_scale(part) for part in weight.detach().split(GROUP, 1)]
        self.scale = nn.Parameter(torch.stack(parts, 1).log())  # [N,G]

    def scales(self) -> Tensor:
        """[N,G], on the grid of the layer."""
        wanted = self.scale.exp()
        base = wanted.max().detach() / GRID
        return through((wanted / base).clamp(1, GRID)) * base

    def integers(self) -> tuple[Tensor, Tensor]:
        """(weights int8 [N,K] in -8 .. 7, scales float32 [N,G])."""
        with torch.no_grad():
            scale = self.scales()
            wide = scale.repeat_interleave(GROUP, 1)[:, : self.weight.shape[1]]
            return (self.weight / wide).round().clamp(LOW, HIGH).to(torch.int8), scale

    def forward(self) -> Tensor:
        """The weights as the brain has them."""
        wide = self.scales().repeat_interleave(GROUP, 1)[:, : self.weight.shape[1]]
        return through((self.weight / wide).clamp(LOW, HIGH)) * wide


def best_scale(part: Tensor) -> Tensor:
    """For each row the scale with the least squared error. part [N,g] -> [N]."""
    largest = part.abs().amax(1, keepdim=True).clamp_min(1e-6)
    tries = largest / torch.linspace(3.0, 8.0, 41, device=part.device)  # [N,41]
    steps = (part[:, None] / tries[..., None]).round().clamp(LOW, HIGH)
    error = (steps * tries[..., None] - part[:, None]).square().sum(2)
    return tries.gather(1, error.argmin(1, keepdim=True))[:, 0]

"""The recurrent cell as the compiled brain computes it: forward in rounded numbers, backward straight through.

A PyTorch function over a whole stretch of text. On a processor the matrix products are PyTorch's, and what lies between
them is `cell.c`: one loop instead of thirty small tensors, which makes training twice as fast. On a graphics card
`cell.cu` walks the whole stretch by itself.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

STATE = 1 / 128  # the step of a state, and of tanh's answers
HERE = Path(__file__).parent
Pointers = list[ctypes.c_void_p]


class Steps(ctypes.Structure):
    """Of the int8 numbers inside a cell: how much one step is; 0: not rounded. See `steps_t` in cell.h."""

    _fields_ = [(name, ctypes.c_float) for name in ("gates", "sum", "fresh", "state")]


class Stretch(ctypes.Structure):
    """`stretch_t` of cell.cu."""

    POINTERS = ("tokens", "parts", "gates", "news", "r", "z", "opened", "n", "states", "clipped")
    _fields_ = [
        *((name, ctypes.c_void_p) for name in POINTERS),
        *((name, ctypes.c_int) for name in ("T", "B")),
        ("steps", Steps),
    ]


@cache
def library(*compiler: str) -> ctypes.CDLL:
    """cell.c or cell.cu, compiled for this machine."""
    made = Path(tempfile.mkdtemp()) / "cell.so"
    subprocess.run([*compiler, "-O3", "-shared", "-o", str(made)], check=True, cwd=HERE)
    return ctypes.CDLL(str(made))


def at(*tensors: Tensor) -> Pointers:
    """Where the numbers of contiguous tensors lie."""
    assert all(x.is_contiguous() for x in tensors)
    return [ctypes.c_void_p(x.data_ptr()) for x in tensors]


class Processor:
    """Forward and backward with cell.c. Arrays: r, z, opened, n [T,B,H]; states [T+1,B,H]; clipped [T,B,H]."""

    def __init__(self) -> None:
        self.code = library("cc", "cell.c", "-march=native", "-ffast-math", "-fPIC", "-lm")

    def forward(self, steps: Steps, tokens: Tensor, parts: Tensor, ug: Tensor, un: Tensor, *arrays: Tensor) -> None:
        r, z, opened, n, states, clipped = arrays
        length, texts, size = r.shape
        for_gates, for_new = torch.empty(texts, 2 * size), torch.empty(texts, size)
        ugt, unt = ug.t().contiguous(), un.t().contiguous()
        sizes = (texts, size, ctypes.byref(steps))
        for t in range(length):
            torch.mm(states[t], ugt, out=for_gates)
            given = at(tokens[t], parts, for_gates, states[t], r[t], z[t], opened[t], clipped[t])
            self.code.open_gates(*sizes, *given)
            torch.mm(opened[t], unt, out=for_new)
            self.code.mix(*sizes, *at(tokens[t], parts, for_new, states[t], z[t], n[t], states[t + 1], clipped[t]))

    def backward(self, steps: Steps, slopes: Tensor, d_gates: Tensor, d_sum: Tensor, *arrays: Tensor) -> None:
        _, _, ug, un, r, z, _, n, states, clipped = arrays
        length, texts, size = r.shape
        slope, d_opened = torch.zeros(texts, size), torch.empty(texts, size)
        for t in range(length - 1, -1, -1):
            slope += slopes[t]
            self.code.mix_back(texts, size, *at(states[t], z[t], n[t], clipped[t], slope, d_sum[t], d_gates[t]))
            torch.mm(d_sum[t], un, out=d_opened)
            self.code.gates_back(texts, size, *at(states[t], r[t], clipped[t], d_opened, slope, d_gates[t]))
            slope.addmm_(d_gates[t], ug)


class Card:
    """The same with cell.cu."""

    def __init__(self, size: int) -> None:
        self.code = library("nvcc", "cell.cu", "-arch=native", "-Xcompiler", "-fPIC", f"-DH={size}")

    def forward(self, steps: Steps, *arrays: Tensor) -> None:
        self.run(self.code.forward_stretch, stretch(steps, *arrays))

    def backward(self, steps: Steps, slopes: Tensor, d_gates: Tensor, d_sum: Tensor, *arrays: Tensor) -> None:
        self.run(self.code.backward_stretch, stretch(steps, *arrays), *at(slopes, d_gates, d_sum))

    @staticmethod
    def run(function: Any, *given: Any) -> None:
        failed = function(*given, ctypes.c_void_p(torch.cuda.current_stream().cuda_stream))
        assert not failed, f"CUDA says {failed}"


def stretch(steps: Steps, *arrays: Tensor) -> Any:
    """A pointer to the `stretch_t` of these arrays."""
    length, texts, _ = arrays[4].shape
    return ctypes.byref(Stretch(*at(*arrays), length, texts, steps))


@cache
def engine(card: bool, size: int) -> Processor | Card:
    """What computes a stretch."""
    return Card(size) if card else Processor()


class Cell(torch.autograd.Function):
    """tokens [T,B], parts [38,3H] with biases, ug [2H,H], un [H,H], h [B,H] -> states [T,B,H].

    r, z = sigmoid(parts + ug h);  n = tanh(parts + un (r h));  h' = n + z (h - n)
    """

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, parts: Tensor, ug: Tensor, un: Tensor, h: Tensor, steps: Steps) -> Tensor:
        (length, texts), size = tokens.shape, h.shape[1]
        r, z, opened, n = h.new_empty(4, length, texts, size)
        states = h.new_empty(length + 1, texts, size)
        clipped = torch.empty(length, texts, size, dtype=torch.uint8, device=h.device)
        states[0] = h
        arrays = (tokens, parts, ug.contiguous(), un.contiguous(), r, z, opened, n, states, clipped)
        engine(h.is_cuda, size).forward(steps, *arrays)
        ctx.save_for_backward(*arrays)
        ctx.steps = steps
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tokens, parts, _, _, r, _, opened, _, states, _ = ctx.saved_tensors
        length, texts, size = r.shape
        d_gates, d_sum = r.new_empty(length, texts, 2 * size), r.new_empty(length, texts, size)
        engine(r.is_cuda, size).backward(ctx.steps, grads[0].contiguous(), d_gates, d_sum, *ctx.saved_tensors)
        d_all = torch.cat((d_gates, d_sum), 2).view(-1, 3 * size)
        d_parts = torch.zeros_like(parts).index_add_(0, tokens.reshape(-1), d_all)
        d_ug = d_gates.view(-1, 2 * size).t() @ states[:-1].view(-1, size)
        d_un = d_sum.view(-1, size).t() @ opened.view(-1, size)
        return None, d_parts, d_ug, d_un, None, None

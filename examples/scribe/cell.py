"""The recurrent cell as the compiled brain computes it: forward in rounded numbers, backward straight through.

A PyTorch function over a whole stretch of text. The matrix products are PyTorch's; what lies between them is
`cell.c`, one loop instead of thirty small tensors, which makes training twice as fast.
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


class Steps(ctypes.Structure):
    """Of the int8 numbers inside a cell: how much one step is; 0: not rounded. See `steps_t` in cell.c."""

    _fields_ = [(name, ctypes.c_float) for name in ("gates", "sum", "state")]


@cache
def library() -> ctypes.CDLL:
    """cell.c, compiled for this machine."""
    made = Path(tempfile.mkdtemp()) / "cell.so"
    source = Path(__file__).with_name("cell.c")
    flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, str(source), "-o", str(made), "-lm"], check=True)
    return ctypes.CDLL(str(made))


def rounded(x: Tensor, step: float, lo: int = -128, hi: int = 127) -> Tensor:
    """x on the grid of an int8."""
    return x.div(step).round_().clamp_(lo, hi).mul_(step)


def at(*tensors: Tensor) -> list[ctypes.c_void_p]:
    """Where the numbers of contiguous tensors lie."""
    assert all(x.is_contiguous() for x in tensors)
    return [ctypes.c_void_p(x.data_ptr()) for x in tensors]


class Cell(torch.autograd.Function):
    """tokens [T,B], parts [38,3H] with biases, ug [2H,H], un [H,H], h [B,H] -> states [T,B,H].

    r, z = sigmoid(parts + ug h);  n = tanh(parts + un (r h));  h' = n + z (h - n)
    """

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, parts: Tensor, ug: Tensor, un: Tensor, h: Tensor, steps: Steps) -> Tensor:
        (length, texts), size = tokens.shape, h.shape[1]
        r, z, opened, n = torch.empty(4, length, texts, size)
        states = torch.empty(length + 1, texts, size)
        clipped = torch.empty(length, texts, size, dtype=torch.uint8)
        states[0] = h
        for_gates, for_new = torch.empty(texts, 2 * size), torch.empty(texts, size)
        ugt, unt = ug.t().contiguous(), un.t().contiguous()
        code, sizes = library(), (texts, size, ctypes.byref(steps))
        for t in range(length):
            torch.mm(states[t], ugt, out=for_gates)
            code.open_gates(*sizes, *at(tokens[t], parts, for_gates, states[t], r[t], z[t], opened[t], clipped[t]))
            torch.mm(opened[t], unt, out=for_new)
            code.mix(*sizes, *at(tokens[t], parts, for_new, states[t], z[t], n[t], states[t + 1], clipped[t]))
        ctx.save_for_backward(tokens, parts, ug, un, r, z, opened, n, states, clipped)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tokens, parts, ug, un, r, z, opened, n, states, clipped = ctx.saved_tensors
        length, texts, size = r.shape
        slope, d_opened = torch.zeros(texts, size), torch.empty(texts, size)
        d_gates, d_sum = torch.empty(length, texts, 2 * size), torch.empty(length, texts, size)
        d_parts = torch.zeros_like(parts)
        code, sizes = library(), (texts, size)
        for t in range(length - 1, -1, -1):
            slope += grads[0][t]
            code.mix_back(*sizes, *at(states[t], z[t], n[t], clipped[t], slope, d_sum[t], d_gates[t]))
            torch.mm(d_sum[t], un, out=d_opened)
            given = at(tokens[t], states[t], r[t], clipped[t], d_opened, d_sum[t], slope, d_gates[t], d_parts)
            code.gates_back(*sizes, *given)
            slope.addmm_(d_gates[t], ug)
        d_ug = d_gates.view(-1, 2 * size).t() @ states[:-1].view(-1, size)
        d_un = d_sum.view(-1, size).t() @ opened.view(-1, size)
        return None, d_parts, d_ug, d_un, None, None

"""The recurrent cell as the compiled brain computes it: forward in rounded numbers, backward straight through.

A PyTorch function over a whole stretch of text. The matrix products are PyTorch's; what lies between them is
`cell.c`, one loop instead of thirty small tensors, which makes training three times as fast.
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
    """Of the int8 numbers inside a cell: how much one step is. See `steps_t` in cell.c."""

    _fields_ = [(name, ctypes.c_float) for name in ("gates", "token", "kept", "scaled", "sum")]


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


def at(x: Tensor) -> ctypes.c_void_p:
    """Where the numbers of a contiguous tensor lie."""
    assert x.is_contiguous()
    return ctypes.c_void_p(x.data_ptr())


class Cell(torch.autograd.Function):
    """tokens [T,B], parts [38,3H] with biases, u [3H,H], bias [H], h [B,H] -> states [T,B,H]."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, parts: Tensor, u: Tensor, bias: Tensor, h: Tensor, steps: Steps) -> Tensor:
        (length, texts), size = tokens.shape, h.shape[1]
        r, z, kept, n = torch.empty(4, length, texts, size)
        states = torch.empty(length + 1, texts, size)
        clipped = torch.empty(length, texts, size, dtype=torch.uint8)
        states[0] = h
        products, ut = torch.empty(texts, 3 * size), u.t().contiguous()
        run, sizes = library().forward, (texts, size, ctypes.byref(steps))
        for t in range(length):
            torch.mm(states[t], ut, out=products)
            given = (at(x) for x in (tokens[t], parts, products, bias, states[t]))
            run(*sizes, *given, *(at(x) for x in (r[t], z[t], kept[t], n[t], states[t + 1], clipped[t])))
        ctx.save_for_backward(tokens, parts, u, r, z, kept, n, states, clipped)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tokens, parts, u, r, z, kept, n, states, clipped = ctx.saved_tensors
        length, texts, size = r.shape
        slope = torch.zeros(texts, size)
        d_products = torch.empty(length, texts, 3 * size)
        d_parts, d_bias = torch.zeros_like(parts), torch.zeros(size)
        run = library().backward
        for t in range(length - 1, -1, -1):
            slope += grads[0][t]
            given = (at(x) for x in (tokens[t], states[t], r[t], z[t], kept[t], n[t], clipped[t]))
            run(texts, size, *given, *(at(x) for x in (slope, d_products[t], d_parts, d_bias)))
            slope.addmm_(d_products[t], u)
        d_u = d_products.view(-1, 3 * size).t() @ states[:-1].view(-1, size)
        return None, d_parts, d_u, d_bias, None, None

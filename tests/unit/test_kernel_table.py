"""A kernel is only chosen for nodes all of whose operands it reads."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Builder

from brainc.dtypes import I8
from brainc.errors import UnsupportedError
from brainc.ir import Graph, Stage
from brainc.kernels import KernelTable
from brainc.ops.qadd import residuals
from brainc.target import load_target


def layer(*, residual: bool) -> Graph:
    """A dense layer, perhaps one that ends in a sum with a second port."""
    b = Builder()
    x = b.input("x", (3, 8), I8)
    arrays = (np.ones((4, 8), np.int8), np.zeros(4, np.int32), np.full(4, 1 << 30, np.int32), np.full(4, 36, np.int8))
    names = [b.const(a) for a in arrays]
    numbers, rounding = next(residuals())
    more = ([b.input("r", (3, 4), I8)], {"residual": numbers}) if residual else ([], {})
    return b.graph(b.add("qdense", x, *names, *more[0], zy=0, round=rounding, **more[1]), stage=Stage.INTEGER)


def test_the_portable_kernel_reads_no_residual() -> None:
    table = KernelTable(load_target("c99"))
    plain, ending = layer(residual=False), layer(residual=True)
    assert table.choose(plain, next(plain.nodes())).kernel.name == "c/qdense/i8"
    with pytest.raises(UnsupportedError, match="types are i8 i8 i32 i32 i8 i8 -> i8"):
        table.choose(ending, next(ending.nodes()))

"""Constants of which only some numbers are stored.

The importer knocks with a tensor; its whole array leaves. The schema's record says in which order the axes were
walked (those of blocks after those of the whole) and, for each, all cells or a list of those that are there. It comes
from the file, so nothing is believed: no level may have more cells than the tensor, and all must lie inside it.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import tflite

from brainc.dtypes import Array
from brainc.frontends.moves import refuse
from brainc.frontends.tflite.reader import Tensor

LARGEST = 2**26  # elements that a sparse constant may have
_LISTS = {1: tflite.Int32Vector, 2: tflite.Uint16Vector, 3: tflite.Uint8Vector}


def densified(tensor: Tensor) -> Array:
    """The array of a sparse tensor; what is not stored is 0."""
    record, shape, stored = tensor.sparsity, tensor.shape, tensor.data
    if stored is None or prod(shape) > LARGEST:
        raise refuse(f"its operand {tensor.name!r} is sparse and has {prod(shape)} elements")
    order, blocks = _numbers(record.TraversalOrderAsNumpy()), _numbers(record.BlockMapAsNumpy())
    if sorted(order) != list(range(len(shape) + len(blocks))) or record.DimMetadataLength() != len(order):
        raise ValueError(f"a sparse tensor is walked along the axes {order}")
    places: dict[int, Array] = {}  # of every cell so far, by axis
    sizes: dict[int, int] = {}
    count = 1
    for level, axis in enumerate(order):
        parents, cells, sizes[axis] = _level(record.DimMetadata(level), count, prod(shape))
        places = {earlier: there[parents] for earlier, there in places.items()}
        places[axis], count = cells, len(cells)
    if count != stored.size:
        raise ValueError(f"a sparse tensor of {count} cells stores {stored.size}")
    for block, axis in enumerate(blocks, len(shape)):
        places[axis] = places[axis] * sizes[block] + places[block]
    dense: Array = np.zeros(shape, stored.dtype)
    if any(((places[axis] < 0) | (places[axis] >= n)).any() for axis, n in enumerate(shape)):
        raise IndexError("a sparse tensor stores a cell outside of itself")
    dense[tuple(places[axis] for axis in range(len(shape)))] = stored
    return dense


def _numbers(vector: Any) -> list[int]:
    """A vector of the schema, which gives 0 where there is none."""
    return [] if isinstance(vector, int) else [int(n) for n in vector]


def _level(record: Any, count: int, most: int) -> tuple[Array, Array, int]:
    """(the cell of the level above that each cell belongs to, its place along the axis, the axis's length)."""
    size = record.DenseSize()
    if record.Format() == tflite.DimensionType.DENSE:
        if not 0 < size <= most // max(count, 1):
            raise ValueError(f"a sparse tensor has {count} times {size} cells")
        return np.arange(count).repeat(size), np.tile(np.arange(size), count), size
    segments = _list(record.ArraySegments(), record.ArraySegmentsType())
    cells = _list(record.ArrayIndices(), record.ArrayIndicesType())
    lengths = np.diff(segments)
    if len(lengths) != count or segments[0] != 0 or (lengths < 0).any() or segments[-1] != len(cells):
        raise ValueError("the lists of a sparse tensor do not fit each other")
    return np.arange(count).repeat(lengths), cells, size


def _list(table: Any, kind: int) -> Array:
    vector: Any = _LISTS[kind]()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy(), np.int64).reshape(-1)

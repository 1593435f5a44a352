"""Opening an ONNX file that nobody vouches for.

The importer knocks; a parsed model of opset 7 or later, its tensors as numpy arrays, and its ports' shapes
leave. Sizes are checked before anything is allocated; weights in other files are memory-mapped, and only
from the model's own folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
from onnx import helper, numpy_helper

from brainc.dtypes import Array
from brainc.errors import ModelError, UnsupportedError

OLDEST = 7  # older opsets are converted up first; the rules read this one and all later ones
MAX_ELEMENTS = 2**31 - 1  # of one tensor
DAMAGED = "the file is damaged or was written by a faulty tool; export the model again"
FOUR_BITS = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
_SYMBOL, _PLACE = re.compile(r"\w[\w.\-/:]*$"), re.compile(r".*\.\d+$")


def read_model(path: Path) -> onnx.ModelProto:
    """The parsed file, functions inlined, opset raised to at least 7."""
    try:
        model = onnx.load_model_from_string(path.read_bytes())
        readable = model.ir_version and model.opset_import and model.HasField("graph")
        # protobuf gives text that is not UTF-8 as bytes
        broken = not readable or any(isinstance(text, bytes) for text in _strings(model.graph))
    except Exception:  # protobuf's own errors, by its implementation
        broken = True
    if broken:
        raise ModelError(f"{path.name} is not an ONNX model", fix="the file is damaged or of another kind")
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        if opsets(model).get("", OLDEST) < OLDEST:
            model = onnx.version_converter.convert_version(model, 13)
    except Exception as error:  # the converter is C++ and raises whatever it likes
        raise UnsupportedError(
            f"the model's opset cannot be converted up: {first_line(error)}",
            fix=f"export the model with opset {OLDEST} or later (13 is a good choice)",
        ) from error
    return model


def _strings(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    """Every name in a graph and in its subgraphs."""
    for port in graph.input:
        yield from (dim.dim_param for dim in port.type.tensor_type.shape.dim)
    yield from (item.name for item in (*graph.input, *graph.output, *graph.initializer))
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            yield from _strings(attribute.g)


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def opsets(model: onnx.ModelProto) -> dict[str, int]:
    """Domain to opset version; the standard domain is ''."""
    return {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}


def attributes(node: onnx.NodeProto, folder: Path) -> dict[str, Any]:
    """A node's attributes: numbers, strings, lists, arrays (tensors), graphs."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    for name, value in found.items():
        if isinstance(value, onnx.TensorProto):
            found[name] = tensor(value, folder)
        elif isinstance(value, bytes):
            found[name] = value.decode(errors="replace")
    return found


def element_type(number: int) -> np.dtype[Any]:
    """The numpy type of an ONNX element type."""
    try:
        return np.dtype(helper.tensor_dtype_to_np_dtype(number))
    except KeyError as error:
        raise ModelError(f"there is no element type {number}", fix=DAMAGED) from error


def tensor(proto: onnx.TensorProto, folder: Path) -> Array:
    """The numbers of a tensor; 4-bit integers as int8 or uint8, half and bfloat16 floats as float32."""
    shape = tuple(proto.dims)
    if any(n < 0 for n in shape) or prod(shape) > MAX_ELEMENTS:
        raise ModelError(f"tensor {proto.name!r} has shape {list(shape)}", fix=DAMAGED)
    try:
        dtype = element_type(proto.data_type)
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            return _external(proto, folder, dtype, shape)
        return _plain(np.asarray(numpy_helper.to_array(proto)), proto.data_type)
    except (TypeError, ValueError) as error:
        what = f"tensor {proto.name!r} does not hold its {prod(shape)} numbers: {first_line(error)}"
        raise ModelError(what, fix=DAMAGED) from error


def _plain(array: Array, data_type: int) -> Array:
    """Element types that numpy lacks, widened."""
    if data_type in FOUR_BITS:
        return array.astype(np.int8 if data_type == onnx.TensorProto.INT4 else np.uint8)
    if data_type == onnx.TensorProto.FLOAT16 or array.dtype.kind == "V":
        return array.astype(np.float32)
    return array


def _external(proto: onnx.TensorProto, folder: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Numbers of a file beside the model, memory-mapped."""
    what = f"tensor {proto.name!r}"
    if dtype.kind not in "fiub":
        raise UnsupportedError(f"{what} in another file is {dtype}", fix="keep it in the model file")
    info = {entry.key: entry.value for entry in proto.external_data}
    location = info.get("location", "")
    file = (folder / location).resolve()
    if ".." in Path(location).parts or Path(location).is_absolute() or folder.resolve() not in file.parents:
        raise ModelError(
            f"{what} keeps its numbers in {location!r}, outside the model's folder",
            fix="put the data file into the model's folder, and no link to elsewhere",
        )
    if not file.is_file():
        raise ModelError(f"the model's data file {location!r} is missing", fix=f"put it into {folder}")
    offset, nbytes, there = int(info.get("offset", 0)), prod(shape) * dtype.itemsize, file.stat().st_size
    if int(info.get("length", nbytes)) != nbytes or not 0 <= offset <= there - nbytes:
        raise ModelError(
            f"{what} needs {nbytes} bytes at {offset} of {location!r}, which has {there}",
            fix="the data file is cut off or belongs to another model",
        )
    return _plain(np.memmap(file, dtype, "r", offset, shape) if nbytes else np.zeros(shape, dtype), proto.data_type)


def settle_shapes(ports: Mapping[str, onnx.ValueInfoProto], given: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Every port's shape in numbers: its first axis is the batch, 1 unless given otherwise.

    An axis without a name is called PORT.INDEX, and so may any other be: `given` may also hold the sizes of
    fixed axes so, which the linker compares with the model's.
    """
    axes: dict[tuple[str, int], int | str] = {}  # to a size, or the name of a symbolic axis
    for name, port in ports.items():
        if not port.type.HasField("tensor_type") or not port.type.tensor_type.HasField("shape"):
            raise ModelError(f"port {name!r} is no tensor of known rank", fix="export it with a fixed shape")
        for i, dim in enumerate(port.type.tensor_type.shape.dim):
            symbol = dim.dim_param if _SYMBOL.match(dim.dim_param) else f"{name}.{i}"
            axes[name, i] = dim.dim_value if dim.dim_value > 0 else symbol
    symbols = {axis for axis in axes.values() if isinstance(axis, str)}
    if wrong := {name for name in given if name not in symbols and not _PLACE.match(name)}:
        raise ModelError(
            f"the model has no symbolic axis {', '.join(sorted(wrong))}",
            fix=f"its symbolic axes: {', '.join(sorted(symbols)) or 'none'}",
        )
    known = {axis: 1 for (_, i), axis in axes.items() if i == 0} | dict(given)
    sizes: dict[tuple[str, int], Any] = {
        (name, i): axis if isinstance(axis, int) else given.get(f"{name}.{i}", known.get(axis))
        for (name, i), axis in axes.items()
    }
    if open_ := {place: axis for place, axis in axes.items() if sizes[place] is None}:
        what = ", ".join(f"axis {i} of input {name!r} ({axis})" for (name, i), axis in open_.items())
        flags = dict.fromkeys(f"--shape {axis}=N" for axis in open_.values())
        raise UnsupportedError(f"the model leaves sizes open: {what}", fix=f"fix them: {' '.join(flags)}")
    for (name, i), size in sizes.items():
        if size < 1:
            raise ModelError(f"axis {i} of input {name!r} cannot be {size}", fix="give at least 1")
    return {name: tuple(size for (of, _), size in sizes.items() if of == name) for name in ports}

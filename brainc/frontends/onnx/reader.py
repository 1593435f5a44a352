"""Opening an ONNX file that nobody vouches for.

The importer knocks; a parsed model of opset 7 or later, its tensors as numpy arrays, and its ports' shapes
leave. Sizes are checked before anything is allocated; weights in other files are memory-mapped, and only
from the model's own folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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
_SYMBOL = re.compile(r"\w[\w.\-/:]*$")
_PLACE = re.compile(r".*\.\d+$")
Axis = int | str  # a size, or the name of a symbolic axis


def read_model(path: Path) -> onnx.ModelProto:
    """The parsed file, functions inlined, opset raised to at least 7."""
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf's own errors, by its implementation
        raise _not_onnx(path) from error
    if not model.ir_version or not model.opset_import or not model.HasField("graph"):
        raise _not_onnx(path)
    if any(isinstance(text, bytes) for text in _strings(model.graph)):  # so protobuf gives what is not UTF-8
        raise _not_onnx(path)
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        if opsets(model).get("", OLDEST) < OLDEST:
            model = onnx.version_converter.convert_version(model, 13)
    except Exception as error:  # the converter is C++ and raises whatever it likes
        raise UnsupportedError(
            f"the model's opset cannot be converted up: {_first_line(error)}",
            fix=f"export the model with opset {OLDEST} or later (13 is a good choice)",
        ) from error
    return model


def _not_onnx(path: Path) -> ModelError:
    return ModelError(f"{path.name} is not an ONNX model", fix="the file is damaged or of another kind")


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


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def opsets(model: onnx.ModelProto) -> dict[str, int]:
    """Domain to opset version; the standard domain is ''."""
    return {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}


def attributes(node: onnx.NodeProto, folder: Path) -> dict[str, Any]:
    """A node's attributes: numbers, strings, lists, arrays (tensors), graphs."""
    found = {}
    for attribute in node.attribute:
        try:
            value = helper.get_attribute_value(attribute)
        except ValueError as error:
            raise ModelError(f"attribute {attribute.name!r}: {error}", fix=DAMAGED) from error
        if isinstance(value, onnx.TensorProto):
            value = tensor(value, folder)
        elif isinstance(value, bytes):
            value = value.decode(errors="replace")
        found[attribute.name] = value
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
        raise ModelError(
            f"tensor {proto.name!r} does not hold its {prod(shape)} numbers: {_first_line(error)}",
            fix=DAMAGED,
        ) from error


def _plain(array: Array, data_type: int) -> Array:
    """Element types that numpy lacks, widened."""
    if data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4):
        return array.astype(np.int8 if data_type == onnx.TensorProto.INT4 else np.uint8)
    if data_type == onnx.TensorProto.FLOAT16 or array.dtype.kind == "V":
        return array.astype(np.float32)
    return array


def _external(proto: onnx.TensorProto, folder: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Numbers of a file beside the model, memory-mapped."""
    if dtype.kind not in "fiub":
        raise UnsupportedError(
            f"tensor {proto.name!r} in another file is {dtype}", fix="keep it in the model file, or widen it"
        )
    info = {entry.key: entry.value for entry in proto.external_data}
    location = info.get("location", "")
    file = (folder / location).resolve()
    inside = location and not Path(location).is_absolute() and ".." not in Path(location).parts
    if not inside or folder.resolve() not in file.parents:
        raise ModelError(
            f"tensor {proto.name!r} keeps its numbers in {location!r}, outside the model's folder",
            fix="put the data file into the model's folder, and no link to elsewhere",
        )
    if not file.is_file():
        raise ModelError(f"the model's data file {location!r} is missing", fix=f"put it into {folder}")
    offset, nbytes = int(info.get("offset", 0)), prod(shape) * dtype.itemsize
    if int(info.get("length", nbytes)) != nbytes or offset < 0 or offset + nbytes > file.stat().st_size:
        raise ModelError(
            f"tensor {proto.name!r} needs {nbytes} bytes at {offset} of {location!r}, which has "
            f"{file.stat().st_size}",
            fix="the data file is cut off or belongs to another model",
        )
    if not nbytes:
        return np.zeros(shape, dtype)
    return _plain(np.memmap(file, dtype, "r", offset, shape), proto.data_type)


def port_axes(port: onnx.ValueInfoProto) -> list[Axis]:
    """Sizes and symbols of a port; an axis without a name is called PORT.INDEX, and so may any other be."""
    if not port.type.HasField("tensor_type") or not port.type.tensor_type.HasField("shape"):
        raise ModelError(f"port {port.name!r} is no tensor of known rank", fix="export it with a fixed shape")
    axes: list[Axis] = []
    for index, dim in enumerate(port.type.tensor_type.shape.dim):
        symbol = dim.dim_param if _SYMBOL.match(dim.dim_param) else f"{port.name}.{index}"
        axes.append(dim.dim_value if dim.dim_value > 0 else symbol)
    return axes


def settle_shapes(
    ports: Mapping[str, Sequence[Axis]], given: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """Every port's shape in numbers: its first axis is the batch, 1 unless given otherwise.

    `given` may also hold sizes of fixed axes as PORT.INDEX, which the linker compares with the model's.
    """
    symbols = {a for axes in ports.values() for a in axes if isinstance(a, str)}
    if wrong := {name for name in given if name not in symbols and not _PLACE.match(name)}:
        raise ModelError(
            f"the model has no symbolic axis {', '.join(sorted(wrong))}",
            fix=f"its symbolic axes: {', '.join(sorted(symbols)) or 'none'}",
        )
    sizes = {axes[0]: 1 for axes in ports.values() if axes and isinstance(axes[0], str)} | dict(given)
    shapes, open_ = {}, []
    for port, axes in ports.items():
        shape = []
        for index, axis in enumerate(axes):
            known = axis if isinstance(axis, int) else given.get(f"{port}.{index}", sizes.get(axis))
            if known is None:
                open_.append((f"axis {index} of input {port!r} ({axis})", f"--shape {axis}=N"))
            elif known < 1:
                raise ModelError(f"axis {index} of input {port!r} cannot be {known}", fix="give at least 1")
            shape.append(known or 0)
        shapes[port] = tuple(shape)
    if open_:
        places, flags = zip(*open_, strict=True)
        raise UnsupportedError(
            f"the model leaves sizes open: {', '.join(places)}",
            fix=f"fix them: {' '.join(dict.fromkeys(flags))}",
        )
    return shapes

"""From ONNX nodes to brainc's: names, constants, folding, refusals.

`read_model` hands over the parsed file; the rules (`rules_*.py`) knock for every node, with a `Call`, and
write ops through the `Importer`; a graph leaves. A name inside the importer is either *known* (an array,
perhaps with a quantisation) or the name of a value that a node or port makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from brainc import ops
from brainc.dtypes import DTYPES, F32, F64, I64, Array, DType, of_numpy
from brainc.errors import ModelError, UnsupportedError, Where, at
from brainc.frontends.onnx import folding, reader
from brainc.frontends.onnx.rules import Call, Known, Rule, all_rules, refuse
from brainc.ir import Attr, Const, Node, Quant, Role, TensorType, Value, attrs, fresh_name
from brainc.spec import MOVES

SERVANTS = ("transpose", "reshape", "expand", "to_int", "from_int")  # ops around the one a node is about
# what a rule runs into where a node is not as the standard says
NOT_AS_TOLD: tuple[type[Exception], ...] = (ArithmeticError, AttributeError, AssertionError, LookupError)
NOT_AS_TOLD += (RuntimeError, TypeError, ValueError)


@dataclass(slots=True)
class Importer:
    """The graph in the making, and the verbs that rules write it with."""

    file: str
    folder: Path
    opsets: Mapping[str, int]
    taken: set[str]  # names that the model uses: no invented name may be one
    known: dict[str, Known] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)  # names of nodes
    nodes: list[Node] = field(default_factory=list)
    alias: dict[str, str] = field(default_factory=dict)  # ONNX name to ours
    missing: dict[str, str] = field(default_factory=dict)  # ONNX name to the reason why it is not there
    refused: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)  # (op, why, fix) to nodes
    call: Call | None = None

    # what rules may ask

    def is_known(self, name: str) -> bool:
        return name in self.known

    def shape(self, name: str) -> tuple[int, ...]:
        return self.known[name].array.shape if name in self.known else self.values[name].type.shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """Element type; float32 for integers with a quantisation, which stand for reals."""
        if name not in self.known:
            return self.values[name].type.dtype.numpy
        return np.dtype(np.float32) if self.known[name].quant else self.known[name].array.dtype

    def array(self, name: str, what: str) -> Array:
        """The reals (or integers) of a constant operand; refused where they depend on the input."""
        if name not in self.known:
            raise refuse(f"{what} depends on the input: it must be constant")
        return self.known[name].real()

    def ints(self, name: str, what: str) -> list[int]:
        """A short list of integers (axes, sizes) that is constant."""
        numbers = self.array(name, what).reshape(-1)
        if numbers.size > 1024:
            raise ValueError(f"{what} has {numbers.size} numbers")
        return [int(n) for n in numbers]

    # what rules may write

    def constant(self, array: npt.ArrayLike, hint: str = "c", quant: Quant | None = None) -> str:
        """A constant made by a rule, or the result of one."""
        mine = self.call is not None and hint in self.call.outputs and hint not in self.known
        name = hint if mine else self._fresh(hint)
        self.known[name] = Known(np.asanyarray(array), quant)
        return name

    def emit(self, op: str, *inputs: str, **attributes: Attr) -> str:
        """Writes a node; its result's name. Types follow from the op, sizes are checked."""
        assert self.call is not None
        inputs = tuple(self._materialise(name, raw=op in MOVES) for name in inputs)
        types = [self.values[name].type if name else None for name in inputs]
        types = [TensorType(F32, t.shape) if t and t.quant else t for t in types]
        meaning = ops.get(op)
        if any(type_ is None and not meaning.operand_at(i).optional for i, type_ in enumerate(types)):
            raise ValueError("an operand is left out")
        (type_,) = meaning.infer(types, attributes)
        _check_size(type_, f"the result of {op}")
        out = self._fresh(f"{self.call.outputs[0]}#{op}")
        label = self._label(f"{self.call.name}#{op}")
        where = Where(self.file, node=self.call.name, op=self.call.op)
        self.values[out] = Value(out, type_, where=where)
        self.nodes.append(Node(label, op, inputs, (out,), attrs(**attributes), where))
        return out

    def reshape(self, x: str, shape: Iterable[int]) -> str:
        """x under another shape (sizes given); a constant is reshaped at once, with its quantisation."""
        new = tuple(shape)
        if prod(new) != prod(self.shape(x)):
            raise ModelError(f"{list(self.shape(x))} cannot take the shape {list(new)}", fix=reader.DAMAGED)
        if new == self.shape(x):
            return x
        if x not in self.known:
            return self.emit("reshape", x, shape=new)
        return self.constant(*_reshaped(self.known[x], new, x))

    def transpose(self, x: str, perm: Sequence[int]) -> str:
        """x with its axes in another order; a constant is turned at once, with its quantisation."""
        if list(perm) == sorted(perm):
            return x
        if x not in self.known:
            return self.emit("transpose", x, perm=tuple(perm))
        quant = self.known[x].quant
        if quant is not None and quant.axis is not None:
            quant = replace(quant, axis=list(perm).index(quant.axis))
        return self.constant(self.known[x].array.transpose(perm), x, quant)

    def run(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Another rule's meaning, as part of this node."""
        assert self.call is not None
        call = replace(self.call, op=op, inputs=inputs, attrs=attributes, opset=self.opsets.get("", 13))
        result = all_rules()[op].apply(self, call)
        return result if isinstance(result, str) else result[0]

    # the walk

    def walk(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Imports nodes in order; what cannot be compiled is noted, and all that hangs on it passed over."""
        for node in nodes:
            name = node.name or next((o for o in node.output if o), node.op_type)
            with at(node=name, op=node.op_type):
                try:
                    self._step(node, name)
                except UnsupportedError as error:
                    self.refused.setdefault((node.op_type, error.what, error.fix), []).append(name)
                    self.missing.update(dict.fromkeys(node.output, ""))

    def _step(self, node: onnx.NodeProto, name: str) -> None:
        domain = "" if node.domain == "ai.onnx" else node.domain
        key = f"{domain}.{node.op_type}" if domain else node.op_type
        found = all_rules().get(key)
        if found is None and key not in folding.FOLDABLE:
            raise refuse("")
        absent = [self.missing[i] for i in node.input if i in self.missing]
        if absent:
            self.missing.update(dict.fromkeys(node.output, ""))
            if reason := next(filter(None, absent), ""):
                raise refuse(reason)
            return
        inputs = tuple(self.resolve(i) for i in node.input)
        call = Call(
            node.op_type,
            name,
            inputs,
            tuple(node.output),
            reader.attributes(node, self.folder),
            self.opsets.get(domain, 1),
        )
        if all(i in self.known for i in inputs if i) and any(inputs) and not (found and found.constants):
            self._fold(node, call)
        elif found is None:
            raise refuse("" if key not in folding.FOLDABLE else "its operands depend on the input")
        else:
            self._apply(found, call)

    def resolve(self, name: str) -> str:
        """Our name for an ONNX name."""
        if self.missing.get(name):
            raise refuse(self.missing[name])
        if name and name not in self.alias:
            raise ModelError(f"nothing produces its operand {name!r}", fix=reader.DAMAGED)
        return self.alias[name] if name else ""

    def _fold(self, node: onnx.NodeProto, call: Call) -> None:
        operands = {o: self.known[n].real() for o, n in zip(node.input, call.inputs, strict=True) if n}
        for name, array in folding.fold(node, operands, self.opsets).items():
            self.known[name] = Known(array)
            self._define(name)

    def _apply(self, found: Rule, call: Call) -> None:
        if not found.any_type:
            for name in filter(None, call.inputs):
                if name not in self.known and self.values[name].type.dtype is not F32:
                    raise refuse(
                        f"it works on {self.values[name].type.dtype} values",
                        "brainc computes float32, or integers between QuantizeLinear and DequantizeLinear",
                    )
        first, self.call = len(self.nodes), call
        try:
            result = found.apply(self, call)
        except NOT_AS_TOLD as error:
            what = f"its operands or attributes are not those of {call.op}: {error or type(error).__name__}"
            raise ModelError(what, fix=reader.DAMAGED) from error
        self._settle(call, (result,) if isinstance(result, str) else result, first)

    def _settle(self, call: Call, results: tuple[str, ...], first: int) -> None:
        """Gives results of a rule their ONNX names, and the main one of its nodes the ONNX node's name."""
        fresh = {out: index for index in range(first, len(self.nodes)) for out in self.nodes[index].outputs}
        for wanted, result in zip(call.outputs, results, strict=False):
            index = fresh.pop(result, None)
            if index is not None and wanted:
                self._rename(result, wanted, first)
                result = wanted
            if wanted:
                if not result:
                    raise ModelError("its operand is left out", fix=reader.DAMAGED)
                self._define(wanted)
                self.alias[wanted] = result
        for wanted in filter(None, call.outputs[len(results) :]):
            reason = f"its operand {wanted!r} is a further output of {call.op}, which brainc leaves out"
            self.missing.setdefault(wanted, reason)
        mine = range(first, len(self.nodes))
        own = [i for i in mine if self.nodes[i].name.startswith(f"{call.name}/")]
        main = next((i for i in own if self.nodes[i].op not in SERVANTS), own[-1] if own else None)
        if main is not None:
            self.nodes[main] = replace(self.nodes[main], name=self._label(call.name))

    def _rename(self, old: str, new: str, first: int) -> None:
        self.values[new] = replace(self.values.pop(old), name=new)
        self.taken.discard(old)
        for index in range(first, len(self.nodes)):
            node = self.nodes[index]
            ins = tuple(new if n == old else n for n in node.inputs)
            outs = tuple(new if n == old else n for n in node.outputs)
            self.nodes[index] = replace(node, inputs=ins, outputs=outs)

    def _fresh(self, wanted: str) -> str:
        name = fresh_name(wanted, self.taken)
        self.taken.add(name)
        return name

    def _label(self, wanted: str) -> str:
        """A node's name; ONNX does not promise that they differ."""
        name = fresh_name(wanted, self.labels)
        self.labels.add(name)
        return name

    def _materialise(self, name: str, *, raw: bool) -> str:
        """Makes a known array a constant of the graph. `raw`: for an op that takes numbers as they lie."""
        if raw and name in self.known and self.known[name].quant:
            name = self.constant(self.known[name].real(), name)
        if not name or name in self.values:
            return name
        known, where = self.known[name], Where(self.file)
        array = known.array.astype(np.float32) if known.array.dtype == np.float64 else known.array
        dtype = of_numpy(array.dtype)
        type_ = TensorType(_computable(dtype, "a constant operand"), tuple(array.shape), known.quant)
        _check_size(type_, "a constant operand")
        self.values[name] = Value(name, type_, Role.CONST, _const(array), where)
        return name

    # ports and initializers

    def add_known(self, proto: onnx.TensorProto) -> None:
        self._define(proto.name)
        self.known[proto.name] = Known(reader.tensor(proto, self.folder))

    def _define(self, name: str) -> None:
        if name in self.alias or not name:
            raise ModelError(f"the name {name!r} is made twice, or empty", fix=reader.DAMAGED)
        self.alias[name] = name

    def add_input(self, name: str, elem_type: int, shape: tuple[int, ...]) -> None:
        self._define(name)
        dtype = of_numpy(reader.element_type(elem_type))
        type_ = TensorType(_computable(dtype, f"input {name!r}"), shape)
        _check_size(type_, f"input {name!r}")
        self.values[name] = Value(name, type_, Role.INPUT, where=Where(self.file))

    def add_output(self, name: str) -> None:
        """Makes the model's output a value of exactly that name; one that is not its own gets a node."""
        if self.alias.get(name) == name and name in self.values and self.values[name].role is Role.TEMP:
            self.values[name] = replace(self.values[name], role=Role.OUTPUT)
            return
        source = self.resolve(name)
        if name == source and name in self.values:
            raise refuse(f"output {name!r} is an input or an output already", "name every port once")
        self.call = Call("Identity", name, (source,), (name,), {}, 13)
        source = self.constant(self.known[source].real(), f"{name}/value") if source in self.known else source
        out = self.emit("reshape", source, shape=self.shape(source))
        self.alias.pop(name)
        self._settle(self.call, (out,), len(self.nodes) - 1)
        self.values[name] = replace(self.values[name], role=Role.OUTPUT)


def _reshaped(known: Known, shape: tuple[int, ...], hint: str) -> tuple[Array, str, Quant | None]:
    """A constant under another shape; a quantised axis that does not survive as one is made real."""
    quant, old = known.quant, known.array.shape
    if quant is None or quant.axis is None:
        return known.array.reshape(shape), hint, quant
    for axis, size in enumerate(shape):
        if size == old[quant.axis] and prod(shape[:axis]) == prod(old[: quant.axis]):
            return known.array.reshape(shape), hint, replace(quant, axis=axis)
    return known.real().reshape(shape), hint, None


def _const(array: Array) -> Const:
    """A constant; a memory-mapped one is read again each time, and never kept."""
    fixed = Const.of(array)
    if isinstance(array, np.memmap):
        return Const(fixed.key, lambda: np.ascontiguousarray(array))
    return fixed


def _computable(dtype: DType | None, what: str) -> DType:
    if dtype is None or dtype in (I64, F64, DTYPES["u32"]):
        kind = dtype.name if dtype else "of a type that brainc has not"
        raise refuse(f"{what} is {kind}", "use float32, int8, uint8 or int32 there")
    return dtype


def _check_size(type_: TensorType, what: str) -> None:
    if any(n < 1 for n in type_.shape) or type_.size > reader.MAX_ELEMENTS:
        raise ModelError(f"{what} would have the shape {list(type_.shape)}", fix="check the model's shapes")

"""From ONNX nodes to brainc's: names, constants, folding, refusals.

`model.py` hands over ports and nodes; the rules (`rules_*.py`) knock for every node, with a `Call`, and
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
from brainc.dtypes import F32, F64, I4, I64, U32, Array, of_numpy
from brainc.errors import ModelError, UnsupportedError, Where, at
from brainc.frontends.moves import refuse
from brainc.frontends.onnx import folding, reader
from brainc.frontends.onnx.rules import Call, Known, all_rules
from brainc.ir import Attr, Const, Node, Quant, Role, TensorType, Value, attrs, fresh_name
from brainc.spec import MOVES

SERVANTS = ("transpose", "reshape", "expand", "to_int", "from_int")  # ops around the one a node is about
# what a rule runs into where a node is not as the standard says
NOT_AS_TOLD: tuple[type[Exception], ...] = (ArithmeticError, AttributeError, AssertionError, LookupError)
NOT_AS_TOLD += (RuntimeError, TypeError, ValueError)
FLOATS = "brainc computes float32, or integers between QuantizeLinear and DequantizeLinear"


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
    final: dict[str, str] = field(default_factory=dict)  # our name to the model's own, given at the end
    missing: dict[str, str] = field(default_factory=dict)  # ONNX name to the reason why it is not there
    refused: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)  # (op, why, fix) to nodes
    call: Call | None = None

    # what rules may ask

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
        """A list of integers (axes, sizes) that is constant."""
        return [int(n) for n in self.array(name, what).reshape(-1)]

    def results(self, c: Call) -> list[tuple[int, ...]]:
        """Shapes of a standard node's results, as ONNX infers them."""
        outputs = [f"result {i}" for i in range(len(c.outputs))]
        node = onnx.helper.make_node(c.op, list(c.inputs), outputs, **c.attrs)
        kinds = {n: (self.dtype(n), self.shape(n)) for n in c.inputs if n}
        known = {n: self.known[n].array for n in kinds if n in self.known and not self.known[n].quant}
        shapes = [s for s in folding.infer(node, kinds, known, c.opset)[1] if s is not None]
        if len(shapes) < len(outputs):
            raise ValueError("the shape of the result does not follow")
        return shapes

    # what rules may write

    def constant(self, array: npt.ArrayLike, hint: str = "c", quant: Quant | None = None, *, four: bool = False) -> str:
        """A constant made by a rule, or the result of one; four: it is to keep its 4 bits."""
        mine = self.call is not None and hint in self.call.outputs and hint not in self.known
        name = hint if mine else _claim(hint, self.taken)
        self.known[name] = Known(np.asanyarray(array), quant, four)
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
        type_ = _checked(meaning.infer(types, attributes)[0], f"the result of {op}")
        out = _claim(f"{self.call.outputs[0]}#{op}", self.taken)
        label = _claim(f"{self.call.name}#{op}", self.labels)
        where = Where(self.file, node=self.call.name, op=self.call.op)
        self.values[out] = Value(out, type_, where=where)
        self.nodes.append(Node(label, op, inputs, (out,), attrs(**attributes), where))
        return out

    def reshape(self, x: str, shape: Iterable[int]) -> str:
        """x under another shape (sizes given); a constant is reshaped at once, with its quantisation."""
        old, new = self.shape(x), tuple(shape)
        if prod(new) != prod(old):
            raise ModelError(f"{list(old)} cannot take the shape {list(new)}", fix=reader.DAMAGED)
        if new == old:
            return x
        if x not in self.known:
            return self.emit("reshape", x, shape=new)
        known = self.known[x]
        quant = known.quant and known.quant.reshaped(old, new)
        if known.quant and not quant:  # the quantised axis is none any more
            return self.constant(known.real().reshape(new), x)
        return self.constant(known.array.reshape(new), x, quant, four=known.four)

    def transpose(self, x: str, perm: Sequence[int]) -> str:
        """x with its axes in another order; a constant is turned at once, with its quantisation."""
        if list(perm) == sorted(perm):
            return x
        if x not in self.known:
            return self.emit("transpose", x, perm=tuple(perm))
        known = self.known[x]
        quant = known.quant and known.quant.transposed(perm, known.array.shape)
        return self.constant(known.array.transpose(perm), x, quant, four=known.four)

    def run(self, op: str, *inputs: str, opset: int = 0, **attributes: Any) -> str:
        """Another rule's meaning, as part of this node."""
        assert self.call is not None
        opset = opset or self.opsets.get("", 13)
        call = replace(self.call, op=op, inputs=inputs, attrs=attributes, opset=opset)
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
                except NOT_AS_TOLD as error:
                    why = f"not those of {node.op_type}: {error or type(error).__name__}"
                    what = f"its operands or attributes are {why}"
                    raise ModelError(what, fix=reader.DAMAGED) from error

    def _step(self, node: onnx.NodeProto, name: str) -> None:
        domain = "" if node.domain == "ai.onnx" else node.domain
        key = f"{domain}.{node.op_type}" if domain else node.op_type
        found = all_rules().get(key)
        if found is None and key not in folding.FOLDABLE:
            raise refuse("")
        if absent := [self.missing[i] for i in node.input if i in self.missing]:
            self.missing.update(dict.fromkeys(node.output, ""))
            if reason := next(filter(None, absent), ""):
                raise refuse(reason)
            return
        inputs = tuple(self.resolve(i) for i in node.input)
        attributes = reader.attributes(node, self.folder)
        opset = self.opsets.get(domain, 1)
        call = Call(node.op_type, name, inputs, tuple(node.output), attributes, opset)
        if any(inputs) and all(i in self.known for i in inputs if i) and not (found and found.constants):
            operands = {o: self.known[n].real() for o, n in zip(node.input, inputs, strict=True) if n}
            for result, array in folding.fold(node, operands, self.opsets.get("", 13)).items():
                self._define(result)
                self.known[result] = Known(array)
            return
        if found is None:
            raise refuse("its operands depend on the input")
        for value in (self.values[i] for i in inputs if i and i not in self.known):
            if not found.any_type and value.type.dtype is not F32:
                raise refuse(f"it works on {value.type.dtype} values", FLOATS)
        first, self.call = len(self.nodes), call
        made = found.apply(self, call)
        self._settle(call, (made,) if isinstance(made, str) else made, first)
        if any(a.t.data_type in reader.FOUR_BITS for a in node.attribute):
            self.known[self.alias[node.output[0]]] = replace(self.known[self.alias[node.output[0]]], four=True)

    def resolve(self, name: str) -> str:
        """Our name for an ONNX name."""
        if self.missing.get(name):
            raise refuse(self.missing[name])
        if name and name not in self.alias:
            raise ModelError(f"nothing produces its operand {name!r}", fix=reader.DAMAGED)
        return self.alias[name] if name else ""

    def _settle(self, call: Call, results: tuple[str, ...], first: int) -> None:
        """Gives results of a rule their ONNX names, and the main one of its nodes the ONNX node's name."""
        fresh = {out for node in self.nodes[first:] for out in node.outputs}
        for wanted, result in zip(call.outputs, results, strict=False):
            if wanted:
                if not result:
                    raise ModelError("its operand is left out", fix=reader.DAMAGED)
                self._define(wanted)
                self.alias[wanted] = result
                if result in fresh:
                    self.final.setdefault(result, wanted)
        for wanted in filter(None, call.outputs[len(results) :]):
            reason = f"its operand {wanted!r} is a further output of {call.op}, which brainc leaves out"
            self.missing.setdefault(wanted, reason)
        own = [i for i, n in enumerate(self.nodes[first:], first) if n.name.startswith(f"{call.name}#")]
        if own:
            main = next((i for i in own if self.nodes[i].op not in SERVANTS), own[-1])
            self.nodes[main] = replace(self.nodes[main], name=_claim(call.name, self.labels))

    def _materialise(self, name: str, *, raw: bool) -> str:
        """Makes a known array a constant of the graph. `raw`: for an op that takes numbers as they lie."""
        if raw and name in self.known and self.known[name].quant:
            name = self.constant(self.known[name].real(), name)
        if not name or name in self.values:
            return name
        array, quant = self.known[name].array, self.known[name].quant
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        type_ = _type(array.dtype, array.shape, "a constant operand", quant)
        if self.known[name].four and quant is not None:
            type_ = replace(type_, dtype=I4)
        const = Const.of(array)
        if isinstance(array, np.memmap):  # read again each time, and never kept
            const = replace(const, load=lambda: np.ascontiguousarray(array))
        self.values[name] = Value(name, type_, Role.CONST, const, Where(self.file))
        return name

    # ports and initializers

    def add_known(self, proto: onnx.TensorProto) -> None:
        self._define(proto.name)
        self.known[proto.name] = Known(reader.tensor(proto, self.folder), four=proto.data_type in reader.FOUR_BITS)

    def _define(self, name: str) -> None:
        if name in self.alias or not name:
            raise ModelError(f"the name {name!r} is made twice, or empty", fix=reader.DAMAGED)
        self.alias[name] = name

    def add_input(self, name: str, elem_type: int, shape: tuple[int, ...]) -> None:
        self._define(name)
        dtype = reader.element_type(elem_type)
        wide = dtype == np.int64  # an index keeps its type at the port
        type_ = _checked(TensorType(I64, shape), f"input {name!r}") if wide else _type(dtype, shape, f"input {name!r}")
        self.values[name] = Value(name, type_, Role.INPUT, where=Where(self.file))

    def add_output(self, name: str) -> None:
        """Makes the model's output a value of exactly that name; one that is not its own gets a node."""
        source = self.resolve(name)
        if source not in self.values or self.final.get(source, source) != name:
            self.call = Call("Identity", name, (source,), (name,), {}, 13)
            if source in self.known:
                source = self.constant(self.known[source].real(), f"{name}/value")
            source = self.emit("reshape", source, shape=self.shape(source))
            self.alias.pop(name)
            self._settle(self.call, (source,), len(self.nodes) - 1)
        elif self.values[source].role is not Role.TEMP:
            raise refuse(f"output {name!r} is an input or an output already", "name every port once")
        self.values[source] = replace(self.values[source], role=Role.OUTPUT)


def _claim(wanted: str, taken: set[str]) -> str:
    """A name that is not taken, and is now; ONNX does not promise that those of nodes differ."""
    name = fresh_name(wanted, taken)
    taken.add(name)
    return name


def _type(dtype: np.dtype[Any], shape: tuple[int, ...], what: str, quant: Quant | None = None) -> TensorType:
    """The type of a value that is to be there at run time."""
    ours = of_numpy(dtype)
    if ours is None or ours in (I64, F64, U32):
        kind = ours.name if ours else "of a type that brainc has not"
        raise refuse(f"{what} is {kind}", "use float32, int8, uint8 or int32 there")
    return _checked(TensorType(ours, tuple(shape), quant), what)


def _checked(type_: TensorType, what: str) -> TensorType:
    if any(n < 1 for n in type_.shape) or type_.size > reader.MAX_ELEMENTS:
        raise ModelError(f"{what} would have the shape {list(type_.shape)}", fix="check the model's shapes")
    return type_

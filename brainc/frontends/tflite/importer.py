"""From TFLite's nodes to brainc's: names, constants, states, refusals.

The frontend's door knocks with a model; the rules (`rules_*.py`) knock for every node, with a `Call`, and write
ops through the `Importer`; a graph at stage IMPORTED leaves. A name inside the importer is *known* (an array), a
value that a node or port makes, or a state. What is worked out from known operands alone is worked out at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from brainc import ops
from brainc.dtypes import Array, of_numpy
from brainc.errors import ModelError, UnsupportedError, Where, at
from brainc.frontends import names
from brainc.frontends.moves import raise_refused, refuse
from brainc.frontends.tflite.ports import node_name, port_names, sized
from brainc.frontends.tflite.reader import ASTRAY, DAMAGED, MAX_ELEMENTS, NUMPY, Model, Operator, Subgraph, Tensor
from brainc.frontends.tflite.rules import ANY, Apply, Call, all_rules
from brainc.frontends.tflite.sparse import densified
from brainc.ir import Attr, Const, Entry, Graph, Node, Quant, Role, TensorType, Value, attrs, const_value, fresh_name
from brainc.spec import MOVES

FOLDED = 2**26  # elements of a folded result
NOTHING = Tensor("", (), "", None, None)  # an operand left out
VARIABLE = "variable "  # before the names of variables, which are no values


@dataclass(frozen=True, slots=True)
class Known:
    """Numbers known now, and what they mean."""

    array: Array
    quant: Quant | None = None


@dataclass(slots=True)
class State:
    """A variable: how it begins, the value that READ gives it first, and what was assigned to it since."""

    initial: Array | None = None
    value: str = ""
    assigned: str = ""


@dataclass(slots=True)
class Importer:
    """The graph in the making, and the verbs that rules write it with."""

    file: str
    model: Model
    known: dict[str, Known] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)  # by the name of the variable
    refused: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)  # (op, why, fix) to nodes
    taken: set[str] = field(default_factory=set)
    beginning: bool = False  # inside of CALL_ONCE
    batch: int = 1
    call: Call | None = None

    # what rules may ask

    def shape(self, name: str) -> tuple[int, ...]:
        return self.known[name].array.shape if name in self.known else self.values[name].type.shape

    def _type(self, name: str) -> TensorType:
        if name not in self.known:
            return self.values[name].type
        array, dtype = self.known[name].array, of_numpy(self.known[name].array.dtype)
        if dtype is None:
            raise refuse(f"a constant operand is {array.dtype}")
        return TensorType(dtype, array.shape, self.known[name].quant)

    def array(self, name: str, what: str) -> Array:
        """The numbers of a constant operand; refused where they depend on the input."""
        if name not in self.known:
            raise refuse(f"{what} depend on the input: they must be constant")
        return self.known[name].array

    def ints(self, name: str, what: str) -> list[int]:
        """A list of integers (axes, sizes) that is constant."""
        return [int(n) for n in self.array(name, what).reshape(-1)]

    # what rules may write

    def constant(self, array: npt.ArrayLike, hint: str = "c", quant: Quant | None = None) -> str:
        """A constant made by a rule, or the result of one."""
        name = self._claim(hint)
        self.known[name] = Known(np.asanyarray(array), quant)
        return name

    def emit(self, op: str, *inputs: str, **attributes: Attr) -> str:
        """Writes a node; its result's name. Types follow from the op, sizes are checked, known operands fold.

        Moves keep what their operand's integers mean; those of other ops mean what the file says of the node's.
        """
        assert self.call is not None
        meaning, (wanted, *_) = ops.get(op), self.call.outs
        types = [replace(self._type(name), quant=None) if name else None for name in inputs]
        type_, fold = meaning.infer(types, attributes)[0], all(not n or n in self.known for n in inputs)
        moving = {t.dtype for i, t in enumerate(types) if t and not meaning.operand_at(i).constant}
        if meaning.exact and len(moving) > 1:
            raise ValueError("its operands are of different types")
        if (any(n < 1 for n in type_.shape) and not fold) or type_.size > (FOLDED if fold else MAX_ELEMENTS):
            raise ModelError(f"the result of {op} would have the shape {list(type_.shape)}", fix=DAMAGED)
        quant = self._type(inputs[0]).quant if op in MOVES else None
        if op not in MOVES and type_.dtype.numpy == NUMPY.get(wanted.type):
            quant = wanted.quant
        if fold:
            (result,) = meaning.run([self.known[n].array if n else None for n in inputs], attributes)
            return self.constant(result, f"{self.call.name}#{op}", quant)
        inputs = tuple(self._materialise(name) for name in inputs)
        out = self._claim(f"{node_name(self.call.name, self.call.op)}#{op}")
        where = Where(self.file, node=self.call.name, op=self.call.op)
        self.values[out] = Value(out, replace(type_, quant=quant), where=where)
        self.nodes.append(Node(out, op, inputs, (out,), attrs(**attributes), where))
        return out

    def reshape(self, x: str, shape: Iterable[int]) -> str:
        """x under another shape."""
        old, new = self.shape(x), tuple(shape)
        if prod(new) != prod(old):
            raise ModelError(f"{list(old)} cannot take the shape {list(new)}", fix=DAMAGED)
        return x if new == old else self.emit("reshape", x, shape=new)

    def shaped(self, x: str, tensor: Tensor) -> str:
        """x under the shape of a tensor; axes that the file leaves open take what is there."""
        have, wanted = self.shape(x), list(tensor.shape)
        wanted[:1] = [self.batch] if 0 in tensor.open else wanted[:1]
        left = tensor.open - {0}
        if len(left) > 1 and len(have) != len(wanted):
            raise refuse(f"its result {list(have)} has several open sizes", "convert the model with fixed shapes")
        rest = prod(n for axis, n in enumerate(wanted) if axis not in left)
        for axis in left:
            wanted[axis] = have[axis] if len(left) > 1 else prod(have) // max(rest, 1)
        return self.reshape(x, wanted)

    def state(self, name: str, like: Tensor) -> str:
        """What a variable holds now; the first to ask says of what type it is."""
        state = self.states.setdefault(name, State())
        if not state.value:
            dtype = of_numpy(np.dtype(NUMPY[like.type]))
            if dtype is None or prod(like.shape) > FOLDED:
                raise refuse(f"its variable is {like.type}{list(like.shape)}")
            zeros = np.zeros(like.shape, dtype.numpy)
            start = zeros if state.initial is None else state.initial.reshape(like.shape).astype(dtype.numpy)
            state.value = self._claim(name.removeprefix(VARIABLE) or "variable")
            made = TensorType(dtype, like.shape, like.quant)
            self.values[state.value] = Value(state.value, made, Role.STATE, Const.of(start), Where(self.file))
        type_ = self.values[state.value].type
        if (type_.dtype.numpy, type_.shape) != (np.dtype(NUMPY[like.type]), like.shape):
            raise ModelError(f"its variable is {type_}, not {like.type}{list(like.shape)}", fix=DAMAGED)
        return state.assigned or state.value

    def _claim(self, wanted: str) -> str:
        name = fresh_name(wanted, self.taken)
        self.taken.add(name)
        return name

    def _materialise(self, name: str) -> str:
        """Makes a known array a constant of the graph."""
        if name and name not in self.values:
            type_ = self._type(name)
            self.values[name] = const_value(name, self.known[name].array, type_.dtype, type_.quant, Where(self.file))
        return name

    # the walk

    def walk(self, graph: Subgraph, ends: dict[int, str]) -> dict[int, str]:
        """Imports the nodes of a subgraph; our names by tensor. What cannot be compiled is noted, and all that
        hangs on it passed over."""
        for node in graph.operators:
            name = next((graph.tensors[i].name for i in node.outputs if i >= 0), "") or node.op
            with at(node=name, op=node.op), np.errstate(all="ignore"):
                try:
                    self._step(graph, node, name, ends)
                except UnsupportedError as error:
                    self.refused.setdefault((node.op, error.what, error.fix), []).append(name)
                    ends.update(dict.fromkeys(node.outputs, ""))
                except ASTRAY as error:
                    why = f"its operands or options are not those of {node.op}: {error or type(error).__name__}"
                    raise ModelError(why, fix=DAMAGED) from error
        return ends

    def _step(self, graph: Subgraph, node: Operator, name: str, ends: dict[int, str]) -> None:
        tensors = graph.tensors
        inputs = tuple(self.resolve(i, tensors, ends) if i >= 0 else "" for i in node.inputs)
        if any(i >= 0 and not end for i, end in zip(node.inputs, inputs, strict=True)):
            ends.update(dict.fromkeys(node.outputs, ""))
            return
        ins, outs = (tuple(tensors[i] if i >= 0 else NOTHING for i in p) for p in (node.inputs, node.outputs))
        self.call = Call(node.op, name, inputs, ins, outs, node.options)
        results = _rule(self.call)(self, self.call)
        results = (results,) if isinstance(results, str) else results
        for index, result in zip(node.outputs, results, strict=True):
            if index >= 0:
                ends[index] = self._fitted(result, tensors[index])

    def _fitted(self, result: str, tensor: Tensor) -> str:
        """The result under the shape that the file gives it; ModelError where it is of another size or type."""
        if result.startswith(VARIABLE):
            return result
        array = self.known[result].array if result in self.known else None
        dtype = array.dtype if array is not None else self.values[result].type.dtype.numpy
        if dtype != np.dtype(NUMPY.get(tensor.type, "O")):
            raise ModelError(f"its result is {dtype}, but {tensor.type} in the file", fix=DAMAGED)
        return self.shaped(result, tensor)

    def resolve(self, index: int, tensors: Sequence[Tensor], ends: dict[int, str]) -> str:
        """Our name for a tensor; one with numbers becomes known when it is first read."""
        if index not in ends:
            tensor = tensors[index]
            if tensor.data is None:
                raise ModelError(f"nothing produces its operand {tensor.name!r}", fix=DAMAGED)
            data = tensor.data if tensor.sparsity is None else densified(tensor)
            ends[index] = self.constant(data, tensor.name or "constant", tensor.quant)
        return ends[index]

    # ports

    def add_input(self, name: str, tensor: Tensor) -> str:
        dtype = of_numpy(np.dtype(NUMPY.get(tensor.type, "O")))
        if dtype is None or any(n < 1 for n in tensor.shape):
            what = f"input {name!r} is {tensor.type}{list(tensor.shape)}"
            raise UnsupportedError(what, fix="convert the model with fixed shapes and numbers as inputs")
        end = self._claim(f"{name}#port")
        self.values[end] = Value(end, TensorType(dtype, tensor.shape, tensor.quant), Role.INPUT, where=Where(self.file))
        return end

    def add_output(self, name: str, tensor: Tensor, end: str) -> str:
        """The value that is this output; what is no result of a node of its own is copied."""
        if end not in self.known and end not in self.values:
            raise ModelError(f"output {name!r} is no tensor of numbers", fix=DAMAGED)
        if end in self.known or self.values[end].role is not Role.TEMP:
            self.call = Call("output", name, (end,), (tensor,), (tensor,), None)
            source = self._materialise(end)
            quant, end = self.values[source].type.quant, self._claim(f"{name}#copy")
            type_ = replace(self.values[source].type, quant=quant)
            self.values[end] = Value(end, type_, where=Where(self.file, node=name))
            self.nodes.append(Node(end, "reshape", (source,), (end,), attrs(shape=type_.shape), Where(self.file)))
        self.values[end] = replace(self.values[end], role=Role.OUTPUT)
        return end


def _rule(call: Call) -> Apply:
    """The rule for a node: for the type of its first operand, or for every type."""
    kind, rules = call.ins[0].type if call.ins else ANY, all_rules()
    found = rules.get((call.op, kind)) or rules.get((call.op, ANY))
    if found is None:
        there = [of for op, of in rules if op == call.op]
        raise refuse(f"it works on {kind}; brainc knows it for {', '.join(there)}" if there else "")
    return found


def import_model(model: Model, path: Path, name: str, shapes: Mapping[str, int]) -> Graph:
    """The graph of a parsed model: stage IMPORTED, one entry `step`, ports named as `port_names` does."""
    graph, (ins, outs) = model.subgraphs[0], port_names(model)
    tensors = sized(ins, [graph.tensors[i] for i in graph.inputs], shapes)
    batch = next((t.shape[0] for t in tensors if 0 in t.open), 1)
    g = Importer(str(path), model, taken={*ins, *outs}, batch=batch)
    inputs = tuple(g.add_input(port, tensor) for port, tensor in zip(ins, tensors, strict=True))
    ends = dict(zip(graph.inputs, inputs, strict=True))
    g.walk(graph, ends)
    raise_refused(g.refused)
    if not graph.outputs:
        raise ModelError("the model has no outputs", fix=DAMAGED)
    with at(op="output"):
        sources = [g.resolve(i, graph.tensors, ends) for i in graph.outputs]
    ports = zip(outs, (graph.tensors[i] for i in graph.outputs), sources, strict=True)
    outputs = tuple(g.add_output(*port) for port in ports)
    for state in g.states.values():
        if state.value and state.assigned:
            pair, label = (state.value, g._materialise(state.assigned)), g._claim(f"{state.value}/assign")
            g.nodes.append(Node(label, "assign", pair, (), where=Where(str(path))))
    entry = Entry("step", inputs, outputs, tuple(g.nodes))
    final = dict(zip((*inputs, *outputs), (*ins, *outs), strict=True))
    return names.renamed(Graph(name, _settled(g.values, g.nodes), (entry,)), final, {})


def _settled(values: dict[str, Value], nodes: Iterable[Node]) -> dict[str, Value]:
    """Moves take numbers as they lie, so what they join gets one meaning: that of a port, else of the first.

    The exact ops between them have their scales in their attributes; only ports tell theirs to the world.
    """
    group: dict[str, list[str]] = {}
    for node in nodes:
        if node.op in MOVES:
            merged = list(dict.fromkeys(n for end in (*node.operands, *node.outputs) for n in group.get(end, [end])))
            group.update(dict.fromkeys(merged, merged))
    settled = dict(values)
    for members in {id(m): m for m in group.values()}.values():
        ports = {values[n].type.quant for n in members if values[n].role in (Role.INPUT, Role.OUTPUT)}
        if len(ports) > 1:
            raise UnsupportedError("two ports share numbers, but not their scale", fix="requantise between them")
        quant = ports.pop() if ports else values[members[0]].type.quant
        settled |= {n: replace(values[n], type=replace(values[n].type, quant=quant)) for n in members}
    return settled

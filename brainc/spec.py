"""What a legal graph is, at each stage: executable, and run after every pass.

Knocks: the pass runner, the linker, tests. Leaves: nothing, or a BugError that names every broken clause.
A pass may rely on what is said here and on nothing else. Every stage keeps the clauses of the ones before
it, save that the integer stages know no real ops on quantised edges any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from math import inf, isfinite, prod
from typing import Protocol

import numpy as np

from brainc import ops
from brainc.dtypes import DTYPES, F32, I4, I8, I16, I32, U8, DType
from brainc.errors import BraincError, BugError
from brainc.ir import Attr, Entry, Graph, Node, Quant, Role, Stage, TensorType

Problems = Iterator[str]
HasKernel = Callable[[Graph, Node], bool]

# ops that only move (or choose among) numbers: on one and the same quant they take the numbers as they lie
MOVES = frozenset(
    {"reshape", "transpose", "concat", "slice", "pad", "expand", "upsample2d", "maxpool2d", "load", "assign"}
)
PICKS = frozenset({"gather"})  # moves rows of a constant, its first operand; integers beside it say which
DOORS = frozenset({"to_int", "from_int", "argmax", "push"})  # ops that are about the numbers themselves
BINARY = frozenset({"add", "sub", "mul", "div", "power", "prelu", "maximum", "minimum"})
SINGLE = frozenset({"unary", "clamp", "cast", "to_int", "from_int", "qshift8"})  # one element at a time
CHANNEL = {"conv2d": 0, "dwconv2d": 2, "dense": 0}  # the axis of the weights that the output channels are
WEIGHTED = frozenset(CHANNEL)  # ops with x, w and b
CLAMPED = WEIGHTED | {"add", "sub", "mul"}  # ops with lo and hi
_CONSTANTS = {"w": I8, "b": I32, "mult": I32, "shift": I8, "table": I8, "rows": I32, "columns": I32}
_CONSTANTS |= {"knots": I16, "inverses": I16}  # of q ops, by the operand's name


class Types(Protocol):
    """Anything that knows the types of values by name: a graph, or one in the making."""

    def type(self, name: str, /) -> TensorType: ...


def is_raw(graph: Types, node: Node) -> bool:
    """Whether the node works on the numbers as they lie rather than on the reals they stand for."""
    if node.op.startswith("q") or node.op in DOORS:
        return True
    types = [graph.type(name) for name in (*moved(node), *node.outputs)]
    quants = {t.quant for t in types}
    return quants == {None} or (node.op in MOVES | PICKS and len(quants) == 1 and len({t.dtype for t in types}) == 1)


def moved(node: Node) -> tuple[str, ...]:
    """The operands whose numbers a node works on; the indices of a pick are not among them."""
    return node.operands[:1] if node.op in PICKS else node.operands


def number(attr: Attr) -> float:
    """An attribute that is one number."""
    assert isinstance(attr, int | float)
    return attr


def bounds(node: Node) -> tuple[float, float]:
    """What a node holds its result between, as its attributes `lo` and `hi` say."""
    return number(node.attrs.get("lo", -inf)), number(node.attrs.get("hi", inf))


def changes_state(node: Node) -> bool:
    """Whether the node is there for what it does to a state."""
    op = ops.get(node.op)
    return any(op.operand_at(i).mutated for i, name in enumerate(node.inputs) if name)


def broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether b's shape is a's, or a's last axes (the canonical form of two operands)."""
    return len(b) <= len(a) and a[len(a) - len(b) :] == b


def moves_memory(shape: tuple[int, ...], perm: tuple[int, ...]) -> bool:
    """Whether a transposition changes the order in memory (False: it only moves axes of size one)."""
    real = [p for p in perm if shape[p] != 1]
    return real != sorted(real)


def verify(graph: Graph, *, has_kernel: HasKernel | None = None) -> None:
    """BugError if `graph` is not legal at its stage; `has_kernel` is asked at READY."""
    found = list(problems(graph, has_kernel))
    if found:
        shown = "\n".join(found[:10])
        raise BugError(f"{graph.name} @{graph.stage.name} is not legal:\n{shown}", fix="please report this")


def problems(graph: Graph, has_kernel: HasKernel | None = None) -> Problems:
    """Every broken clause, a line each."""
    yield from _names(graph)
    yield from _roles(graph)
    for entry in graph.entries:
        yield from _entry(graph, entry)
    for node in graph.nodes():
        unknown = [n for n in (*node.operands, *node.outputs) if n not in graph.values]
        if unknown:
            yield f"{node.name}: no value {', '.join(unknown)}"
            continue
        for stage, clause in CLAUSES:
            if graph.stage >= stage:
                yield from (f"{node.name} ({node.op}): {text}" for text in clause(graph, node))
        if graph.stage >= Stage.READY and has_kernel is not None and not has_kernel(graph, node):
            yield f"{node.name} ({node.op}): no kernel"


def _names(graph: Graph) -> Problems:
    for kind, names in (
        ("value", [out for node in graph.nodes() for out in node.outputs]),
        ("node", [node.name for node in graph.nodes()]),
        ("entry", [entry.name for entry in graph.entries]),
    ):
        yield from (f"{kind} {name} is defined {n} times" for name, n in Counter(names).items() if n > 1)
    yield from (f"value {key} is called {v.name}" for key, v in graph.values.items() if key != v.name)


def _roles(graph: Graph) -> Problems:
    written = {out for node in graph.nodes() for out in node.outputs}
    for value in graph.values.values():
        if value.role is Role.CONST and value.const is None:
            yield f"constant {value.name} has no numbers"
        if value.const is not None and value.role not in (Role.CONST, Role.STATE):
            yield f"{value.role.value} {value.name} has constant numbers"
        if value.name in written and value.role in (Role.CONST, Role.STATE, Role.INPUT):
            yield f"{value.role.value} {value.name} is written by a node"
        if value.type.dtype is I4 and value.role is not Role.CONST:
            yield f"{value.role.value} {value.name} has numbers of 4 bits"
        if value.type.quant is not None:
            yield from (f"{value.name} {problem}" for problem in _quant(value.type, value.type.quant))


def _quant(type_: TensorType, quant: Quant) -> Problems:
    count = prod(quant.grid(type_.shape))
    if not len(quant.scale) == len(quant.zero) == count:
        yield f"has {len(quant.scale)} scales and {len(quant.zero)} zeros for {count} slices"
    if not all(isfinite(s) and s > 0 for s in quant.scale):
        yield "has a scale that is not positive"
    if not type_.dtype.is_integer:
        yield f"is {type_.dtype} and has a quant"


def _entry(graph: Graph, entry: Entry) -> Problems:
    """Ports have their roles; operands are constants, states, inputs or written earlier in this entry."""
    known = set(entry.inputs)
    for port, role in [(p, Role.INPUT) for p in entry.inputs] + [(p, Role.OUTPUT) for p in entry.outputs]:
        if port not in graph.values or graph.values[port].role is not role:
            yield f"entry {entry.name}: port {port} is not an {role.value}"
    for node in entry.nodes:
        for name in node.operands:
            value = graph.values.get(name)
            if name not in known and (value is None or value.role not in (Role.CONST, Role.STATE)):
                yield f"{node.name}: {name} is read before it is written in {entry.name}"
        known.update(node.outputs)
    yield from (f"entry {entry.name}: output {o} is never written" for o in entry.outputs if o not in known)


def _types(graph: Graph, node: Node) -> Problems:
    """Results have the types that the op's rule derives; a quantised edge of a real op counts as f32."""
    raw, op = is_raw(graph, node), ops.get(node.op)

    def seen(name: str) -> TensorType:
        type_ = graph.type(name)
        return type_ if raw or type_.quant is None else TensorType(F32, type_.shape)

    try:
        ins = [seen(name) if name else None for name in node.inputs]
        op.full(node.attrs)
        expected = op.infer(ins, node.attrs)
    except BraincError as error:
        yield error.what
        return
    if node.op in BINARY and graph.stage < Stage.CANONICAL:
        shape = np.broadcast_shapes(*(t.shape for t in ins if t is not None))
        expected = (TensorType(expected[0].dtype, shape),)
    if len(expected) != len(node.outputs):
        yield f"has {len(node.outputs)} results, not {len(expected)}"
    for name, want in zip(node.outputs, expected, strict=False):
        have = seen(name)
        if (have.dtype, have.shape) != (want.dtype, want.shape):
            yield f"{name} is {have}, not {want}"


def _operands(graph: Graph, node: Node) -> Problems:
    """Operands are there, constant or state where the signature says so."""
    op = ops.get(node.op)
    required = [o for o in op.inputs if not o.optional and not o.variadic]
    if len(node.inputs) < len(required):
        yield f"has {len(node.inputs)} operands, not {len(required)}"
    for index, name in enumerate(node.inputs):
        operand = op.operand_at(index)
        if not name and not operand.optional:
            yield f"operand {operand.name} is missing"
        if name and operand.constant and not graph.is_const(name):
            yield f"operand {operand.name} ({name}) is not a constant"
        if name and operand.mutated and graph.values[name].role is not Role.STATE:
            yield f"operand {operand.name} ({name}) is changed but is no state"


def _canonical(graph: Graph, node: Node) -> Problems:
    """One way to say each thing."""
    shapes = [graph.type(name).shape for name in node.operands]
    at_port = bool(node.outputs) and graph.values[node.outputs[0]].role is Role.OUTPUT
    if node.op in WEIGHTED and (len(node.inputs) < 3 or not node.inputs[2]):
        yield "the bias is not explicit"
    if node.op == "conv2d" and shapes[1][3] == 1 and shapes[1][0] == shapes[0][3] > 1:
        yield "is a dwconv2d"
    if node.op in BINARY and not broadcasts(shapes[0], shapes[1]):
        yield f"operands {list(shapes[0])} and {list(shapes[1])} do not broadcast"
    if node.op == "transpose" and not moves_memory(shapes[0], ops.ints(node.attrs["perm"])):
        yield "is a reshape"
    if node.op == "reshape" and shapes[0] == graph.type(node.outputs[0]).shape and not at_port:
        yield "changes nothing"
    for name in (*node.operands, *node.outputs):
        type_, role = graph.type(name), graph.values[name].role
        if type_.dtype is U8 and type_.quant and role not in (Role.INPUT, Role.OUTPUT):
            yield f"{name} is a quantised u8 inside"


def _integer(graph: Graph, node: Node) -> Problems:
    """q ops know integers only, no real op touches a quantised edge, moves keep one quant."""
    if not is_raw(graph, node):
        yield "a real op on quantised edges"
    if not node.op.startswith("q"):
        return
    yield from (f"attribute {k} is a float" for k, v in node.attrs.items() if isinstance(v, float))
    for index, name in enumerate(node.inputs):
        operand = ops.get(node.op).operand_at(index)
        want: tuple[DType, ...] = (I8, U8) if node.op == "qshift8" else (I8, I16)
        if operand.constant:
            want = (I32 if node.op == "qsoftmax" else _CONSTANTS.get(operand.name, I8),)
        want = (DTYPES[operand.dtype],) if operand.dtype else want
        if name and graph.type(name).dtype not in want:
            names = " or ".join(d.name for d in want)
            yield f"operand {operand.name} ({name}) is {graph.type(name).dtype}, not {names}"


CLAUSES = (
    *((Stage.IMPORTED, _types), (Stage.IMPORTED, _operands)),
    *((Stage.CANONICAL, _canonical), (Stage.INTEGER, _integer)),
)

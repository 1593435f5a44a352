"""What one row of a layer is: the smaller layer that makes it, and which rows of its operands it reads.

Who knocks: `stream.py`, which lets layers run row by row. What leaves: a `Form`, or None for a layer that has no
rows (a softmax over everything, a transposition). Nothing here is asked of a kernel: a row of a layer is a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from brainc import ops
from brainc.dtypes import I8, I32
from brainc.ir import Attr, Entry, Graph, Node, Role, TensorType, Value, attrs
from brainc.ops import ints
from brainc.spec import MOVES

SUMS = "#sums"  # behind a node's name: the sums of a mean in the making


@dataclass(frozen=True, slots=True)
class Reading:
    """How row r reads an operand: `span` rows, from row r * stride - above on; rows outside hold `border`.

    A border of None: no row outside may be read.
    """

    name: str
    span: int = 1
    stride: int = 1
    above: int = 0
    border: int | None = None

    def end(self, rows: int) -> int:
        """One behind the last row that is read where `rows` rows are made."""
        return (rows - 1) * self.stride - self.above + self.span


@dataclass(frozen=True, slots=True)
class Form:
    """One row of `node`: the layer `row` over values of these types. `last`: what is done once after all rows."""

    node: Node
    row: Node
    types: Mapping[str, TensorType]
    rows: int
    reads: tuple[Reading, ...]
    last: Node | None = None

    def graph(self, whole: Graph, node: Node) -> Graph:
        """The row, or what is done at the end, as a graph of its own."""
        names = dict.fromkeys((*node.operands, *node.outputs))
        values = {n: Value(n, self.types[n]) if n in self.types else whole.values[n] for n in names}
        outside = tuple(n for n in node.operands if n in self.types)
        return Graph(whole.name, values, (Entry("row", outside, node.outputs, (node,)),), whole.stage)


def row_counts(graph: Graph, entry: Entry) -> dict[str, int]:
    """How many rows each value of an entry has; a value that has none is left out."""
    counts: dict[str, int] = {}
    for name in entry.inputs:
        _count(graph, name, None, counts)
    for node in entry.nodes:
        known = next((counts[i] for i in node.operands if i in counts), None)
        for name in node.outputs:
            _count(graph, name, known, counts)
    return counts


def _count(graph: Graph, name: str, known: int | None, counts: dict[str, int]) -> None:
    """A picture has its rows; anything else has those of what it is made from."""
    type_ = graph.type(name)
    picture = len(type_.shape) == 4 and type_.shape[0] == 1
    rows = type_.shape[1] if picture else known
    if rows and rows > 1 and row_type(type_, rows) is not None:
        counts[name] = rows


def row_type(type_: TensorType, rows: int) -> TensorType | None:
    """The type of one of `rows` rows: its first axis that is not one is shared out."""
    axis = next((i for i, size in enumerate(type_.shape) if size > 1), None)
    if axis is None or type_.shape[axis] % rows:
        return None
    shape = (*type_.shape[:axis], type_.shape[axis] // rows, *type_.shape[axis + 1 :])
    return replace(type_, shape=shape)


def form(graph: Graph, node: Node, counts: Mapping[str, int]) -> Form | None:
    """One row of a node, if it has rows."""
    op = ops.get(node.op)
    if len(node.outputs) != 1 or not node.operands or any(o.mutated for o in op.inputs):
        return None
    if any(graph.values[name].role is Role.STATE for name in node.operands) or node.op == "reshape":
        return None
    if found := _mean(graph, node, counts):
        return found
    if "dilations" in op.defaults:
        return _window(graph, node, counts)
    rows = counts.get(node.outputs[0])
    return _alone(graph, node, counts, rows) if rows else None


def _window(graph: Graph, node: Node, counts: Mapping[str, int]) -> Form | None:
    """A row of a convolution or a pool: its window is a picture without a border above and below."""
    (x, *_), (y,) = node.inputs, node.outputs
    full = ops.get(node.op).full(node.attrs)
    in_type, out_type = graph.type(x), graph.type(y)
    rows = out_type.shape[1]
    if in_type.shape[0] != 1 or counts.get(x) != in_type.shape[1]:
        return None
    high = ints(full["kernel"])[0] if "kernel" in full else graph.type(node.inputs[1]).shape[-3]
    pads, span = ints(full["pads"]), (high - 1) * ints(full["dilations"])[0] + 1
    reading = Reading(x, span, ints(full["strides"])[0], pads[0], _border(node, full, in_type))
    if rows < 2 or pads[0] >= span or reading.end(rows) - in_type.shape[1] >= span:
        return None
    given = {**node.attrs, "pads": (0, pads[1], 0, pads[3])}
    types = {
        x: replace(in_type, shape=(1, span, *in_type.shape[2:])),
        y: replace(out_type, shape=(1, 1, *out_type.shape[2:])),
    }
    reads = [reading]
    for name in node.operands[1:]:  # a residual is read row by row
        if not graph.is_const(name):
            reads.append(Reading(name))
            types[name] = types[y] if graph.type(name).shape == out_type.shape else graph.type(name)
    if len({r.name for r in reads}) < len(reads):
        return None
    return Form(node, replace(node, attrs=attrs(**given)), types, rows, tuple(reads))


def _border(node: Node, full: Mapping[str, Attr], x: TensorType) -> int | None:
    """The byte that a border is made of; None where it is none, or counts for nothing."""
    if node.op == "maxpool2d":
        return 0x80 if x.dtype.name == "i8" else None
    if node.op == "qavgpool2d" or (node.op == "avgpool2d" and not full["count_pads"]):
        return None
    zero = full.get("zx", 0)
    assert isinstance(zero, int)
    return zero & 0xFF if x.dtype.nbytes == 1 or zero == 0 else None


def _alone(graph: Graph, node: Node, counts: Mapping[str, int], rows: int) -> Form | None:
    """A row of a layer whose rows know nothing of each other: dense ones, single elements, channels side by side."""
    op, y = ops.get(node.op), graph.type(node.outputs[0])
    out, first = op.outputs[0].dims, op.inputs[0].dims
    elements = out == first == ("...",) and node.op not in MOVES
    stacked = node.op == "concat" and len(y.shape) == 4 and node.attrs["axis"] in (2, 3)
    dense = out[:1] == first[:1] == ("M",) and y.shape[0] % rows == 0
    if not (elements or stacked or dense):
        return None
    types: dict[str, TensorType] = {}
    reads: list[Reading] = []
    for name in (*node.operands, *node.outputs):
        type_ = graph.type(name)
        if graph.is_const(name) and type_.shape != y.shape:
            continue
        if elements and type_.size * rows <= y.size and type_.shape != y.shape:
            types |= {} if graph.is_const(name) else {name: type_}  # the same for every row
            continue
        row = row_type(type_, rows) if counts.get(name) == rows and not graph.is_const(name) else None
        if row is None:
            return None
        types[name] = row
        if name not in node.outputs and name not in [r.name for r in reads]:
            reads.append(Reading(name))
    return Form(node, node, types, rows, tuple(reads)) if reads else None


def _mean(graph: Graph, node: Node, counts: Mapping[str, int]) -> Form | None:
    """A mean over the whole picture: each row is added to sums, from which it follows in the end."""
    if node.op not in ("qmean", "qavgpool2d"):
        return None
    (x, *_), (y,) = node.inputs, node.outputs
    full, rows, name = ops.get(node.op).full(node.attrs), counts.get(x), node.name + SUMS
    (*cells, channels), made = graph.type(x).shape, graph.type(y)
    if not rows or made.size != channels or {graph.type(x).dtype, made.dtype} != {I8}:
        return None
    if node.op == "qavgpool2d" and (any(ints(full["pads"])) or ints(full["kernel"]) != tuple(cells[1:])):
        return None
    types = {
        x: replace(graph.type(x), shape=(prod(cells) // rows, channels)),
        name: TensorType(I32, (channels,)),
        y: replace(made, shape=(channels,)),
    }
    tally = Node(node.name, "qtally", (x, name), (name,), where=node.where)
    return Form(node, tally, types, rows, (Reading(x),), _settling(graph, node, full, prod(cells), name))


def _settling(graph: Graph, node: Node, full: Mapping[str, Attr], terms: int, sums: str) -> Node:
    """What makes a mean of its sums."""
    kept = {k: full[k] for k in ("lo", "hi")}
    if node.op == "qavgpool2d" and full["round"] == "tflite":
        return Node(node.name, "qquotient", (sums,), node.outputs, attrs(count=terms, **kept), node.where)
    numbers = {k: full[k] for k in ("zy", "round")} | kept
    if node.op == "qavgpool2d":
        mult, shift = (graph.array(name) for name in node.inputs[1:3])
        numbers |= {"mult": int(mult[-1]), "shift": int(shift[-1])}
    else:
        numbers |= {k: full[k] for k in ("mult", "shift")}
    zero = full["zx"]
    assert isinstance(zero, int)
    return Node(node.name, "qsettle", (sums,), node.outputs, attrs(less=zero * terms, **numbers), node.where)

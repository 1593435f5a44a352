"""Replays the memory of a brain on its emitted C, step by step: who owns each byte, and is it still there when read?

Who knocks: tests, with NAME.c and NAME.h. What leaves: complaints, none where every byte that a step reads holds what
it means to read. Addresses, order and directions come from the C text; the graph says who reads what, and the heads
of the chosen kernels in which order a step reads and writes. No planner is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from brainc import ops
from brainc.dtypes import Array
from brainc.expressions import evaluate
from brainc.ir import Entry, Graph, Node, Role
from brainc.kernels import Choice
from brainc.program import Program
from brainc.views import comment

NOTHING = -1
SIZES = {"float": 4, **{f"{sign}int{8 * n}_t": n for sign in ("", "u") for n in (1, 2, 4, 8)}}
PLACE = re.compile(r"AT\((?P<type>\w+), (?P<at>\d+)\)|m \+ (?P<raw>\d+)")
IN = re.compile(r"if \(\w+ != AT\((?P<type>\w+), (?P<at>\d+)\)\) \{ memcpy\(m \+ (?P<to>\d+), \w+, (?P<n>\d+)\); \}")
OUT = re.compile(
    r"if \((?P<out>\w+) != NULL && \w+ != AT\((?P<type>\w+), (?P<at>\d+)\)\) "
    r"\{ memcpy\((?P=out), m \+ (?P<to>\d+), (?P<n>\d+)\); \}"
)
CALL = re.compile(r"/\* (?P<note>.*?) \*/ (?P<fn>\w+)\(")
START = re.compile(r"(?:memset\(m \+ (\d+), \d+, (\d+)\)|br_copy_flash\(m \+ (\d+), BR_CREF\(\w+\), (\d+)\));")


@dataclass(frozen=True)
class Pointer:
    """A place in the brain's memory as the C writes it; `element` bytes is what the pointer's type asks for."""

    at: int
    element: int


@dataclass(frozen=True)
class Call:
    """A kernel call: its function, and the argument behind each parameter."""

    note: str
    fn: str
    given: Mapping[str, str]

    def pointer(self, parameter: str) -> Pointer | None:
        found = PLACE.fullmatch(self.given[parameter])
        if found is None:
            return None
        return Pointer(int(found["at"] or found["raw"]), SIZES[found["type"]] if found["type"] else 1)


@dataclass(frozen=True)
class Port:
    """A copy at the door: the place asked about, the place copied, and how many bytes."""

    place: Pointer
    at: int
    nbytes: int


@dataclass(frozen=True)
class Body:
    """An entry as the C has it."""

    inputs: tuple[Port, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Port, ...]


def _split(text: str, start: int) -> tuple[list[str], int]:
    """What stands between the parenthesis before `start` and the one that closes it, at its commas; and the end."""
    parts, depth, begin = [], 0, start
    for end in range(start, len(text)):
        if text[end] in ",)" and depth == 0:
            parts.append(text[begin:end].strip())
            begin = end + 1
            if text[end] == ")":
                return [p for p in parts if p and p != "void"], end + 1
        depth += {"(": 1, ")": -1}.get(text[end], 0)
    raise AssertionError(f"no closing parenthesis after {text[start : start + 60]!r}")


def _body(c: str, head: str) -> str:
    """A function's statements, on one line."""
    begin = c.index("{\n", c.index(head)) + 2
    return re.sub(r"\s+", " ", c[begin : c.index("\n}\n", begin)]).strip()


def _parameters(c: str, fn: str) -> list[str]:
    found = re.search(rf"\bvoid {fn}\(", c)
    assert found is not None, f"{fn} is called but not defined"
    return [re.findall(r"\w+", parameter)[-1] for parameter in _split(c, found.end())[0]]


def read_entry(c: str, head: str) -> Body:
    """The entry that begins with `head`; AssertionError at whatever is neither a copy nor a call."""
    text = _body(c, head).removeprefix("uint8_t *const m = brain->memory.bytes;").strip()
    ins: list[Port] = []
    outs: list[Port] = []
    calls: list[Call] = []
    at = 0
    while at < len(text):
        for form, ports in ((IN, ins), (OUT, outs)):
            if found := form.match(text, at):
                place = Pointer(int(found["at"]), SIZES[found["type"]])
                ports.append(Port(place, int(found["to"]), int(found["n"])))
                break
        else:
            found = CALL.match(text, at)
            assert found is not None, f"neither a copy nor a call: {text[at : at + 80]!r}"
            arguments, end = _split(text, found.end())
            named = dict(zip(_parameters(c, found["fn"]), arguments, strict=True))
            calls.append(Call(found["note"], found["fn"], named))
            assert text[end] == ";"
            at = end + 1
        at = max(at, found.end())
        at += text[at : at + 1] == " "
    return Body(tuple(ins), tuple(calls), tuple(outs))


@dataclass(frozen=True)
class Region:
    """An operand in memory: whose bytes they must be, and where."""

    name: str  # in the kernel's head
    at: int
    codes: Array
    element: int = 1

    @property
    def count(self) -> int:
        return len(self.codes) // self.element

    @property
    def end(self) -> int:
        return self.at + len(self.codes)

    def meets(self, other: Region) -> bool:
        return self.at < other.end and other.at < self.end


class Replay:
    """One entry of a brain, run on an array that says of every byte whose it is."""

    def __init__(self, program: Program, entry: Entry, ram: int, states: Mapping[str, int]) -> None:
        self.graph: Graph = program.graph
        self.choices = program.choices
        self.entry, self.states = entry, states
        self.least = min(program.target.word // 8, 4)  # the alignment that kernels of the target rely on
        self.owner = np.full(ram, NOTHING, np.int64)
        self.wrong: list[str] = []
        self.known: dict[tuple[str, int], Array] = {}
        self.root: dict[str, str] = {}
        self.version: dict[tuple[str, str], int] = {}  # (node, state): how often it was assigned before
        assigned = dict.fromkeys(states, 0)
        for node in entry.nodes:
            if node.op == "reshape" and not self.graph.is_const(node.inputs[0]):
                self.root[node.outputs[0]] = self.root.get(node.inputs[0], node.inputs[0])
            for index, name in enumerate(node.inputs):
                if name in assigned:
                    self.version[node.name, name] = assigned[name]
                    assigned[name] += ops.get(node.op).operand_at(index).mutated
        self.last = assigned

    def codes(self, name: str, version: int = 0) -> Array:
        """A number for each byte of a value (of a state: as it is after so many assignments); views share them."""
        name = self.root.get(name, name)
        if (name, version) not in self.known:
            begin = sum(len(c) for c in self.known.values())
            self.known[name, version] = np.arange(begin, begin + self.graph.type(name).nbytes)
        return self.known[name, version]

    def complain(self, who: str, what: str) -> None:
        self.wrong.append(f"{who}: {what}")

    def lawful(self, who: str, place: Pointer, nbytes: int, least: int = 1) -> bool:
        """Whether a pointer suits its type and stays inside the brain."""
        for step in {place.element, least}:
            if place.at % step:
                self.complain(who, f"{place.at} is no multiple of {step}")
        if place.at + nbytes > len(self.owner):
            self.complain(who, f"{place.at}..{place.at + nbytes} leaves the brain's {len(self.owner)} bytes")
            return False
        return True

    def expect(self, who: str, region: Region, low: int = 0, high: int | None = None) -> None:
        """Bytes low..high of a region must be there."""
        high = len(region.codes) if high is None else high
        have, want = self.owner[region.at + low : region.at + high], region.codes[low:high]
        if have.tobytes() != want.tobytes():
            first = low + int(np.flatnonzero(have != want)[0])
            self.complain(who, f"byte {first} of {region.name} is lost, at {region.at + first}")

    def put(self, region: Region, low: int = 0, high: int | None = None) -> None:
        high = len(region.codes) if high is None else high
        self.owner[region.at + low : region.at + high] = region.codes[low:high]

    def spoil(self, at: int, nbytes: int) -> None:
        self.owner[at : at + nbytes] = NOTHING

    def run(self, body: Body) -> None:
        for name, at in self.states.items():
            self.put(Region(name, at, self.codes(name)))
        for name, port in zip(self.entry.inputs, body.inputs, strict=True):
            self.door(name, port)
            self.put(Region(name, port.at, self.codes(name)))
        nodes = {comment(f"{n.name}: {n.op} "): n for n in self.entry.nodes if n.op != "reshape"}
        for call in body.calls:
            (head,) = sorted((h for h in nodes if call.note.startswith(h)), key=len)[-1:] or ("",)
            if head:
                self.step(call, nodes.pop(head))
            else:
                self.complain(call.note, "no such node, or called twice")
        for head in nodes:
            self.complain(head, "never called")
        for name, port in zip(self.entry.outputs, body.outputs, strict=True):
            self.door(name, port)
            self.expect("at the end", Region(name, port.at, self.codes(name)))
        for name, at in self.states.items():
            self.expect("at the end", Region(name, at, self.codes(name, self.last[name])))

    def door(self, name: str, port: Port) -> None:
        if port.at != port.place.at or port.nbytes != self.graph.type(name).nbytes:
            self.complain(name, f"{port.nbytes} bytes are copied at {port.at}, not all of those at {port.place.at}")
        if port.place.element != self.graph.type(name).dtype.nbytes:
            self.complain(name, "the pointer is of another type")
        self.lawful(name, port.place, port.nbytes)

    def step(self, call: Call, node: Node) -> None:
        """One call: what it reads is there before, and as long as its kernel's head says that it is read."""
        choice = self.choices[node.name]
        if not call.fn.startswith(f"{choice.kernel.op}_{choice.kernel.stem}_"):
            self.complain(node.name, f"calls {call.fn}, not {choice.kernel.name}")
        reads, writes = self.operands(call, node)
        scratch = call.pointer("scratch") if "scratch" in call.given else None
        size = choice.scratch if scratch else 0
        if scratch and not self.lawful(node.name, scratch, size, self.least):
            return
        if scratch:
            self.spoil(scratch.at, size)
        for region in reads:
            self.expect(node.name, region)
        if len(writes) == 1:
            down = call.given.get("down", "0") == "1"
            for low, high, needed in _chunks(choice, reads, writes[0], down):
                self.put(writes[0], low, high)
                for region, first, last in needed:
                    self.expect(f"{node.name}, bytes {low}..{high} of {writes[0].name}", region, first, last)
        else:
            for region in writes:
                self.put(region)
            for region in reads:
                self.expect(node.name, region)
        if scratch:
            self.spoil(scratch.at, size)
        for region in writes:
            self.expect(f"{node.name}, when done", region)

    def operands(self, call: Call, node: Node) -> tuple[list[Region], list[Region]]:
        """What lies in memory of all that a node reads, and of all that it writes."""
        op = ops.get(node.op)
        reads, writes = [], []
        for index, name in enumerate(node.inputs):
            operand = op.operand_at(index)
            if name and not self.graph.is_const(name):
                parameter = f"{operand.name}{index - len(op.inputs) + 1}" if operand.variadic else operand.name
                version = self.version.get((node.name, name), 0)
                codes = self.codes(name, version + operand.mutated)
                self.place(writes if operand.mutated else reads, call, parameter, name, codes)
        for operand, name in zip(op.outputs, node.outputs, strict=True):
            self.place(writes, call, operand.name, name, self.codes(name))
        return reads, writes

    def place(self, regions: list[Region], call: Call, parameter: str, name: str, codes: Array) -> None:
        pointer = call.pointer(parameter)
        if pointer is None:
            self.complain(call.note, f"{parameter} is no place in memory")
        elif pointer.element not in (1, self.graph.type(name).dtype.nbytes):
            self.complain(call.note, f"{parameter} is of another type than {name}")
        elif self.lawful(call.note, pointer, len(codes), max(self.least, self.graph.type(name).dtype.nbytes)):
            regions.append(Region(parameter, pointer.at, codes, self.graph.type(name).dtype.nbytes))


Needed = list[tuple[Region, int, int | None]]  # an operand, and which of its bytes must still be there


def _chunks(choice: Choice, reads: list[Region], y: Region, down: bool) -> Iterator[tuple[int, int, Needed]]:
    """Bytes low..high of y that a kernel writes, in its order, and what must be there after that.

    `rows`: a row at a time, from the first or the last, and `reads` says which rows of an operand are read later;
    `inplace`: element i is read before element i is written. All else is read to the end. What is lost stays lost: it
    is enough to look at what was just written over, before an element is read, and at everything in the end.
    """
    kernel, alone = choice.kernel, choice.env.get("B", 1) == 1
    by_row = [x for x in reads if alone and kernel.rows and x.name in kernel.reads]
    by_element = [x for x in reads if alone and x.name in kernel.inplace]
    whole: Needed = [(x, 0, None) for x in reads if x not in by_row and x not in by_element]
    rows = int(evaluate(kernel.rows, choice.env)) if by_row else 1
    left = {x.name: _left(choice, x, rows, down) for x in by_row}
    shared = any(x.meets(y) for x in by_element)
    each = y.count // rows if shared else 1  # chunks in a row
    order = [r * each + i for r in (reversed(range(rows)) if down else range(rows)) for i in range(each)]
    for chunk, after in zip(order, [*order[1:], None], strict=True):
        low, high = (len(y.codes) * n // (rows * each) for n in (chunk, chunk + 1))
        needed: Needed = []
        if shared and after is not None:
            needed += [(x, after * x.element, (after + 1) * x.element) for x in by_element]
        for x in by_row:
            first, last = left[x.name][chunk // each]
            over = max(first, y.at + low - x.at), min(last, y.at + high - x.at)
            needed += [(x, *over)] if over[0] < over[1] else []
        yield low, high, needed if after is not None else [*needed, *whole]


def _left(choice: Choice, x: Region, rows: int, down: bool) -> list[tuple[int, int]]:
    """Per row of the result: the bytes first..last of an operand that are still read once that row is written."""
    count, first, *last = choice.kernel.reads[x.name]
    x_rows, r = int(evaluate(count, choice.env)), np.arange(rows)
    edges = np.zeros(rows, int) + evaluate(last[0] if down else first, {**choice.env, "r": r}) + down
    bytes_in = np.clip(edges, 0, x_rows) * (len(x.codes) // x_rows)
    if down:
        return [(0, int(most)) for most in np.maximum.accumulate(bytes_in)]
    return [(int(least), len(x.codes)) for least in np.minimum.accumulate(bytes_in[::-1])[::-1]]


def replay(c: str, h: str, program: Program) -> list[str]:
    """What is wrong with the memory of a brain, entry by entry; `c` and `h` are its NAME.c and NAME.h."""
    name, graph = program.name, program.graph
    found = re.search(rf"#define {name.upper()}_RAM_BYTES (\d+)", h)
    assert found is not None
    kept = [value for value in graph.values.values() if value.role is Role.STATE]
    starts = [[int(g) for g in m.groups() if g] for m in START.finditer(_body(c, f"void {name}_init("))]
    states = {value.name: at for value, (at, _) in zip(kept, starts, strict=True)}
    sizes = {value.name: n for value, (_, n) in zip(kept, starts, strict=True)}
    wrong = [f"{v.name}: {sizes[v.name]} bytes of it are started" for v in kept if sizes[v.name] != v.type.nbytes]
    for entry in graph.entries:
        body = read_entry(c, f"void {name}_{entry.name}(")
        run = Replay(program, entry, int(found[1]), states)
        run.run(body)
        wrong += run.wrong
    return wrong

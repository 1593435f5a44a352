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
from brainc.chain import Run
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
CHAIN = re.compile(r"rows_\d+")
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
        self.chains = [entry.chains for entry in program.plan.entries]
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

    def run(self, body: Body, c: str) -> None:
        for name, at in self.states.items():
            self.put(Region(name, at, self.codes(name)))
        for name, port in zip(self.entry.inputs, body.inputs, strict=True):
            self.door(name, port)
            self.put(Region(name, port.at, self.codes(name)))
        nodes = {comment(f"{n.name}: {n.op} "): n for n in self.entry.nodes if n.op != "reshape"}
        for call in body.calls:
            if CHAIN.fullmatch(call.fn):
                for name in run_chain(self, c, call.fn):
                    nodes.pop(comment(f"{name}: {self.node(name).op} "), None)
                continue
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
        self.perform(call, node.name, self.choices[node.name], *self.operands(call, node))

    def node(self, name: str) -> Node:
        return next(n for n in self.entry.nodes if n.name == name)

    def perform(self, call: Call, who: str, choice: Choice, reads: list[Region], writes: list[Region]) -> None:
        """A call that reads and writes these places, in the order that the kernel's head tells."""
        if not call.fn.startswith(f"{choice.kernel.op}_{choice.kernel.stem}_"):
            self.complain(who, f"calls {call.fn}, not {choice.kernel.name}")
        scratch = call.pointer("scratch") if "scratch" in call.given else None
        size = choice.scratch if scratch else 0
        if scratch and not self.lawful(who, scratch, size, self.least):
            return
        if scratch:
            self.spoil(scratch.at, size)
        for region in reads:
            self.expect(who, region)
        if len(writes) == 1:
            down = call.given.get("down", "0") == "1"
            for low, high, needed in _chunks(choice, reads, writes[0], down):
                self.put(writes[0], low, high)
                for region, first, last in needed:
                    self.expect(f"{who}, bytes {low}..{high} of {writes[0].name}", region, first, last)
        else:
            for region in writes:
                self.put(region)
            for region in reads:
                self.expect(who, region)
        if scratch:
            self.spoil(scratch.at, size)
        for region in writes:
            self.expect(f"{who}, when done", region)

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


# ---- layers that run row by row: one function, a loop over ticks, everything at its beats ----------------------------

LOOP = re.compile(r"for \(br_len t = 0; t < (\d+); t\+\+\) \{ (.*) \}")
MOVE = re.compile(r"mem(?P<how>move|cpy)\(m \+ (?P<to>[^,]+), m \+ (?P<source>[^,]+), (?P<n>\d+)\);")
FILL = re.compile(r"memset\(m \+ (?P<at>\d+), (?P<byte>\d+), (?P<n>\d+)\);")
FILLED = -1000  # less a byte: the code of memory that holds this byte


def at_tick(formula: str, t: int) -> int:
    """An offset or a condition as the C writes it, at tick t."""
    assert re.fullmatch(r"[t\d\s()+*/%<>=&-]+", formula), formula
    return int(eval(formula.replace("&&", " and ").replace("/", "//"), {"t": t}))


def blocks_of(text: str) -> Iterator[tuple[str, str]]:
    """(condition, statements) of a row of ifs."""
    while text:
        found = re.match(r"if \((.*?)\) \{ ", text)
        assert found is not None, f"no condition: {text[:80]!r}"
        depth, end = 1, found.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        yield found[1], text[found.end() : end - 1].strip()
        text = text[end:].strip()


def run_chain(run: Replay, c: str, fn: str) -> list[str]:
    """Runs a chain's function; the names of the nodes whose results it made to the last row."""
    found = re.fullmatch(r"(.*?) ?" + LOOP.pattern, _body(c, f"static void {fn}("))
    assert found is not None, f"{fn} is no loop over ticks"
    rows = Rows(run, c)
    rows.statements(found[1], 0)
    blocks = list(blocks_of(found[3]))
    for t in range(int(found[2])):
        for condition, statements in blocks:
            if at_tick(condition, t):
                rows.statements(statements, t)
    return rows.finished()


class Rows:
    """A chain at work: which row each of its layers makes next."""

    def __init__(self, run: Replay, c: str) -> None:
        self.run, self.c = run, c
        chains = [chain for entry in run.chains for chain in entry.values()]
        self.runs = {(r.node.name, r.row.op): r for chain in chains for r in chain.runs}
        self.count: dict[tuple[str, str], int] = {}

    def statements(self, text: str, t: int) -> None:
        owner = self.run.owner
        while text:
            if found := MOVE.match(text):
                to, source, n = at_tick(found["to"], t), at_tick(found["source"], t), int(found["n"])
                if max(to, source) + n > len(owner) or (found["how"] == "cpy" and abs(to - source) < n):
                    self.run.complain(found[0], "leaves the memory, or copies over itself")
                else:
                    owner[to : to + n] = owner[source : source + n].copy()
                end = found.end()
            elif found := FILL.match(text):
                at, n = int(found["at"]), int(found["n"])
                owner[at : at + n] = FILLED - int(found["byte"])
                end = found.end()
            else:
                found = CALL.match(text)
                assert found is not None, f"neither moved, filled nor called: {text[:80]!r}"
                arguments, end = _split(text, found.end())
                arguments = [self.fixed(a, t) for a in arguments]
                named = dict(zip(_parameters(self.c, found["fn"]), arguments, strict=True))
                self.call(Call(found["note"], found["fn"], named))
                end += 1
            text = text[end:].strip()

    def fixed(self, argument: str, t: int) -> str:
        """A place as it is at tick t."""
        found = re.fullmatch(r"AT\((\w+), (.*t.*)\)", argument)
        return f"AT({found[1]}, {at_tick(found[2], t)})" if found else argument

    def call(self, call: Call) -> None:
        """One row of a layer."""
        key = next(k for k in self.runs if call.note.split(", rows ")[0] == comment(f"{k[0]}: {k[1]}"))
        made, number = self.runs[key], self.count.get(key, 0)
        self.count[key] = number + 1
        if number >= made.beat.count:
            self.run.complain(call.note, f"makes row {number} of {made.beat.count}")
            return
        node, op = made.node, ops.get(made.row.op)
        reads, writes = list[Region](), list[Region]()
        for index, name in enumerate(made.row.inputs):
            operand = op.operand_at(index)
            if name and not (name in self.run.graph.values and self.run.graph.is_const(name)):
                parameter = f"{operand.name}{index - len(op.inputs) + 1}" if operand.variadic else operand.name
                self.place(reads, call, parameter, name, self.wanted(made, name, number, index == 0))
        y = made.row.outputs[0]
        self.place(writes, call, op.outputs[0].name, y, self.made(made, y, number))
        self.run.perform(call, f"{node.name}, row {number}", made.choice, reads, writes)

    def place(self, regions: list[Region], call: Call, parameter: str, name: str, codes: Array) -> None:
        pointer, values = call.pointer(parameter), self.run.graph.values
        element = values[name].type.dtype.nbytes if name in values else 4
        if pointer is None or pointer.element not in (1, element):
            self.run.complain(call.note, f"{parameter} is no place in memory, or of another type than {name}")
        elif self.run.lawful(call.note, pointer, len(codes), max(self.run.least, element)):
            regions.append(Region(parameter, pointer.at, codes, element))

    def made(self, made: Run, name: str, number: int) -> Array:
        """The bytes of a row that a layer makes: of sums all, as they are then; of a mean all."""
        if made.row.op == "qtally":
            return self.sums(made.node, number + 1)
        whole = self.run.codes(name)
        rows = made.beat.count
        assert len(whole) % rows == 0
        return whole[len(whole) // rows * number :][: len(whole) // rows]

    def sums(self, node: Node, number: int) -> Array:
        channels = self.run.graph.type(node.outputs[0]).size
        if number == 0:
            return np.full(4 * channels, FILLED)
        name = (f"{node.name} sums", number)
        if name not in self.run.known:
            begin = sum(len(c) for c in self.run.known.values())
            self.run.known[name] = np.arange(begin, begin + 4 * channels)
        return self.run.known[name]

    def wanted(self, made: Run, name: str, number: int, first: bool) -> Array:
        """The bytes that a row is made from: by the layer's own geometry, not by what the chain says of it."""
        node, graph = made.node, self.run.graph
        if name not in graph.values:
            return self.sums(node, number if made.row.op == "qtally" else self.count[node.name, "qtally"])
        whole, full = self.run.codes(name), ops.get(node.op).full(node.attrs)
        if made.row.op == node.op and "dilations" in full and first:
            (_, high, _, _), (top, *_) = graph.type(name).shape, ops.ints(full["pads"])
            kernel = ops.ints(full["kernel"])[0] if "kernel" in full else graph.type(node.inputs[1]).shape[-3]
            span, row = (kernel - 1) * ops.ints(full["dilations"])[0] + 1, len(whole) // high
            begin = number * ops.ints(full["strides"])[0] - top
            byte = 128 if node.op == "maxpool2d" else int(full.get("zx", 0)) & 0xFF  # type: ignore[call-overload]
            outside = np.full(row, FILLED - byte)
            return np.concatenate(
                [whole[row * r :][:row] if 0 <= r < high else outside for r in range(begin, begin + span)]
            )
        y = graph.type(node.outputs[0])
        alike = made.row.op != node.op or node.op == "concat" or first or graph.type(name).size == y.size
        rows = made.beat.count if alike else 1
        return whole[len(whole) // rows * (number if alike else 0) :][: len(whole) // rows]

    def finished(self) -> list[str]:
        """The nodes called, each for every row that it has."""
        for key, made in self.runs.items():
            if key in self.count and self.count[key] != made.beat.count:
                self.run.complain(key[0], f"{self.count[key]} rows of {made.beat.count}")
        for (name, op), count in self.count.items():
            y = self.run.node(name).outputs[0]
            shape = self.run.graph.type(y).shape
            if "dilations" in ops.get(op).defaults and count != shape[1]:
                self.run.complain(name, f"{count} rows of {shape[1]}")
        return [name for name, _ in self.count]


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
        run.run(body, c)
        wrong += run.wrong
    return wrong

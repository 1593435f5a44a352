"""What the templates see: a Program as frozen records of plain strings and numbers.

Made for `emit.py`, which renders them. Call sites are written here, from each kernel's `args`, so a
parameter list exists in one place; equal kernels with equal baked values become one C function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from brainc import __version__, ops
from brainc.c_names import Names, port_names
from brainc.chain import OWN, Chain, Run
from brainc.chain_views import ChainView, Spots, chain_view, told
from brainc.dtypes import DTYPES, Array, of_numpy
from brainc.expressions import evaluate
from brainc.ir import Entry, Graph, Node, Role, TensorType
from brainc.kernels import Choice, Kernel, Part, load_part, shown
from brainc.memory import EntryPlan
from brainc.program import Program
from brainc.weights import BLOB_BYTES, Packed, Watched, as_text, blob, c_float, folded, ingredients, pack

# Where a machine of this feature keeps large constants. Far: "ax", or the linker takes far flash for data.
_SECTIONS = {"far": '.section .brainc.far, "ax", @progbits', "progmem": '.section .progmem, "a"'}
_ALIGN_TYPES = {1: "uint8_t", 2: "uint16_t", 4: "uint32_t", 8: "uint64_t"}


@dataclass(frozen=True, slots=True)
class KernelView:
    """One C function to render: a kernel (or a part), what it may mention, its name, its parameter list and the
    functions it calls, by the names that it has for them."""

    kernel: Kernel | Part
    env: Mapping[str, Any]
    fn: str
    params: str
    parts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PortView:
    """A port as C shows it; `macro` begins the names of its constants."""

    direction: str
    cname: str
    macro: str
    ctype: str
    count: int
    nbytes: int
    scale: str
    zero: int
    offset: int
    note: str


@dataclass(frozen=True, slots=True)
class ConstView:
    """A constant as C shows it; no lines where its numbers are in the blob."""

    note: str
    ctype: str
    symbol: str
    count: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepView:
    """One kernel call and the comment above it."""

    note: str
    call: str


@dataclass(frozen=True, slots=True)
class EntryView:
    """One C function of the brain."""

    name: str
    params: str
    inputs: tuple[PortView, ...]
    outputs: tuple[PortView, ...]
    steps: tuple[StepView, ...]


class Viewer:
    """Views of one Program; `trace` is "", "marks" (a mark after each node) or "dump" (and its output)."""

    def __init__(self, program: Program, trace: str = "") -> None:
        self.program = program
        self.graph: Graph = replace(program.graph, values={**program.chain_values, **program.graph.values})
        self.trace = trace
        self.name = program.name
        self.ports = self._port_names()
        self.symbols = Names(self.ports.values())  # a port is a parameter where constants are named
        self.constants: dict[str, Packed] = {}
        self._packings: dict[str, list[tuple[Mapping[str, Any], str]]] = {}
        self.functions: dict[tuple[object, ...], KernelView] = {}
        self.chains: list[ChainView] = []
        self._function_names = Names(self.ports.values())
        self.blobbed = "far" in program.target.features or program.constant_bytes > BLOB_BYTES

    def _port_names(self) -> dict[str, str]:
        entries = self.graph.entries
        reserved = [*(e.name for e in entries), *(d.c for d in DTYPES.values())]
        return port_names([p for e in entries for p in (*e.inputs, *e.outputs)], reserved)

    # -- kernels ------------------------------------------------------------------------------------

    def call(self, node: Node, choice: Choice, spots: Spots) -> str:
        """The C statement that runs a node, its operands in these places."""
        fn = self.function(node, choice)
        return f"{fn}({listed([a for _, a in self._arguments(node, choice, spots)], len(fn))});"

    def spots(self, node: Node, plan: EntryPlan) -> Spots:
        """Where a node of an entry finds what it works with."""
        slots = {**self.program.plan.states, **plan.slots}
        at = {n: str(slots[n].offset) for n in (*node.operands, *node.outputs) if n in slots}
        scratch = plan.scratch[node.name].offset if node.name in plan.scratch else 0
        return Spots(at, str(scratch), node.name in plan.down)

    def function(self, node: Node, choice: Choice) -> str:
        """The name of the C function for this kernel, these baked values and parameters; rendered once."""
        kernel = choice.kernel
        parameters = tuple(parameter for parameter, _ in self._arguments(node, choice, None))
        parts = dict(self._parts(kernel, choice.env))
        key = (kernel.name, repr(shown(kernel, choice.env)), parameters, *parts.values())
        if key not in self.functions:
            fn = self._function_names.of(f"{kernel.op}_{kernel.stem}_{len(self.functions)}")
            params = listed(parameters, len(f"static void {fn}")) or "void"
            self.functions[key] = KernelView(kernel, choice.env, fn, params, parts)
        return self.functions[key].fn

    def _parts(self, kernel: Kernel | Part, env: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """(what the kernel calls it, its name) of every part, each rendered once for its baked values, after its own.

        A part is left out where a layer lacks those, as for a residual that it has not.
        """
        for name, file in kernel.parts.items():
            part = load_part(kernel.path.parents[1] / f"{file}.c.j2")
            if set(part.bake) <= env.keys():
                parts = dict(self._parts(part, env))
                key = (str(part.path), repr(shown(part, env)), *parts.values())
                if key not in self.functions:
                    fn = self._function_names.of(f"{part.name}_{len(self.functions)}")
                    self.functions[key] = KernelView(part, env, fn, "", parts)
                yield name, self.functions[key].fn

    def _arguments(self, node: Node, choice: Choice, spots: Spots | None) -> list[tuple[str, str]]:
        """(parameter, argument) of all that is not baked in; without places only the parameters count."""
        kernel = choice.kernel
        return [p for a in kernel.args if a not in kernel.bake for p in self._argument(node, choice, a, spots)]

    def _argument(self, node: Node, choice: Choice, arg: str, spots: Spots | None) -> list[tuple[str, str]]:
        """What `arg` of a kernel's head is in C, as (parameter, argument); several for a variadic operand."""
        op, kernel = ops.get(node.op), choice.kernel
        if arg == "scratch":
            return [("uint8_t *scratch", f"m + {spots.scratch if spots else 0}")]
        if arg == "down":
            return [("int32_t down", "1" if spots and spots.down else "0")]
        if arg in ("first", "end"):
            return [(f"br_len {arg}", self.share(arg, int(evaluate(kernel.split, choice.env))))]
        for operand, kind, name in zip(op.outputs, kernel.outs, node.outputs, strict=True):
            if operand.name == arg:
                return [(f"{_ctype(kind, self.graph.type(name))} *{arg}", self.place(name, spots, kind))]
        for index, operand in enumerate(op.inputs):
            if operand.name == arg and operand.optional and not choice.env[f"has_{arg}"]:
                return []
            if operand.name == arg and operand.variadic:
                rest = enumerate(node.inputs[index:])
                return [self._read(node, choice, f"{arg}{n}", i, kernel.ins[index], spots) for n, i in rest]
            if operand.name == arg and operand.constant:
                packed = self.constant(node, choice, arg, node.inputs[index])
                return [(f"BR_CP({packed.dtype.c}) {arg}", f"BR_CREF({packed.symbol})")]
            if operand.name == arg:
                parameter, place = self._read(node, choice, arg, node.inputs[index], kernel.ins[index], spots)
                return [(parameter.removeprefix("const ") if operand.mutated else parameter, place)]
        value = choice.env[arg]
        if isinstance(value, float):
            return [(f"float {arg}", c_float(value))]
        known = {d for o in (*op.inputs, *op.outputs) for d in o.dims} | {"E", "E2"}
        return [(f"{'br_len' if arg in known else 'int32_t'} {arg}", str(value))]

    def _read(self, node: Node, choice: Choice, arg: str, name: str, kind: str, spots: Spots | None) -> tuple[str, str]:
        """An operand read like any memory; a constant only where flash and RAM are one space."""
        parameter = f"const {_ctype(kind, self.graph.type(name))} *{arg}"
        if spots is None or not self.graph.is_const(name):
            return parameter, self.place(name, spots, kind)
        symbol = self.constant(node, choice, arg, name).symbol
        return parameter, f"(const uint8_t *){symbol}" if kind == "any" else symbol

    def share(self, end: str, shares: int) -> str:
        """The first, or the end, of the shares that a call does: all of them."""
        return "0" if end == "first" else str(shares)

    # -- constants ----------------------------------------------------------------------------------

    def constant(self, node: Node, choice: Choice, arg: str, name: str) -> Packed:
        """The constant operand `arg` (value `name`) as this kernel wants it stored.

        Each is kept once: a packing is shared by all kernels that ask for it and agree in what it looked at.
        """
        recipe = choice.kernel.pack.get(arg, "")
        given = {o.name: i for o, i in zip(ops.get(node.op).inputs, node.inputs, strict=False)}
        merged = {o: i for o, i in given.items() if o in ingredients(recipe) and self.graph.is_const(i)}
        what = [merged.get(i, i) for i in ingredients(recipe)]  # not by the names that this kernel has for them
        key = f"{name} {recipe.partition('(')[0]} {what}" if recipe else name
        known = self._packings.setdefault(key, [])
        for asked, at in known:
            if all(choice.env.get(k) == v for k, v in asked.items()):
                return self.constants[at]
        env = Watched(choice.env)

        def make() -> Array:
            operands = {o: self.graph.array(i) for o, i in merged.items()}
            return pack(self.program.target, recipe, operands, env) if recipe else self.graph.array(name)

        at = f"{key} {len(known)}"
        self.constants[at] = self.stored(f"{node.name}/{arg}", name, recipe, make)
        known.append((env.asked, at))
        return self.constants[at]

    def stored(self, layer: str, name: str, recipe: str, make: Callable[[], Array]) -> Packed:
        """A constant that is new: value `name` as `recipe` has it, first wanted by `layer`."""
        array = make()
        symbol = self.symbols.of(f"{self.name}_{layer}" if self.blobbed else layer)
        dtype = of_numpy(array.dtype) or self.graph.type(name).dtype
        note = f"{layer} {dtype}{list(self.graph.type(name).shape)}" + (f", packed {recipe}" if recipe else "")
        return Packed(symbol, dtype, array, note)

    def constant_views(self) -> Iterator[ConstView]:
        for c in self.constants.values():
            lines = () if self.blobbed else tuple(as_text(c.array))
            yield ConstView(comment(c.note), c.dtype.c, c.symbol, c.array.size, lines)

    # -- entries ------------------------------------------------------------------------------------

    def entry(self, entry: Entry, plan: EntryPlan) -> EntryView:
        inputs, outputs = self.ports_of(entry, plan)
        ins = [f"const {p.ctype} {p.cname}[{p.macro}_LEN]" for p in inputs]
        outs = [f"{p.ctype} {p.cname}[{p.macro}_LEN]" for p in outputs]
        params = listed([f"{self.name}_t *brain", *ins, *outs], len(f"void {self.name}_{entry.name}"))
        steps, index = list[StepView](), 0
        for name, nodes in plan.step_nodes():
            chained = name in plan.chains
            steps.append(self._chain(index, plan.chains[name], plan) if chained else self._step(index, nodes[0], plan))
            index += len(nodes)
        return EntryView(entry.name, params, inputs, outputs, tuple(steps))

    def _chain(self, index: int, chain: Chain, plan: EntryPlan) -> StepView:
        """A call of the function that runs a chain."""
        places = {OWN: plan.scratch[chain.name].offset} | {name: slot.offset for name, slot in plan.slots.items()}
        marks = {node.name: index + n for n, node in enumerate(chain.nodes)}
        fn = self._function_names.of(f"rows_{len(self.chains)}")
        ends = f"{chain.nodes[0].name} to {chain.nodes[-1].name}"
        note = comment(f"{ends} row by row: {chain.nbytes:,} bytes of windows at {places[OWN]}")

        def lines(run: Run, spots: Spots) -> Iterator[str]:
            yield f"/* {comment(told(run))} */"
            yield self.call(run.row, run.choice, spots).replace("\n", "\n        ")
            if self.trace:
                yield f"br_host_mark({marks[run.node.name]});"
            if self.trace == "dump" and run.whole:
                (y,) = run.row.outputs
                yield f"br_host_write({self.place(y, spots)}, {self.graph.type(y).nbytes // run.beat.count});"

        self.chains.append(chain_view(chain, fn, note, places.__getitem__, lines))
        return StepView(note, f"{fn}(m);")

    def _step(self, index: int, node: Node, plan: EntryPlan) -> StepView:
        spots = self.spots(node, plan)
        lines = [self.call(node, self.program.choices[node.name], spots)]
        if self.trace:
            lines.append(f"br_host_mark({index});")
        if self.trace == "dump":
            sizes = [(self.place(o, spots), self.graph.type(o).nbytes) for o in node.outputs]
            lines += [f"br_host_write({at}, {nbytes});" for at, nbytes in sizes]
        return StepView(self.note(node, plan), "\n    ".join(lines))

    def ports_of(self, entry: Entry, plan: EntryPlan) -> tuple[tuple[PortView, ...], tuple[PortView, ...]]:
        """Inputs and outputs of an entry."""
        inputs = tuple(self._port(p, "input", plan) for p in entry.inputs)
        return inputs, tuple(self._port(p, "output", plan) for p in entry.outputs)

    def _port(self, port: str, direction: str, plan: EntryPlan) -> PortView:
        type_, cname = self.graph.type(port), self.ports[port]
        quant = type_.quant if type_.dtype.is_integer else None
        note = f"{port} {type_}" if port != cname else str(type_)
        return PortView(
            direction=direction,
            cname=cname,
            macro=f"{self.name}_{cname}".upper(),
            ctype=type_.dtype.c,
            count=type_.size,
            nbytes=type_.nbytes,
            scale=c_float(quant.scale[0]) if quant else "",
            zero=quant.zero[0] if quant else 0,
            offset=plan.slots[port].offset,
            note=comment(note),
        )

    def place(self, name: str, spots: Spots | None, kind: str = "") -> str:
        """A pointer to a value in the brain's struct."""
        return f"AT({_ctype(kind, self.graph.type(name))}, {spots.at[name]})" if spots else ""

    def note(self, node: Node, plan: EntryPlan) -> str:
        """What a step does, for the reader: name, shapes, work, place."""
        ins = [i for i in node.operands if not self.graph.is_const(i)]
        shapes = ", ".join(str(self.graph.type(i)) for i in ins)
        outs = ", ".join(str(self.graph.type(o)) for o in node.outputs)
        work = f"  {macs:,} MACs" if (macs := self.program.macs(node)) else ""
        slots = [plan.slots[o] for o in node.outputs[:1] if o in plan.slots]
        where = "".join(f"  at {s.offset}..{s.offset + s.nbytes}" for s in slots)
        return comment(f"{node.name}: {node.op} {shapes} -> {outs}{work}{where}")

    def states(self) -> Iterator[str]:
        """Statements that put every state to its start."""
        for name, slot in self.program.plan.states.items():
            value = self.graph.values[name]
            if value.const is None:
                zero = value.type.quant.zero[0] if value.type.quant else 0
                yield f"memset(m + {slot.offset}, {zero & 0xFF}, {slot.nbytes});"
            else:
                symbol = self.symbols.of(f"{name}_start")
                self.constants[f"{name} start"] = Packed(symbol, value.type.dtype, value.array(), f"{name} at start")
                yield f"br_copy_flash(m + {slot.offset}, BR_CREF({symbol}), {slot.nbytes});"


def listed(words: Sequence[str], taken: int) -> str:
    """Parameters or arguments after `taken` characters of their line, which is broken where it grows long."""
    lines = folded([f"{word}," for word in words], " ", taken)
    return "\n        ".join(lines).removesuffix(",")


def _ctype(kind: str, type_: TensorType) -> str:
    return "uint8_t" if kind == "any" else type_.dtype.c


def comment(text: str) -> str:
    """Text that cannot end (or open) the comment it stands in, nor turn it around."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("\\", "/").replace("*/", "* /").replace("/*", "/ *")


def brain_view(program: Program, trace: str = "") -> dict[str, Any]:
    """Everything the skeleton templates show."""
    viewer = Viewer(program, trace)
    graph, plan = program.graph, program.plan
    entries = [viewer.entry(e, p) for e, p in zip(graph.entries, plan.entries, strict=True)]
    states = list(viewer.states())
    align = max([plan.align, *(v.type.dtype.nbytes for v in graph.values.values() if v.role is not Role.CONST)])
    constants = list(viewer.constants.values())
    data, places = blob(constants) if viewer.blobbed else (b"", [])
    total = f"{sum(c.array.nbytes for c in constants):,} bytes"
    arena = f"arena {plan.arena:,} bytes ({plan.proof})"
    features = program.target.features
    return {
        "name": program.name,
        "upper": program.name.upper(),
        "version": __version__,
        "target": program.target.name,
        "title": comment(program.target.title),
        "about": [
            f"{program.work:,} multiply-accumulates; {arena}; constants {total}.",
            *(f"{comment(note)}." for note in program.notes),
        ],
        "ports": [port for entry in entries for port in (*entry.inputs, *entry.outputs)],
        "ram": -(-max(plan.nbytes, 1) // align) * align,
        "ram_note": f"arena {plan.arena}" + (f", state {plan.state}" if plan.state else ""),
        "align_type": _ALIGN_TYPES[align],
        "entries": entries,
        "chains": viewer.chains,
        "kernels": list(viewer.functions.values()),
        "constants": list(viewer.constant_views()),
        "weight_note": f"{total} in {len(constants)} tensors",
        "states": states,
        "traced": bool(trace),
        "blob": data,
        "blob_hash": hashlib.sha256(data).hexdigest()[:12],
        "places": places,
        "weight_section": next((s for f, s in _SECTIONS.items() if f in features), ".section .rodata"),
    }


def harness_view(program: Program, *, empty: bool = False) -> dict[str, Any]:
    """What the test program around a brain shows."""
    entry = program.graph.entries[0]
    ins, outs = Viewer(program).ports_of(entry, program.plan.entries[0])
    args = "".join(f", {program.name}_{p.cname}(&brain)" for p in ins) + ", NULL" * len(outs)
    return {"name": program.name, "inputs": ins, "outputs": outs, "entry": entry.name, "args": args, "empty": empty}

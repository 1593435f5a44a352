"""What the templates see: a Program as frozen records of plain strings and numbers.

Made for `emit.py`, which renders them. Call sites are written here, from each kernel's `args`, so a
parameter list exists in one place; equal kernels with equal baked values become one C function.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from brainc import __version__, ops
from brainc.c_names import Names, port_names
from brainc.dtypes import DTYPES, of_numpy
from brainc.ir import Entry, Graph, Node, Role, TensorType
from brainc.kernels import Choice, Kernel
from brainc.memory import EntryPlan
from brainc.program import Program
from brainc.weights import BLOB_BYTES, Packed, as_text, blob, c_float, pack

_ALIGN_TYPES = {1: "uint8_t", 2: "uint16_t", 4: "uint32_t", 8: "uint64_t"}


@dataclass(frozen=True, slots=True)
class KernelView:
    """One C function to render: a kernel, what it may mention, its name and its parameter list."""

    kernel: Kernel
    env: Mapping[str, Any]
    fn: str
    params: str


@dataclass(frozen=True, slots=True)
class PortView:
    """A port as the header shows it."""

    direction: str
    cname: str
    upper: str
    ctype: str
    count: int
    nbytes: int
    scale: str
    zero: int
    offset: int
    note: str


@dataclass(frozen=True, slots=True)
class ConstView:
    """A constant as C shows it: a declaration, or an array."""

    head: str
    lines: tuple[str, ...]
    tail: str


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
    copy_in: tuple[str, ...]
    steps: tuple[StepView, ...]
    copy_out: tuple[str, ...]


class Viewer:
    """Views of one Program; `trace` is "", "marks" (a mark after each node) or "dump" (and its output)."""

    def __init__(self, program: Program, trace: str = "") -> None:
        self.program = program
        self.graph: Graph = program.graph
        self.trace = trace
        self.name = program.name
        self.ports = self._port_names()
        self.symbols = Names(self.ports.values())  # a port is a parameter where constants are named
        self.constants: dict[str, Packed] = {}
        self.functions: dict[tuple[object, ...], KernelView] = {}
        self._function_names = Names(self.ports.values())
        self.blobbed = self._wants_blob()

    def _port_names(self) -> dict[str, str]:
        entries = self.graph.entries
        reserved = [*(e.name for e in entries), *(d.c for d in DTYPES.values())]
        return port_names([p for e in entries for p in (*e.inputs, *e.outputs)], reserved)

    def _wants_blob(self) -> bool:
        total = sum(v.type.nbytes for v in self.graph.values.values() if v.role is Role.CONST)
        return "far" in self.program.target.features or total > BLOB_BYTES

    # -- kernels ------------------------------------------------------------------------------------

    def call(self, node: Node, plan: EntryPlan) -> str:
        """The C statement that runs a node."""
        choice = self.program.choices[node.name]
        arguments = ", ".join(argument for _, argument in self._arguments(node, choice, plan))
        return f"{self.function(node, choice)}({arguments});"

    def function(self, node: Node, choice: Choice) -> str:
        """The name of the C function for this kernel, these baked values and parameters; rendered once."""
        kernel = choice.kernel
        parameters = tuple(parameter for parameter, _ in self._arguments(node, choice, None))
        baked = tuple((b, repr(choice.env.get(b))) for b in (*kernel.bake, *_lists(choice)))
        key = (kernel.name, baked, parameters)
        if key not in self.functions:
            stem = kernel.path.name.removesuffix(".c.j2")
            fn = self._function_names.of(f"{kernel.op}_{stem}_{len(self.functions)}")
            self.functions[key] = KernelView(kernel, choice.env, fn, ", ".join(parameters) or "void")
        return self.functions[key].fn

    def _arguments(self, node: Node, choice: Choice, plan: EntryPlan | None) -> list[tuple[str, str]]:
        """(parameter, argument) of all that is not baked in; without a plan only the parameters count."""
        shown = [a for a in choice.kernel.args if a not in choice.kernel.bake]
        return [pair for a in shown for pair in self._argument(node, choice, a, plan)]

    def _argument(self, node: Node, choice: Choice, arg: str, plan: EntryPlan | None) -> list[tuple[str, str]]:
        """What `arg` of a kernel's head is in C, as (parameter, argument); several for a variadic operand."""
        op, kernel = ops.get(node.op), choice.kernel
        if arg == "scratch":
            offset = plan.scratch[node.name].offset if plan and node.name in plan.scratch else 0
            return [("uint8_t *scratch", f"m + {offset}")]
        for operand, kind, name in zip(op.outputs, kernel.outs, node.outputs, strict=True):
            if operand.name == arg:
                return [(f"{_ctype(kind, self.graph.type(name))} *{arg}", self.place(name, plan, kind))]
        for index, operand in enumerate(op.inputs):
            if operand.name == arg and operand.variadic:
                rest = enumerate(node.inputs[index:])
                return [self._read(node, choice, f"{arg}{n}", i, kernel.ins[index], plan) for n, i in rest]
            if operand.name == arg and operand.constant:
                packed = self.constant(node, choice, arg, node.inputs[index])
                return [(f"BR_CP({packed.dtype.c}) {arg}", f"BR_CREF({packed.symbol})")]
            if operand.name == arg:
                parameter, place = self._read(node, choice, arg, node.inputs[index], kernel.ins[index], plan)
                return [(parameter.removeprefix("const ") if operand.mutated else parameter, place)]
        value = choice.env[arg]
        if isinstance(value, float):
            return [(f"float {arg}", c_float(value))]
        known = {d for o in (*op.inputs, *op.outputs) for d in o.dims} | {"E", "E2"}
        return [(f"{'br_len' if arg in known else 'int32_t'} {arg}", str(value))]

    def _read(
        self, node: Node, choice: Choice, arg: str, name: str, kind: str, plan: EntryPlan | None
    ) -> tuple[str, str]:
        """An operand read like any memory; a constant only where flash and RAM are one space."""
        parameter = f"const {_ctype(kind, self.graph.type(name))} *{arg}"
        if plan is None or not self.graph.is_const(name):
            return parameter, self.place(name, plan, kind)
        symbol = self.constant(node, choice, arg, name).symbol
        return parameter, f"(const uint8_t *){symbol}" if kind == "any" else symbol

    # -- constants ----------------------------------------------------------------------------------

    def constant(self, node: Node, choice: Choice, arg: str, name: str) -> Packed:
        """The constant operand `arg` (value `name`) as this kernel wants it stored; each kept once."""
        recipe = choice.kernel.pack.get(arg, "")
        known = {o.name: i for o, i in zip(ops.get(node.op).inputs, node.inputs, strict=False)}
        merged = {o: i for o, i in known.items() if self.graph.is_const(i)} if recipe else {}
        key = f"{name} {recipe} {merged} {_recipe_env(choice) if recipe else ''}"
        if key not in self.constants:
            array = self.graph.array(name)
            if recipe:
                operands = {o: self.graph.array(i) for o, i in merged.items()}
                array = pack(self.program.target, recipe, operands, choice.env)
            layer = f"{node.name}/{arg}"
            symbol = self.symbols.of(f"{self.name}_{layer}" if self.blobbed else layer)
            dtype = of_numpy(array.dtype) or self.graph.type(name).dtype
            note = f"{layer} {dtype}{list(self.graph.type(name).shape)}" + (f", packed {recipe}" if recipe else "")
            self.constants[key] = Packed(symbol, dtype, array, note)
        return self.constants[key]

    def constant_views(self) -> Iterable[ConstView]:
        for c in self.constants.values():
            above = f"/* {comment(c.note)} */\n"
            if self.blobbed:
                yield ConstView(f"{above}extern const {c.dtype.c} {c.symbol}[];", (), "")
            else:
                head = f"{above}BR_CONST({c.dtype.c}, {c.symbol}, {c.array.size}) = {{"
                yield ConstView(head, tuple(as_text(c.array)), "};")

    # -- entries ------------------------------------------------------------------------------------

    def entry(self, entry: Entry, plan: EntryPlan) -> EntryView:
        steps = []
        for index, node in enumerate(plan.nodes):
            call = self.call(node, plan)
            if self.trace:
                call += f"\n    br_host_mark({index});"
            if self.trace == "dump":
                sizes = [(self.place(o, plan), self.graph.type(o).nbytes) for o in node.outputs]
                call += "".join(f"\n    br_host_write({at}, {n});" for at, n in sizes)
            steps.append(StepView(self.note(node, plan), call))
        copy_in = tuple(self._copy_in(p, plan) for p in entry.inputs)
        copy_out = tuple(self._copy_out(p, plan) for p in entry.outputs)
        return EntryView(entry.name, self.entry_params(entry), copy_in, tuple(steps), copy_out)

    def entry_params(self, entry: Entry) -> str:
        ins = [f"const {self.graph.type(p).dtype.c} {self._array(p)}" for p in entry.inputs]
        outs = [f"{self.graph.type(p).dtype.c} {self._array(p)}" for p in entry.outputs]
        return ", ".join([f"{self.name}_t *brain", *ins, *outs])

    def _array(self, port: str) -> str:
        return f"{self.ports[port]}[{self.name.upper()}_{self.ports[port].upper()}_LEN]"

    def _copy_in(self, port: str, plan: EntryPlan) -> str:
        cname, kind = self.ports[port], self.graph.type(port).dtype.c
        offset, nbytes = plan.slots[port].offset, self.graph.type(port).nbytes
        return f"if ({cname} != AT({kind}, {offset})) {{\n        memcpy(m + {offset}, {cname}, {nbytes});\n    }}"

    def _copy_out(self, port: str, plan: EntryPlan) -> str:
        cname, kind = self.ports[port], self.graph.type(port).dtype.c
        offset, nbytes = plan.slots[port].offset, self.graph.type(port).nbytes
        return (
            f"if ({cname} != NULL && {cname} != AT({kind}, {offset})) {{\n"
            f"        memcpy({cname}, m + {offset}, {nbytes});\n    }}"
        )

    def place(self, name: str, plan: EntryPlan | None, kind: str = "") -> str:
        """A pointer to a value in the brain's struct."""
        if plan is None:
            return ""
        slot = plan.slots.get(name) or self.program.plan.states[name]
        return f"AT({_ctype(kind, self.graph.type(name))}, {slot.offset})"

    def note(self, node: Node, plan: EntryPlan) -> str:
        """What a step does, for the reader: name, shapes, work, place."""
        ins = [i for i in node.operands if not self.graph.is_const(i)]
        shapes = ", ".join(str(self.graph.type(i)) for i in ins)
        outs = ", ".join(str(self.graph.type(o)) for o in node.outputs)
        macs = self.program.macs(node)
        work = f"  {macs:,} MACs" if macs else ""
        where = ""
        if node.outputs and node.outputs[0] in plan.slots:
            slot = plan.slots[node.outputs[0]]
            where = f"  at {slot.offset}..{slot.offset + slot.nbytes}"
        return comment(f"{node.name}: {node.op} {shapes} -> {outs}{work}{where}")

    def states(self, plan_align: int) -> tuple[str, ...]:
        """Statements that put every state to its start."""
        lines = []
        for name, slot in self.program.plan.states.items():
            value = self.graph.values[name]
            zero = value.type.quant.zero[0] if value.type.quant else 0
            if value.const is None:
                lines.append(f"memset(m + {slot.offset}, {zero & 0xFF}, {slot.nbytes});")
            else:
                packed = Packed(self.symbols.of(f"{name}_start"), value.type.dtype, value.array(), f"{name} at start")
                self.constants[f"{name} start"] = packed
                cref = f"BR_CREF({packed.symbol})"
                lines.append(f"br_copy_flash(m + {slot.offset}, {cref}, {slot.nbytes});")
        return tuple(lines)

    def port_view(self, port: str, direction: str, plan: EntryPlan) -> PortView:
        type_, cname = self.graph.type(port), self.ports[port]
        quant = type_.quant if type_.dtype.is_integer else None
        scale = c_float(quant.scale[0]) if quant else ""
        note = f"{port} {type_}" if port != cname else str(type_)
        offset = plan.slots[port].offset
        zero = quant.zero[0] if quant else 0
        return PortView(
            direction, cname, cname.upper(), type_.dtype.c, type_.size, type_.nbytes, scale, zero, offset, comment(note)
        )


def _lists(choice: Choice) -> tuple[str, ...]:
    """Names of list variables (variadic operands) that a template may also use."""
    return tuple(k for k in choice.env if k.endswith(("_names", "_shapes")))


def _recipe_env(choice: Choice) -> str:
    return repr(sorted((k, v) for k, v in choice.env.items() if isinstance(v, int)))


def _ctype(kind: str, type_: TensorType) -> str:
    return "uint8_t" if kind == "any" else type_.dtype.c


def comment(text: str) -> str:
    """Text that cannot end (or open) the comment it stands in, nor turn it around."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("\\", "/").replace("*/", "* /").replace("/*", "/ *")


def uses_float(program: Program) -> bool:
    """Whether any kernel of the program computes with floats."""
    kernels = [c.kernel for c in program.choices.values()]
    return any(t.startswith("f") for k in kernels for t in (*k.ins, *k.outs))


def brain_view(program: Program, trace: str = "") -> dict[str, Any]:
    """Everything the skeleton templates show."""
    viewer = Viewer(program, trace)
    graph, plan = program.graph, program.plan
    entries = [viewer.entry(e, p) for e, p in zip(graph.entries, plan.entries, strict=True)]
    align = max([plan.align, *(v.type.dtype.nbytes for v in graph.values.values() if v.role is not Role.CONST)])
    states = viewer.states(align)
    ports = [
        viewer.port_view(name, direction, p)
        for e, p in zip(graph.entries, plan.entries, strict=True)
        for direction, names in (("input", e.inputs), ("output", e.outputs))
        for name in names
    ]
    constants = list(viewer.constants.values())
    data, places = blob(constants) if viewer.blobbed else (b"", [])
    total = sum(c.array.nbytes for c in constants)
    return {
        "name": program.name,
        "upper": program.name.upper(),
        "version": __version__,
        "target": program.target.name,
        "title": f"the brain {program.name}",
        "about": _about(program),
        "ports": ports,
        "ram": -(-max(plan.nbytes, 1) // align) * align,
        "ram_note": f"arena {plan.arena}" + (f", state {plan.state}" if plan.state else ""),
        "align_type": _ALIGN_TYPES[align],
        "entries": entries,
        "kernels": list(viewer.functions.values()),
        "constants": list(viewer.constant_views()),
        "weight_note": f"{total:,} bytes in {len(constants)} tensors",
        "states": states,
        "traced": bool(trace),
        "blob": data,
        "places": [{"symbol": s, "offset": o, "nbytes": n} for s, o, n in places],
        "weight_section": _weight_section(program),
    }


def _about(program: Program) -> list[str]:
    work = sum(program.macs(n) for n in program.graph.nodes())
    plan = program.plan
    proof = "the least possible" if plan.optimal else f"no plan needs less than {plan.lower_bound}"
    return [f"{work:,} multiply-accumulates a step; arena {plan.arena:,} bytes ({proof})."]


def _weight_section(program: Program) -> str:
    if "far" in program.target.features:
        return '.section .brainc.far, "ax", @progbits'  # ax: else the linker takes it for data
    return ".section .rodata"


def harness_view(program: Program, *, empty: bool = False) -> dict[str, Any]:
    """What the test program around a brain shows."""
    viewer = Viewer(program)
    entry, plan = program.graph.entries[0], program.plan.entries[0]
    ins = [viewer.port_view(p, "input", plan) for p in entry.inputs]
    outs = [viewer.port_view(p, "output", plan) for p in entry.outputs]
    args = "".join(f", {program.name}_{p.cname}(&brain)" for p in ins) + ", NULL" * len(outs)
    return {"name": program.name, "inputs": ins, "outputs": outs, "entry": entry.name, "args": args, "empty": empty}

"""The façade: a brain goes in, a `Program` comes out.

`compile_job` is the whole compiler on one page: passes, kernels, memory. `prepare` gathers what it needs from
the user's request: the linked graph, the machine, samples for quantisation. The door calls these two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from brainc import link, manifest, memory, ops, passes, samples, spmd, stream
from brainc.dtypes import Array
from brainc.errors import UnsupportedError, UserError, at
from brainc.ir import Graph, TensorType
from brainc.kernels import Choice, KernelTable
from brainc.language import Language, without
from brainc.manifest import Brain, Budget, TargetChoice
from brainc.memory import Plan
from brainc.passes.context import Context, Options
from brainc.passes.four import GROUP
from brainc.program import Host, Program, Voice
from brainc.stream import Streamed
from brainc.target import PORTABLE, Target, load_target

DESKTOP = 64  # bits of the word of a machine with threads and files
RANDOM = "random"
RANDOM_SAMPLES = 20
RAM_TRIALS = 4000  # plans tried for less RAM, times nodes: a large graph takes longer to plan
RAM_WORTH = 10  # percents of the whole cost that one percent of the memory may cost
STREAM_WORTH = 4  # a chain that need not be pays with at least one part in so many of the memory
Choices = Mapping[str, Choice]


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for on the command line."""

    source: Path
    quantize: str | None = None  # "int8" | "int4" | "none" | None: as the model is, int8 where there is no FPU
    calibrate: str | None = None  # a file of samples, or "random"
    calibration: str | None = None  # "minmax" | "percentile" | "mse"
    io: str = "native"
    layout: str = "native"
    shapes: Mapping[str, int] = field(default_factory=dict)
    portable: bool = False
    optimize: str = "speed"  # "speed" | "ram" | "flash"
    isa: str | None = None  # the best accent to compile for, by its name
    stream: str = "auto"  # layers row by row: "auto" where RAM is short | "always" where it saves any | "never"


@dataclass(frozen=True, slots=True)
class Job:
    """A request made ready for one target: everything `compile_job` takes."""

    request: Request
    brain: Brain
    target: Target
    graph: Graph
    context: Context
    remarks: tuple[str, ...] = ()  # what was decided for the user, to be told
    language: Language | None = None  # what a language model knows besides its graph

    @property
    def choice(self) -> TargetChoice:
        """What the manifest says of this target."""
        return self.brain.targets.get(self.target.name) or TargetChoice({}, Budget(), {})


def kernel_table(job: Job) -> KernelTable:
    """The kernels that a job may use."""
    request = job.request
    return KernelTable(job.target, job.choice.pin, portable=request.portable, optimize=request.optimize)


def compile_job(job: Job) -> Program:
    """The whole compiler on one page: passes, kernels, memory."""
    table, notes = kernel_table(job), list[str]()
    context = replace(job.context, has_kernel=table.has, flat=job.target.word > 8, note=notes.append)
    with at(file=str(job.request.source)):
        ready = passes.run(job.graph, context)
        if job.language is not None:
            return _host_program(job, ready, job.language)
        choices = _choices(table, ready)
        plan = memory.plan(ready, choices, align=min(job.target.word // 8, 4))
        if table.optimize == "ram":
            choices, plan = _less_ram(ready, table, choices, plan)
        if streamed := _streamed(job, ready, table, choices, plan):
            notes.append(_told(plan, streamed))
            choices, plan = streamed.choices, streamed.plan
    if job.request.layout == "nhwc":
        turned = [name for name, type_ in ports(job.graph) if ready.type(name).shape != type_.shape]
        notes += [f"{name} has channels last, as --layout nhwc asks" for name in turned]
    return Program(ready, job.target, choices, plan, tuple(notes), job.request.portable, job.request.optimize)


def _choices(table: KernelTable, graph: Graph) -> Choices:
    return {n.name: table.choose(graph, n) for n in graph.nodes() if n.op != "reshape"}


def hosted(graph: Graph, target: Target, language: Language, top: str | None = None) -> Host:
    """Kernels in every accent of the target, up to the one called `top`, and the memory that is right for all."""
    accents = [PORTABLE, *target.accents]
    accents = accents[: 1 + next((i for i, accent in enumerate(accents) if accent.name == top), len(accents))]
    voices = [Voice(accent, _choices(KernelTable(target, accent=accent), graph)) for accent in accents]
    return Host(language, tuple(voices), spmd.lay_out(graph, [voice.choices for voice in voices]))


def _host_program(job: Job, graph: Graph, language: Language) -> Program:
    host, portable = hosted(graph, job.target, language, job.request.isa), job.request.portable
    plan = Plan(host.layout.arena, host.layout.state, 0, False, spmd.ALIGN, (), {})
    return Program(graph, job.target, host.voices[-1].choices, plan, language.remarks, portable, host=host)


def _streamed(job: Job, graph: Graph, table: KernelTable, choices: Choices, plan: Plan) -> Streamed | None:
    """Chains of layers that run row by row, where RAM is short, or where it is what matters and they save much."""
    space, asked = job.target.spaces["ram"], job.request.stream
    room, budget = space.bytes - space.reserve, job.choice.budget.ram
    if budget is not None:  # which holds the stack too
        room = min(room, budget - max(0, space.reserve - space.board))
    short, saving = plan.nbytes > room, table.optimize == "ram" or asked == "always"
    if asked == "never" or not (short or saving):
        return None
    found = stream.by_rows(graph, table, choices, plan, 0 if saving else room)
    if found is None or short or asked == "always":
        return found
    return found if STREAM_WORTH * (plan.nbytes - found.plan.nbytes) >= plan.nbytes else None


def _told(plan: Plan, streamed: Streamed) -> str:
    """What running by rows saved, for people."""
    ends = "; ".join(f"{c.nodes[0].name} to {c.nodes[-1].name}" for c in streamed.chains)
    return f"runs {ends} row by row: {plan.nbytes:,} -> {streamed.plan.nbytes:,} bytes of ram"


def _less_ram(graph: Graph, table: KernelTable, choices: Choices, plan: Plan) -> tuple[Choices, Plan]:
    """Other kernels where they make the whole plan smaller, the cheapest that do and that are worth it.

    Nodes are asked in turn, again and again until none helps; the size of the graph bounds the trials.
    """
    whole = sum(choice.cost for choice in choices.values())
    homes = [(node, entry) for entry in graph.entries for node in entry.nodes if node.name in choices]
    others = {node.name: table.fitting(graph, node) for node, _ in homes}
    trials, better = RAM_TRIALS // max(len(homes), 1), True
    while better:
        better = False
        for node, entry in homes:
            for other in others[node.name]:
                if trials == 0 or other.kernel.name == choices[node.name].kernel.name:
                    continue
                if not memory.may_shrink(graph, entry, node, choices[node.name], other):
                    continue
                trials -= 1
                tried = {**choices, node.name: other}
                found = memory.plan(graph, tried, align=plan.align)
                saved, paid = plan.nbytes - found.nbytes, other.cost - choices[node.name].cost
                if saved > 0 and RAM_WORTH * saved * whole >= paid * plan.nbytes:
                    choices, plan, better = tried, found, True
    return choices, plan


def prepare(request: Request, target_name: str) -> Job:
    """Loads and links the brain for one target and settles how it is quantised."""
    target = load_target(target_name)
    check_level(target, request.isa)
    brain = manifest.load(request.source)
    check_speech(request, brain, target)
    graph = link.load_brain(brain, target.name, request.shapes)
    quantize, remark = _quantisation(request, brain, target, graph)
    asked = (m.quant.calibration for m in brain.modules.values() if m.quant.calibration)
    calibration = request.calibration or next(asked, "mse")
    options = Options(quantize, calibration, request.io, request.layout, four=_in_four_bits(request, brain))
    vectors = _calibration(request, brain, graph) if quantize == "int8" else None
    spoken = link.language(brain, target.name, request.shapes)
    return Job(request, brain, target, graph, Context(options, vectors), (remark,) if remark else (), spoken)


def check_level(target: Target, isa: str | None) -> None:
    """UserError where a target has no kernels of this name."""
    levels = [accent.name for accent in (PORTABLE, *target.accents)]
    if isa not in (None, *levels):
        raise UserError(f"{target.name} has no kernels for {isa}", fix=f"--isa {'|'.join(levels)}")


def check_speech(request: Request, brain: Brain, target: Target) -> None:
    """Language models are for the desktop, and as their file is. Before one is read: it may have gigabytes."""
    if not brain.choose(target.name).speaks:
        return
    if target.word < DESKTOP:
        what = f"{target.name} has no threads and no files, which a language model is made for"
        raise UnsupportedError(what, fix="language models are for the desktop: see `brainc targets`")
    usual = Request(request.source)
    names = ("calibrate", "calibration", "io", "layout", "optimize")
    given = {f"--{name}": getattr(request, name) != getattr(usual, name) for name in names}
    quantized = request.quantize not in (None, "none")
    without({"--quantize": quantized, **given, "--stream": request.stream == "always"})


def ports(graph: Graph) -> list[tuple[str, TensorType]]:
    """The input ports of the first entry: what a sample file must hold."""
    return [(name, graph.type(name)) for name in graph.entries[0].inputs]


def is_float(graph: Graph) -> bool:
    """Whether the graph multiplies floats that nobody has quantised yet."""
    nodes = list(graph.nodes())
    if any(n.op in ("from_int", "to_int") for n in nodes):
        return False
    types = [graph.type(i) for n in nodes if ops.get(n.op).macs != "0" for i in n.operands]
    return any(t.dtype.kind == "float" and not t.quant for t in types)


def _quantisation(request: Request, brain: Brain, target: Target, graph: Graph) -> tuple[str | None, str]:
    """(quantize, remark): the user's word, else the manifest's, else int8 where floats are slow."""
    if request.quantize or request.io == "int8":
        return _activations(request.quantize) or ("int8" if is_float(graph) else None), ""
    asked = next((m.quant.quantize for m in brain.modules.values() if m.quant.quantize), None)
    if asked:
        return _activations(asked), ""
    if is_float(graph) and not target.fpu:
        return "int8", f"{target.name} has no floating point unit: quantising to int8 (--quantize none keeps floats)"
    return None, ""


def _activations(asked: str | None) -> str | None:
    """Beside weights of 4 bits they have 8."""
    return "int8" if asked == "int4" else asked


def _in_four_bits(request: Request, brain: Brain) -> dict[str, int]:
    """Whose weights get 4 bits, see `Options.four`; the user's word stands above the manifest's."""
    if request.quantize:
        return {"": GROUP} if request.quantize == "int4" else {}
    whole = len(brain.modules) == 1
    asked = {name: m.quant for name, m in brain.modules.items() if m.quant.quantize == "int4"}
    return {"" if whole else f"{name}/": quant.group or GROUP for name, quant in asked.items()}


def _calibration(request: Request, brain: Brain, graph: Graph) -> Mapping[str, Array]:
    if request.calibrate == RANDOM:
        return samples.random(ports(graph), RANDOM_SAMPLES, 0).arrays
    path = Path(request.calibrate) if request.calibrate else brain.calibrate or brain.samples
    if path is None:
        shown = ", ".join(f"{name} {list(t.shape)}" for name, t in ports(graph))
        raise UserError(
            f"{brain.name} is a float model to be quantised, but there are no samples to calibrate it with",
            fix=f"give some inputs as arrays named {shown} (first axis: samples):\n"
            f"brainc build {request.source} --calibrate samples.npz\n"
            "or --calibrate random, for questions of size only",
        )
    return samples.load(path, ports(graph)).arrays

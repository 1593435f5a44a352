"""Figures for people: tables, and the picture of the memory.

`cli.py` prints them; nothing is decided here.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, cycle
from pathlib import Path
from typing import Any

from rich.table import Table

from brainc.ir import Node
from brainc.kernels import KernelTable, Verdict
from brainc.memory import EntryPlan, Slot
from brainc.program import Host, Program
from brainc.quality import Quality
from brainc.views import Viewer

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_ROWS, _SCRATCH = 24, "░"
_Home = tuple[str, str, Slot]  # letter, name, place
POOR_DB = 10.0  # below this a layer has lost more than a third of its signal's amplitude


def plan_lines(program: Program) -> Iterator[str]:
    """The plan in a few lines: what `build` prints."""
    if program.host is not None:
        yield from _host_lines(program, program.host)
        return
    plan = program.plan
    greedy = max(e.placement.greedy_bytes for e in plan.entries)
    yield f"{program.name} for {program.target.title}, optimized for {program.optimize}"
    yield f"  work     {program.work:,} multiply-accumulates in {sum(1 for _ in program.steps)} steps"
    yield f"  arena    {plan.arena:,} bytes ({plan.proof}; greedy: {greedy:,})"
    yield f"  overlaps {_overlap_line(program)}"
    if plan.state:
        yield f"  state    {plan.state:,} bytes"
    for note in program.notes:
        yield f"  note     {note}"


def _host_lines(program: Program, host: Host) -> Iterator[str]:
    """The same for a host program."""
    layout, language = host.layout, host.language
    accents = ", ".join(f"{voice.accent.name} ({voice.accent.title})" for voice in host.voices)
    meets = {entry.name: len(entry.meets) for entry in layout.entries}
    yield f"{program.name} for {program.target.title}: a language model with a context of {language.context:,} tokens"
    yield f"  work     {program.work:,} multiply-accumulates to read {language.block} tokens and then one"
    yield f"  accents  {accents}: the best that the CPU has, when it starts"
    yield f"  memory   {layout.nbytes(1):,} bytes and {layout.own:,} for each further thread, all taken at the start:"
    yield f"           arena {layout.arena:,}, caches {layout.state:,}; the weights are mapped from their file"
    yield f"  threads  meet {' times, '.join(f'{n} {k}' for n, k in meets.items())} times"
    for note in program.notes:
        yield f"  note     {note}"


def file_lines(program: Program, output: Path, files: Sequence[str]) -> Iterator[str]:
    """What was written where; of a language model without its runtime, and how it becomes a program."""
    own = [name for name in files if name.startswith((program.name, "main.", "CMake", "report.json"))]
    if program.host is None:
        yield f"  files    {output}: {', '.join(files)}"
        return
    yield f"  files    {output}: {', '.join(own)}; and {len(files) - len(own)} of what it runs on"
    source, made, name = (
        shlex.quote(str(path)) for path in (output, output / "build", output / "build" / program.name)
    )
    yield f"  next     cmake -S {source} -B {made} && cmake --build {made} && {name}"


def host_data(program: Program) -> dict[str, Any]:
    """What report.json says of a language model; nothing of other brains."""
    if (host := program.host) is None:
        return {}
    accents, language = [voice.accent.name for voice in host.voices], host.language
    sizes = {"context": language.context, "block": language.block, "bytes_per_thread": host.layout.own}
    return {"language": {**sizes, "accents": accents, "chats": language.chat is not None}}


def ports(program: Program) -> dict[str, Any]:
    """The ports of the first entry, in the order of its C parameters: name, name in C, element type, shape, scale."""
    viewer, entry = Viewer(program), program.graph.entries[0]

    def told(port: str) -> dict[str, Any]:
        type_ = program.graph.type(port)
        quant = type_.quant if type_.dtype.is_integer else None
        scale = {"scale": quant.scale[0], "zero": quant.zero[0]} if quant else {}
        return {"name": port, "c": viewer.ports[port], "dtype": type_.dtype.name, "shape": [*type_.shape], **scale}

    return {"inputs": [*map(told, entry.inputs)], "outputs": [*map(told, entry.outputs)]}


def _overlap_line(program: Program) -> str:
    """How many results lie over what they are made from, and what scratch there is."""
    entries = program.plan.entries
    steps = [(entry, index, nodes) for entry in entries for index, (_, nodes) in enumerate(entry.step_nodes())]
    over = sum(bool(_under(entry, index, nodes)) for entry, index, nodes in steps)
    down, scratch = sum(len(e.down) for e in entries), [s.nbytes for e in entries for s in e.scratch.values()]
    backwards = f", {down} of them from the last row to the first" if down else ""
    return f"{over} results lie over what they are made from{backwards}; scratch {max(scratch, default=0):,} at most"


def picture(program: Program) -> Iterator[str]:
    """Who lives where, when: bytes upwards, steps to the right, a letter a value."""
    if program.host is not None:
        yield from _host_picture(program, program.host)
        return
    for entry in program.plan.entries:
        yield from _entry_picture(entry)
    if program.plan.states:
        yield f"state: {program.plan.state:,} bytes, always taken"
    for name, slot in program.plan.states.items():
        yield f"     {_span(slot)} {name}"


def _host_picture(program: Program, host: Host) -> Iterator[str]:
    """The same of a host program, whose layers are alike: places, and whose they are in turn."""
    layout = host.layout
    states = Counter(str(program.graph.type(name)) for name in layout.states)
    yield f"{program.name}: {layout.nbytes(1):,} bytes and {layout.own:,} for each further thread, taken at the start"
    yield f"  weights  {program.constant_bytes:,} bytes and the vocabulary, mapped from {program.name}.weights: no copy"
    yield f"  arena    {layout.arena:,} bytes that all threads share and both entries use"
    yield f"  caches   {layout.state:,} bytes: {', '.join(f'{count} of {kind}' for kind, count in states.items())}"
    yield f"  thread   {layout.own:,} bytes for each: what it works out for itself, and scratch"
    for entry in layout.entries:
        inner = {name: home for name, home in entry.homes.items() if name not in layout.states}
        scratch = {node.name: max(voice.choices[node.name].scratch for voice in host.voices) for node in entry.nodes}
        yield f"entry {entry.name}, the arena (# stands for the number of any layer)"
        yield from _places((n, home.offset, home.nbytes) for n, home in inner.items() if not home.own)
        yield f"entry {entry.name}, each thread"
        yield from _places((n, home.offset, home.nbytes) for n, home in inner.items() if home.own)
        yield from _places(((n, at, scratch[n]) for n, at in entry.scratch.items()), "scratch of ")


def _places(homes: Iterable[tuple[str, int, int]], word: str = "") -> Iterator[str]:
    """A line for each place (name, offset, bytes), names that differ in numbers told once."""
    found: dict[tuple[int, int], dict[str, None]] = {}
    for name, offset, nbytes in homes:
        found.setdefault((offset, nbytes), {})[re.sub(r"\d+", "#", name.partition("/")[2] or name)] = None
    for (offset, nbytes), names in sorted(found.items()):
        yield f"  {offset:>9,} .. {offset + nbytes:<9,} {word}{', '.join(names)}"


def _entry_picture(entry: EntryPlan) -> Iterator[str]:
    total, steps = entry.placement.nbytes, max(len(entry.placement.order), 1)
    homes, rows = _homes(entry), min(_ROWS, total)
    areas = [*homes, *((_SCRATCH, name, slot) for name, slot in entry.scratch.items())]
    there = [list[_Home]() for _ in range(steps)]
    for area in areas:
        for step in range(area[2].first, area[2].last + 1):
            there[step].append(area)
    cells = ""
    yield f"entry {entry.name}: {total:,} bytes, least possible {entry.placement.lower_bound:,}"
    for row in range(rows - 1, -1, -1):
        low, high = row * total // rows, (row + 1) * total // rows
        line = "".join(_cell(found, low, high) for found in there)
        cells += line
        yield f"{low:>9,} ┤{line}"
    yield " " * 10 + "└" + "".join(f"{step % 10}─" for step in range(steps)) + "> steps"
    if any(a != b for a, b in zip(cells[::2], cells[1::2], strict=True)):
        yield "  two letters: the second is written over the first, which is used up meanwhile"
    if entry.scratch:
        yield f"  {_SCRATCH}  scratch of one step"
    for letter, name, slot in homes:
        when = f"step {slot.first}" if slot.first == slot.last else f"steps {slot.first}-{slot.last}"
        yield f"  {letter}  {_span(slot)} {when:12} {name}"
    yield from _step_lines(entry, homes)


def _step_lines(entry: EntryPlan, homes: list[_Home]) -> Iterator[str]:
    """What each step reads and makes, what its result lies over and how, and its scratch."""
    letters = {(slot.offset, slot.first, slot.last): letter for letter, _, slot in homes}

    def told(names: Iterable[str]) -> list[str]:
        slots = [entry.slots[name] for name in names if name in entry.slots]
        return list(dict.fromkeys(letters[s.offset, s.first, s.last] for s in slots))

    for index, (step, nodes) in enumerate(entry.step_nodes()):
        made = [o for n in nodes for o in n.outputs]
        read = [i for n in nodes for i in n.operands if i not in made]
        arrow = f"{' '.join(told(read))} → {' '.join(told(made))}"
        notes = [f"over {letter}" for letter in told(_under(entry, index, nodes))]
        notes += ["from the last row to the first"] if step in entry.down else []
        what = "windows" if step in entry.chains else "scratch"
        notes += [f"{what} {s.nbytes:,} at {s.offset:,}" for s in (entry.scratch.get(step),) if s]
        name = f"{nodes[0].name} to {nodes[-1].name}, row by row" if step in entry.chains else step
        yield f"  step {index:<3} {arrow:10} {name}" + "".join(f", {note}" for note in notes)


def _under(entry: EntryPlan, index: int, nodes: Iterable[Node]) -> list[str]:
    """The operands of a step that its result lies over, whole or in part."""
    names = {name for node in nodes for name in node.outputs}
    made = [entry.slots[name] for name in names if name in entry.slots]
    read = {i: entry.slots[i] for node in nodes for i in node.operands if i in entry.slots and i not in names}
    return [
        n for n, s in read.items() if s.last == index and any(_common(s, y.offset, y.offset + y.nbytes) for y in made)
    ]


def _common(slot: Slot, low: int, high: int) -> int:
    """How many bytes a place has of low..high."""
    return max(0, min(high, slot.offset + slot.nbytes) - max(low, slot.offset))


def _span(slot: Slot) -> str:
    return f"{slot.offset:>8,} .. {slot.offset + slot.nbytes:<8,}"


def _cell(there: list[_Home], low: int, high: int) -> str:
    """Who of those there has most of the bytes low..high, twice; of two that have the same byte, first the older."""
    inside = [(_common(slot, low, high), letter, slot) for letter, _, slot in there]
    inside = sorted((found for found in inside if found[0]), key=lambda found: -found[0])
    for (_, a, first), (_, b, second) in combinations(inside, 2):
        if _common(second, max(low, first.offset), min(high, first.offset + first.nbytes)):
            return a + b if first.first < second.first else b + a
    return inside[0][1] * 2 if inside else "  "


def _homes(entry: EntryPlan) -> list[_Home]:
    """Every block under a letter, by first step and offset; views told once, by the largest."""
    named: dict[tuple[int, int, int], tuple[str, Slot]] = {}
    for name, slot in sorted(entry.slots.items(), key=lambda item: -item[1].nbytes):
        named.setdefault((slot.offset, slot.first, slot.last), (name, slot))
    rows = sorted(named.values(), key=lambda r: (r[1].first, r[1].offset))
    return [(letter, *row) for letter, row in zip(cycle(_LETTERS), rows, strict=False)]


def kernel_table(program: Program, table: KernelTable) -> Table:
    """Which kernel each step got, and what spoke against each of the others; like steps share a row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for node in program.steps:
        won = program.choices[node.name]
        verdicts = {v.kernel.name: v for v in table.explain(program.graph, node)}
        verdicts.pop(won.kernel.name, None)
        figures = (short(won.cost), number(won.scratch))
        passed = sorted((v for v in verdicts.values() if not v.failed), key=lambda v: v.merit)
        beaten = [f"{v.kernel.name}: {_merits(v, program.optimize)}" for v in passed]
        out = [f"{v.kernel.name}: {v.failed}" for v in verdicts.values() if v.failed]
        rows.setdefault((won.kernel.name, *figures, "\n".join((*beaten, *out))), []).append(node.name)
    first = {"speed": "the cheapest", "ram": "the cheapest, unless another makes the whole plan smaller"}
    rule = first.get(program.optimize, "those that bake least in, so that layers share them")
    title = f"{program.name} on {program.target.name}, optimized for {program.optimize}: {rule}"
    shown = _table(title, ("step", "kernel"), ("cost", "scratch"))
    shown.add_column("chosen over", overflow="fold")
    for (kernel, cost, scratch, others), steps in rows.items():
        shown.add_row("\n".join(steps), kernel, cost, scratch, others)
    return shown


def _merits(verdict: Verdict, optimize: str) -> str:
    """What a kernel that fits was beaten by."""
    cost, baked = f"cost {short(verdict.cost)}", f"bakes {len(verdict.kernel.bake)} in"
    return {"ram": f"scratch {verdict.scratch:,}, {cost}", "flash": f"{baked}, {cost}"}.get(optimize, cost)


def kernel_data(program: Program, table: KernelTable) -> dict[str, Any]:
    """The same for `show --kernels --json`: every candidate of every step, `failed` empty where it fits."""
    return {
        node.name: [
            {"kernel": v.kernel.name, "failed": v.failed, "cost": v.cost, "scratch": v.scratch}
            for v in table.explain(program.graph, node)
        ]
        for node in program.steps
    }


def short(value: float) -> str:
    """Three digits of a large figure: 9.81 M, 523 k."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            digits = 2 if value < 9.995 * size else 1 if value < 99.95 * size else 0
            return f"{value / size:.{digits}f} {unit}"
    return f"{value:,.0f}"


def cost_table(program: Program) -> Table:
    """Work and memory of each step."""
    title = f"{program.name} on {program.target.name}"
    table = _table(title, ("step", "op", "kernel"), ("MACs", "cost", "bytes out"))
    for node in program.steps:
        choice = program.choices[node.name]
        size = sum(program.graph.type(o).nbytes for o in node.outputs)
        cells = (f"{program.macs(node):,}", f"{choice.cost:,.0f}", f"{size:,}")
        table.add_row(node.name, node.op, choice.kernel.name, *cells)
    return table


def _table(title: str, words: Iterable[str], figures: Iterable[str]) -> Table:
    table = Table(title=title, box=None)
    for heading in words:
        table.add_column(heading, overflow="fold")
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def number(value: float | int | None, unit: str = "") -> str:
    """A figure with thousands, or a dash where the target cannot give it."""
    if value is None:
        return "-"
    text = f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
    return f"{text} {unit}".strip()


def speech_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """What was measured of a language model, for people."""
    prefill, memory = figures["entries"]["prefill"], figures["memory_bytes"]
    threads = "1 thread" if figures["threads"] == 1 else f"{figures['threads']} threads"
    yield f"{figures['brain']}  {threads}, {figures['isa']} kernels, medians of five"
    yield f"  reads    {prefill['tokens_per_second']:,.1f} tokens a second ({prefill['tokens']} at once)"
    for at in figures["entries"]["decode"]:
        yield f"  writes   {at['tokens_per_second']:,.1f} tokens a second behind {at['depth']:,} others"
    room = memory["arena"] + memory["state"] + memory["thread"] * figures["threads"]
    yield f"  memory   {room:,} bytes beyond the {memory['weights']:,} of its weights, which are mapped"
    if figures["start_seconds"] is not None:
        yield f"  start    {1000 * figures['start_seconds']:.0f} ms until one token behind one token was written"


def bench_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """A bench result in a few lines; `budget` as `fit.budgets` gives it."""
    ram, flash = figures["ram_bytes"], figures["flash_bytes"]
    yield f"{figures['brain']} on {figures['target']}, optimized for {figures['optimize']}  ({figures['toolchain']})"
    for name, entry in figures["entries"].items():
        yield f"  {name:8} {', '.join(_measured(entry)) or 'not measured'} for {entry['macs']:,} MACs"
        if classes := entry["instruction_classes"]:
            yield "  classes  " + ", ".join(f"{k} {v:,}" for k, v in classes.items() if v)
    parts = " + ".join(
        f"{k} {number(ram[k])}" for k in ("arena", "state", "static", "stack") if k != "static" or ram[k]
    )
    yield f"  ram      {number(ram['total'])} = {parts}"
    yield f"  flash    {flash['total']:,} = weights {flash['weights']:,} + code {flash['code']:,}"
    for name, b in figures["budget"].items():
        verdict = {True: "ok", None: "not measured"}.get(b["ok"]) or f"OVER by {b['used'] - b['limit']:,}"
        yield f"  budget   {name} {number(b['used'])} of {b['limit']:,}: {verdict}"


def _measured(entry: Mapping[str, Any]) -> Iterator[str]:
    """Each figure that there is with its unit; an estimate under a ~."""
    for key, unit in (("cycles", "cycles"), ("instructions", "instructions"), ("microseconds", "µs")):
        if entry[key] is not None:
            yield number(entry[key], unit)
    if entry["cycles_estimated"] is not None:
        yield f"~{number(entry['cycles_estimated'], 'cycles')}"


def quality_data(found: Quality) -> dict[str, Any]:
    """What quantising cost, for `check --json`."""
    layers = [{"name": layer.name, "snr_db": _finite(layer.snr_db)} for layer in found.layers]
    return {"metric": found.metric, "float": found.float_value, "brain": found.brain_value, "layers": layers}


def _finite(decibels: float) -> float | None:
    return round(decibels, 2) if math.isfinite(decibels) else None


def quality_lines(target: str, found: Quality) -> Iterator[str | Table]:
    """The same for people: signal to noise per layer, poor ones in red, and the user's own metric."""
    table = Table("layer", "signal to noise", title=f"{target} against the float model", box=None)
    for layer in found.layers:
        style = "red" if layer.snr_db < POOR_DB else None
        table.add_row(layer.name, f"{layer.snr_db:.1f} dB", style=style)
    yield table if found.layers else "the model came in integers: there is no float model to compare it with"
    if found.metric is not None and found.brain_value is not None:
        before = found.float_value
        gap = "" if before is None else f" (float {before:.4f}, {found.brain_value - before:+.4f})"
        yield f"{found.metric}: {found.brain_value:.4f}{gap}"


_COSTS = {"instructions": "instructions", "cycles": "cycles", "cycles_estimated": "~cycles"}


def layer_table(figures: Mapping[str, Any]) -> Table:
    """Cost per layer as measured, or estimated (~); `per MAC` is of what stands before it."""
    rows = figures["layers"]
    kinds = [kind for kind in _COSTS if any(row[kind] is not None for row in rows)] or ["instructions"]
    headings = [_COSTS[kind] for kind in kinds]
    title = f"{figures['brain']} on {figures['target']}, per layer"
    table = _table(title, ("layer", "kernel"), ("MACs", headings[0], "per MAC", *headings[1:]))
    for row in rows:
        first, macs = row[kinds[0]], row["macs"]
        each = f"{first / macs:.2f}" if first is not None and macs else ""
        costs = [number(row[kind]) for kind in kinds]
        table.add_row(row["name"], row["kernel"], f"{macs:,}" if macs else "", costs[0], each, *costs[1:])
    return table

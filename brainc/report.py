"""Figures for people: tables, and the picture of the memory.

`cli.py` prints them; nothing is decided here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, cycle
from typing import Any

from rich.table import Table

from brainc.kernels import KernelTable
from brainc.memory import EntryPlan, Slot
from brainc.program import Program
from brainc.quality import Quality

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_ROWS, _SHARED = 24, "▚"
_Home = tuple[str, str, Slot]  # letter, name, place
POOR_DB = 10.0  # below this a layer has lost more than a third of its signal's amplitude


def plan_lines(program: Program) -> Iterator[str]:
    """The plan in a few lines: what `build` prints."""
    plan = program.plan
    greedy = max(e.placement.greedy_bytes for e in plan.entries)
    yield f"{program.name} for {program.target.title}"
    yield f"  work     {program.work:,} multiply-accumulates in {sum(1 for _ in program.steps)} steps"
    yield f"  arena    {plan.arena:,} bytes ({plan.proof}; greedy: {greedy:,})"
    if plan.state:
        yield f"  state    {plan.state:,} bytes"
    yield f"  weights  {program.constant_bytes:,} bytes"
    for note in program.notes:
        yield f"  note     {note}"


def picture(program: Program) -> Iterator[str]:
    """Who lives where, when: bytes upwards, steps to the right, a letter a value."""
    for entry in program.plan.entries:
        yield from _entry_picture(entry)
    if program.plan.states:
        yield f"state: {program.plan.state:,} bytes, always taken"
    for name, slot in program.plan.states.items():
        yield f"     {_span(slot)} {name}"


def _entry_picture(entry: EntryPlan) -> Iterator[str]:
    total, steps = entry.placement.nbytes, max(len(entry.nodes), 1)
    homes, rows = _homes(entry), min(_ROWS, total)
    shared = False
    yield f"entry {entry.name}: {total:,} bytes, least possible {entry.placement.lower_bound:,}"
    for row in range(rows - 1, -1, -1):
        low, high = row * total // rows, (row + 1) * total // rows
        cells = [_cell(homes, low, high, step) for step in range(steps)]
        shared = shared or _SHARED in cells
        yield f"{low:>9,} ┤{''.join(cell * 2 for cell in cells)}"
    yield " " * 10 + "└" + "──" * steps + "> steps"
    for letter, name, slot in homes:
        when = f"step {slot.first}" if slot.first == slot.last else f"steps {slot.first}-{slot.last}"
        yield f"  {letter}  {_span(slot)} {when:12} {name}"
    if shared:
        yield f"  {_SHARED}  written over what is being used up"


def _span(slot: Slot) -> str:
    return f"{slot.offset:>8,} .. {slot.offset + slot.nbytes:<8,}"


def _cell(homes: list[_Home], low: int, high: int, step: int) -> str:
    """Who has most of the bytes low..high during a step; shared if two have the same byte."""
    inside = []
    for letter, _, slot in homes:
        start, end = max(low, slot.offset), min(high, slot.offset + slot.nbytes)
        if slot.first <= step <= slot.last and start < end:
            inside.append((end - start, letter, start, end))
    inside.sort(reverse=True)
    if any(a[2] < b[3] and b[2] < a[3] for a, b in combinations(inside, 2)):
        return _SHARED
    return inside[0][1] if inside else " "


def _homes(entry: EntryPlan) -> list[_Home]:
    """Every block and scratch under a letter, by first step and offset; views told once, by the largest."""
    named: dict[tuple[int, int, int], tuple[str, Slot]] = {}
    for name, slot in sorted(entry.slots.items(), key=lambda item: -item[1].nbytes):
        named.setdefault((slot.offset, slot.first, slot.last), (name, slot))
    rows = [*named.values(), *((f"scratch of {name}", slot) for name, slot in entry.scratch.items())]
    rows.sort(key=lambda r: (r[1].first, r[1].offset))
    return [(letter, *row) for letter, row in zip(cycle(_LETTERS), rows, strict=False)]


def kernel_lines(program: Program, table: KernelTable) -> Iterator[str]:
    """Why each node got its kernel, and what spoke against the others."""
    for node in program.steps:
        chosen = program.choices[node.name]
        yield f"{node.name}  {node.op}: {chosen.kernel.name} (cost {chosen.cost:,.0f})"
        for verdict in table.explain(program.graph, node):
            if verdict.kernel.name != chosen.kernel.name:
                why = verdict.failed or f"fits too, cost {verdict.cost:,.0f}"
                yield f"    not {verdict.kernel.name}: {why}"


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


def bench_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """A bench result in a few lines; `budget` as `fit.budgets` gives it."""
    ram, flash = figures["ram_bytes"], figures["flash_bytes"]
    yield f"{figures['brain']} on {figures['target']}  ({figures['toolchain']})"
    for name, entry in figures["entries"].items():
        measured = [
            number(entry[key], unit)
            for key, unit in (("cycles", "cycles"), ("instructions", "instructions"), ("microseconds", "µs"))
            if entry[key] is not None
        ]
        yield f"  {name:8} {', '.join(measured) or 'not measured'} for {entry['macs']:,} MACs"
    parts = " + ".join(
        f"{k} {number(ram[k])}" for k in ("arena", "state", "static", "stack") if k != "static" or ram[k]
    )
    yield f"  ram      {number(ram['total'])} = {parts}"
    yield f"  flash    {flash['total']:,} = weights {flash['weights']:,} + code {flash['code']:,}"
    for name, b in figures["budget"].items():
        verdict = {True: "ok", None: "not measured"}.get(b["ok"]) or f"OVER by {b['used'] - b['limit']:,}"
        yield f"  budget   {name} {number(b['used'])} of {b['limit']:,}: {verdict}"


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
    yield table
    if found.metric is not None and found.float_value is not None and found.brain_value is not None:
        change = found.brain_value - found.float_value
        yield f"{found.metric}: float {found.float_value:.4f}, brain {found.brain_value:.4f} ({change:+.4f})"


def layer_table(figures: Mapping[str, Any]) -> Table:
    """Cost per layer, as measured."""
    rows = figures["layers"]
    unit = "cycles" if any(row["cycles"] is not None for row in rows) else "instructions"
    title = f"{figures['brain']} on {figures['target']}, per layer"
    table = _table(title, ("layer", "kernel"), ("MACs", unit, "per MAC"))
    for row in rows:
        cost, macs = row[unit], row["macs"]
        each = f"{cost / macs:.2f}" if cost is not None and macs else ""
        table.add_row(row["name"], row["kernel"], f"{macs:,}" if macs else "", number(cost), each)
    return table

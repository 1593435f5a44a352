"""Figures for people: tables, and the picture of the memory.

`cli.py` prints them; nothing is decided here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from brainc.kernels import KernelTable
from brainc.memory import EntryPlan
from brainc.program import Program
from brainc.quality import Quality

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_ROWS, _SHARED = 24, "▚"
_Home = tuple[str, str, int, int, int, int]  # letter, name, offset, bytes, first step, last step
POOR_DB = 10.0  # below this a layer has lost more than a third of its signal's amplitude


def plan_lines(program: Program, weights: int) -> Iterator[str]:
    """The plan in a few lines: what `build` prints."""
    plan, target = program.plan, program.target
    work = sum(program.macs(n) for n in program.graph.nodes())
    proof = "no plan needs less" if plan.optimal else f"at best {plan.lower_bound:,}"
    greedy = max(e.placement.greedy_bytes for e in plan.entries)
    yield f"{program.name} for {target.title}"
    yield f"  work     {work:,} multiply-accumulates in {sum(len(e.nodes) for e in plan.entries)} steps"
    yield f"  arena    {plan.arena:,} bytes ({proof}; greedy: {greedy:,})"
    if plan.state:
        yield f"  state    {plan.state:,} bytes"
    yield f"  weights  {weights:,} bytes"
    for note in program.notes:
        yield f"  note     {note}"


def picture(program: Program) -> Iterator[str]:
    """Who lives where, when: bytes upwards, steps to the right, a letter a value."""
    for entry in program.plan.entries:
        yield from _entry_picture(program, entry)


def _entry_picture(program: Program, entry: EntryPlan) -> Iterator[str]:
    total, steps = max(entry.placement.nbytes, 1), max(len(entry.nodes), 1)
    homes = _homes(program, entry)
    rows = min(_ROWS, total)
    shared = False
    yield f"entry {entry.name}: {total:,} bytes, least possible {entry.placement.lower_bound:,}"
    for row in range(rows - 1, -1, -1):
        low, high = row * total // rows, (row + 1) * total // rows
        cells = [_cell(homes, low, high, step) for step in range(steps)]
        shared = shared or _SHARED in cells
        yield f"{low:>9,} ┤{''.join(cell * 2 for cell in cells)}"
    yield " " * 10 + "└" + "──" * steps + "> steps"
    for letter, name, offset, nbytes, first, last in homes:
        span = f"step {first}" if first == last else f"steps {first}-{last}"
        yield f"  {letter}  {offset:>8,} .. {offset + nbytes:<8,} {span:12} {name}"
    if shared:
        yield f"  {_SHARED}  written over what is being used up"


def _cell(homes: list[_Home], low: int, high: int, step: int) -> str:
    """Who has most of the bytes low..high during a step; shared if two have the same byte."""
    inside = []
    for letter, _, offset, nbytes, first, last in homes:
        start, end = max(low, offset), min(high, offset + nbytes)
        if first <= step <= last and start < end:
            inside.append((end - start, letter, start, end))
    inside.sort(reverse=True)
    for index, (_, _, start, end) in enumerate(inside):
        if any(start < other[3] and other[2] < end for other in inside[index + 1 :]):
            return _SHARED
    return inside[0][1] if inside else " "


def _homes(program: Program, entry: EntryPlan) -> list[_Home]:
    """(letter, name, offset, bytes, first, last) of every block and scratch, views told once."""
    seen: dict[tuple[int, int, int], str] = {}
    for name, slot in entry.slots.items():
        key = (slot.offset, slot.first, slot.last)
        if key not in seen or entry.slots[seen[key]].nbytes < slot.nbytes:
            seen[key] = name
    rows = [(name, entry.slots[name]) for name in seen.values()]
    rows += [(f"scratch of {name}", slot) for name, slot in entry.scratch.items()]
    rows.sort(key=lambda r: (r[1].first, r[1].offset))
    return [
        (_LETTERS[i % len(_LETTERS)], name, s.offset, s.nbytes, s.first, s.last) for i, (name, s) in enumerate(rows)
    ]


def kernel_lines(program: Program, table: KernelTable) -> Iterator[str]:
    """Why each node got its kernel, and what spoke against the others."""
    for node in program.plan.entries[0].nodes:
        chosen = program.choices[node.name]
        yield f"{node.name}  {node.op}: {chosen.kernel.name} (cost {chosen.cost:,.0f})"
        for verdict in table.explain(program.graph, node):
            if verdict.kernel.name != chosen.kernel.name:
                why = verdict.failed or f"dearer: {verdict.cost:,.0f}"
                yield f"    not {verdict.kernel.name}: {why}"


def cost_table(program: Program) -> Table:
    """Work and memory of each step."""
    table = Table(title=f"{program.name} on {program.target.name}", box=None)
    for heading in ("step", "op", "kernel"):
        table.add_column(heading, overflow="fold")
    for heading in ("MACs", "cost", "bytes out"):
        table.add_column(heading, justify="right", no_wrap=True)
    for node in program.plan.entries[0].nodes:
        choice = program.choices[node.name]
        size = sum(program.graph.type(o).nbytes for o in node.outputs)
        cells = (f"{program.macs(node):,}", f"{choice.cost:,.0f}", f"{size:,}")
        table.add_row(node.name, node.op, choice.kernel.name, *cells)
    return table


def number(value: float | int | None, unit: str = "") -> str:
    """A figure with thousands, or a dash where the target cannot give it."""
    if value is None:
        return "-"
    text = f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
    return f"{text} {unit}".strip()


def bench_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """A bench result in a few lines."""
    ram, flash = figures["ram_bytes"], figures["flash_bytes"]
    yield f"{figures['brain']} on {figures['target']}  ({figures['toolchain']})"
    for name, entry in figures["entries"].items():
        measured = [
            number(entry[key], unit)
            for key, unit in (("cycles", "cycles"), ("instructions", "instructions"), ("microseconds", "µs"))
            if entry[key] is not None
        ]
        yield f"  {name:8} {', '.join(measured) or 'not measured'} for {entry['macs']:,} MACs"
    parts = f"arena {ram['arena']:,} + state {ram['state']:,} + stack {number(ram['stack'])}"
    yield f"  ram      {number(ram['total'])} = {parts}"
    yield f"  flash    {flash['total']:,} = weights {flash['weights']:,} + code {flash['code']:,}"


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
    unit = "cycles" if rows and "cycles" in rows[0] else "instructions"
    table = Table(title=f"{figures['brain']} on {figures['target']}, per layer", box=None)
    for heading in ("layer", "kernel"):
        table.add_column(heading, overflow="fold")
    for heading in ("MACs", unit, "per MAC"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cost, macs = row[unit], row["macs"]
        each = f"{cost / macs:.2f}" if cost is not None and macs else ""
        table.add_row(row["name"], row["kernel"], f"{macs:,}" if macs else "", number(cost), each)
    return table

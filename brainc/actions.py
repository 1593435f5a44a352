"""What each verb does, in terms of the library: a request in, (data for JSON, lines for people) out.

Called by `cli.py` and by scripts that want a verb without a shell. `note` takes messages on the way.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from brainc import bench as benches
from brainc import (
    board,
    emit,
    fit,
    footprint,
    formats,
    host_check,
    manifest,
    passes,
    project,
    quality,
    report,
    samples,
    skeletons,
    speak,
    toolchain,
)
from brainc import check as proofs
from brainc import flash as uploads
from brainc.compiler import RANDOM, Job, Request, compile_job, kernel_table, ports, prepare
from brainc.dtypes import Array
from brainc.errors import DeviceError, ToolMissing, UnsupportedError, UserError
from brainc.ir import Graph, Stage
from brainc.language import without
from brainc.program import Host, Program
from brainc.resources import templates_dir
from brainc.target import Board, all_targets, load_target

Note = Callable[[str], None]
Lines = Iterable[str | Table]
Result = tuple[dict[str, Any], Lines]
CHECK_SAMPLES, BENCH_SAMPLES = 20, 5


@dataclass(frozen=True, slots=True)
class Speed:
    """How a language model is measured: threads (None: one for each processor), and tokens before what it writes."""

    threads: int | None = None
    depths: tuple[int, ...] = ()


ANY = Speed()


def _prepare(request: Request, target: str, note: Note) -> Job:
    """A job, its remarks told."""
    job = prepare(request, target)
    for remark in job.remarks:
        note(remark)
    if request.optimize != "speed":
        note(f"optimized for {request.optimize}")
    if request.calibrate == RANDOM:
        note("calibrated with random numbers: sizes and speed are right, answers are not")
    return job


def _compile(request: Request, target: str, note: Note) -> tuple[Job, Program]:
    job = _prepare(request, target, note)
    return job, compile_job(job)


def _compile_to_run(request: Request, target: str, note: Note) -> tuple[Job, Program]:
    """The same for what is to run there: what has no room is told before a linker does."""
    job, program = _compile(request, target, note)
    fit.require(job, program, footprint.planned(program), budget=False)
    return job, program


def build(request: Request, target: str, output: Path, form: str, note: Note) -> Result:
    """Compiles and writes the files; a brain that does not fit writes nothing."""
    job, program = _compile(request, target, note)
    room, data = _fitting(job, program)
    bundle = formats.make(form, delivery(job, program), data)
    toolchain.write(output, bundle)
    files = sorted(bundle)
    lines = [*report.plan_lines(program), *(f"  {line}" for line in fit.lines(room))]
    return {**data, "files": files}, [*lines, *report.file_lines(program, output, files)]


def _fitting(job: Job, program: Program) -> tuple[fit.Fit, dict[str, Any]]:
    """(the room there is, what report.json says of the build); FitError where there is none."""
    found = footprint.measured(program)
    room = fit.require(job, program, found)
    plan, whole = program.plan, not room.missing
    data = {
        "brain": program.name,
        "target": program.target.name,
        "optimize": program.optimize,
        "arena": plan.arena,
        "lower_bound": plan.lower_bound,
        "optimal": plan.optimal,
        "state": plan.state,
        "weights": found.weights,
        "ports": report.ports(program),
        "fit": room.data,
        "budget": fit.budgets(job, ram=found.ram if whole else None, flash=found.flash if whole else None, cycles=None),
        "random_calibration": job.request.calibrate == RANDOM,
        "notes": list(program.notes),
        **report.host_data(program),
    }
    return room, data


def flash(request: Request, target: str, port: str | None, output: Path | None, note: Note) -> Result:
    """Writes the project, lets PlatformIO upload it, and has the board prove that it computes what it should."""
    job, program = _compile(request, target, note)
    settings = _board_of(program)
    given = delivery(job, program)
    bundle = formats.make("project", given, _fitting(job, program)[1])
    folder = output or toolchain.cache_dir() / "boards" / f"{program.name}-{target}-{project.digest(bundle)}"
    toolchain.write(folder, bundle)
    at_first = board.find(port) if settings.serial_upload else port
    uploads.upload(folder, settings.env, at_first, note)
    data: dict[str, Any] = {"brain": program.name, "target": target, "project": str(folder), "port": at_first}
    data |= {"equal": None}  # until it is proven
    flashed = f"{program.name}  flashed to {target}; the project is {folder}"
    if formats.SKETCH in given.overlay:
        own = "  it runs a sketch of its own: `brainc check --port` proves one that keeps the protocol"
        return data, [flashed, own]
    try:
        at = board.find(port or at_first, patience=board.WAKE)  # one with its own USB has gone and comes back
    except DeviceError as none:
        raise DeviceError(f"flashed, but the board cannot prove itself: {none.what}", fix=none.fix) from none
    rung, took = _on_board(program, _vectors(job, program.graph, None, BENCH_SAMPLES, note).arrays, at)
    verdict = rung.first_difference or f"{rung.samples} samples: reference, board: the same; {took:,} us a step"
    data |= {"port": at, "equal": rung.equal, "first_difference": rung.first_difference, "microseconds": took}
    return data, [flashed, f"  {'' if rung.equal else 'DIFFERS: '}{verdict}"]


def _board_of(program: Program) -> Board:
    """The target's board, if it is one."""
    if program.target.board is None:
        boards = ", ".join(t.name for t in all_targets() if t.board)
        raise UserError(f"{program.target.name} is no board", fix=f"choose from {boards}")
    return program.target.board


def _on_board(program: Program, vectors: proofs.Vectors, port: str) -> tuple[proofs.Rung, int]:
    return board.prove(program, project.digest(emit.emit(program)), vectors, port)


def delivery(job: Job, program: Program) -> formats.Delivery:
    """What a format is made of: for a board also one run of the reference, and the brain's own files."""
    if program.target.board is None:
        return formats.Delivery(program)
    vectors = _vectors(job, program.graph, None, 1, lambda _: None)  # random inputs do, too
    return formats.Delivery(program, proofs.golden(program.graph, vectors.arrays), project.overlay(job.brain, program))


def _vectors(job: Job, graph: Graph, path: Path | None, limit: int | None, note: Note) -> samples.Samples:
    """Samples of the user, else the brain's own, else random numbers (told)."""
    found = path or job.brain.samples
    wanted = ports(graph)
    if found is None:
        note("no samples given: using random inputs")
        return samples.random(wanted, limit or BENCH_SAMPLES, 1)
    loaded = samples.load(found, wanted)
    if limit is None:
        return loaded
    labels = None if loaded.labels is None else loaded.labels[:limit]
    return samples.Samples({k: v[:limit] for k, v in loaded.arrays.items()}, labels, min(limit, loaded.count))


def run(request: Request, target: str, inputs: Path, output: Path | None, note: Note) -> Result:
    """Runs every sample of a file on the target; prints the outputs or writes them."""
    job, program = _compile_to_run(request, target, note)
    if program.host is not None:
        what = f"{program.name} is a language model, which takes texts and no samples"
        raise UnsupportedError(what, fix=f'brainc generate {request.source} --prompt "…"')
    vectors = _vectors(job, program.graph, inputs, None, note)
    raw = proofs.execute(program, vectors.arrays).outputs
    rows = proofs.from_bytes(program.graph, raw, vectors.count)
    arrays = {p: np.stack([row[p] for row in rows]) for p in program.graph.entries[0].outputs}
    data = {"brain": program.name, "target": target, "optimize": program.optimize, "samples": vectors.count}
    if output is None:
        data["outputs"] = {p: a.tolist() for p, a in arrays.items()}
        return data, _output_lines(arrays)
    toolchain.write(output.parent, {output.name: _output_file(output, arrays)})
    return data, [f"wrote {vectors.count} answers to {output}"]


def _output_lines(arrays: Mapping[str, Array]) -> Iterator[str]:
    for port, array in arrays.items():
        for index, row in enumerate(array):
            flat = row.reshape(-1)
            shown = " ".join(f"{v:.6g}" for v in flat[:32]) + (" …" if flat.size > 32 else "")
            yield f"{port}[{index}]  {shown}"


def _output_file(path: Path, arrays: Mapping[str, Array]) -> bytes:
    if path.suffix == ".npz":
        stream = io.BytesIO()
        np.savez(stream, **arrays)  # type: ignore[arg-type]
        return stream.getvalue()
    if path.suffix == ".csv" and len(arrays) == 1:
        text = io.StringIO()
        for row in next(iter(arrays.values())):
            csv.writer(text).writerow(row.reshape(-1).tolist())
        return text.getvalue().encode()
    raise UserError(f"cannot write outputs to {path.name}", fix="use .npz, or .csv for a brain of one output")


def check(
    request: Request,
    targets: Sequence[str],
    path: Path | None,
    limit: int | None,
    with_quality: bool,
    metric: str | None,
    port: str | None,
    note: Note,
) -> Result:
    """The ladder on each target, up to the board at `port`; with quality also what the float model did better."""
    if port and len(targets) > 1:
        raise UserError("there is one board at a port", fix="name one target: -t BOARD")
    if manifest.load(request.source).speaks:
        given = {"--samples": path, "--limit": limit, "--quality": with_quality, "--metric": metric, "--port": port}
        without(given)
    compiled = {target: _compile_to_run(request, target, note) for target in targets}
    data: dict[str, Any] = {"brain": "", "optimize": request.optimize, "targets": {}}
    lines: list[str | Table] = []
    for target, (job, program) in compiled.items():
        data["brain"] = program.name
        if program.host is not None:
            data["targets"][target], told = _language_proof(program, program.host)
        else:
            vectors = _vectors(job, program.graph, path, limit or CHECK_SAMPLES, note)
            data["targets"][target], told = _proof(job, program, vectors, port, note)
        lines += told
    if with_quality:
        found = next((t for t, (_, p) in compiled.items() if proofs.is_exact(p.graph)), targets[0])
        lost = _quality(*compiled[found], path, metric, note)
        data["quality"] = {"target": found, **report.quality_data(lost)}
        lines += report.quality_lines(found, lost)
    return data, lines


def _verdict(rungs: Sequence[proofs.Rung]) -> dict[str, Any]:
    wrong = next((r for r in rungs if not r.equal), None)
    told = [{"name": r.name, "equal": r.equal} for r in rungs]
    return {"equal": wrong is None, "first_difference": wrong.first_difference if wrong else None, "rungs": told}


def _different(program: Program, rungs: Sequence[proofs.Rung]) -> list[str]:
    return [f"{program.name}  {r.name} DIFFERS: {r.first_difference}" for r in rungs if not r.equal][:1]


def _proof(
    job: Job, program: Program, vectors: samples.Samples, port: str | None, note: Note
) -> tuple[dict[str, Any], list[str]]:
    """(what check says of a brain, the same for people)."""
    rungs = _ladder(job, program, vectors.arrays, port, note)
    verdict = "the same" if proofs.is_exact(program.graph) else "equal within tolerance"
    names = ["reference", *(r.name for r in rungs)]
    fine = [f"{program.name}  {vectors.count} samples: {', '.join(names)}: {verdict}"]
    return {"samples": vectors.count, **_verdict(rungs)}, _different(program, rungs) or fine


def _language_proof(program: Program, host: Host) -> tuple[dict[str, Any], list[str]]:
    """The same of a language model."""
    proof = host_check.prove(program, host)
    told = f"{len(proof.rungs)} ways to read {len(proof.tokens)} tokens of {len(host_check.TEXTS)} languages"
    lines = _different(program, proof.rungs) or [f"{program.name}  {told}: the same logits, {proof.digest}"]
    lines += [f"  {'same' if r.equal else 'DIFFERS':8} {r.name}" for r in proof.rungs]
    lines += [f"  left out {name}: this CPU has not the instructions" for name in proof.missing]
    return {**_verdict(proof.rungs), "tokens": proof.tokens.tolist(), "hash": proof.digest}, lines


def _ladder(job: Job, program: Program, vectors: proofs.Vectors, port: str | None, note: Note) -> list[proofs.Rung]:
    """Plain C on this machine with sanitizers, then the target, unless it is this machine; last the board.

    Who has the board need not have its simulator.
    """
    if port is not None:
        _board_of(program)
    here = program.target.sims[0].kind == "host"
    host = program if here else compile_job(replace(job, target=load_target("c99")))
    rungs = []
    for each in (host,) if here else (host, program):
        try:
            rungs.append(proofs.prove(each, vectors, sanitize=each is host))
        except ToolMissing as missing:
            if port is None:
                raise
            note(f"{each.target.name} is left out: {missing.what}")
    if port is not None and all(rung.equal for rung in rungs):
        rung, took = _on_board(program, vectors, board.find(port))
        note(f"{took:,} us a step on the board")
        rungs.append(rung)
    return rungs


def _quality(job: Job, program: Program, path: Path | None, metric: str | None, note: Note) -> quality.Quality:
    """What quantising cost against the float model."""
    floats = passes.run(job.graph, job.context, until=Stage.CANONICAL)
    vectors = _vectors(job, floats, path, None, note)
    return quality.compare(floats, program.graph, vectors.arrays, vectors.labels, metric or job.brain.metric)


def bench(
    request: Request, targets: Sequence[str], path: Path | None, sim: str | None, note: Note, speed: Speed = ANY
) -> Result:
    """Measures on each target; several targets give a list under `results`."""
    results: list[dict[str, Any]] = []
    lines: list[str | Table] = []
    for target in targets:
        if manifest.load(request.source).speaks:
            without({"--samples": path, "--sim": sim})
            results.append(speak.figures(request, target, speed.threads, speed.depths, note))
            lines += report.speech_lines(results[-1])
            continue
        job, program = _compile_to_run(request, target, note)
        vectors = _vectors(job, program.graph, path, BENCH_SAMPLES, note)
        figures = benches.measure(program, vectors.arrays, sim=sim)
        cycles = max((e["cycles"] for e in figures["entries"].values() if e["cycles"] is not None), default=None)
        ram, flash = figures["ram_bytes"]["total"], figures["flash_bytes"]["total"]
        budget = fit.budgets(job, ram=ram, flash=flash, cycles=cycles)
        figures = {**figures, "budget": budget, "random_calibration": request.calibrate == RANDOM}
        results.append(figures)
        lines += [*report.bench_lines(figures), report.layer_table(figures)]
    return results[0] if len(results) == 1 else {"results": results}, lines


def show(
    request: Request, target: str, stage: str | None, memory: bool, kernels: bool, cost: bool, note: Note
) -> Result:
    """The graph at a stage (default READY), and the pictures asked for."""
    if stage is not None and stage != "ready":
        job = _prepare(request, target, note)
        text = passes.run(job.graph, job.context, until=Stage[stage.upper()]).text()
        return {"graph": text}, [text]
    job, program = _compile(request, target, note)
    lines: list[str | Table] = []
    lines += report.picture(program) if memory else []
    lines += [report.kernel_table(program, kernel_table(job))] if kernels else []
    lines += [report.cost_table(program)] if cost else []
    kernels_of = {n: c.kernel.name for n, c in program.choices.items()}
    data = {"graph": program.graph.text(), "kernels": kernels_of, "arena": program.plan.arena}
    data |= {"optimize": program.optimize}
    data |= {"candidates": report.kernel_data(program, kernel_table(job))} if kernels else {}
    return data, lines or [program.graph.text()]


def targets() -> Result:
    """What can be compiled for."""
    table = Table("target", "machine", box=None)
    for heading in ("ram", "flash"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("simulators", no_wrap=True)
    rows = []
    for t in all_targets():
        ram, flash = t.spaces["ram"].bytes, t.spaces["flash"].bytes
        sims = [s.kind for s in t.sims]
        rows.append({"name": t.name, "title": t.title, "ram": ram, "flash": flash, "simulators": sims})
        cells = ("", "") if t.word == 64 else (f"{ram // 1024:,} KB", f"{flash // 1024:,} KB")
        table.add_row(t.name, t.title.split(" (")[0], *cells, ", ".join(sims))
    return {"targets": rows}, [table]


def doctor() -> Result:
    """Which tools are here."""
    table = Table("tool", "version", "needed for", "how to get it", box=None)
    rows = []
    for tool in toolchain.doctor():
        rows.append({"name": tool.name, "path": tool.path, "version": tool.version, "install": tool.install})
        found = tool.version or "here" if tool.path else "missing"
        table.add_row(tool.name, found, ", ".join(tool.targets), "" if tool.path else tool.install)
    return {"tools": rows}, [table]


def new(kind: str, name: str, folder: Path) -> list[Path]:
    """Writes a skeleton; never over a file that exists."""
    if kind != "brain" and folder.resolve() != templates_dir().parent:
        raise UserError(f"a new {kind} belongs into a checkout of brainc", fix="run this in the checkout's root")
    files = skeletons.make(kind, name)
    taken = [p for p in files if (folder / p).exists()]
    if taken:
        raise UserError(f"{taken[0]} exists already", fix="choose another name, or remove it")
    toolchain.write(folder, files)
    return [folder / p for p in files]

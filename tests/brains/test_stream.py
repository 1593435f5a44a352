"""Layers that run row by row: the same bytes as one after the other, in less memory, on this machine and on others.

What is proved: random networks of pictures, chained wherever that saves anything, answer as the reference does (host C
under sanitizers, simavr, QEMU); their memory is replayed on the emitted C, and what the replay lets pass is right; KWS
fits a mega.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chained import chained_network
from graphs import Builder, random_network
from replay import replay
from test_ladder import needs_tools
from test_replay import complaints, job_for, run_all, step_of

from brainc import bench, check, samples
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.emit import emit
from brainc.ir import Graph
from brainc.program import Program

CHAINED = (1, 5, 6, 8, 17, 18, 19, 21, 28, 33, 34, 39)  # seeds of networks that chains make smaller
MORE = [*CHAINED[:6], *(pytest.param(s, marks=pytest.mark.slow) for s in (*CHAINED[6:], *range(40, 200)))]
MACHINES = ("mega", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m55")
KWS = "mlperf-tiny/onnx/kws_dscnn_int8.onnx"
MEGA_RAM = 7680


def streamed(graph: Graph, target: str, how: str = "always") -> Program:
    job = job_for(graph, target)
    return compile_job(replace(job, request=replace(job.request, stream=how)))


def proved(program: Program, *, sanitize: bool = False) -> None:
    vectors = samples.random(ports(program.graph), 2, 3).arrays
    assert check.prove(program, vectors, sanitize=sanitize).first_difference is None


@pytest.mark.parametrize("seed", MORE)
def test_the_same_bytes_in_less_memory(seed: int) -> None:
    graph = chained_network(seed)
    plain, program = streamed(graph, "c99", "never"), streamed(graph, "c99")
    if seed not in CHAINED and not program.plan.entries[0].chains:
        pytest.skip("no chain makes this one smaller")
    assert program.plan.entries[0].chains and program.plan.nbytes < plain.plan.nbytes
    assert complaints(program) == []
    proved(program, sanitize=True)


@pytest.mark.sim
@pytest.mark.parametrize("target", MACHINES)
@pytest.mark.parametrize("seed", [18, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 6, 17, 19, 21, 28))])
def test_the_same_bytes_elsewhere(seed: int, target: str) -> None:
    needs_tools(target)
    program = streamed(chained_network(seed), target)
    assert program.plan.entries[0].chains and complaints(program) == []
    proved(program)


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(s, marks=pytest.mark.slow) for s in range(3, 40))])
def test_networks_of_floats(seed: int) -> None:
    program = streamed(random_network(seed, channels_first=False), "c99")
    assert complaints(program) == []
    proved(program)


def test_floats_run_by_rows() -> None:
    b = Builder(0)
    x = b.input("x", (1, 20, 6, 1))
    for _ in range(3):
        c = b.shape(x)[3]
        x = b.add("conv2d", x, b.normal(8, 3, 3, c, scale=1 / 6), b.normal(8), pads=(1,) * 4)
        x = b.add("clamp", x, lo=0.0)
    program = streamed(b.graph(b.add("maxpool2d", x, kernel=(2, 2), strides=(2, 2))), "c99")
    assert program.plan.entries[0].chains and complaints(program) == []
    proved(program, sanitize=True)


def test_a_sum_waits_for_what_it_is_added_to() -> None:
    """A residual around two layers of stride 1 stays in the window until they have caught up: no row made twice."""
    program = streamed(chained_network(18), "c99")
    (chain,) = program.plan.entries[0].chains.values()
    assert any(run.node.op == "qadd" for run in chain.runs)
    made = [(run.node.name, run.row.op, number) for run, number in chain.rows()]
    assert len(made) == len(set(made)) == sum(run.beat.count for run in chain.runs)


# ---- when ----------------------------------------------------------------------------------------------------------


def with_budget(graph: Graph, target: str, ram: int | None, **asked: str) -> Program:
    job = job_for(graph, target)
    choice = replace(job.choice, budget=replace(job.choice.budget, ram=ram))
    brain = replace(job.brain, targets={target: choice})
    return compile_job(replace(job, brain=brain, request=replace(job.request, **asked)))  # type: ignore[arg-type]


def test_only_where_ram_is_short() -> None:
    graph = chained_network(18)
    plain = with_budget(graph, "c99", None)
    enough, short = (with_budget(graph, "c99", plain.plan.nbytes - less) for less in (0, 1))
    assert not plain.plan.entries[0].chains and not enough.plan.entries[0].chains
    assert short.plan.entries[0].chains and short.plan.nbytes < plain.plan.nbytes
    assert any("row by row" in note for note in short.notes)
    assert not with_budget(graph, "c99", 100, stream="never").plan.entries[0].chains


def test_the_cheapest_that_fits_and_else_the_smallest() -> None:
    graph = chained_network(18)
    smallest = with_budget(graph, "c99", 1)
    roomy = with_budget(graph, "c99", 5000)
    assert smallest.plan.nbytes <= roomy.plan.nbytes <= 5000

    def cost(program: Program) -> float:
        chains = program.plan.entries[0].chains.values()
        inner = {n.name for c in chains for n in c.nodes}
        return sum(c.cost for c in chains) + sum(c.cost for n, c in program.choices.items() if n not in inner)

    assert cost(roomy) <= cost(smallest)


def test_optimize_ram_takes_what_saves_much() -> None:
    graph = chained_network(18)
    assert with_budget(graph, "c99", None, optimize="ram").plan.entries[0].chains
    assert not with_budget(graph, "c99", None, optimize="ram", stream="never").plan.entries[0].chains


def test_the_same_graph_gives_the_same_files() -> None:
    assert emit(streamed(chained_network(6), "cortex-m4")) == emit(streamed(chained_network(6), "cortex-m4"))


# ---- the tools -----------------------------------------------------------------------------------------------------


def test_the_first_difference_names_layer_and_row(monkeypatch: pytest.MonkeyPatch) -> None:
    program = streamed(chained_network(18), "c99")
    render = check.emit.emit

    def spoilt(made: Program, trace: str = "") -> dict[str, bytes]:
        """The first window does not slide."""
        files = dict(render(made, trace))
        files["test.c"] = re.sub(rb"memmove\([^;]*;", b";", files["test.c"], count=1)
        return files

    monkeypatch.setattr(check.emit, "emit", spoilt)
    found = check.prove(program, samples.random(ports(program.graph), 2, 3).arrays).first_difference
    assert found is not None and re.search(r"first at node \S+ \(.*\), \S+ row \d+\[", found), found


def texts_with_an_error(c: str, begin: int, end: int) -> Iterator[str]:
    """The file with one number between these places larger by 4, where it says what is moved, filled or read."""
    places, counts = r"(?<=m \+ )\d+|(?<=AT\(int8_t, )\d+", r"(?<=t >= )\d+|(?<=t <= )\d+"
    for found in re.finditer(rf"{places}|{counts}|(?<=, )\d+(?=\);\n)", c):
        line = c[c.rfind("\n", 0, found.start()) : found.start()].lstrip()
        length = c[found.end()] == ")" and line.endswith(", ") and not line.endswith("t, ")
        if begin < found.start() and found.end() < end and (line.startswith("mem") or not length):
            yield c[: found.start()] + str(int(found[0]) + 4) + c[found.end() :]


@pytest.mark.parametrize("seed", [6, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 8, 17, 18))])
def test_what_the_replay_lets_pass_is_right(seed: int, cc) -> None:  # type: ignore[no-untyped-def]
    """Each number of a chain's function, made wrong: the replay complains, or the answer is right all the same."""
    program = streamed(chained_network(seed), "c99")
    files = emit(program)
    c, h = files["test.c"].decode(), files["test.h"].decode()
    begin = c.index("static void rows_0(")
    end = c.index("void test_step(")
    wrong = list(texts_with_an_error(c, begin, end))
    passed = [text for text in wrong if not replay(text, h, program)]
    assert len(wrong) - len(passed) > 10
    texts = [
        text[begin : text.index("void test_step(")].replace("rows_", f"rows_of_{n}_")
        + step_of(text, n).replace("rows_", f"rows_of_{n}_")
        for n, text in enumerate(passed)
    ]
    assert all(run_all(program, texts, cc))


# ---- models --------------------------------------------------------------------------------------------------------


@pytest.mark.sim
def test_kws_fits_a_mega(models: Path) -> None:
    """16 KB of activations, 8 KB of RAM: with stack no more than 7.5 KB, and the reference's bytes."""
    file = models / KWS
    if not file.is_file():
        pytest.skip("the model is not among the models")
    needs_tools("mega")
    job = prepare(Request(file, io="int8"), "mega")
    program = compile_job(job)
    assert complaints(program) == [] and program.plan.nbytes <= MEGA_RAM - 512
    vectors = samples.random(ports(program.graph), 1, 0).arrays
    proved(program)
    figures = bench.measure(program, vectors)
    assert figures["ram_bytes"]["total"] <= MEGA_RAM
    assert sum(layer["macs"] for layer in figures["layers"]) == program.work
    assert all(layer["cycles"] for layer in figures["layers"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ic_resnet_large", "extra/ic_resnet_6blk_750k", "extra/vww_14blk_836k"])
@pytest.mark.parametrize("target", ["cortex-m3", "cortex-m4"])
def test_large_models_in_little_memory(name: str, target: str, models: Path) -> None:
    file = models / f"mlperf-tiny/{name}_int8.tflite"
    if not file.is_file():
        pytest.skip("the model is not among the models")
    needs_tools(target)
    program = compile_job(prepare(Request(file, stream="always"), target))
    assert program.plan.entries[0].chains and complaints(program) == []
    proved(program)

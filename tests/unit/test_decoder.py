"""Decoders out of GGUF files: their graphs, what the user may choose, and what is refused, in which words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf_files
import numpy as np
import pytest

from brainc import link, manifest
from brainc.compiler import Request, compile_job, prepare
from brainc.dtypes import F32, I32, K8, K16, V16
from brainc.errors import BraincError, ManifestError, ModelError, UnsupportedError
from brainc.frontends import gguf
from brainc.frontends.gguf import blocks, reader
from brainc.frontends.gguf.decoder import Sizes, decoder
from brainc.frontends.gguf.facts import facts_of
from brainc.frontends.gguf.reader import Header, Tensor
from brainc.ir import Graph, Role, TensorType
from brainc.language import Sampling

SIZES = Sizes(context=32, block=8)
PIECES = 261  # of the vocabularies of gguf_files, "gpt2"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A file of each family."""
    folder = tmp_path_factory.mktemp("decoders")
    return {a: gguf_files.write(folder / f"{a}.gguf", a, "Q8_0") for a in gguf_files.ARCHITECTURES}


@pytest.fixture(scope="module")
def headers(files: Mapping[str, Path]) -> Mapping[str, Header]:
    return {name: reader.read(path) for name, path in files.items()}


def ops_of(graph: Graph, entry: int, layer: int) -> list[str]:
    return [n.op for n in graph.entries[entry].nodes if n.name.split("/")[1] == f"blk.{layer}"]


def test_two_entries_share_constants_and_states(headers: Mapping[str, Header]) -> None:
    graph = decoder(headers["llama"], "m", SIZES)
    read, said = graph.entries
    assert [(e.name, e.inputs, e.outputs) for e in graph.entries] == [
        ("prefill", ("tokens", "pos", "count"), ("prefill/logits",)),
        ("decode", ("token", "pos"), ("decode/logits",)),
    ]
    assert graph.type("tokens") == TensorType(I32, (8,)) and graph.type("token") == TensorType(I32, (1,))
    assert graph.type("prefill/logits") == graph.type("decode/logits") == TensorType(F32, (1, PIECES))

    def kept(nodes: Any) -> set[str]:
        return {i for n in nodes for i in n.operands if graph.values[i].role in (Role.CONST, Role.STATE)}

    assert kept(read.nodes) == kept(said.nodes)
    states = [v for v in graph.values.values() if v.role is Role.STATE]
    assert len(states) == 2 * gguf_files.LAYERS and {s.type.dtype for s in states} == {K16, V16}
    assert {s.type.shape for s in states} == {(1, 2, 1)}


def test_a_tied_head_is_the_embedding(headers: Mapping[str, Header], tmp_path: Path) -> None:
    own = reader.read(gguf_files.write(tmp_path / "own.gguf", "llama", "Q8_0", tied=False))
    for header, name in ((headers["llama"], "token_embd.weight"), (own, "output.weight")):
        entry = decoder(header, "m", SIZES).entries[1]
        assert entry.nodes[0].inputs[0] == "token_embd.weight" and entry.nodes[-1].inputs[1] == name


def test_every_row_wise_node_of_prefill_knows_the_count(headers: Mapping[str, Header]) -> None:
    """Where rows are many, the count stops them; in decode nothing reads it."""
    graph = decoder(headers["gemma3"], "m", SIZES)
    for node in graph.entries[0].nodes:
        rows = graph.type(node.outputs[0]).shape[0] if node.outputs else 8
        assert (node.inputs[-1] == "count") == (rows == 8 or node.op == "last"), node.name
    assert not any("count" in n.inputs for n in graph.entries[1].nodes)


def test_what_families_do_in_their_own_way(headers: Mapping[str, Header]) -> None:
    graphs = {name: decoder(header, "m", SIZES) for name, header in headers.items()}

    def nodes(name: str, op: str) -> list[Any]:
        return [n for n in graphs[name].entries[1].nodes if n.op == op]

    assert [nodes(n, "rope")[0].attrs["far"] for n in graphs] == [0, 1, 1, 1]
    assert [n for n in graphs if len(nodes(n, "rope")[0].inputs) > 3] == ["gemma3", "qwen3"]  # a norm of queries
    assert [n for n in graphs if nodes(n, "glu8")[0].attrs["act"] == "gelu"] == ["gemma3"]
    assert [n for n in graphs if "rms" in ops_of(graphs[n], 1, 0)] == ["gemma3"]  # behind attention, too
    assert {n: nodes(n, "embed")[0].attrs.get("scale", 1.0) for n in graphs} == {
        **dict.fromkeys(graphs, 1.0),
        "gemma3": float(np.float32(np.sqrt(96))),
    }
    biased = {n for n in graphs for node in nodes(n, "dense8") if len(node.inputs) > 2 and "bias" in node.inputs[2]}
    assert biased == {"qwen2"}


def test_every_sixth_layer_of_gemma_sees_everything(headers: Mapping[str, Header]) -> None:
    entry = decoder(headers["gemma3"], "m", SIZES).entries[1]
    windows = [n.attrs["window"] for n in entry.nodes if n.op == "attend"]
    tables = [n.inputs[1] for n in entry.nodes if n.op == "rope"][::2]
    assert windows == [5, 5, 5, 5, 5, 0, 5]
    assert tables == ["turns" if w == 0 else "turns.local" for w in windows]


def test_a_file_may_say_where_the_windows_are(headers: Mapping[str, Header]) -> None:
    own = {"gemma3.attention.sliding_window_pattern": 2, "gemma3.rope.freq_base_swa": 500.0}
    header = replace(headers["gemma3"], meta={**headers["gemma3"].meta, **own})
    entry = decoder(header, "m", SIZES).entries[1]
    assert [n.attrs["window"] for n in entry.nodes if n.op == "attend"] == [5, 0, 5, 0, 5, 0, 5]
    assert facts_of(header).local_base == 500.0


def test_the_graph_reads_no_weights(files: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file to READY matrices stay in it: some have gigabytes."""

    def loaded(header: Header, tensor: Tensor, *_: object) -> None:
        raise AssertionError(f"{tensor.name} was loaded")

    monkeypatch.setattr(blocks, "_numbers", loaded)
    program = compile_job(prepare(Request(files["llama"]), "x86-avx2"))
    assert [e.name for e in program.graph.entries] == ["prefill", "decode"]


@pytest.mark.parametrize("target", ["c99", "x86-avx2"])
@pytest.mark.parametrize("family", gguf_files.ARCHITECTURES)
def test_passes_keep_the_nodes(family: str, target: str, files: Mapping[str, Path]) -> None:
    job = prepare(Request(files[family], shapes={"context": 48}), target)
    ready = compile_job(job).graph
    assert [[(n.op, n.inputs) for n in e.nodes] for e in ready.entries] == [
        [(n.op, n.inputs) for n in e.nodes] for e in job.graph.entries
    ]


def test_every_step_has_its_kernel_to_show(files: Mapping[str, Path]) -> None:
    """`show --kernels --cost` lists both entries."""
    program = compile_job(prepare(Request(files["qwen3"]), "x86-avx2"))
    assert [n.name for n in program.steps] == [*program.choices] == [n.name for n in program.graph.nodes()]


def test_sizes(files: Mapping[str, Path], tmp_path: Path) -> None:
    """What was trained, at most 2,048; a block no longer than that; the user's word, else the manifest's."""
    assert gguf.sizes(8192, {}) == Sizes(2048, 64, 16)
    assert gguf.sizes(32, {}) == Sizes(32, 32, 16)
    assert gguf.sizes(8192, {"context": 4096, "block": 16, "kv": 8}) == Sizes(4096, 16, 8)
    (tmp_path / "model.gguf").write_bytes(files["llama"].read_bytes())
    text = '[modules.m]\nfile = "model.gguf"\nlanguage = { context = 40, kv = "q8", block = 4, '
    told = 'system = "Be brief.", temperature = 0.5, top_k = 40 }\n'
    (tmp_path / "brain.toml").write_text(text + told, encoding="utf-8")
    job = prepare(Request(tmp_path, shapes={"kv": 16}), "x86-avx2")
    assert job.graph.type("blk.0.keys") == TensorType(K16, (1, 3, 1)) and job.graph.type("tokens").shape == (4,)
    assert job.language is not None
    assert (job.language.context, job.language.block, job.language.system) == (40, 4, "Be brief.")
    assert job.language.sampling == Sampling(temperature=0.5, top_k=40)
    job = prepare(Request(tmp_path, shapes={"context": 20}), "x86-avx2")
    assert job.graph.type("blk.0.keys") == TensorType(K8, (1, 2, 1))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"context": 65}, "trained for 64 positions, not 65"),
        ({"block": 0}, "a block of 0 tokens"),
        ({"block": -5}, "a block of -5 tokens"),
        ({"kv": 4}, "keys and values of 4 bits"),
        ({"time": 4}, "a language model has no size time"),
    ],
)
def test_sizes_that_cannot_be(given: Mapping[str, int], says: str, files: Mapping[str, Path]) -> None:
    with pytest.raises(ModelError, match=says):
        gguf.load(files["llama"], "m", given)


@pytest.mark.parametrize("system", [r"a\u0000b", "x" * 32_001])
def test_a_system_prompt_that_no_program_could_say(system: str, files: Mapping[str, Path], tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(files["llama"].read_bytes())
    text = f'[modules.m]\nfile = "model.gguf"\nlanguage = {{ system = "{system}" }}\n'
    (tmp_path / "brain.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match="longer than 32,000 bytes, or has a zero in it"):
        prepare(Request(tmp_path), "x86-avx2")


@pytest.mark.parametrize(
    ("request_", "target", "says", "fix"),
    [
        ({}, "uno", "uno has no threads and no files", "see `brainc targets`"),
        ({}, "teensy41", "teensy41 has no threads and no files", "see `brainc targets`"),
        ({"quantize": "int8"}, "x86-avx2", "no use for --quantize", "leave it out"),
    ],
)
def test_where_it_cannot_go(
    request_: Mapping[str, Any], target: str, says: str, fix: str, files: Mapping[str, Path]
) -> None:
    with pytest.raises(UnsupportedError, match=says) as caught:
        prepare(Request(files["llama"], **request_), target)
    assert fix in str(caught.value.fix)


def set_(**settings: object) -> Callable[[Header], Header]:
    """The same header with other settings; `__` stands for a point, None takes one out."""
    new = {f"llama.{key.replace('__', '.')}": value for key, value in settings.items()}
    return lambda h: replace(h, meta={k: v for k, v in {**h.meta, **new}.items() if v is not None})


def tensor(name: str, like: str = "", **changes: Any) -> Callable[[Header], Header]:
    """The same header with one tensor more or changed, or without it."""

    def changed(header: Header) -> Header:
        tensors = dict(header.tensors)
        old = tensors.pop(name, None) if not like else tensors[like]
        if old is not None and (changes or like):
            tensors[name] = replace(old, name=name, **changes)
        return replace(header, tensors=tensors)

    return changed


REFUSED: Mapping[str, tuple[Callable[[Header], Header], type[BraincError], str]] = {
    "family": (
        lambda h: replace(h, meta={**h.meta, "general.architecture": b"mamba"}),
        UnsupportedError,
        r"the architecture is 'mamba'",
    ),
    "no layers": (set_(block_count=None), ModelError, "llama.block_count is missing"),
    "layers": (set_(block_count=-4), ModelError, "llama.block_count is -4"),
    "more layers": (set_(block_count=8), ModelError, "no tensor blk.7.attn_norm.weight"),
    "fewer layers": (set_(block_count=6), UnsupportedError, r"what tensor blk.6.attn_k.weight is for \(9 such\)"),
    "heads": (set_(attention__head_count=2, attention__head_count_kv=3), UnsupportedError, "2 heads in 3 groups"),
    "other heads": (set_(attention__head_count=6), ModelError, r"attn_q.weight is \[96, 96\], not \[192, 96\]"),
    "heads by layer": (
        set_(attention__head_count_kv=np.array([1, 2], np.int32)),
        UnsupportedError,
        "head_count_kv differs from layer to layer",
    ),
    "no decoder": (set_(attention__causal=False), UnsupportedError, "llama.attention.causal is off"),
    "wide heads": (set_(attention__key_length=1 << 20, attention__value_length=1 << 20), UnsupportedError, "together"),
    "heads of windows": (set_(attention__key_length_swa=16), UnsupportedError, "do not go together"),
    "values": (set_(attention__value_length=64), UnsupportedError, "do not go together"),
    "experts": (set_(expert_count=8), UnsupportedError, "llama.expert_count is set"),
    "an expert": (
        tensor("blk.0.ffn_gate_inp.weight", "blk.0.attn_q.weight"),
        UnsupportedError,
        "what tensor blk.0.ffn_gate_inp.weight is for",
    ),
    "soft caps": (set_(final_logit_softcapping=30.0), UnsupportedError, "final_logit_softcapping is set"),
    "factors": (set_(logit_scale=0.5), UnsupportedError, "logit_scale is set"),
    "yarn": (set_(rope__scaling__type=b"yarn"), UnsupportedError, "llama.rope.scaling.type is 'yarn'"),
    "scaling of numbers": (
        set_(rope__scaling__type=np.array([1, 2])),
        ModelError,
        r"llama.rope.scaling.type is \[1 2\]",
    ),
    "base": (set_(rope__freq_base=1e-300), ModelError, "llama.rope.freq_base is 1e-300"),
    "turning": (set_(rope__dimension_count=40), UnsupportedError, "40 numbers of 32 turn"),
    "factors of none": (set_(rope__scaling__factor=1e9), ModelError, "the factors of rotary positions"),
    "eps": (set_(attention__layer_norm_rms_epsilon=b"x"), ModelError, "layer_norm_rms_epsilon is b'x'"),
    "no tensor": (tensor("blk.3.ffn_up.weight"), ModelError, "no tensor blk.3.ffn_up.weight"),
    "no embedding": (tensor("token_embd.weight"), ModelError, "no tensor token_embd.weight"),
    "shape": (tensor("output_norm.weight", shape=(95,)), ModelError, r"output_norm.weight is \[95\], not \[96\]"),
    "a matrix": (
        tensor("token_embd.weight", kind="F16", shape=(22_369_622, 96)),
        UnsupportedError,
        "tensor token_embd.weight has 2,147,483,712 numbers, more than the 2,147,483,647",
    ),
    "type": (tensor("blk.0.attn_q.weight", kind="IQ2_XS"), UnsupportedError, "blk.0.attn_q.weight is of type IQ2_XS"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, headers: Mapping[str, Header]) -> None:
    """Named, with a way out, and before any weight is read."""
    change, kind, says = REFUSED[name]
    with pytest.raises(kind, match=says) as caught:
        decoder(change(headers["llama"]), "m", SIZES)
    assert caught.value.fix


@pytest.mark.parametrize("kv", [16, 8])
def test_a_context_that_kernels_cannot_count_is_refused(kv: int, headers: Mapping[str, Header]) -> None:
    """The largest that works is told: one more is 2^31 numbers. No table is made for it before."""
    with pytest.raises(UnsupportedError, match="cache of keys has 2,147,483,648 numbers") as caught:
        decoder(headers["llama"], "m", Sizes(context=1 << 26, kv=kv))
    assert caught.value.fix == "choose a context of at most 67,108,863"


def test_a_block_that_kernels_cannot_count_is_refused(headers: Mapping[str, Header]) -> None:
    """The widest rows of an activation have 160 numbers; a matrix of blocks may have any number of them."""
    large = tensor("token_embd.weight", shape=(22_369_622, 96))(headers["llama"])
    assert decoder(large, "m", replace(SIZES, block=13_421_772)).type("tokens").shape == (13_421_772,)
    with pytest.raises(UnsupportedError, match=r"prefill/blk.0/gate has 2,147,483,680 numbers") as caught:
        decoder(large, "m", replace(SIZES, block=13_421_773))
    assert caught.value.fix == "choose a smaller block"


def test_heads_of_any_width_lie_in_whole_blocks(tmp_path: Path) -> None:
    odd = gguf_files.write(tmp_path / "odd.gguf", "llama", "F16")
    graph = gguf.load(odd, "m", {"kv": 8, "context": 20})
    assert graph.type("blk.0.keys") == TensorType(K8, (5, 2, 1))  # heads of 10 numbers, 20 rows


def test_a_decoder_stands_alone(files: Mapping[str, Path], tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(files["llama"].read_bytes())
    two = '[modules.a]\nfile = "a.gguf"\n[modules.b]\nfile = "a.gguf"\n[wires]\n"a.token" = "in.token"\n'
    (tmp_path / "brain.toml").write_text(two, encoding="utf-8")
    with pytest.raises((UnsupportedError, ManifestError), match="entries of its own"):
        link.load_brain(manifest.load(tmp_path))

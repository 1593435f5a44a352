"""Language models as host programs: warnings, bits, threads, errors, what another machine would meet."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf_files
import numpy as np
import pytest

from brainc import actions, host_check
from brainc.compiler import Request, compile_job, prepare
from brainc.dtypes import Array
from brainc.errors import UnsupportedError, UserError

WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Werror")
BLOCK, CONTEXT = 8, 24
OK, NO_WEIGHTS, WRONG_WEIGHTS, NO_MEMORY, NO_THREADS, NO_ISA, BAD_OPTION, BAD_TOKEN, FULL = range(9)


def request(model: Path, isa: str | None = None, **shapes: int) -> Request:
    sizes = {"block": BLOCK, "context": CONTEXT, **shapes}
    return Request(model, shapes=sizes, isa=isa, portable=isa == "portable")


def build(model: Path, target: str, folder: Path, isa: str | None = None, **shapes: int) -> Path:
    actions.build(request(model, isa, **shapes), target, folder, "project", lambda line: None)
    return folder


def library_c(folder: Path) -> list[str]:
    program = {"main.c", "program.c", "report.c", "options.c", "talk.c", "typing.c"}
    return [str(p) for p in sorted(folder.glob("*.c")) if p.name not in program]


class Options(ctypes.Structure):
    _fields_ = (
        ("weights", ctypes.c_char_p),
        ("threads", ctypes.c_int32),
        ("context", ctypes.c_int32),
        ("isa", ctypes.c_char_p),
    )


@dataclass(frozen=True)
class Library:
    """NAME.c of a folder, in this process."""

    code: ctypes.CDLL
    weights: Path
    name: str
    size: int

    def call(self, word: str, *given: Any, result: Any = ctypes.c_int) -> Any:
        function = getattr(self.code, f"{self.name}_{word}")
        function.restype = result
        return function(*given)

    def open(self, **given: Any) -> tuple[int, ctypes.c_void_p]:
        brain = ctypes.c_void_p(1)
        options = Options(**{"weights": str(self.weights).encode(), "threads": 1, **given})
        return self.call("open", ctypes.byref(brain), ctypes.byref(options)), brain

    def prefill(self, brain: ctypes.c_void_p, tokens: Array) -> int:
        return int(self.call("prefill", brain, tokens.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(tokens.size)))

    def logits(self, brain: ctypes.c_void_p) -> Array | None:
        found = self.call("logits", brain, result=ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(found, (self.size,)).copy() if found else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("host")
    return build(gguf_files.write(place / "tiny.gguf", "llama", "Q4_0"), "x86-avx2", place / "out")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Library:
    """With a sanitizer: undefined behaviour would end the test."""
    made = folder.parent / "tiny.so"
    flags = [
        "-std=c99",
        "-O1",
        "-ffp-contract=off",
        "-shared",
        "-fPIC",
        "-fsanitize=undefined",
        "-fno-sanitize-recover",
    ]
    subprocess.run(["gcc", *flags, *library_c(folder), "-o", str(made), "-pthread", "-lm"], check=True)
    size = re.search(r"TINY_TOKENS (\d+)", (folder / "tiny.h").read_text())
    assert size
    return Library(ctypes.CDLL(str(made)), folder / "tiny.weights", "tiny", int(size[1]))


@pytest.fixture()
def brain(tiny: Library) -> Iterator[ctypes.c_void_p]:
    error, made = tiny.open()
    assert error == OK
    yield made
    tiny.call("close", made, result=None)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("level", ["-O2", "-O3"])
def test_no_compiler_has_a_word_to_say(folder: Path, compiler: str, level: str, tmp_path: Path) -> None:
    flags = ["-std=c99", level, "-ffp-contract=off", *WARNINGS]
    for source in library_c(folder):
        subprocess.run([compiler, *flags, "-c", source, "-o", str(tmp_path / "out.o")], check=True)


@pytest.mark.parametrize(
    ("architecture", "kind", "kv"),
    [("llama", "Q4_1", 16), ("gemma3", "Q6_K", 8), ("qwen2", "Q5_1", 16), ("qwen3", "Q8_0", 8), ("llama", "BF16", 16)],
)
def test_the_same_bits_everywhere(architecture: str, kind: str, kv: int, tmp_path: Path) -> None:
    """numpy, every accent this CPU has, 1, 2 and 4 threads, in blocks and one by one."""
    model = gguf_files.write(tmp_path / "tiny.gguf", architecture, kind, tied=architecture != "qwen2")
    program = compile_job(prepare(request(model, kv=kv), "x86-avx2"))
    assert program.host
    proof = host_check.prove(program, program.host)
    assert [rung.first_difference for rung in proof.rungs if not rung.equal] == []
    names = [rung.name for rung in proof.rungs]
    assert names[0] == "reference" and {"portable, 4 threads, in blocks", "portable, 1 thread, one by one"} <= {*names}
    read = b"".join(program.host.language.vocabulary.pieces[token] for token in proof.tokens)
    assert len(proof.tokens) > BLOCK and (b"D" in read or b"<0x44>" in read)  # the second text begins with it


def test_a_difference_is_told() -> None:
    want = [np.zeros(4, np.float32)]
    assert host_check._difference(want, [np.zeros(4, np.float32)]) is None
    wrong = np.array([0, 0, -0.0, 1], np.float32)
    told = host_check._difference(want, [wrong])
    assert told and "logits 0[2]" in told and "(2 of 4 differ)" in told  # a sign of zero is a difference


def test_plain_c_needs_no_header_of_any_cpu(folder: Path, tmp_path: Path) -> None:
    made = build(folder.parent / "tiny.gguf", "c99", tmp_path / "plain")
    text = (made / "tiny.c").read_text()
    assert "immintrin" not in text and "cpuid" not in text and "avx2" not in text
    assert (made / "tiny.weights").read_bytes() == (folder / "tiny.weights").read_bytes()  # all accents read the same


def test_isa_leaves_out_what_is_above_it(folder: Path, tmp_path: Path) -> None:
    model = folder.parent / "tiny.gguf"
    assert "words vnni" in (folder / "tiny.c").read_text()
    text = (build(model, "x86-avx2", tmp_path / "avx2", "avx2") / "tiny.c").read_text()
    assert "words avx2" in text and "words vnni" not in text
    assert "immintrin" not in (build(model, "x86-avx2", tmp_path / "portable", "portable") / "tiny.c").read_text()
    with pytest.raises(UserError, match="c99 has no kernels for avx2"):
        prepare(request(model, "avx2"), "c99")
    with pytest.raises(UnsupportedError, match="no threads and no files"):
        compile_job(prepare(request(model), "uno"))


def test_only_kernels_use_what_not_every_cpu_has(folder: Path, tmp_path: Path) -> None:
    """Outside functions of an accent's own kernels there is no AVX instruction."""
    made = tmp_path / "out.o"
    flags = ["-std=c99", "-O2", "-ffp-contract=off", "-c", str(folder / "tiny.c"), "-o", str(made)]
    subprocess.run(["gcc", *flags], check=True)
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(made)], check=True, capture_output=True, text=True
    )
    users, function = set[str](), ""
    for line in listing.stdout.splitlines():
        if heading := re.match(r"[0-9a-f]+ <([^>]+)>:", line):
            function = heading[1]
        elif re.match(r"\s+[0-9a-f]+:\s+v[a-z]", line):
            users.add(function)
    assert users
    assert [f for f in users if not re.search(r"_(avx2|vnni)_|^(br_|sums_|blocks_|curves_|\w*product_)", f)] == []


def test_a_file_of_weights_is_known_by_its_content(tiny: Library, tmp_path: Path) -> None:
    data, other = tiny.weights.read_bytes(), tmp_path / "other"
    for content in (data[:-1], data + b"\0", data[:16] + bytes([data[16] ^ 1]) + data[17:], b"\0"):
        other.write_bytes(content)
        error, brain = tiny.open(weights=str(other).encode())
        assert error == WRONG_WEIGHTS and not brain
    for path in (tmp_path / "nothing", tmp_path):
        assert tiny.open(weights=str(path).encode())[0] == NO_WEIGHTS


@pytest.mark.parametrize("given", [{"threads": -1}, {"threads": 65}, {"context": -1}, {"context": CONTEXT + 1}])
def test_options_beyond_what_there_is(tiny: Library, given: dict[str, int]) -> None:
    assert tiny.open(**given)[0] == BAD_OPTION


def test_an_unknown_isa(tiny: Library) -> None:
    assert tiny.open(isa=b"neon")[0] == NO_ISA
    assert b"instructions" in tiny.call("error", NO_ISA, result=ctypes.c_char_p)


def test_the_context_ends_with_a_word_and_nothing_done(tiny: Library, brain: ctypes.c_void_p) -> None:
    tokens = np.arange(CONTEXT + 1, dtype=np.int32)
    assert tiny.prefill(brain, tokens) == FULL and tiny.logits(brain) is None
    assert tiny.prefill(brain, tokens[:-1]) == OK and tiny.call("position", brain) == CONTEXT
    last = tiny.logits(brain)
    assert tiny.call("decode", brain, 1, None) == FULL and tiny.prefill(brain, tokens[:1]) == FULL
    assert last is not None and np.array_equal(last, tiny.logits(brain))
    tiny.call("forget", brain, result=None)
    assert tiny.call("position", brain) == 0 and tiny.call("decode", brain, 1, None) == OK


def test_tokens_that_are_none(tiny: Library, brain: ctypes.c_void_p) -> None:
    for token in (-1, tiny.size):
        assert tiny.call("decode", brain, token, None) == BAD_TOKEN
        assert tiny.prefill(brain, np.array([0, token], np.int32)) == BAD_TOKEN
    assert tiny.call("position", brain) == 0 and tiny.prefill(brain, np.zeros(0, np.int32)) == OK


def test_two_brains_share_nothing_but_the_file(tiny: Library, brain: ctypes.c_void_p) -> None:
    """Each goes its own way, and one that forgot says what it said before."""
    error, second = tiny.open(threads=3)
    assert error == OK
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, tiny.size, 13).astype(np.int32) for _ in "ab")
    assert tiny.prefill(brain, a) == OK
    alone = tiny.logits(brain)
    for token in b:
        assert tiny.call("decode", second, int(token), None) == OK
    assert alone is not None and np.array_equal(alone, tiny.logits(brain))
    tiny.call("forget", second, result=None)
    assert tiny.prefill(second, a) == OK and np.array_equal(alone, tiny.logits(second))
    tiny.call("close", second, result=None)
    tiny.call("close", None, result=None)


def test_many_more_threads_than_processors(tiny: Library) -> None:
    error, crowd = tiny.open(threads=16)
    assert error == OK
    error, single = tiny.open()
    assert error == OK
    tokens = np.arange(CONTEXT - 2, dtype=np.int32)
    for brain in (crowd, single):
        assert tiny.prefill(brain, tokens) == OK and tiny.call("decode", brain, 7, None) == OK
    want, got = tiny.logits(single), tiny.logits(crowd)
    assert want is not None and got is not None and np.array_equal(want, got)
    for brain in (crowd, single):
        tiny.call("close", brain, result=None)


def test_constants_are_packed_once_for_all_that_read_them(folder: Path) -> None:
    """Each weight of the model lies in the file once: both entries, all accents, embedding and tied head."""
    text = (folder / "tiny.c").read_text()
    places = [{*re.findall(r"W\(uint8_t, (\d+)\)", part)} for part in _entries(text)]
    assert places[0] == places[1] and len(places[0]) == 1 + 7 * gguf_files.LAYERS


def _entries(text: str) -> list[str]:
    starts = [text.index(f"static void {name}_steps") for name in ("prefill", "decode")]
    return [text[starts[0] : starts[1]], text[starts[1] : text.index("what others call")]]


def test_few_meetings_a_layer(folder: Path) -> None:
    decode = _entries((folder / "tiny.c").read_text())[1]
    assert decode.count("br_pool_meet") <= 6 * gguf_files.LAYERS + 1

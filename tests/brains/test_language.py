"""Language models as programs: the same bits in every accent, on any number of threads, read at once or token by token;
what they print, and what they do with a text that is too long, a context that ends, an interrupt."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf_files
import numpy as np
import pytest
from runtime import WARNINGS

import brainc
from brainc import interp
from brainc.dtypes import Array
from brainc.errors import UserError
from brainc.frontends import gguf
from brainc.frontends.gguf import reader
from brainc.native import Speaker
from brainc.resources import examples_dir

Built = Callable[[str, str], tuple[Path, Path]]  # architecture and tensor type to the file and what was built of it

TOKENS = [72, 101, 108, 108, 111, 32, 119, 5, 200, 17]
CPU = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").is_file() else []
ISAS = ["portable", *(["avx2"] if "avx2" in CPU else []), *(["vnni"] if "avx512_vnni" in CPU else [])]


def brainc_(*words: str, **given: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "brainc.cli", *words], capture_output=True, text=True, **given)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """(architecture, tensor type) to the file and the folder that `brainc build` wrote of it."""
    made: dict[tuple[str, str], tuple[Path, Path]] = {}

    def get(architecture: str, kind: str) -> tuple[Path, Path]:
        if (architecture, kind) not in made:
            folder = tmp_path_factory.mktemp("language")
            file = gguf_files.write(folder / "small.gguf", architecture, kind)
            done = brainc_("build", str(file), "-t", "x86-avx2", "-o", str(folder / "c"))
            assert done.returncode == 0, done.stderr
            made[architecture, kind] = file, folder / "c"
        return made[architecture, kind]

    return get


@pytest.fixture(scope="module")
def program(built: Built) -> Path:
    """The program of a small llama, compiled with every warning an error."""
    folder = built("llama", "Q4_1")[1]
    sources = sorted(map(str, folder.glob("*.c")))
    for compiler in ("clang", "gcc"):
        if shutil.which(compiler):
            flags = ["-std=c99", "-O2", "-ffp-contract=off", "-pthread", *WARNINGS]
            command = [compiler, *flags, *sources, "-o", str(folder / "small"), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[:3000]
    return folder / "small"


def run(program: Path, *words: str, **given: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(program), *words], capture_output=True, timeout=60, **given)


def told(program: Path, *words: str) -> dict[str, Any]:
    done = run(program, *words, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def by_token(speaker: Speaker) -> Array:
    return np.array([speaker.step(token) for token in TOKENS])


CASES = [("gemma3", "Q6_K"), ("qwen2", "BF16"), ("qwen3", "Q4_K"), ("llama", "Q4_1"), ("llama", "Q8_0")]
MORE = [(a, k) for a in gguf_files.ARCHITECTURES for k in gguf_files.KINDS if (a, k) not in CASES]
EVERY = [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)]


@pytest.mark.parametrize(("architecture", "kind"), EVERY)
def test_every_way_to_run_gives_the_reference_s_bits(architecture: str, kind: str, built: Built) -> None:
    file, folder = built(architecture, kind)
    graph = gguf.load(file, "small", {})
    state, wanted = interp.fresh_state(graph), []
    for at, token in enumerate(TOKENS):
        inputs = {"token": np.array([token], np.int32), "pos": np.array([at], np.int32)}
        wanted.append(interp.run(graph, "decode", inputs, state)["decode/logits"][0])
    for isa in ISAS:
        for threads in (1, 2, 4):
            speaker = brainc.load(folder, threads=threads, isa=isa)
            assert isinstance(speaker, Speaker)
            with speaker:
                np.testing.assert_array_equal(by_token(speaker).view(np.uint32), np.array(wanted).view(np.uint32))
                speaker.forget()
                speaker.read(TOKENS[:4])
                np.testing.assert_array_equal(speaker.read(TOKENS[4:]).view(np.uint32), wanted[-1].view(np.uint32))


@pytest.mark.parametrize("kv", [16, pytest.param(8, marks=pytest.mark.slow)])
def test_numbers_beyond_f16_have_the_same_bits_too(kv: int, tmp_path: Path) -> None:
    """Keys and values of 1e8: caches hold the largest that they can, and nothing becomes infinite."""
    file = gguf_files.write(tmp_path / "loud.gguf", "llama", "Q8_0")
    norm, raw = reader.read(file).tensors["blk.0.attn_norm.weight"], bytearray(file.read_bytes())
    raw[norm.offset : norm.offset + norm.nbytes] = np.full(norm.shape, 1e7, np.float32).tobytes()
    file.write_bytes(raw)
    graph, first = gguf.load(file, "loud", {"kv": kv}), {name: np.zeros(1, np.int32) for name in ("token", "pos")}
    assert np.isfinite(interp.run(graph, "decode", first, interp.fresh_state(graph))["decode/logits"]).all()
    done = brainc_("check", str(file), "-t", "x86-avx2", "--shape", f"kv={kv}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_speaker_reads_text_and_refuses_what_it_has_not(built: Built) -> None:
    speaker = brainc.load(built("llama", "Q4_1")[1], threads=1)
    assert isinstance(speaker, Speaker)
    with speaker:
        tokens = speaker.tokenize("hello, wörld")
        assert speaker.text(tokens) == "hello, wörld"
        with pytest.raises(UserError, match="not in the vocabulary"):
            speaker.step(speaker.tokens)
        with pytest.raises(UserError, match="context"):
            speaker.read([1] * (gguf_files.CONTEXT + 1))
        speaker.read([1] * gguf_files.CONTEXT)
        with pytest.raises(UserError, match="context"):
            speaker.step(1)
    with pytest.raises(UserError, match="instructions"):
        brainc.load(built("llama", "Q4_1")[1], isa="none")
    speaker.close()  # once more: nothing happens
    for call in (speaker.forget, lambda: speaker.step(1), lambda: speaker.tokenize("a"), lambda: speaker.text([1])):
        with pytest.raises(UserError, match="is closed"):
            call()


@pytest.mark.parametrize(("compiler", "suffix"), [("gcc", "c"), ("g++", "cpp")])
def test_the_readme_s_program_writes_in_c_and_c_plus_plus(compiler: str, suffix: str, built: Built) -> None:
    """With what the folder declares alone; nothing in its headers is C only."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    folder, readme = built("llama", "Q4_1")[1], Path(__file__).parents[2] / "README.md"
    blocks = re.findall(r"```c\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (block.replace("model", "small").replace("MODEL", "SMALL") for block in blocks if "br_sampler" in block)
    headers = ("small.h", "talk.h", "vocabulary.h", "sample.h", "typing.h", "stdio.h")
    (folder / "user").mkdir(exist_ok=True)
    user = folder / "user" / f"user.{suffix}"
    user.write_text("".join(f'#include "{header}"\n' for header in headers) + f"int main() {{ {code} return 0; }}")
    program = {"main.c", "program.c", "talk.c", "typing.c", "options.c", "report.c"}
    library = [str(path) for path in folder.glob("*.c") if path.name not in program]
    subprocess.run(["gcc", "-std=c99", "-O1", "-c", *library], cwd=folder / "user", check=True)
    objects = map(str, (folder / "user").glob("*.o"))
    command = [compiler, "-Wall", "-Wextra", "-Werror", f"-I{folder}", str(user), *objects, "-pthread", "-lm"]
    subprocess.run([*command, "-o", str(folder / "user" / suffix)], check=True)
    done = subprocess.run([str(folder / "user" / suffix)], cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout


def test_a_folder_moves_with_its_build(built: Built, tmp_path: Path) -> None:
    """The build folder inside it reads the weights beside it, not those of where it was made."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    tmp_path /= "it's 100 $HOME"  # which no shell may read
    shutil.copytree(built("llama", "Q4_1")[1], tmp_path / "one", ignore=shutil.ignore_patterns("user"))
    for words in (["-S", ".", "-B", "build", "-DCMAKE_C_FLAGS=-O1"], ["--build", "build"]):
        subprocess.run(["cmake", *words], cwd=tmp_path / "one", check=True, capture_output=True)
    (tmp_path / "one").rename(tmp_path / "two")
    assert run(tmp_path / "two" / "build" / "small", "--prompt", "a", "--tokens", "1").returncode == 0


def python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


_KEEPERS = {
    "one that is never closed": "m = brainc.load(sys.argv[1], threads=3); m.read([1, 2])",
    "one in a circle": "m = brainc.load(sys.argv[1], threads=2); m.read([1]); m.self = m",
    "in a fork too": "m = brainc.load(sys.argv[1], threads=2); m.step(1); os.fork() or sys.exit(0); os.wait()",
}


@pytest.mark.parametrize("code", _KEEPERS.values(), ids=_KEEPERS)
def test_who_never_closes_a_model_ends_well(code: str, built: Built) -> None:
    done = python(f"import brainc, os, sys; {code}", built("llama", "Q4_1")[1])
    assert (done.returncode, done.stderr) == (0, "")


def test_models_that_nobody_has_any_more_leave_no_threads(built: Built) -> None:
    code = "import brainc.native, gc, os, sys\n"
    code += "threads = lambda: len(os.listdir('/proc/self/task')); before = threads()\n"
    code += "for _ in range(10): brainc.load(sys.argv[1], threads=4).read([1])\n"
    code += "gc.collect(); print(threads() - before)"
    done = python(code, built("llama", "Q4_1")[1])
    assert done.stdout == "0\n", done.stderr


def test_what_is_no_token_no_text_and_no_thread_is_told(built: Built, tmp_path: Path) -> None:
    folder = built("llama", "Q4_1")[1]
    load: Any = brainc.load
    speaker = load(folder, threads=1)
    with speaker:
        wrong: dict[str, list[Callable[[], object]]] = {
            "not in the vocabulary": [
                *(lambda token=token: speaker.step(token) for token in (2**31, -1, 1.7, "a", None, True)),
                lambda: speaker.read([1, 2**40]),
                lambda: speaker.text([2**40]),
            ],
            "tokenize it first": [lambda: speaker.read("hello"), lambda: speaker.read(b"hello")],
            "not bytes": [lambda: speaker.tokenize(b"abc")],
            "character 1 of the text": [lambda: speaker.tokenize("a\udcffb")],
            "threads=": [lambda: brainc.load(folder, threads=2**40), lambda: brainc.load(folder, threads=-1)],
            "isa is a str": [lambda: load(folder, isa=b"avx2")],
            "those that small.h lists": [lambda: brainc.load(folder, isa="none")],
        }
        for words, calls in wrong.items():
            for call in calls:
                with pytest.raises(UserError) as told:
                    call()
                assert words in str(told.value)
        logits = speaker.step(np.int64(1))  # numpy's whole numbers are such, too
        speaker.forget()
        np.testing.assert_array_equal(speaker.read(np.array([1])), logits)
    shutil.copytree(folder, tmp_path / "c")
    (tmp_path / "c" / "small.weights").unlink()
    with pytest.raises(UserError, match=r"cannot be read \(.*small\.weights\)"):
        brainc.load(tmp_path / "c")


def test_the_same_seed_the_same_text_and_hash(program: Path) -> None:
    runs = [
        told(program, "--prompt", "hello", "--seed", "3", "--tokens", "12", "--isa", isa, "--threads", threads)
        for isa in ISAS
        for threads in ("1", "2", "4")
    ]
    assert len({(r["hash"], r["text"], tuple(r["tokens"])) for r in runs}) == 1
    assert len(runs[0]["tokens"]) == 12 and runs[0]["end"] == "limit"
    other = told(program, "--prompt", "hello", "--seed", "4", "--tokens", "12")
    assert other["tokens"] != runs[0]["tokens"]


def test_a_text_that_does_not_fit_ends_with_2(program: Path) -> None:
    for words in ([], ["--json"]):
        done = run(program, "--prompt", "hello " * 100, *words)
        assert done.returncode == 2 and b"does not fit into the context" in done.stderr and not done.stdout


def test_the_context_s_end_is_an_end(program: Path) -> None:
    """It is told, beside the text or in its JSON."""
    for seed in ("1", "2", "3"):
        words = ("--prompt", "hello", "--context", "8", "--seed", seed)
        done = run(program, *words)
        full = b"the context is full" in done.stderr
        assert done.returncode == 0 and full == (told(program, *words)["end"] == "context")
    assert b"context" not in run(program, *words, "--json").stderr
    assert told(program, "--prompt", "hello", "--temperature", "0", "--top-k", "1")["end"] in ("context", "done")
    many = told(program, "--prompt", "hello", "--context", "8", "--seed", "1")
    assert many["end"] in ("context", "done") and many["prompt_tokens"] + len(many["tokens"]) <= 9


def test_any_bytes_are_a_text(program: Path) -> None:
    done = run(program, "--prompt", b"a\xff\xc3(\xe2\x82", "--tokens", "2", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["prompt"].startswith("a\ufffd")


def test_a_stop_string_is_not_printed(program: Path) -> None:
    whole = told(program, "--prompt", "hello", "--seed", "3", "--tokens", "12")["text"]
    stop = next(c for c in whole if c.isascii() and c.isprintable() and c not in "\ufffd")
    cut = told(program, "--prompt", "hello", "--seed", "3", "--tokens", "12", "--stop", stop)
    assert cut["end"] == "stop" and cut["text"] == whole[: whole.index(stop)]


def test_weights_that_are_missing_or_wrong_end_with_3(program: Path, tmp_path: Path) -> None:
    good = program.with_name("small.weights").read_bytes()
    (tmp_path / "cut").write_bytes(good[:-64])
    (tmp_path / "other").write_bytes(good[:40] + b"x" + good[41:])
    (tmp_path / "empty").touch()
    whys = {"none": b"cannot be read: No such file", "cut": b"cut off", "other": b"another build", "empty": b"cut off"}
    for name, why in whys.items():
        done = run(program, "--prompt", "a", "--weights", str(tmp_path / name))
        assert done.returncode == 3 and why in done.stderr and b"--weights FILE" in done.stderr, done.stderr
        assert str(tmp_path / name).encode() in done.stderr


@pytest.mark.skipif("vnni" in ISAS, reason="this CPU has all levels")
def test_a_level_that_the_cpu_has_not_is_told(program: Path) -> None:
    done = run(program, "--prompt", "a", "--isa", "vnni")
    assert done.returncode == 3 and b"leave --isa out" in done.stderr and b"weights" not in done.stderr


def test_a_level_that_a_target_has_not_is_told_before_anything_is_built(built: Built, tmp_path: Path) -> None:
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    file = str(built("llama", "Q4_1")[0])
    done = brainc_("generate", file, "--prompt", "hi", "-t", "c99", "--isa", "avx2", env=env)
    assert done.returncode == 2 and "c99 has no kernels for avx2" in done.stderr and not list(tmp_path.iterdir())


def test_a_damaged_build_is_made_again(built: Built, tmp_path: Path) -> None:
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    words = ["generate", str(built("llama", "Q4_1")[0]), "--prompt", "hello", "--tokens", "2", "--json"]
    hashes = [json.loads(brainc_(*words, env=env).stdout)["hash"]]
    (folder,) = (tmp_path / "brainc" / "languages").iterdir()
    damages: dict[str, Callable[[], object]] = {
        "weights gone": (folder / "small.weights").unlink,
        "weights cut": lambda: os.truncate(folder / "small.weights", 1000),
        "no program": lambda: (folder / "small").chmod(0o644),
        "empty program": lambda: os.truncate(folder / "small", 0),
        "no header": lambda: os.truncate(folder / "small.h", 0),
        "half a report": lambda: (folder / "report.json").write_text('{"brain": "small", "target": "", "ports": {}}'),
    }
    for damage, do in damages.items():
        do()
        done = brainc_(*words, env=env)
        assert done.returncode == 0, (damage, done.stderr)
        assert ("building" in done.stderr) == ("program" not in damage)
        hashes.append(json.loads(done.stdout)["hash"])
    assert len(set(hashes)) == 1


def test_a_program_ends_when_nobody_reads_any_more() -> None:
    """As others do: Python, which does not, hands it on as it found it."""
    assert python("from brainc import speak; speak.run('/bin/sh', ['-c', 'kill -s PIPE $$'])").returncode == -13


_COUNTING = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <unistd.h>
static int begun; /* the first byte has been printed */
static void tell(void) { if (begun) { (void)!write(2, "ALLOCATED\\n", 10); } }
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *malloc(size_t n) { tell(); return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { tell(); return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { tell(); return __libc_realloc(p, n); }
ssize_t write(int to, const void *from, size_t count)
{
    ssize_t (*const real)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    begun |= to == 1;
    return real(to, from, count);
}
"""


def test_nothing_is_allocated_once_it_speaks(program: Path, tmp_path: Path) -> None:
    (tmp_path / "counting.c").write_text(_COUNTING)
    library = tmp_path / "counting.so"
    subprocess.run(
        ["gcc", "-w", "-shared", "-fPIC", str(tmp_path / "counting.c"), "-o", str(library), "-ldl"], check=True
    )
    done = run(program, "--prompt", "hello", "--tokens", "20", env={**os.environ, "LD_PRELOAD": str(library)})
    assert done.returncode == 0 and b"ALLOCATED" not in done.stderr and done.stdout


def test_what_comes_in_is_continued_where_it_cannot_chat(program: Path) -> None:
    done = run(program, "--tokens", "3", "--seed", "1", "--json", input=b"abc\n")
    assert done.returncode == 0
    same = told(program, "--prompt", "abc\n", "--tokens", "3", "--seed", "1")
    assert json.loads(done.stdout)["tokens"] == same["tokens"]


def test_who_has_no_template_does_not_chat(built: Built, tmp_path: Path) -> None:
    """Told before anything is built, and after `generate` built it."""
    file, env = tmp_path / "a b.gguf", {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    shutil.copy(built("llama", "Q4_1")[0], file)
    for _ in range(2):
        done = brainc_("chat", str(file), env=env)
        assert done.returncode == 2 and "no chat template" in done.stderr and "building" not in done.stderr
        assert f"brainc generate '{file}' --prompt" in done.stderr
        assert brainc_("generate", str(file), "--prompt", "a", "--tokens", "2", env=env).returncode == 0


def test_settings_of_a_manifest_make_another_program(built: Built, tmp_path: Path) -> None:
    """Named as a folder or as brain.toml itself."""
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    shutil.copy(built("llama", "Q4_1")[0], tmp_path / "m.gguf")
    texts = []
    for source, seed in ((tmp_path, 1), (tmp_path / "brain.toml", 2)):
        text = f'[brain]\nname = "desk"\n[modules.m]\nfile = "m.gguf"\nlanguage = {{ seed = {seed} }}\n'
        (tmp_path / "brain.toml").write_text(text)
        done = brainc_("generate", str(source), "--prompt", "hello", "--tokens", "12", "--json", env=env)
        assert done.returncode == 0 and "building desk" in done.stderr, done.stderr
        texts.append(json.loads(done.stdout)["text"])
    assert texts[0] != texts[1]


def test_other_brains_do_not_generate_and_language_models_take_no_samples(built: Built, tmp_path: Path) -> None:
    scribe = brainc_("generate", str(examples_dir() / "scribe"), "--prompt", "a")
    assert scribe.returncode == 2 and "scribe is no language model" in scribe.stderr
    file = str(built("llama", "Q4_1")[0])
    for words, told in (
        (["check", "--quality", "--limit", "3"], "--limit and --quality"),
        (["bench", "--sim", "x"], "--sim"),
        (["bench", "--quantize", "int8"], "--quantize"),
        (["show", "--calibrate", "random", "--io", "int8"], "--calibrate and --io"),
        (["show", "--calibration", "mse", "--layout", "nhwc"], "--calibration and --layout"),
        (["show", "--optimize", "ram", "--stream", "always"], "--optimize and --stream"),
    ):
        done = brainc_(*words, file, "-t", "c99")
        assert done.returncode == 2 and f"no use for {told}" in done.stderr


def test_a_cache_that_cannot_be_written_or_a_missing_compiler_is_told(built: Built, tmp_path: Path) -> None:
    words = ["generate", str(built("llama", "Q4_1")[0]), "--prompt", "a"]
    (tmp_path / "file").touch()
    done = brainc_(*words, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "file")})
    assert done.returncode == 2 and "XDG_CACHE_HOME" in done.stderr
    done = brainc_(*words, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "new"), "PATH": str(tmp_path)})
    assert done.returncode == 3 and "is not installed" in done.stderr and not (tmp_path / "new").exists()


def test_generate_builds_once(built: Built, tmp_path: Path) -> None:
    file, _ = built("llama", "Q4_1")
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    words = ["generate", str(file), "--prompt", "hello", "--tokens", "4", "--seed", "2", "--json"]
    first = brainc_(*words, env=env)
    assert first.returncode == 0 and "building" in first.stderr, first.stderr
    began = time.time()
    second = brainc_(*words, env=env)
    assert "building" not in second.stderr and time.time() - began < 30
    one, two = json.loads(first.stdout), json.loads(second.stdout)
    assert one["hash"] == two["hash"] and one["tokens"] == two["tokens"]


def test_two_files_alike_from_outside_are_two_models(tmp_path: Path) -> None:
    """Of one name, size and date, as unpacked archives are."""
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    words, hashes = ["--prompt", "hello", "--tokens", "2", "--json"], set()
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        file = gguf_files.write(tmp_path / str(seed) / "small.gguf", "llama", "Q4_1", seed=seed)
        os.utime(file, (1, 1))
        hashes.add(json.loads(brainc_("generate", str(file), *words, env=env).stdout)["hash"])
    assert len(hashes) == 2


def test_a_proof_says_what_it_left_out_and_needs_room(built: Built) -> None:
    file = str(built("llama", "Q4_1")[0])
    done = brainc_("check", file, "-t", "x86-avx2", "--context", "8")
    assert done.returncode == 2 and "--context 9" in done.stderr, done.stderr
    done = brainc_("check", file, "-t", "x86-avx2", "--context", "9")
    assert done.returncode == 0 and "DIFFERS" not in done.stdout, done.stderr
    assert all(f"left out {isa}" in done.stdout for isa in {"avx2", "vnni"} - set(ISAS))


def test_what_was_not_used_for_long_gives_its_room_back(built: Built, tmp_path: Path) -> None:
    """When another model is built; using one keeps it, however old it is."""
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    words = ["--prompt", "hello", "--tokens", "1"]
    file, shelf, long_ago = str(built("llama", "Q4_1")[0]), tmp_path / "brainc" / "languages", time.time() - 31 * 86400
    assert brainc_("generate", file, *words, env=env).returncode == 0
    (kept,) = shelf.iterdir()
    os.utime(kept, (long_ago, long_ago))
    assert brainc_("generate", file, *words, env=env).returncode == 0
    shutil.copytree(kept, shelf / "forgotten")
    os.utime(shelf / "forgotten", (long_ago, long_ago))
    done = brainc_("generate", file, *words, "--context", "9", env=env)
    assert done.returncode == 0, done.stderr
    assert kept in list(shelf.iterdir()) and len(list(shelf.iterdir())) == 2


def test_bench_tells_rates_and_memory(built: Built, tmp_path: Path) -> None:
    file, _ = built("llama", "Q4_1")
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = brainc_("bench", str(file), "-t", "x86-avx2", "--threads", "1", "--depth", "20", "--json", env=env)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["entries"]["prefill"]["tokens_per_second"] > 0
    assert [d["depth"] for d in data["entries"]["decode"]] == [0, 20]
    assert data["threads"] == 1 and data["memory_bytes"]["weights"] > 0
    done = brainc_("bench", str(file), "-t", "x86-avx2", "--depth", str(gguf_files.CONTEXT), env=env)
    assert done.returncode == 2 and f"--context {gguf_files.CONTEXT + 128}" in done.stderr, done.stderr


def test_a_small_machine_is_no_place_for_it(built: Built) -> None:
    done = brainc_("build", str(built("llama", "Q4_1")[0]), "-t", "uno", "-o", "nowhere")
    assert done.returncode == 2 and "desktop" in done.stderr


def test_a_manifest_says_how_it_is_spoken_with(built: Built, tmp_path: Path) -> None:
    shutil.copy(built("llama", "Q4_1")[0], tmp_path / "m.gguf")
    text = '[brain]\nname = "desk"\n[modules.m]\nfile = "m.gguf"\n'
    text += f'language = {{ context = 32, kv = "q8", temperature = 0, seed = {2**64 - 1} }}\n'
    (tmp_path / "brain.toml").write_text(text)
    done = brainc_("build", str(tmp_path), "-t", "c99", "-o", str(tmp_path / "c"))
    assert done.returncode == 0, done.stderr
    assert "#define DESK_CONTEXT 32" in (tmp_path / "c" / "desk.h").read_text()
    main = (tmp_path / "c" / "main.c").read_text()
    assert ".temperature = 0.0f" in main and f".seed = {2**64 - 1}ULL" in main
    for wrong, what in (("temperature = -1", "temperature"), ("context = 0", "positions"), ("colour = 1", "colour")):
        (tmp_path / "brain.toml").write_text(text.replace("temperature = 0", wrong).replace("context = 32, ", ""))
        done = brainc_("build", str(tmp_path), "-t", "c99", "-o", str(tmp_path / "d"))
        assert done.returncode == 2 and what in done.stderr

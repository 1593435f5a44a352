"""The program of a language model in bad hands: wrong words, long lines, closed pipes, interrupts, weights that vanish.

It runs under the address and undefined-behaviour sanitizers: whatever is said to it, it ends with words.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import gguf_files
import pytest
from runtime import WARNINGS

from brainc import actions
from brainc.compiler import Request

TEMPLATE = "{% for m in messages %}[{{ m.role[0] }}]{{ m.content }}<|im_end|>{% endfor %}"
TEMPLATE += "{% if add_generation_prompt %}[a]{% endif %}"
LINE = 1 << 15  # bytes that a line of a conversation has less than
WRONG, MACHINE, INTERRUPTED = 2, 3, 130


def built(folder: Path, name: str, template: str = "") -> Path:
    """The folder of a small model's program, not compiled."""
    model = gguf_files.write(folder / f"{name}.gguf", "llama", "Q4_1", template=template)
    actions.build(Request(model), "x86-avx2", folder / "c", "project", lambda line: None)
    return folder / "c"


def compiled(folder: Path, made: Path, *flags: str) -> Path:
    sources = sorted(map(str, folder.glob("*.c")))
    command = ["gcc", "-std=c99", "-O1", "-ffp-contract=off", "-pthread", *flags, *sources, "-o", str(made), "-lm"]
    subprocess.run(command, check=True)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("programs"), "tale")


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    """It continues texts."""
    return compiled(folder, folder / "tale", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover")


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It can talk."""
    place = built(tmp_path_factory.mktemp("chat"), "chat", TEMPLATE)
    return compiled(place, place / "chat", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover")


def run(program: Path, *words: str, text: bytes = b"", **given: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(program), *words], input=text, capture_output=True, timeout=60, **given)


@contextmanager
def listening(program: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program when it has opened its weights and waits for a text."""
    with subprocess.Popen([str(program), *words], stdin=PIPE, stdout=PIPE, stderr=PIPE) as running:
        maps, end = Path(f"/proc/{running.pid}/maps"), time.monotonic() + 60
        while ".weights" not in maps.read_text() and time.monotonic() < end:
            time.sleep(0.01)
        while "pipe_read" not in _waits(running.pid) and time.monotonic() < end:
            time.sleep(0.01)
        try:
            yield running
        finally:
            running.kill()


def _waits(pid: int) -> str:
    """Where in the kernel a process waits; "pipe_read" for one that sleeps where the kernel does not say."""
    told = Path(f"/proc/{pid}/wchan").read_text()
    asleep = re.search(r"\) S ", Path(f"/proc/{pid}/stat").read_text()) is not None
    return told if told not in ("", "0") else "pipe_read" if asleep else ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--nope"], "no option '--nope'"),
        (["hello"], "no option 'hello'"),
        (["--prompt"], "--prompt needs a value"),
        (["--threads", "1000"], "--threads: '1000' is no whole number from 0 to 64"),
        (["--threads", "-1"], "'-1'"),
        (["--threads", "2x"], "'2x'"),
        (["--threads", ""], "''"),
        (["--context", "65"], "from 1 to 64"),
        (["--tokens", "99999999999999999999"], "from 1 to 2147483647"),
        (["--isa", "neon", "--prompt", "a"], "there is no 'neon'"),
        (["--top-p", "2", "--prompt", "a"], "--top-p: '2' is no number from 0 to 1"),
        (["--temperature", "nan"], "'nan'"),
        (["--repeat-penalty", "0", "--json"], "--repeat-penalty: '0'"),
        (["--seed", "x"], "--seed: 'x'"),
        (["--seed", "-1"], "--seed: '-1'"),
        (["--seed", "18446744073709551616"], "--seed"),
        (["--stop", ""], "--stop: up to 16 texts of 1 to 255 bytes"),
        (["--stop", "x" * 256], "--stop"),
        (["--stop", "x"] * 17, "--stop"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_what_is_wrong(program: Path, words: list[str], told: str) -> None:
    done = run(program, *words)
    assert done.returncode == WRONG and told in done.stderr.decode() and not done.stdout


def test_help_says_all_there_is(program: Path) -> None:
    done = run(program, "--help", "--context", "3")
    text = done.stdout.decode()
    assert done.returncode == 0 and not done.stderr
    known = re.findall(r'"(--[a-z-]+)"', (program.parent / "options.c").read_text())
    assert len(known) > 15 and {*known} <= {*re.findall(r"--[a-z-]+", text)}
    assert "up to 64\n" in text and "portable avx2 vnni" in text and "--top-k 40" in text


def test_the_widest_settings_are_taken(program: Path) -> None:
    words = ["--seed", str(2**64 - 1), "--temperature", "1e-40", "--top-p", "0", "--repeat-penalty", "0.01"]
    done = run(program, "--prompt", "hello", "--tokens", "3", "--threads", "64", "--stop", "x" * 255, *words)
    assert done.returncode == 0 and not done.stderr


def test_weights_lie_beside_the_program_wherever_it_is_called_from(program: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(program)
    found = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    words = ["--prompt", "hello", "--tokens", "2"]
    want = run(program, *words).stdout
    assert want and run(tmp_path / "link", *words).stdout == want
    assert run(Path("tale"), *words, cwd=tmp_path, env=found).stdout == want


def test_weights_that_cannot_be_read_are_told_with_the_reason(program: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    for path, told in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "pipe", "cannot be read"),
        (tmp_path / "empty", "another build, or is cut off"),
    ):
        done = run(program, "--prompt", "a", "--weights", str(path))
        assert done.returncode == MACHINE
        assert told in done.stderr.decode() and f"({path})" in done.stderr.decode()


def test_weights_that_are_cut_off_while_it_runs_end_it_with_words(program: Path, tmp_path: Path) -> None:
    shutil.copy(program.with_name("tale.weights"), tmp_path / "weights")
    environment = {**os.environ, "ASAN_OPTIONS": "handle_sigbus=0"}
    command = [str(program), "--weights", str(tmp_path / "weights")]
    with subprocess.Popen(command, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE) as running:
        while "weights" not in Path(f"/proc/{running.pid}/maps").read_text():
            time.sleep(0.01)
        os.truncate(tmp_path / "weights", 0)
        told = running.communicate(b"hello", timeout=60)[1]
    assert running.returncode == MACHINE and b"cut off while it was read" in told


def test_a_text_that_cannot_be_written_is_told(program: Path) -> None:
    for words in ([], ["--json"]):
        with open("/dev/full", "wb") as full:
            command = [str(program), "--prompt", "hello", *words]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60)
        assert done.returncode == MACHINE and b"cannot be written" in done.stderr


def test_help_that_cannot_be_written_is_told(program: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([str(program), "--help"], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == MACHINE and b"cannot be written" in done.stderr


def test_a_text_that_cannot_be_read_is_told(program: Path, chat: Path, tmp_path: Path) -> None:
    for command in (program, chat):
        opened = os.open(tmp_path, os.O_RDONLY)
        done = subprocess.run([str(command)], stdin=opened, capture_output=True, timeout=60)
        os.close(opened)
        assert done.returncode == MACHINE and b"cannot be read" in done.stderr


def test_a_reader_that_leaves_ends_it(program: Path) -> None:
    with subprocess.Popen([str(program), "--prompt", "hello"], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.wait(60) == -signal.SIGPIPE


def test_any_text_comes_in_and_none_too_long(program: Path) -> None:
    done = run(program, "--tokens", "1", "--json", text=b"a\0b\xff")
    assert json.loads(done.stdout)["prompt"] == "a\0b\ufffd"
    done = run(program, "--json", text=b"x" * (1 << 20))
    assert done.returncode == WRONG and b"too long" in done.stderr and not done.stdout
    done = run(program, "--json", text=b"")
    assert done.returncode == WRONG and b"no text to continue" in done.stderr and not done.stdout


def test_an_interrupt_while_it_waits_for_a_text_ends_it(program: Path) -> None:
    with listening(program) as running:
        running.send_signal(signal.SIGINT)
        out, told = running.communicate(timeout=60)
    assert (running.returncode, out, told) == (INTERRUPTED, b"", b"")


def test_a_conversation_goes_on_after_what_it_cannot_read(chat: Path) -> None:
    """Lines too long for the line or the context, empty ones, zeros, an end of line from elsewhere."""
    lines = [b"x" * (LINE + 10), b"", b"y" * 100, b"h\0i\r", b"z" * LINE, b"last"]
    done = run(chat, "--tokens", "1", "--temperature", "0", "--json", text=b"\n".join(lines))
    assert [json.loads(line)["prompt"] for line in done.stdout.splitlines()] == ["hi", "last"]
    told = done.stderr.decode().splitlines()
    assert ["a line is too long" in t for t in told] == [True, False, True]
    assert "does not fit into the context" in told[1] and done.returncode == WRONG


def test_an_interrupt_between_two_answers_ends_a_conversation(chat: Path) -> None:
    with listening(chat, "--json") as running:
        running.send_signal(signal.SIGINT)
        out, told = running.communicate(timeout=60)
    assert (running.returncode, out, told) == (INTERRUPTED, b"", b"")


def test_a_system_prompt_has_an_end(chat: Path) -> None:
    done = run(chat, "--system", "x" * LINE, text=b"hi\n")
    assert done.returncode == WRONG and b"system prompt is too long" in done.stderr and not done.stdout


def test_a_conversation_ends_with_the_context(chat: Path) -> None:
    done = run(chat, "--json", "--temperature", "0", text=b"hi\n" * 30)
    ends = [json.loads(line)["end"] for line in done.stdout.splitlines()]
    assert done.returncode in (0, WRONG) and b"context" in done.stderr and len(ends) < 30


@pytest.mark.parametrize(("has", "told"), [("1", ""), ("0", "needs: running the portable kernels")])
def test_who_lacks_what_a_cpu_could_have_is_told(folder: Path, has: str, told: str, tmp_path: Path) -> None:
    """A CPU with everything, and one with nothing; the text is refused before a kernel runs."""
    shutil.copytree(folder, tmp_path / "c", ignore=shutil.ignore_patterns("tale"))
    source = tmp_path / "c" / "tale.c"
    text, count = re.subn(r"(has_(?:avx2|vnni)\(void\)\n{\n    return ).*;", rf"\g<1>{has};", source.read_text())
    assert count == 2
    source.write_text(text)
    done = run(compiled(tmp_path / "c", tmp_path / "c" / "tale", "-w"), "--prompt", "hello " * 100)
    assert done.returncode == WRONG and ("has not all" in done.stderr.decode()) == bool(told)
    assert told in done.stderr.decode()


@pytest.mark.parametrize("name", ["pool", "main", "Sample", "br"])
def test_a_model_called_like_a_file_of_the_runtime(name: str, tmp_path: Path) -> None:
    """No file stands in for another, no name for another's."""
    place = built(tmp_path, name)
    known = {path.name.lower() for path in place.glob("*.[ch]")}
    assert len(known) == len([*place.glob("*.[ch]")]) and {"pool.c", "main.c", "sample.h"} <= known
    done = run(compiled(place, tmp_path / "program", *WARNINGS), "--help")
    assert done.returncode == 0 and b"usage" in done.stdout

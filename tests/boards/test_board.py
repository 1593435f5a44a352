"""Talking with boards that behave badly, and the ports they are at. Real answers are in test_platformio.py."""

from __future__ import annotations

import errno
import os
import threading
import time
import tty
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import serial

from brainc import board, check, project
from brainc.compiler import Request, compile_job, prepare
from brainc.emit import emit
from brainc.errors import DeviceError, UserError
from brainc.resources import examples_dir

PROGRAM = compile_job(prepare(Request(examples_dir() / "digits"), "uno"))
HASH = project.digest(emit(PROGRAM))
VECTORS = {"image": np.linspace(0, 1, 128, dtype=np.float32).reshape(2, 1, 1, 8, 8)}
WANT = [row["scores"].astype("<f4").tobytes().hex() for row in check.reference(PROGRAM.graph, VECTORS)]
Answer = Callable[[str], str]
Play = Callable[[Answer], str]


@pytest.fixture
def play() -> Iterator[Play]:
    """`play(answer)` is the port of a board that answers each line with what `answer` makes of it."""
    boards: list[tuple[int, int, threading.Thread]] = []

    def start(answer: Answer) -> str:
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        serving = threading.Thread(target=_serve, args=(ours, answer), daemon=True)
        boards.append((ours, theirs, serving))
        serving.start()
        return os.ttyname(theirs)

    yield start
    for ours, theirs, serving in boards:
        os.close(theirs)  # the board reads an error, and ends
        serving.join(10)
        os.close(ours)  # not before: its number may become that of the next board's line


def _serve(end: int, answer: Answer) -> None:
    held = b""
    while True:
        try:
            held += os.read(end, 4096)
        except OSError:
            return
        *lines, held = held.split(b"\n")
        for line in lines:
            os.write(end, answer(line.decode()).encode("latin-1"))


def good() -> Answer:
    """A board as it should be, which waits for nothing."""
    steps = iter(WANT)
    answers = {
        "?": lambda: f"BR brain digits {HASH}\r\nBR input image float 64\r\nok\r\n",
        ">": lambda: "ok\r\n",
        "!": lambda: f"BR step scores {next(steps).upper()}\r\nok 1234 us\r\n",
        "0": lambda: "ok\r\n",
        "#": lambda: "error: the commands are\r\n",
    }
    return lambda line: answers[line[0]]() if line else ""


def but(kind: str, said: str) -> Answer:
    """The same, except for one kind of line."""
    answer = good()
    return lambda line: said if line[:1] == kind else answer(line)


def prove(port: str) -> tuple[check.Rung, int]:
    return board.prove(PROGRAM, HASH, VECTORS, port)


def test_a_board_that_agrees(play: Play) -> None:
    rung, took = prove(play(good()))
    assert rung == check.Rung("board", 2, None) and took == 1234


def test_noise_and_late_answers_are_passed_over(play: Play) -> None:
    """A boot loader's bytes, other prints of the sketch, and a second answer to `?`."""
    answer, asked = good(), []

    def noisy(line: str) -> str:
        asked.append(line)
        if line == "?" and asked.count("?") == 1:
            return "\xf0\x14\x10"
        more = answer(line) if line == "?" else ""
        return f"temperature 21\r\n\r\nBR\xff\r\n{answer(line)}{more}"

    assert prove(play(noisy))[0].equal


def test_a_board_that_differs_is_told_where(play: Play) -> None:
    rung, _ = prove(play(but("!", f"BR step scores {'00' * 40}\r\nok 5 us\r\n")))
    assert rung.first_difference is not None and rung.first_difference.startswith("sample 0, port scores[0]: want ")


def test_an_answer_that_has_come_is_read_however_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may be busy: what counts is when the board said it."""

    def read(_: int) -> bytes:
        time.sleep(0.2)
        return b"BR one\r\nok\r\n"

    line: Any = SimpleNamespace(in_waiting=0, read=read, write=lambda data: None)
    assert board._Board(line, "port").ask("0", 0.1) == ["BR one", "ok"]


@pytest.mark.parametrize(
    ("answer", "silent", "message"),
    [
        (lambda line: "", "WAKE", "does not answer"),
        (lambda line: "\xff\x00 nonsense without end ", "WAKE", "does not answer"),
        (but("?", "BR brain digits 0123456789ab\r\nok\r\n"), "", "runs another brain: digits 0123456789ab"),
        (but("#", ""), "ANSWER", "fell silent"),
        (but(">", "error: no such input\r\n"), "", "answers '> image .*error: no such input"),
        (but("!", ""), "STEP", "nothing for 0.5 s"),
        (but("!", "ok 5 us\r\n"), "", "gives 0 digits for scores, not 80"),
        (but("!", "BR step scores 00zz\r\nok\r\n"), "", "gives 4 digits for scores"),
    ],
)
def test_what_is_no_answer_is_the_devices_fault(
    play: Play, answer: Answer, silent: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only silence is given little time: who answers gets all there is, however busy the machine."""
    if silent:
        monkeypatch.setattr(board, silent, 0.5)
    with pytest.raises(DeviceError, match=message) as caught:
        prove(play(answer))
    assert caught.value.fix and caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EACCES, "dialout"), (errno.EBUSY, "close other programs"), (errno.ENOENT, "connect")]
)
def test_a_port_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch, number: int, told: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(number, os.strerror(number))

    monkeypatch.setattr(serial, "Serial", refuse)
    monkeypatch.setattr(board, "WAKE", 0.2)
    with pytest.raises(DeviceError, match="the port /dev/ttyX fails") as caught:
        prove("/dev/ttyX")
    assert told in caught.value.fix


def test_a_port_that_comes_back(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a board with its own USB, after it was flashed."""
    port, opened, gone = play(good()), serial.Serial, [errno.ENOENT, errno.EIO]

    def late(*words: object, **named: object) -> serial.Serial:
        if gone:
            raise serial.SerialException(gone.pop(), "gone")
        return opened(*words, **named)

    monkeypatch.setattr(serial, "Serial", late)
    assert prove(port)[0].equal and not gone


def seen(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """These ports are on USB; there is always one that is not."""
    found = [SimpleNamespace(device="/dev/ttyS0", vid=None)] + [SimpleNamespace(device=n, vid=0x2341) for n in names]
    monkeypatch.setattr(board.list_ports, "comports", lambda: found)


def test_the_only_board_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    seen(monkeypatch, "/dev/ttyACM0")
    assert board.find(None) == "/dev/ttyACM0"
    seen(monkeypatch, "COM3")
    assert board.find("COM3") == "COM3"


def test_several_boards_ask_for_a_choice_and_none_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    seen(monkeypatch, "/dev/ttyACM1", "/dev/ttyACM0")
    with pytest.raises(UserError, match="several ports: /dev/ttyACM0, /dev/ttyACM1") as several:
        board.find(None)
    assert "--port" in several.value.fix
    seen(monkeypatch)
    with pytest.raises(DeviceError, match="no serial port has a board") as none:
        board.find(None)
    assert "cable" in none.value.fix
    with pytest.raises(DeviceError, match="there is no port /dev/ttyX"):
        board.find("/dev/ttyX")

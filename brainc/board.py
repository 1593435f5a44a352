"""A board at a serial port: which port it is, and the brain on it, fed and read by the protocol of its sketch.

The last rung of the proof: `check --port` and `flash` knock; a `Rung` leaves. A board may just be starting, or
speak of other things: what is no answer is passed over, and silence has an end. The protocol is in the
project's README: `?`, `> PORT HEX`, `!` and `0`, each answered by lines of which the last begins with ok or error.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import serial
from serial.tools import list_ports

from brainc import check
from brainc.check import Rung, Vectors
from brainc.dtypes import Array
from brainc.errors import DeviceError, UserError
from brainc.flash import DIALOUT
from brainc.program import Program
from brainc.views import harness_view

BAUD = 115200
WAKE, ANSWER, STEP = 15.0, 10.0, 120.0  # seconds until a board must have started, answered, computed
_POLL = 0.1  # seconds for which one reading waits
_NO_COMMAND = "#"
_FOR_GOOD = (errno.EACCES, errno.EPERM, errno.EBUSY)  # waiting does not help
_LONGEST = 1 << 22  # bytes without an end of line that are still believed to be one
_FLASH_IT = "flash it with the same options: brainc flash"


def find(port: str | None, patience: float = 0.0) -> str:
    """The port asked for, or the only one that has a board; waits for it as long as `patience` says, in seconds.

    Raises UserError where there are several, DeviceError where there is none.
    """
    end = time.monotonic() + patience
    while True:
        found = _boards() if port is None else [port] * _is_there(port)
        if len(found) == 1 or time.monotonic() >= end:
            break
        time.sleep(_POLL)
    if len(found) > 1:
        told = ", ".join(found)
        raise UserError(f"there are several ports: {told}", fix=f"choose one: --port {found[0]}")
    if not found:
        what = f"there is no port {port}" if port else "no serial port has a board"
        fix = "connect the board by a cable that carries data; `pio device list` shows what is there"
        raise DeviceError(what, fix=fix)
    return found[0]


def _is_there(port: str) -> bool:
    return os.path.exists(port) or port in (p.device for p in list_ports.comports())  # a COM3 is no file


def _boards() -> list[str]:
    """The serial ports that are something on USB."""
    return sorted(p.device for p in list_ports.comports() if p.vid is not None)


def prove(program: Program, brain_hash: str, vectors: Vectors, port: str) -> tuple[Rung, int]:
    """The board against the reference of the same graph, and the microseconds its longest step took.

    Raises DeviceError where it does not answer, runs another brain, or answers nonsense.
    """
    want = check.reference(program.graph, vectors)
    with _awake(port, program.name, brain_hash) as board:
        board.ask("0", ANSWER)
        steps = [_step(board, program, {p: a[i] for p, a in vectors.items()}) for i in range(len(want))]
    wrong = check.differs(program.graph, want, [row for row, _ in steps])
    told = None if wrong is None else "sample {}, {}".format(*wrong)
    return Rung("board", len(want), told), max((took for _, took in steps), default=0)


def _step(board: _Board, program: Program, sample: Vectors) -> tuple[dict[str, Array], int]:
    """Outputs of one sample, and the microseconds of the step."""
    graph, view = program.graph, harness_view(program)
    entry = graph.entries[0]
    for port, shown in zip(entry.inputs, view["inputs"], strict=True):
        data = np.asarray(sample[port], graph.type(port).dtype.numpy.newbyteorder("<")).tobytes()
        board.ask(f"> {shown.cname} {data.hex()}", ANSWER)
    *lines, last = board.ask("!", STEP)
    answers = {tuple(w[1:3]): w[3] for w in map(str.split, lines) if len(w) == 4 and w[0] == "BR"}
    values = {}
    for port, shown in zip(entry.outputs, view["outputs"], strict=True):
        type_, digits = graph.type(port), answers.get((entry.name, shown.cname), "")
        try:
            data = bytes.fromhex(digits)
        except ValueError:
            data = b""
        if len(data) != type_.nbytes:
            what = f"the board gives {len(digits)} digits for {shown.cname}, not {2 * type_.nbytes} of hex"
            raise DeviceError(what, fix="try again; a bad cable, or another program on the port, garbles lines")
        values[port] = np.frombuffer(data, type_.dtype.numpy.newbyteorder("<")).reshape(type_.shape)
    words = last.split()
    return values, int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0


@contextmanager
def _awake(port: str, name: str, brain_hash: str) -> Iterator[_Board]:
    """The board at a port, started and known to run this brain.

    A board with a USB of its own leaves its port and comes back when it was flashed: until then it is tried again.
    """
    end = time.monotonic() + WAKE
    while True:
        try:
            with serial.Serial(port, BAUD, timeout=_POLL, write_timeout=STEP) as line:
                board = _Board(line, port)
                board.greet(name, brain_hash, end)
                end = 0.0  # from here on nothing is tried twice
                yield board
                return
        except (serial.SerialException, OSError) as error:
            if time.monotonic() > end or error.errno in _FOR_GOOD:
                denied = error.errno in (errno.EACCES, errno.EPERM)
                fix = DIALOUT if denied else "connect the board, and close other programs that use its port"
                raise DeviceError(f"the port {port} fails: {error}", fix=fix) from error
            time.sleep(_POLL)


class _Board:
    """One end of the line: asks, and reads whole lines."""

    def __init__(self, line: serial.Serial, port: str) -> None:
        self._line, self._port, self._held = line, port, b""

    def greet(self, name: str, brain_hash: str, end: float) -> None:
        """Waits until the board has started, and sees that it runs this very brain."""
        while time.monotonic() < end:
            self._send("\n?")  # the first ends what may have been begun
            for words in map(str.split, self._answer(1.0)):
                if words[:2] == ["BR", "brain"] and len(words) == 4:
                    self._catch_up()
                    if words[2:] != [name, brain_hash]:
                        what = f"the board at {self._port} runs another brain: {' '.join(words[2:])}"
                        raise DeviceError(f"{what}, not {name} {brain_hash}", fix=_FLASH_IT)
                    return
        what = f"the board at {self._port} does not answer"
        raise DeviceError(what, fix=f"{_FLASH_IT}; close other programs that use the port, press reset")

    def ask(self, command: str, seconds: float) -> list[str]:
        """The lines of an answer, the last of which begins with ok."""
        self._send(command)
        lines = self._answer(seconds)
        if not lines or not lines[-1].startswith("ok"):
            said = lines[-1] if lines else f"nothing for {seconds:g} s"
            what = f"the board at {self._port} answers {command[:20]!r} with {said[:100]!r}"
            raise DeviceError(what, fix="try again; if it stays so, flash it anew: brainc flash")
        return lines

    def _send(self, text: str) -> None:
        self._line.write(text.encode("ascii") + b"\n")

    def _answer(self, seconds: float) -> list[str]:
        """What is said until a line that begins with ok or error, or until time is over."""
        lines, end = list[str](), time.monotonic() + seconds
        while (line := self._next(end)) is not None:
            lines.append(line)
            if line.startswith(("ok", "error")):
                break
        return lines

    def _next(self, end: float) -> str | None:
        """The next line, or None if none has come in time; what has come is read, however late this program is."""
        while b"\n" not in self._held:
            if time.monotonic() > end or len(self._held) > _LONGEST:
                return None
            self._held += self._line.read(self._line.in_waiting or 1)
        line, _, self._held = self._held.partition(b"\n")
        return line.decode("ascii", "replace").strip()

    def _catch_up(self) -> None:
        """Passes over late answers to what was asked more than once: up to that of a command there is not."""
        self._send(_NO_COMMAND)
        end = time.monotonic() + ANSWER
        while (line := self._next(end)) is not None:
            if line.startswith("error"):
                return
        raise DeviceError(f"the board at {self._port} fell silent", fix=_FLASH_IT)

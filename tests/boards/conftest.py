"""PlatformIO without a network, and simulated boards at pseudo-terminals."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import offline
import pytest

from brainc import toolchain

Run = Callable[..., str]


class Plug:
    """`plug(mcu, image)` starts a simulated board with that .hex and gives its port; `stop` unplugs them all.

    The flash of a board that was unplugged is in `flash.bin`.
    """

    def __init__(self, harness: Path, folder: Path) -> None:
        self._harness, self._folder = harness, folder
        self._boards: list[subprocess.Popen[bytes]] = []

    def __call__(self, mcu: str, image: Path) -> Path:
        port = self._folder / f"port{len(self._boards)}"
        command = [self._harness, mcu, "16000000", image, port, self._folder / "flash.bin"]
        board = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._boards.append(board)
        while not port.is_symlink() and board.poll() is None:
            time.sleep(0.01)
        return port

    def stop(self) -> None:
        for board in self._boards:
            board.send_signal(signal.SIGTERM)
            board.wait(10)


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PLATFORMIO_CORE_DIR with all that AVR boards need."""
    return offline.core(tmp_path_factory.mktemp("platformio"))


@pytest.fixture
def pio(core: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`pio(folder, *words)` is `pio run -d folder words`: what it said; it must succeed."""
    for name, value in offline.environment(core).items():
        monkeypatch.setenv(name, value)

    def run(folder: Path, *words: str) -> str:
        command = [toolchain.find_tool("pio", packages=()), "run", "-d", str(folder), *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[Plug]:
    """Simulated AVR boards."""
    if toolchain.locate("libsimavr") is None:
        pytest.skip("needs libsimavr")
    harness = toolchain.helper(Path(__file__).parent / "avrpty.c", libraries=("-lsimavr", "-lutil"))
    boards = Plug(harness, tmp_path)
    yield boards
    boards.stop()

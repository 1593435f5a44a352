"""Every kernel that this machine can run, on every sample case of its op.

Proves that the result is the op's numpy meaning (to the bit for integers), that nothing but the result and
the scratch is written, and that what the head claims about overlapping memory (rows, reads, inplace) holds:
each case runs again with the result laid as close over its operand as the planner may put it.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from kernel_rig import Job, Lap, Rig, compare, jobs_of, wrappers

from brainc import ops
from brainc.kernels import Kernel, KernelTable
from brainc.resources import templates_dir
from brainc.target import load_target

TARGETS = {"c99": "", "x86-avx2": "avx2"}
CANARY, ROOM = 0xA5, 64


def has(flag: str) -> bool:
    """Whether this processor has it, as the system calls it."""
    info = Path("/proc/cpuinfo")
    return not flag or (info.is_file() and flag in info.read_text().split())


def own(kernel: Kernel, target: str) -> bool:
    """Whether a target is the one to try it under: a portable kernel under c99 only."""
    return target == "c99" or not kernel.name.startswith("c/")


def _kernels() -> list[tuple[str, str]]:
    """(target, kernel) for all, a portable kernel under c99 only."""
    found = []
    for name in TARGETS:
        table = KernelTable(load_target(name))
        folders = {p.name for p in templates_dir().iterdir()} | {"load"}
        fitting = (k for op in folders for k in table.candidates(op) if k.needs <= table.target.features)
        found += [(name, k) for k in sorted({k.name for k in fitting if own(k, name)})]
    return found


@pytest.fixture(scope="session")
def rigs(cc):  # type: ignore[no-untyped-def]
    """`rigs(target)`: its jobs, and the library that holds them."""
    made: dict[str, tuple[Rig, ctypes.CDLL]] = {}

    def get(name: str) -> tuple[Rig, ctypes.CDLL]:
        if not has(TARGETS[name]):
            pytest.skip(f"this processor has no {TARGETS[name]}")
        if name not in made:
            rig = jobs_of(load_target(name))
            chain = rig.target.toolchain
            flags = ("-O1", "-fsanitize=undefined", "-fno-sanitize-recover=all") if name == "c99" else ()
            made[name] = rig, cc(rig.source + wrappers(rig), *chain.flags, *flags, std=chain.std)
        return made[name]

    return get


class Memory:
    """One block of memory for a job: constants, operands, result and scratch, each between canaries."""

    def __init__(self, job: Job, overlap: Lap | None = None) -> None:
        sizes = [o.nbytes for o in job.operands]
        self.down = overlap is not None and overlap.down
        y_bytes, scratch = job.expected.nbytes, job.choice.scratch
        reach = abs(overlap.gap) if overlap else 0
        total = sum(sizes) + y_bytes + scratch + 4 * reach + 4 * (len(sizes) + 3) * ROOM
        self.block = np.full(total, CANARY, np.uint8)
        self.at: list[int] = []
        self.free = ROOM - self.block.ctypes.data % ROOM
        for index, operand in enumerate(job.operands):
            place = self._take(operand.nbytes + reach, reach if overlap and overlap.operand == index else 0)
            self.at.append(place)
            self.block[place : place + operand.nbytes] = np.frombuffer(operand.tobytes(), np.uint8)
        y = self.at[overlap.operand] - overlap.gap if overlap else self._take(y_bytes)
        if overlap:
            self.free = max(self.free, self._round(y + y_bytes))
        self.at += [y, self._take(scratch)]
        assert min(self.at) >= 0 and self.free <= total
        self.written = np.zeros(self.block.size, bool)
        for start, size in ((y, y_bytes), (self.at[-1], scratch)):
            self.written[start : start + size] = True
        for index in job.states:
            self.written[self.at[index] : self.at[index] + sizes[index]] = True

    @staticmethod
    def _round(n: int) -> int:
        return -(-n // ROOM) * ROOM + ROOM

    def _take(self, nbytes: int, before: int = 0) -> int:
        start = self.free + -(-before // ROOM) * ROOM
        offset = (start + self.block.ctypes.data) % ROOM
        start += (ROOM - offset) % ROOM
        self.free = start + self._round(nbytes)
        return start

    def run(self, job: Job, library: ctypes.CDLL, way: str = "") -> np.ndarray:
        before = self.block.copy()
        pointers = (ctypes.c_void_p * len(self.at))(*(self.block.ctypes.data + a for a in self.at))
        getattr(library, job.name + ("_down" if self.down else way))(pointers)
        for index, state in job.states.items():
            left = self.block[self.at[index] : self.at[index] + state.nbytes].view(state.dtype).reshape(state.shape)
            np.testing.assert_array_equal(left, state, err_msg=f"{job.name} left another state")
        strayed = np.flatnonzero((before != self.block) & ~self.written)
        assert strayed.size == 0, f"{job.name} wrote outside its result, at {strayed[:8] - self.at[-2]}"
        y = self.at[-2] if job.node.outputs else self.at[0]
        return self.block[y : y + job.expected.nbytes].view(job.expected.dtype).reshape(job.expected.shape)


def apart(job: Job, library: ctypes.CDLL) -> None:
    """A job whose result overlaps nothing, and once more as one call if it is made in shares."""
    compare(job, Memory(job).run(job, library), "apart")
    if job.kernel.split:
        compare(job, Memory(job).run(job, library, "_whole"), "in one call")


@pytest.mark.parametrize(("target", "kernel"), _kernels())
def test_kernel_means_what_its_op_means(target: str, kernel: str, rigs) -> None:  # type: ignore[no-untyped-def]
    rig, library = rigs(target)
    jobs = [j for j in rig.jobs if j.kernel.name == kernel]
    assert jobs, f"no sample case of its op fits {kernel}"
    for job in jobs:
        apart(job, library)


@pytest.mark.parametrize(("target", "kernel"), _kernels())
def test_memory_may_overlap_as_the_head_says(target: str, kernel: str, rigs) -> None:  # type: ignore[no-untyped-def]
    rig, library = rigs(target)
    jobs = [j for j in rig.jobs if j.kernel.name == kernel and j.overlaps]
    if not jobs:
        pytest.skip("claims no overlap")
    for job in jobs:
        for lap in job.overlaps:
            step = max(job.operands[lap.operand].itemsize, job.expected.itemsize)
            least = lap.farther(lap.gap % step if lap.down else -lap.gap % step)
            for further in (0, 1, 2, 3, 4, 7, 16):
                place = least.farther(further * step)
                compare(job, Memory(job, place).run(job, library), f"at {place}")


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("target", TARGETS)
def test_reals_have_their_bits_whoever_compiles_them(target: str, compiler: str, cc) -> None:  # type: ignore[no-untyped-def]
    """Of ops marked `bits`, with all that an optimiser may do to them."""
    if not has(TARGETS[target]):
        pytest.skip(f"this processor has no {TARGETS[target]}")
    rig = jobs_of(load_target(target), only=lambda kernel: ops.get(kernel.op).bits and own(kernel, target))
    assert rig.jobs
    chain = rig.target.toolchain
    library = cc(rig.source + wrappers(rig), *chain.flags, "-O3", std=chain.std, compiler=compiler)
    for job in rig.jobs:
        apart(job, library)

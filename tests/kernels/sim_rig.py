"""The jobs of a rig as one firmware: it runs them one after the other and writes every result out.

The tests of simulated machines come here, and whoever wants to know what a kernel costs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from kernel_rig import Job, Rig, call

from brainc import toolchain
from brainc.runners import Run, run
from brainc.weights import as_text

_ALIGN = 16


def simulate(rig: Rig, work: Path, *, optimize: str | None = None, count: bool = False) -> tuple[Run, list[np.ndarray]]:
    """Runs all jobs of `rig` in the target's simulator: what it told, and the results.

    `Run.marks[i]` is what job i cost, in cycles or (with `count`) instructions.
    """
    work.mkdir(parents=True, exist_ok=True)
    source = work / "jobs.c"
    source.write_text(_firmware(rig))
    firmware = toolchain.build(rig.target, [source], [], work, optimize=optimize)
    told = run(firmware, b"!", 1, count=count)
    results, at = [], 0
    for job in rig.jobs:
        raw = told.outputs[at : at + job.expected.nbytes]
        results.append(np.frombuffer(raw, job.expected.dtype).reshape(job.expected.shape))
        at += job.expected.nbytes
    return told, results


def ram_bytes(job: Job) -> int:
    """The memory a job needs at run time."""
    moving = [o.nbytes for o, constant in zip(job.operands, job.constant, strict=True) if not constant]
    return sum(-(-n // _ALIGN) * _ALIGN for n in (*moving, job.expected.nbytes, job.choice.scratch))


def flash_bytes(job: Job) -> int:
    """What its operands take as constants."""
    return sum(o.nbytes for o in job.operands)


def _firmware(rig: Rig) -> str:
    room = max(ram_bytes(job) for job in rig.jobs)
    body, data = [], []
    for number, job in enumerate(rig.jobs):
        arrays, steps = _steps(job, number)
        data += arrays
        body += steps
    return "\n".join(
        [
            '#include "harness.h"',
            rig.source,
            *data,
            f"static uint8_t ram[{room}] __attribute__((aligned({_ALIGN})));",
            "int main(void)\n{\n    uint8_t go;\n    br_host_open();\n    (void)br_host_read(&go, 1);",
            "    br_host_begin();",
            *body,
            "    br_host_end();\n    br_host_close();\n    return 0;\n}\n",
        ]
    )


def _steps(job: Job, number: int) -> tuple[list[str], list[str]]:
    """(definitions of its operands, statements that load them, run the job and write its result)."""
    data, load, places, at = [], [], [], 0
    for index, (operand, constant) in enumerate(zip(job.operands, job.constant, strict=True)):
        if not operand.size:  # left out
            places.append("NULL")
            continue
        name, numbers = f"{job.name}_{index}", _numbers(operand)
        if job.takes(index):
            head = f"BR_CONST({_ctype(numbers)}, {name}, {numbers.size})"
            data.append(f"{head} = {{\n" + "\n".join(as_text(numbers)) + "\n};")
        if constant:
            places.append(f"{'' if numbers is operand else '(const void *)'}BR_CREF({name})")
        else:
            load.append(f"    br_copy_flash(ram + {at}, BR_CREF({name}), {operand.nbytes});")
            places.append(f"(void *)(ram + {at})")
            at += -(-operand.nbytes // _ALIGN) * _ALIGN
    y = f"ram + {at}" if job.node.outputs else "ram + 0"
    places += [f"(void *)({y})", f"ram + {at + -(-job.expected.nbytes // _ALIGN) * _ALIGN}"]
    idle, busy = f"    br_host_mark({number + 10_000});", f"    br_host_mark({number});"
    write = f"    br_host_write({y}, {job.expected.nbytes});"
    return data, [*load, idle, f"    {call(job, places)};", busy, write]


def _numbers(array: np.ndarray) -> np.ndarray:
    """As C writes them down: halves by their bits, blocks byte for byte."""
    if array.dtype.char not in "Ve":
        return array
    return array.reshape(-1).view(np.uint16 if array.itemsize == 2 else np.uint8)


def _ctype(array: np.ndarray) -> str:
    names = {"i": f"int{array.itemsize * 8}_t", "u": f"uint{array.itemsize * 8}_t", "f": "float", "b": "uint8_t"}
    return names[array.dtype.kind]

"""Machines: one toy brain gives the same bytes on all of them, and every figure is right and repeatable.

Counts are checked against loops counted by hand, the rest against a second simulator or plain arithmetic.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from machines import machines

from brainc import toolchain
from brainc.errors import DeviceError, FitError, ToolFailed, ToolMissing, UserError
from brainc.runners import Run, run
from brainc.target import Target, load_target
from brainc.toolchain import Firmware, build, doctor, find_tool, locate, read_elf, write

pytestmark = pytest.mark.sim

TOY_H = """
#ifndef TOY_H
#define TOY_H
#include <stdint.h>
#define TOY_X_LEN 16
#define TOY_BIAS_LEN 2
#define TOY_Y_LEN 8
typedef struct toy { int8_t x[TOY_X_LEN]; int8_t y[TOY_Y_LEN]; int32_t calls; } toy_t;
void toy_init(toy_t *brain);
void toy_step(toy_t *brain, const int8_t x[TOY_X_LEN], const int16_t bias[TOY_BIAS_LEN], int8_t y[TOY_Y_LEN]);
#endif
"""

# One int8 layer with state; with TOY_TRACE it marks the layer as node 0 and the state as node 1.
TOY_C = """
#include "toy.h"
#include <stddef.h>
#include <string.h>
#ifdef TOY_TRACE
#include "harness.h"
#else
#define br_host_mark(node) (void)0
#endif
static const int8_t weights[TOY_Y_LEN][TOY_X_LEN] = {
    {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16}, {127, -128, 64, -64},
    {3, 1, 4, 1, 5, 9, 2, 6}};
void toy_init(toy_t *brain) { memset(brain, 0, sizeof *brain); }
void toy_step(toy_t *brain, const int8_t x[TOY_X_LEN], const int16_t bias[TOY_BIAS_LEN], int8_t y[TOY_Y_LEN])
{
    if (y == NULL) y = brain->y;
    for (int i = 0; i < TOY_Y_LEN; i++) {
        int32_t sum = (int32_t)bias[i & 1] + brain->calls;
        for (int k = 0; k < TOY_X_LEN; k++)
            sum += (int32_t)weights[i][k] * x[k];
        sum >>= 3;
        y[i] = (int8_t)(sum > 127 ? 127 : sum < -128 ? -128 : sum);
    }
    br_host_mark(0);
    brain->calls++;
    br_host_mark(1);
}
"""

TOY_MAIN = """
#include "harness.h"
#include "toy.h"
#include <stddef.h>
static toy_t brain;
static int16_t bias[TOY_BIAS_LEN];
int main(void)
{
    br_host_open();
    toy_init(&brain);
    while (br_host_read(brain.x, sizeof brain.x) && br_host_read(bias, sizeof bias)) {
        br_host_begin();
        toy_step(&brain, brain.x, bias, NULL);
        br_host_end();
        br_host_write(brain.y, sizeof brain.y);
    }
    br_host_close();
    return 0;
}
"""

# `body` runs once per input byte, inside the bracket.
PROBE = """
#include "harness.h"
static uint8_t byte;
void probe(void);
__attribute__((noinline)) void probe(void) { %s }
int main(void)
{
    br_host_open();
    while (br_host_read(&byte, 1)) { br_host_begin(); %s br_host_end(); br_host_write(&byte, 1); }
    br_host_close();
    return 0;
}
"""

MACHINES = [(t.name, s.kind) for t in machines() for s in t.sims]
each_machine = pytest.mark.parametrize(("name", "kind"), MACHINES)
SAMPLES = 5
INPUTS = bytes((37 * i + i * i // 7) % 256 for i in range(20 * SAMPLES))


def need(target: Target, kind: str, *more: str) -> None:
    """Skips the test, with the reason, if this machine lacks what the target is built and run with."""
    tools = {"simavr": ("libsimavr",), "qemu": ("qemu-system-arm",), "rp2040js": ("node", "rp2040js")}
    for tool in (target.toolchain.cc, *tools.get(kind, ()), *more):
        if locate(tool) is None:
            pytest.skip(f"{tool} is not installed")


def make(
    work: Path,
    name: str,
    kind: str,
    sources: dict[str, str],
    *more: str,
    sanitize: bool = False,
    defines: tuple[str, ...] = (),
) -> Firmware:
    target = load_target(name)
    need(target, kind, *more)
    work.mkdir(exist_ok=True)
    for file, text in sources.items():
        (work / file).write_text(text)
    c = [work / file for file in sources if file.endswith(".c")]
    return build(target, c, [work], work / "build", sim=kind, sanitize=sanitize, defines=defines)


def toy(work: Path, name: str, kind: str, *more: str, sanitize: bool = False, trace: bool = False) -> Firmware:
    sources = {"toy.h": TOY_H, "toy.c": TOY_C, "main.c": TOY_MAIN}
    return make(work, name, kind, sources, *more, sanitize=sanitize, defines=("TOY_TRACE",) if trace else ())


def counted(name: str) -> tuple[str, ...]:
    """What counting needs beyond running."""
    return ("valgrind",) if load_target(name).toolchain.cc == "gcc" else ("gcc",)


def signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def expected() -> bytes:
    """The toy brain in Python."""
    weights = [
        [(k + 1) * (-1) ** k for k in range(16)],
        [127, -128, 64, -64] + [0] * 12,
        [3, 1, 4, 1, 5, 9, 2, 6] + [0] * 8,
    ] + [[0] * 16] * 5
    out = []
    for calls in range(SAMPLES):
        sample = INPUTS[20 * calls : 20 * calls + 20]
        x, bias = (
            [signed(b) for b in sample[:16]],
            [sample[16] + 256 * signed(sample[17]), sample[18] + 256 * signed(sample[19])],
        )
        for i, row in enumerate(weights):
            total = bias[i & 1] + calls + sum(w * v for w, v in zip(row, x, strict=True))
            out.append(max(-128, min(127, total >> 3)) % 256)
    return bytes(out)


@each_machine
def test_same_bytes_and_repeatable_counts(tmp_path: Path, name: str, kind: str) -> None:
    firmware = toy(tmp_path, name, kind, *counted(name))
    first, second = (run(firmware, INPUTS, SAMPLES, count=True) for _ in range(2))
    assert first.outputs == expected()
    assert replace(first, microseconds=None) == replace(second, microseconds=None)
    exact = first.cycles if kind == "simavr" else first.instructions
    assert exact is not None and len(exact) == SAMPLES and min(exact) > 128  # a multiplication per weight
    assert (first.cycles is not None) == (kind in ("simavr", "rp2040js"))
    assert (first.stack is None) == (kind == "host")
    assert firmware.image.flash_bytes > 8 * 16 and firmware.image.ram_bytes >= 28  # the weights; the brain


@each_machine
def test_node_costs_add_up_to_the_entry(tmp_path: Path, name: str, kind: str) -> None:
    """Marks cost nothing that is not taken off again: all that is left after the last is the return."""
    firmware = toy(tmp_path, name, kind, *counted(name), trace=True)
    seen = run(firmware, INPUTS, SAMPLES, count=True)
    totals = seen.cycles or seen.instructions
    assert seen.outputs == expected() and seen.marks is not None and totals is not None
    assert set(seen.marks) == {0, 1} and seen.marks[0] > 100 > seen.marks[1] > 0
    assert abs(max(totals) - sum(seen.marks.values())) < 50


def probe(tmp_path: Path, name: str, kind: str, body: str, *, inside: str = "") -> Run:
    firmware = make(tmp_path, name, kind, {"main.c": PROBE % (inside, body)}, *counted(name))
    return run(firmware, b"abc", 3, count=True)


LOOPS = {
    "avr": '__asm__ volatile("ldi r24, 100\\n1: dec r24\\n brne 1b" ::: "r24");',
    "arm": '__asm__ volatile("movs r0, #100\\n1: subs r0, #1\\n bne 1b" ::: "r0", "cc");',
    "x86": '__asm__ volatile("movl $100, %%eax\\n1: decl %%eax\\n jnz 1b" ::: "eax", "cc");',
}


@each_machine
def test_counts_are_those_counted_by_hand(tmp_path: Path, name: str, kind: str) -> None:
    """One set-up and 100 times two instructions; a branch taken costs one cycle more, and 99 are."""
    cc = load_target(name).toolchain.cc
    body = LOOPS["avr" if cc == "avr-gcc" else "x86" if cc == "gcc" else "arm"]
    seen = probe(tmp_path, name, kind, body)
    assert seen.instructions in ((201,) * 3, None)
    assert seen.cycles in ((1 + 100 + 99 * 2 + 1,) * 3, None)
    assert seen.cycles or seen.instructions
    if kind == "qemu":
        assert seen.classes is not None and seen.classes["branch"] == 100
        assert sum(seen.classes.values()) == 201


def test_instruction_classes(tmp_path: Path) -> None:
    """Each class by instructions written out, in both encodings where there are two."""
    lines = [
        "push {r4, r5}",
        "strb r0, [sp, #1]",
        "str.w r0, [sp, #4]",  # 2 stores
        "ldr r0, [sp]",
        "ldr.w r1, [sp, #4]",
        "ldrd r4, r5, [sp]",
        "pop {r4, r5}",  # 2 loads; 3 of two registers each
        "muls r0, r1, r0",
        "mla r0, r1, r2, r3",
        "smlad r0, r1, r2, r3",
        "smull r0, r1, r2, r3",
        "movs r2, #3",
        "udiv r0, r1, r2",
        "vmov s0, r0",
        "vadd.f32 s0, s0, s0",
        "cmp r2, #3",
        "bne 1f",
        "b.w 1f",
        "1: mrs r0, primask",
        "dmb",
        "it eq",
        "moveq r0, r1",
    ]
    text = "\\n\\t".join(lines)
    body = f'__asm__ volatile("{text}" ::: "r0", "r1", "r2", "r3", "r4", "r5", "s0", "cc", "memory");'
    seen = probe(tmp_path, "cortex-m4", "qemu", body)
    classes = {"store": 2, "load": 2, "multiple": 3, "mul": 4, "div": 1, "fp_mve": 2, "branch": 2, "other": 6}
    assert seen.classes == classes
    assert seen.counts[0] == {"instructions": 22, "registers": 6, **classes}


def test_cycles_are_estimated_by_the_published_table(tmp_path: Path) -> None:
    """On the M3 and M4 alone: load 2, store 1, multiple 1 + n, branch 3, divide 7, all else 1."""
    text = "push {r4, r5}\\n ldrd r4, r5, [sp]\\n ldr r0, [sp]\\n str r0, [sp]\\n pop {r4, r5}\\n movs r1, #1\\n"
    text += "udiv r0, r0, r1\\n mul r0, r0, r1\\n b 1f\\n 1: nop"
    seen = probe(tmp_path, "cortex-m4", "qemu", f'__asm__ volatile("{text}" ::: "r0", "r1", "r4", "r5", "memory");')
    timing = load_target("cortex-m4").timing
    assert timing is not None and timing.cycles(seen.counts[0]) == 3 + 3 + 2 + 1 + 3 + 1 + 7 + 1 + 3 + 1
    assert {t.name for t in machines() if t.timing} == {"cortex-m3", "cortex-m4"}
    assert load_target("cortex-m3").timing == timing


@each_machine
def test_an_empty_bracket_costs_nothing(tmp_path: Path, name: str, kind: str) -> None:
    seen = probe(tmp_path, name, kind, "")
    assert set(seen.cycles or seen.instructions or ()) == {0}


@pytest.mark.parametrize(
    ("name", "kind", "fixed"),
    [("uno", "simavr", 40), ("mega", "simavr", 40), ("cortex-m4", "qemu", 64), ("cortex-m0plus", "rp2040js", 64)],
)
def test_stack_is_what_the_entry_takes(tmp_path: Path, name: str, kind: str, fixed: int) -> None:
    """300 bytes more of local array are 300 (rounded to words) more bytes of stack."""
    local = "volatile uint8_t room[%d]; for (unsigned i = 0; i < sizeof room; i++) room[i] = (uint8_t)i;"
    little = probe(tmp_path / "a", name, kind, "probe();", inside=local % 100).stack
    much = probe(tmp_path / "b", name, kind, "probe();", inside=local % 400).stack
    assert little is not None and much is not None
    assert 100 <= little <= 100 + fixed and much - little == 300


def test_rp2040js_and_qemu_count_the_same_instructions(tmp_path: Path) -> None:
    runs = [
        run(toy(tmp_path / kind, "cortex-m0plus", kind), INPUTS, SAMPLES, count=True) for kind in ("qemu", "rp2040js")
    ]
    assert runs[0].instructions == runs[1].instructions


@pytest.mark.parametrize(("name", "kind"), [m for m in MACHINES if m[1] != "simavr"])
def test_large_samples_stream(tmp_path: Path, name: str, kind: str) -> None:
    source = """
#include "harness.h"
static uint8_t image[27648];
int main(void)
{
    br_host_open();
    while (br_host_read(image, sizeof image)) {
        br_host_begin(); image[0] = (uint8_t)(image[0] + image[27647]); br_host_end();
        br_host_write(image, sizeof image);
    }
    br_host_close();
    return 0;
}
"""
    firmware = make(tmp_path, name, kind, {"main.c": source})
    images = [bytes((i + k) % 251 for k in range(27648)) for i in range(20)]
    seen = run(firmware, b"".join(images), 20)
    assert seen.outputs == b"".join(bytes([(i[0] + i[-1]) % 256]) + i[1:] for i in images)


def test_sanitizers_name_the_line(tmp_path: Path) -> None:
    body = "volatile int16_t room[2] = {0, 0}; byte = (uint8_t)room[byte & 64 ? 2 : 0];"
    firmware = make(tmp_path, "c99", "host", {"main.c": PROBE % ("", body)}, sanitize=True)
    with pytest.raises(DeviceError, match=r"main\.c:9.*runtime error: index 2 out of bounds"):
        run(firmware, b"a", 1)
    clean = toy(tmp_path / "clean", "c99", "host", sanitize=True)
    assert run(clean, INPUTS, SAMPLES, count=True).outputs == expected()


UNALIGNED = "static uint32_t two[2]; uint32_t *volatile odd = (uint32_t *)((uintptr_t)two + 1); *odd = 1;"


@pytest.mark.parametrize(
    ("name", "kind", "crash"),
    [
        ("cortex-m4", "qemu", '__asm__ volatile("udf #7");'),
        ("cortex-m4", "qemu", "*(volatile uint32_t *)0xa0000000u = 1;"),
        ("cortex-m55", "qemu", '__asm__ volatile("udf #7");'),
        ("cortex-m0plus", "qemu", UNALIGNED),
        ("cortex-m0plus", "rp2040js", "*(volatile uint32_t *)0xa0000000u = 1;"),
        ("cortex-m0plus", "rp2040js", '__asm__ volatile("udf #7");'),
        ("uno", "simavr", '__asm__ volatile(".word 0x0001");'),
    ],
)
def test_a_fault_is_named(tmp_path: Path, name: str, kind: str, crash: str) -> None:
    with pytest.raises(DeviceError, match=rf"the firmware for {name} \({kind}\) faulted: .* in probe"):
        probe(tmp_path, name, kind, "probe();", inside=crash)


@pytest.mark.parametrize(("name", "kind"), [("uno", "simavr"), ("cortex-m4", "qemu"), ("cortex-m0plus", "rp2040js")])
def test_a_stack_that_runs_away_is_named(tmp_path: Path, name: str, kind: str) -> None:
    deep = "volatile uint8_t room[200]; room[0] = byte; if (byte) probe(); byte = room[0];"
    with pytest.raises(DeviceError, match=r"faulted|Lockup"):
        probe(tmp_path, name, kind, "probe();", inside=deep)


@pytest.mark.parametrize(
    ("name", "kind"), [("c99", "host"), ("uno", "simavr"), ("cortex-m4", "qemu"), ("cortex-m0plus", "rp2040js")]
)
def test_an_endless_loop_is_ended(tmp_path: Path, name: str, kind: str) -> None:
    firmware = make(tmp_path, name, kind, {"main.c": PROBE % ("", 'for (;;) __asm__ volatile("");')})
    with pytest.raises(DeviceError, match="did not end within 1 s"):
        run(firmware, b"a", 1, timeout=1)


@pytest.mark.parametrize(("name", "kind"), [("c99", "host"), ("uno", "simavr"), ("cortex-m3", "qemu")])
def test_inputs_that_are_too_short_are_told(tmp_path: Path, name: str, kind: str) -> None:
    firmware = toy(tmp_path, name, kind)
    with pytest.raises(DeviceError, match="ran 4 of 5 samples"):
        run(firmware, INPUTS[:-1], SAMPLES)


def test_too_much_for_an_uno_is_told(tmp_path: Path) -> None:
    body = "static volatile uint8_t big[2048]; byte = big[byte];"
    with pytest.raises(FitError, match="not within region"):
        probe(tmp_path, "uno", "simavr", body)


def test_a_missing_tool_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="avr-gcc is not installed") as caught:
        build(load_target("uno"), [], [], tmp_path)
    assert "apt-get install gcc-avr avr-libc" in caught.value.fix
    assert {s.name for s in doctor() if s.path is None} >= {"avr-gcc", "qemu-system-arm", "valgrind"}


def test_a_missing_node_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(toolchain, "node_packages", lambda: tmp_path)
    with pytest.raises(ToolMissing) as caught:
        find_tool("rp2040js", packages=())
    assert caught.value.fix == f"npm install --prefix {tmp_path} rp2040js@1.4.1"


def test_a_warning_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match="unused variable") as caught:
        make(tmp_path, "c99", "host", {"main.c": "int main(void) { int unused = 3; return 0; }\n"})
    log = Path(caught.value.fix.removeprefix("the whole log is "))
    assert "-Wconversion" in log.read_text()


def test_a_simulator_the_target_lacks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="uno has no simulator qemu"):
        build(load_target("uno"), [], [], tmp_path, sim="qemu")
    with pytest.raises(UserError, match="only for others to extend"):
        build(load_target("avr"), [], [], tmp_path)


def test_a_second_compiler_agrees(tmp_path: Path) -> None:
    firmware = toy(tmp_path, "c99", "host", "clang")
    other = build(
        firmware.target, [tmp_path / "toy.c", tmp_path / "main.c"], [tmp_path], tmp_path / "clang", compiler="clang"
    )
    assert other.toolchain.startswith("clang ")
    assert run(other, INPUTS, SAMPLES).outputs == run(firmware, INPUTS, SAMPLES).outputs


def test_elf_sizes(tmp_path: Path) -> None:
    """Flash holds code, constants and the image of .data; RAM holds .data and .bss."""
    need(load_target("cortex-m3"), "qemu")
    text = "static volatile int here[5] = {1, 2, 3}, there[100];\nstatic const uint8_t more[1000] = {1};\n"
    small = make(tmp_path / "a", "cortex-m3", "qemu", {"main.c": PROBE % ("", "")})
    large = make(
        tmp_path / "b",
        "cortex-m3",
        "qemu",
        {"main.c": "#include <stdint.h>\n" + text + PROBE % ("", "here[1] = there[2] + more[byte]; there[0] = 1;")},
    )
    assert large.image.ram_bytes - small.image.ram_bytes in range(420, 433)  # 8 bytes of alignment each
    assert large.image.flash_bytes - small.image.flash_bytes in range(1020, 1120)
    assert read_elf(large.elf).symbol_at(large.image.symbols["main"][0] & ~1) == "main"


def test_write_is_all_or_nothing(tmp_path: Path) -> None:
    def failing() -> list[bytes]:
        raise RuntimeError("on the way")

    write(tmp_path, {"a.txt": b"old", "sub/b.bin": [b"1", b"2"]})
    assert (tmp_path / "sub" / "b.bin").read_bytes() == b"12"
    with pytest.raises(RuntimeError):
        write(tmp_path, {"a.txt": b"new", "c.txt": (chunk for _ in "x" for chunk in failing())})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "sub"]
    assert (tmp_path / "a.txt").read_bytes() == b"old"
    with pytest.raises(UserError, match="cannot write"):
        write(tmp_path / "a.txt", {"x": b""})

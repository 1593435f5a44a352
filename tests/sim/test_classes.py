"""Instruction classes: every encoding of an instruction is counted as what a disassembler says that it is.

First the instructions one by one in QEMU, then every instruction of whole firmwares, by the counter's own decoder.
"""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from thumb import meaning, named

from brainc import check, toolchain
from brainc.compiler import Request, compile_job, prepare
from brainc.resources import examples_dir
from brainc.runners import run
from brainc.target import load_target

pytestmark = pytest.mark.sim

# Each with what makes it harmless to run: r0 points into a buffer, r1 is 8, r2 is 1, r3 is 0; sp is put back.
NARROW = """
ldr r1, [r0]; ldr r1, [r0, r3]; ldr r1, [sp, #4]; ldr r1, literal; ldrb r1, [r0, #1]; ldrb r1, [r0, r3]
ldrh r1, [r0, #2]; ldrh r1, [r0, r3]; ldrsb r1, [r0, r3]; ldrsh r1, [r0, r3]
str r1, [r0]; str r1, [r0, r3]; str r1, [sp, #4]; strb r1, [r0, #1]; strb r1, [r0, r3]; strh r1, [r0, #2]
strh r1, [r0, r3]; ldmia r0!, {r1}; ldmia r0!, {r1, r2, r3}; ldmia r0, {r0, r1}; stmia r0!, {r1, r2, r3}
push {r1}; push {r1, r2, lr}; push {r0, r1, r2, r3, r4, r5, r6, r7, lr}
push {r1, r2} | pop {r1, r2}; muls r1, r2, r1; b 1f | 1:; cmp r2, #1 | bne 1f | 1:; cmp r2, #1 | beq 1f | 1:
bl 1f | 1:; ldr r1, =1f + 1 | bx r1 | 1:; ldr r1, =1f + 1 | blx r1 | 1:
ldr r1, =1f + 1 | mov pc, r1 | 1:; mov r1, r3 | add pc, r1 | .hword 0 | 1:
ldr r1, =1f + 1 | push {r1} | pop {pc} | 1:
adds r1, r2, r1; lsls r1, r2, #3; rsbs r1, r2, #0; rev r1, r2; sxtb r1, r2; uxth r1, r2; nop; mrs r1, primask
msr primask, r3; dmb; dsb; isb; add r1, sp, #8; adr r1, literal; cmp r1, r2; bics r1, r2; tst r1, r2
"""
WIDE = """
ldr.w r1, [r0, #4]; ldr r1, [r0, #-4]; ldr r1, [r0], #4; ldr r1, [r0, #4]!; ldr.w r1, [r0, r3, lsl #2]
ldr.w r1, literal
ldrt r1, [r0, #4]; ldrb.w r1, [r0, #4]; ldrb r1, [r0], #1; ldrsb.w r1, [r0, #4]; ldrsb r1, [r0], #1; ldrb.w r1, literal
ldrh.w r1, [r0, #4]; ldrh r1, [r0, #2]!; ldrsh.w r1, [r0, #4]; ldrsh r1, [r0], #2; ldrsh.w r1, literal
ldrsb.w r1, [r0, r3, lsl #1]; str.w r1, [r0, #4]; str r1, [r0], #4; str r1, [r0, #-4]!; str.w r1, [r0, r3, lsl #2]
strb.w r1, [r0, #4]; strb r1, [r0], #1; strh.w r1, [r0, #4]; strh r1, [r0, #2]!; strt r1, [r0, #4]
ldrex r1, [r0, #4]; strex r1, r2, [r0, #4]; ldrexb r1, [r0]; ldrexh r1, [r0]; strexb r1, r2, [r0]; strexh r1, r2, [r0]
clrex; pld [r0, #4]; pld [r0, #-4]; pld [r0, r3]; pli [r0]
ldrd r1, r2, [r0, #8]; ldrd r1, r2, [r0], #8; ldrd r1, r2, [r0, #-8]!; ldrd r1, r2, [r0]; ldrd r1, r2, literal
strd r1, r2, [r0, #8]; strd r1, r2, [r0], #8; strd r1, r2, [r0, #-8]!
ldmia.w r0!, {r1, r2}; ldmia.w r0, {r1, r2, r3, r8, r12}; ldmdb r0!, {r1, r2, r3}; ldmdb r0, {r1, r2}
stmia.w r0!, {r1, r2, r8}; stmia.w r0, {r1, r2}; stmdb r0!, {r1, r2, r3, r8}; stmdb r0, {r1, r2}
push {r4, r8, r9, lr}; push.w {r8}; push {r8, r9} | pop {r8, r9}; push.w {r8} | pop.w {r8}
ldr r1, =1f + 1 | push {r1, r8} | pop {r3, r8} | bx r1 | 1:
ldr r1, =1f + 1 | push {r1} | ldr pc, [sp], #4 | 1:
ldr r3, =1f + 1 | push {r2, r3} | pop.w {r8, pc} | 1:
cbz r3, 1f | .hword 0 | 1:; cbnz r3, 1f | nop | 1:; b.w 1f | 1:; cmp r2, #1 | bne.w 1f | 1:; cmp r2, #1 | beq.w 1f | 1:
tbb [pc, r3] | 2: .byte (1f - 2b) / 2, 0 | 1:; tbh [pc, r3, lsl #1] | 2: .hword (1f - 2b) / 2, 0 | 1:
cmp r2, #1 | ite eq | moveq r1, #2 | movne r1, #3; cmp r2, #5 | itt eq | ldreq r1, [r0] | streq r1, [r0]
sdiv r1, r1, r2; udiv r1, r1, r2; mul.w r1, r8, r2; mla r1, r2, r3, r1; mls r1, r2, r3, r1
smull r1, r2, r3, r2; umull r1, r2, r3, r2; smlal r1, r2, r3, r2; umlal r1, r2, r3, r2
movw r1, #513; movt r1, #513; bfi r1, r2, #3, #4; ubfx r1, r2, #3, #4; clz r1, r2; ssat r1, #8, r2; usat r1, #7, r2
add.w r1, r2, r3, lsl #2; addw r1, r2, #100; eor r1, r2, r3, ror #3; rbit r1, r2; sxtb.w r1, r2, ror #8; tst.w r1, #255
dmb sy; nop.w; mrs r1, basepri; msr basepri, r3
"""
DSP = """
smlad r1, r2, r3, r1; smladx r1, r2, r3, r1; smuad r1, r2, r3; smusd r1, r2, r3; smlsd r1, r2, r3, r1; smulbb r1, r2, r3
smultb r1, r2, r3; smlabb r1, r2, r3, r1; smlatt r1, r2, r3, r1; smulwb r1, r2, r3; smlawb r1, r2, r3, r1
smlald r1, r2, r3, r2; smlsld r1, r2, r3, r2; smlalbb r1, r2, r3, r2; smmul r1, r2, r3; smmulr r1, r2, r3
smmla r1, r2, r3, r1; smmls r1, r2, r3, r1; umaal r1, r2, r3, r2; usad8 r1, r2, r3; usada8 r1, r2, r3, r1
sxtb16 r1, r2; sxtab16 r1, r2, r3; pkhbt r1, r2, r3, lsl #16; qadd r1, r2, r3; sadd16 r1, r2, r3; sel r1, r2, r3
"""
FLOATS = """
vldr s0, [r0, #4]; vldr d0, [r0, #8]; vldr s1, literal; vstr s0, [r0, #4]; vstr d0, [r0, #8]
vldmia r0, {s0}; vldmia r0!, {s0, s1, s2}; vldmia r0!, {d0, d1}; vldmdb r0!, {s0, s1}; vldmdb r0!, {d4, d5, d6}
vstmia r0, {s0, s1, s2, s3, s4}; vstmia r0!, {d0}; vstmdb r0!, {s1, s2}; vstmdb r0!, {d0, d1, d2}
vpush {s16, s17, s18}; vpush {d8, d9}; vpush {s16} | vpop {s16}; vpush {d8, d9, d10} | vpop {d8, d9, d10}
vmov s0, r1; vmov r1, s0; vmov s0, s1, r1, r2; vmov r1, r2, s0, s1; vmov d0, r1, r2; vmov r1, r2, d0; vmov.f32 s0, s1
vadd.f32 s0, s1, s2; vmul.f32 s0, s1, s2; vmla.f32 s0, s1, s2; vfma.f32 s0, s1, s2; vcvt.s32.f32 s0, s1
vcmp.f32 s0, s1 | vmrs APSR_nzcv, fpscr; vmrs r1, fpscr | vmsr fpscr, r1
"""
HELIUM = """
vldrw.u32 q0, [r0]; vldrb.u8 q0, [r0], #16; vldrb.s16 q0, [r0]; vldrh.s32 q0, [r0]; vstrb.8 q0, [r0]
vstrw.32 q0, [r0, #16]!
vldrb.u8 q0, [r0, q1]; vmladava.s8 r2, q0, q1; vmladavax.s16 r2, q0, q1; vmlav.s8 r2, q0, q1; vaddva.s8 r2, q0
vdup.8 q1, r3; vadd.i32 q0, q0, q1; vqrdmulh.s32 q0, q0, q1; vrshl.s32 q0, q0, q1; vpst | vaddt.i8 q0, q0, q1
vctp.8 r1; vmov q0[2], q0[0], r1, r2; vmov.8 q0[3], r1; vidup.u32 q0, r2, #1; vld20.8 {q0, q1}, [r0]
dls lr, r2; dls lr, r2 | 1: nop | le lr, 1b; wls lr, r3, 1f | .hword 0 | 1:; wls lr, r2, 2f | 1: nop | le lr, 1b | 2:
dlstp.8 lr, r1 | 1: vldrb.u8 q0, [r0], #16 | letp lr, 1b; wlstp.8 lr, r3, 1f | .hword 0 | 1:
cmp r2, #1 | csel r1, r2, r3, eq; cinc r1, r2, eq; asrl r2, r3, #3; lda r1, [r0]; stl r1, [r0]; ldaex r1, [r0]
vldr.16 s0, [r0, #4]; vstr.16 s0, [r0, #4]; cmp r2, #1 | cset r1, eq
"""
CORES = {
    "cortex-m0plus": NARROW,
    "cortex-m3": NARROW + WIDE,
    "cortex-m4": NARROW + WIDE + DSP + FLOATS,
    "cortex-m55": NARROW + WIDE + DSP + FLOATS + HELIUM,
}

HEAD = """    .syntax unified
    .thumb
    .text
    .global cases
    .thumb_func
    .p2align 2
cases:
    push {r4, r5, r6, r7, lr}
    mov r5, sp
    ldr r4, =buffer + 64
"""
# A mark leaves r4 to r7 alone; what is counted between two marks is the case and the lines around it.
CASE = """    mov r0, r4
    movs r1, #8
    movs r2, #1
    movs r3, #0
case_{number}:
{lines}
end_{number}:
    mov sp, r5
    movs r0, #{number} / 256
    lsls r0, r0, #8
    adds r0, #{number} % 256
    bl br_host_mark
    b 9f
    .ltorg
    .p2align 2
literal_{number}:
    .word 1, 2
9:
"""
TAIL = """    pop {r4, r5, r6, r7, pc}
    .bss
    .p2align 3
buffer: .space 256
"""
MAIN = """
#include "harness.h"
void cases(void);
int main(void)
{
    uint8_t go;
    br_host_open();
    (void)br_host_read(&go, 1);
    br_host_begin();
    cases();
    br_host_end();
    br_host_close();
    return 0;
}
"""


def cases(core: str) -> list[str]:
    """The cases of a core after two that are empty: where counting begins, and what surrounds a case."""
    return ["", "", *(case.strip() for case in CORES[core].replace("\n", ";").split(";") if case.strip())]


def source(core: str) -> str:
    texts = []
    for number, case in enumerate(cases(core)):
        lines = "\n".join("    " + line for line in case.replace("literal", f"literal_{number}").split("|"))
        texts.append(CASE.format(number=number, lines=lines))
    return HEAD + "".join(texts) + TAIL


def disassembly(core: str, elf: Path) -> list[str]:
    """The lines of objdump, or a skip."""
    objdump = shutil.which(load_target(core).toolchain.cc.replace("gcc", "objdump"))
    if objdump is None or toolchain.locate("qemu-system-arm") is None:
        pytest.skip("needs arm-none-eabi-objdump and qemu-system-arm")
    said = subprocess.run([objdump, "-d", str(elf)], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()


def expected(lines: list[str]) -> dict[int, Counter[str]]:
    """What each case holds, by the names in its disassembly."""
    found: dict[int, Counter[str]] = {}
    number = None
    for line in lines:
        if line.endswith(">:"):
            kind, _, tail = line.split("<")[1].rstrip(">:").partition("_")
            number = int(tail) if kind == "case" else None
            if number is not None:
                found[number] = Counter()
        elif number is not None and (told := named(line)):
            kind, registers = meaning(*told[3:])
            found[number] += Counter({kind: 1, "registers": registers, "instructions": 1})
    return found


@pytest.mark.parametrize("core", CORES)
def test_every_encoding_is_counted_as_what_it_is(core: str, tmp_path: Path) -> None:
    (tmp_path / "cases.S").write_text(source(core))
    (tmp_path / "main.c").write_text(MAIN)
    target = load_target(core)
    if toolchain.locate(target.toolchain.cc) is None:
        pytest.skip(f"{target.toolchain.cc} is not installed")
    image = toolchain.build(target, [tmp_path / "main.c", tmp_path / "cases.S"], [], tmp_path)
    want = expected(disassembly(core, image.elf))
    seen = run(image, b"!", 1, count=True).nodes
    around = Counter(seen[1][0])
    assert len(want) == len(cases(core))
    for number, case in list(enumerate(cases(core)))[2:]:
        got = Counter(seen[number][0])
        got.subtract(around)
        assert +got == +want[number], f"{case}: counted {dict(+got)}, is {dict(want[number])}"


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sim/count.c's decoder as a program: two halves of an instruction in, its class and registers out."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("decoder")
    text = """
    int main(void)
    {
        int first, second;
        while (scanf("%x %x", (unsigned *)&first, (unsigned *)&second) == 2) {
            struct meaning is = second == -1 ? narrow((unsigned)first) : wide((unsigned)first, (unsigned)second);
            printf("%s %u\\n", names[is.class], is.registers);
        }
        return 0;
    }
    """
    counter = load_target("cortex-m4").file("sim/count.c")
    (folder / "decoder.c").write_text(f'#include "{counter}"\n{text}')
    program, link = folder / "decoder", ("-no-pie", "-Wl,-z,lazy,--unresolved-symbols=ignore-all")
    subprocess.run([gcc, "-Wall", "-Wextra", *link, "-o", program, folder / "decoder.c"], check=True)
    return program


@pytest.mark.parametrize("core", CORES)
def test_a_whole_firmware_is_decoded_as_a_disassembler_does(core: str, decoder: Path, tmp_path: Path) -> None:
    program = compile_job(prepare(Request(examples_dir() / "digits", quantize="int8", io="int8"), core))
    if toolchain.locate(program.target.toolchain.cc) is None:
        pytest.skip(f"{program.target.toolchain.cc} is not installed")
    lines = disassembly(core, check.firmware(program, tmp_path).elf)
    found = [(line, told) for line in lines if (told := named(line))]
    pairs = "\n".join(f"{told[1]:x} {told[2] & 0xFFFFFFFF:x}" for _, told in found)
    said = subprocess.run([decoder], input=pairs, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == len(found) > 500
    for (line, told), got in zip(found, said, strict=True):
        kind, registers = meaning(*told[3:])
        assert got == f"{kind} {registers}", line

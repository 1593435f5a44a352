/* The harness on a simulated Cortex-M: samples in files by semihosting, the stack measured by painting.
 *
 * Where the bracket begins and ends, and which node a mark names, the simulator sees by itself: it knows
 * the addresses of these functions and counts no instruction of this file (link.ld keeps it together). So
 * what happens here costs the entry nothing. */
#include "harness.h"
#include "semihosting.h"

#define BR_PAINT "0x5eed5eed"
enum { PAINTED = 0x10000, HARNESS_BRACKETS = 2 }; /* bytes of stack watched; br_host_open's own brackets */

extern uint32_t br_bss_end[], br_stack_top[];
extern const volatile uint8_t br_ram[];

static intptr_t input, output;
static uint32_t brackets, stack_peak;              /* stack_peak in bytes */
__attribute__((used)) static uint32_t *br_floor;   /* lowest painted word; the caller's stack is the end */

void br_stack_seen(const uint32_t *lowest, const uint32_t *caller);

static intptr_t open_file(const char *name, uint32_t length, uint32_t mode)
{
    const uint32_t block[3] = {(uint32_t)name, mode, length};
    intptr_t file = br_semihost(SYS_OPEN, block);
    if (file < 0) {
        br_tell("state name=fault why=open", "mode", mode);
        br_exit(1);
    }
    return file;
}

void br_host_open(void)
{
    input = open_file("in.bin", 6, OPEN_READ_BINARY);
    output = open_file("out.bin", 7, OPEN_WRITE_BINARY);
    br_floor = (uint32_t)br_stack_top - (uint32_t)br_bss_end > PAINTED ? br_stack_top - PAINTED / 4 : br_bss_end;
    br_empty_brackets();
}

int br_host_read(void *to, size_t bytes)
{
    const uint32_t block[3] = {(uint32_t)input, (uint32_t)to, bytes};
    return br_semihost(SYS_READ, block) == 0; /* the answer is how many bytes did not come */
}

/* Paints from br_floor up to the caller's stack. Naked, as is br_host_end: a frame of their own would lie
 * where the entry's is measured. */
__attribute__((naked)) void br_host_begin(void)
{
    __asm__ volatile(
        "ldr r0, =br_floor\n\t"
        "ldr r0, [r0]\n\t"
        "mov r1, sp\n\t"
        "ldr r2, =" BR_PAINT "\n"
        "1: cmp r0, r1\n\t"
        "bhs 2f\n\t"
        "str r2, [r0]\n\t"
        "adds r0, #4\n\t"
        "b 1b\n"
        "2: bx lr\n\t"
        ".ltorg");
}

/* Goes up from br_floor to the first word that is no longer paint, and tells br_stack_seen. */
__attribute__((naked)) void br_host_end(void)
{
    __asm__ volatile(
        "ldr r0, =br_floor\n\t"
        "ldr r0, [r0]\n\t"
        "mov r1, sp\n\t"
        "ldr r2, =" BR_PAINT "\n"
        "1: cmp r0, r1\n\t"
        "bhs 2f\n\t"
        "ldr r3, [r0]\n\t"
        "cmp r3, r2\n\t"
        "bne 2f\n\t"
        "adds r0, #4\n\t"
        "b 1b\n"
        "2: ldr r2, =br_stack_seen\n\t"
        "bx r2\n\t"
        ".ltorg");
}

__attribute__((used)) void br_stack_seen(const uint32_t *lowest, const uint32_t *caller)
{
    uint32_t bytes = (uint32_t)caller - (uint32_t)lowest;
    if (lowest == br_floor) {
        br_tell("state name=fault why=stack_overflow", "bytes", bytes);
        br_exit(1);
    }
    if (brackets++ >= HARNESS_BRACKETS && bytes > stack_peak)
        stack_peak = bytes;
}

__attribute__((noinline)) void br_host_mark(uint16_t node)
{
    (void)br_ram[node]; /* the address read tells the simulator the node */
}

void br_host_write(const void *from, size_t bytes)
{
    const uint32_t block[3] = {(uint32_t)output, (uint32_t)from, bytes};
    if (br_semihost(SYS_WRITE, block) != 0) {
        br_tell("state name=fault why=output", "bytes", bytes);
        br_exit(1);
    }
}

void br_host_close(void)
{
    const uint32_t block[1] = {(uint32_t)output};
    (void)br_semihost(SYS_CLOSE, block);
    br_tell("stack", "bytes", stack_peak);
    br_tell("state name=done", "samples", brackets - HARNESS_BRACKETS);
}

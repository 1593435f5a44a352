/* From reset to main on a simulated Cortex-M, and from a fault to a record that says where. */
#include "harness.h"
#include "semihosting.h"

extern const uint32_t br_data_image[];
extern uint32_t br_data[], br_data_end[], br_bss[], br_bss_end[], br_stack_top[];

int main(void);
int *__errno(void);
void br_reset(void);
void br_fault(void);
void br_report_fault(const uint32_t *frame);

/* libm sets errno; newlib's own lives in a kilobyte of RAM that nothing else here needs. */
int *__errno(void)
{
    static int value;
    return &value;
}

void br_exit(uint32_t status)
{
    const uint32_t block[2] = {BR_APPLICATION_EXIT, status};
    for (;;)
        (void)br_semihost(SYS_EXIT_EXTENDED, block);
}

void br_tell(const char *record, const char *key, uint32_t value)
{
    char digits[12] = "=0x00000000";
    for (int i = 10; i > 2; i--, value >>= 4)
        digits[i] = "0123456789abcdef"[value & 15u];
    (void)br_semihost(SYS_WRITE0, record);
    (void)br_semihost(SYS_WRITE0, " ");
    (void)br_semihost(SYS_WRITE0, key);
    (void)br_semihost(SYS_WRITE0, digits);
    (void)br_semihost(SYS_WRITE0, "\n");
}

void br_empty_brackets(void)
{
    br_host_begin();
    br_host_end();
    br_host_begin();
    br_host_mark(0);
    br_host_end();
    __asm__ volatile(""); /* keeps the last call a call: a jump would come with other instructions */
}

__attribute__((noreturn, used)) void br_reset(void)
{
    for (volatile uint32_t *to = br_data, *stop = br_data_end; to < stop; to++)
        *to = br_data_image[to - br_data];
    for (volatile uint32_t *to = br_bss, *stop = br_bss_end; to < stop; to++)
        *to = 0;
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20; /* CPACR: full access to CP10 and CP11 (FPU, MVE) */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
#if __ARM_ARCH == 6
    *(volatile uint32_t *)0xe000ed14u |= 1u << 3; /* CCR: a simulated M3 must trap unaligned words as an M0+ does */
#endif
    br_exit((uint32_t)main());
}

__attribute__((used)) void br_report_fault(const uint32_t *frame)
{
    br_tell("state name=fault why=exception", "pc", frame[6]); /* r0-r3, r12, lr, pc, xpsr */
    br_exit(1);
}

__attribute__((naked)) void br_fault(void)
{
    __asm__ volatile("mrs r0, msp\n\tldr r1, =br_report_fault\n\tbx r1");
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    br_stack_top, (const void *)br_reset,
    (const void *)br_fault, (const void *)br_fault, (const void *)br_fault, (const void *)br_fault,
    (const void *)br_fault, (const void *)br_fault, (const void *)br_fault, (const void *)br_fault,
    (const void *)br_fault, (const void *)br_fault, (const void *)br_fault, (const void *)br_fault,
    (const void *)br_fault, (const void *)br_fault};

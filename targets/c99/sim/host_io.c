/* The harness on the machine brainc runs on: samples on standard input and output, records on standard
 * error. The functions are never inlined, so that a profiler can find where the bracket begins and ends. */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { HARNESS_BRACKETS = 2 }; /* br_host_open's own */

static struct timespec start;
static unsigned long brackets;

static long long nanoseconds_since(const struct timespec *from)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)(now.tv_sec - from->tv_sec) * 1000000000LL + (now.tv_nsec - from->tv_nsec);
}

void br_host_open(void)
{
    br_host_begin();
    br_host_end();
    br_host_begin();
    br_host_mark(0);
    br_host_end();
    __asm__ volatile(""); /* keeps the last call a call: a jump would come with other instructions */
}

int br_host_read(void *to, size_t bytes)
{
    return fread(to, 1, bytes, stdin) == bytes;
}

__attribute__((noinline)) void br_host_begin(void)
{
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
}

__attribute__((noinline)) void br_host_end(void)
{
    fprintf(stderr, "bracket nanoseconds=%lld\n", nanoseconds_since(&start));
    brackets++;
}

__attribute__((noinline)) static void note_mark(uint16_t node)
{
    fprintf(stderr, "mark node=%u\n", (unsigned)node);
}

/* Two functions, since callgrind's --dump-before and --dump-after cannot name the same one. */
__attribute__((noinline)) void br_host_mark(uint16_t node)
{
    note_mark(node);
    __asm__ volatile("");
}

void br_host_write(const void *from, size_t bytes)
{
    if (fwrite(from, 1, bytes, stdout) != bytes) {
        fprintf(stderr, "state name=fault why=output\n");
        exit(1);
    }
}

void br_host_close(void)
{
    (void)fflush(stdout);
    fprintf(stderr, "state name=done samples=%lu\n", brackets - HARNESS_BRACKETS);
}

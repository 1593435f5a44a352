"""The pool of threads of host programs: all work is done, in phases; who only waits is left out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from runtime import WARNINGS

from brainc.resources import templates_dir

HARNESS = """
#define _POSIX_C_SOURCE 200809L
#include "pool.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SIZE = 1000, PHASES = 20 };

static _Thread_local int is_worker;
static uint64_t factor; /* how much longer a worker's time is than that of thread 0 */

int clock_gettime(clockid_t clock, struct timespec *time)
{
    static _Thread_local uint64_t calls;
    (void)clock;
    calls += is_worker ? factor : 1;
    time->tv_sec = 0;
    time->tv_nsec = (long)calls;
    return 0;
}

typedef struct {
    br_pool *pool;
    uint32_t numbers[2][SIZE];
    int32_t threads;
    long naps;
} job;

/* Every phase reads what all threads wrote in the one before. Thread 0 comes late, so that workers sleep. */
static void work(void *with, int32_t thread, int32_t threads)
{
    job *const j = with;
    is_worker = thread > 0;
    if (thread == 0) {
        j->threads = threads;
        nanosleep(&(struct timespec){0, j->naps}, NULL);
    }
    for (int phase = 0; phase < PHASES; phase++) {
        const uint32_t *const from = j->numbers[phase % 2];
        br_pool_meet(j->pool);
        for (int32_t i = SIZE * thread / threads; i < SIZE * (thread + 1) / threads; i++) {
            j->numbers[1 - phase % 2][i] = from[SIZE - 1 - i] + from[(i + 1) % SIZE] + 1;
        }
    }
}

int main(int argc, char **argv)
{
    static job j;
    const int32_t threads = argc > 3 ? atoi(argv[1]) : 1;
    const int runs = argc > 3 ? atoi(argv[2]) : 1;
    uint32_t hash = 0;
    factor = argc > 3 ? (uint64_t)atoi(argv[3]) : 1;
    j.pool = aligned_alloc(64, (br_pool_bytes() + 63) / 64 * 64);
    j.naps = factor > 1 ? 2000000 : 0;
    if (br_pool_start(j.pool, threads) != 0) {
        return 1;
    }
    for (int run = 0; run < runs; run++) {
        br_pool_run(j.pool, work, &j);
        printf("%d ", (int)j.threads);
    }
    br_pool_stop(j.pool);
    for (int i = 0; i < SIZE; i++) {
        hash = hash * 31 + j.numbers[0][i];
    }
    printf("%u\\n", (unsigned)hash);
    free(j.pool);
    return 0;
}
"""


@pytest.fixture(scope="module", params=["address,undefined", "thread"])
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    (folder / "harness.c").write_text(HARNESS)
    flags = ["-std=c11", "-O1", "-g", f"-fsanitize={request.param}", "-fno-sanitize-recover", *WARNINGS]
    files = [f"-I{templates_dir() / 'runtime'}", "harness.c", str(templates_dir() / "runtime" / "pool.c")]
    subprocess.run(["gcc", *flags, *files, "-o", "harness", "-pthread"], cwd=folder, check=True)
    return folder / "harness"


def run(harness: Path, threads: int, runs: int, factor: int = 0) -> tuple[list[int], int]:
    """Threads of each piece of work, and a hash of what all of it made."""
    command = [str(harness), *map(str, (threads, runs, factor))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    *counts, made = map(int, done.stdout.split())
    return counts, made


def test_all_threads_do_all_the_work_in_phases(harness: Path) -> None:
    """No race under the sanitizer, and the same numbers from any number of threads."""
    wanted = run(harness, 1, 50)[1]
    for threads in (2, 3, 7):
        assert run(harness, threads, 50)[1] == wanted


def test_one_goes_on_alone_for_longer_and_longer_where_all_wait(harness: Path) -> None:
    """Workers say that they waited for longer than the whole took: as on a machine too busy to run all at once."""
    counts, made = run(harness, 2, 90, factor=1_000_000)
    wanted = [2]
    for pause in (1, 4, 16, 64):
        wanted += [1] * pause + [2]
    assert counts == wanted and made == run(harness, 1, 90)[1]


def test_all_go_on_together_where_they_do_not_wait(harness: Path) -> None:
    """For workers no time passes: only thread 0 may seem to wait."""
    assert run(harness, 2, 20, factor=0)[0] == [2] * 20

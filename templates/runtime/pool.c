/* SPDX-License-Identifier: 0BSD */
#define _GNU_SOURCE /* sched_getaffinity */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define LOOKS 200   /* for a neighbour that is nearly done: a few microseconds */
#define MORE 2000   /* looks behind these that count as waiting: some ten microseconds */
#define YIELDS 100  /* then others may run, before it sleeps */
#define ALONE 64    /* pieces of work at most that thread 0 does alone before all try again */
#define LINE 64     /* a cache line: what one thread writes and others watch has one to itself */

typedef struct {
    uint32_t value;
    char rest[LINE - sizeof(uint32_t)];
} line;

typedef struct {
    br_pool *pool;
    int32_t thread;
} worker;

struct br_pool {
    line turn;     /* how often all have met: who waits watches it */
    line missing;  /* threads that are not there yet */
    line call;     /* how many pieces of work there were for all */
    line sleepers; /* threads asleep at `awake` */
    uint64_t waited; /* nanoseconds, by all threads, where they meet */
    int32_t threads, looks;
    int32_t working;       /* threads at the piece of work under way */
    int32_t alone, pieces; /* how many thread 0 does alone yet; how many it did the last time */
    int stop;
    br_work *work;
    void *with;
    pthread_mutex_t lock;
    pthread_cond_t awake;
    pthread_t ids[BR_THREADS];
    worker workers[BR_THREADS];
};

static void breathe(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint32_t value_of(const line *l)
{
    return __atomic_load_n(&l->value, __ATOMIC_SEQ_CST);
}

/* Looks so often whether a line holds something else than `old`. */
static int is_seen(const line *l, uint32_t old, int32_t looks)
{
    for (int32_t i = 0; i < looks; i++) {
        if (value_of(l) != old) {
            return 1;
        }
        breathe();
    }
    return value_of(l) != old;
}

/* Waits until a line holds something else than `old`: looks, then lets others run, then sleeps. */
static void wait_for(br_pool *pool, const line *l, uint32_t old)
{
    if (is_seen(l, old, pool->looks)) {
        return;
    }
    for (int i = 0; i < YIELDS; i++) {
        sched_yield();
        if (value_of(l) != old) {
            return;
        }
    }
    pthread_mutex_lock(&pool->lock);
    __atomic_add_fetch(&pool->sleepers.value, 1, __ATOMIC_SEQ_CST);
    while (value_of(l) == old) {
        pthread_cond_wait(&pool->awake, &pool->lock);
    }
    __atomic_sub_fetch(&pool->sleepers.value, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool->lock);
}

/* Counts a line up, and wakes who sleeps: they said so before they looked at the line for the last time. */
static void count_up(br_pool *pool, line *l)
{
    __atomic_add_fetch(&l->value, 1, __ATOMIC_SEQ_CST);
    if (value_of(&pool->sleepers) != 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->awake);
        pthread_mutex_unlock(&pool->lock);
    }
}

void br_pool_meet(br_pool *pool)
{
    if (pool->working == 1) {
        return;
    }
    const uint32_t turn = value_of(&pool->turn);
    if (__atomic_sub_fetch(&pool->missing.value, 1, __ATOMIC_SEQ_CST) == 0) {
        __atomic_store_n(&pool->missing.value, (uint32_t)pool->threads, __ATOMIC_SEQ_CST);
        count_up(pool, &pool->turn);
    } else if (!is_seen(&pool->turn, turn, LOOKS)) {
        const uint64_t began = now();
        wait_for(pool, &pool->turn, turn);
        __atomic_add_fetch(&pool->waited, now() - began, __ATOMIC_RELAXED);
    }
}

static void *live(void *with)
{
    const worker *const me = with;
    br_pool *const pool = me->pool;
    for (uint32_t call = 0;; call++) {
        wait_for(pool, &pool->call, call);
        if (pool->stop) {
            return NULL;
        }
        pool->work(pool->with, me->thread, pool->threads);
        br_pool_meet(pool);
    }
}

/* If all together did not do at least a quarter more than one alone would have done in the time that it took, thread 0
 * goes on alone for a while, and each time that this comes out once more for four times as long. */
static void judge(br_pool *pool, uint64_t took, uint64_t waited)
{
    if (4 * waited > (uint64_t)(4 * pool->threads - 5) * took) {
        pool->pieces = pool->pieces < 1 ? 1 : pool->pieces < ALONE ? 4 * pool->pieces : ALONE;
        pool->alone = pool->pieces;
    } else {
        pool->pieces /= 4;
    }
}

void br_pool_run(br_pool *pool, br_work *work, void *with)
{
    if (pool->threads == 1 || pool->alone > 0) {
        pool->alone -= pool->alone > 0;
        pool->working = 1;
        work(with, 0, 1);
        return;
    }
    const uint64_t began = now(), before = __atomic_load_n(&pool->waited, __ATOMIC_RELAXED);
    pool->work = work;
    pool->with = with;
    pool->working = pool->threads;
    count_up(pool, &pool->call);
    work(with, 0, pool->threads);
    br_pool_meet(pool);
    judge(pool, now() - began, __atomic_load_n(&pool->waited, __ATOMIC_RELAXED) - before);
}

int32_t br_pool_processors(void)
{
    long found = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__linux__)
    cpu_set_t mine; /* taskset and containers give fewer than there are */
    if (sched_getaffinity(0, sizeof mine, &mine) == 0) {
        found = CPU_COUNT(&mine);
    }
#endif
    return found < 1 ? 1 : found > BR_THREADS ? BR_THREADS : (int32_t)found;
}

size_t br_pool_bytes(void)
{
    return sizeof(br_pool);
}

/* Starts the threads; signals are for the program's own, but for those that a thread's own fault sends it. */
static int start_threads(br_pool *pool, int32_t threads)
{
    sigset_t none, before;
    int error = 0;
    sigfillset(&none);
    sigdelset(&none, SIGBUS), sigdelset(&none, SIGFPE), sigdelset(&none, SIGILL), sigdelset(&none, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &none, &before);
    for (int32_t i = 1; i < threads && error == 0; i++) {
        pool->workers[i] = (worker){pool, i};
        error = pthread_create(&pool->ids[i], NULL, live, &pool->workers[i]);
        pool->threads += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int br_pool_start(br_pool *room, int32_t threads)
{
    *room = (br_pool){.threads = 1, .looks = threads > br_pool_processors() ? 0 : MORE};
    pthread_mutex_init(&room->lock, NULL);
    pthread_cond_init(&room->awake, NULL);
    const int error = start_threads(room, threads);
    room->missing.value = (uint32_t)room->threads;
    if (error != 0) {
        br_pool_stop(room);
    }
    return error;
}

void br_pool_stop(br_pool *pool)
{
    pool->stop = 1;
    count_up(pool, &pool->call);
    for (int32_t i = 1; i < pool->threads; i++) {
        pthread_join(pool->ids[i], NULL);
    }
    pthread_cond_destroy(&pool->awake);
    pthread_mutex_destroy(&pool->lock);
}

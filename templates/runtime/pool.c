/* SPDX-License-Identifier: 0BSD */
#define _DEFAULT_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define LOOKS 2000  /* for a neighbour that is nearly done: some ten microseconds */
#define YIELDS 100  /* then others may run, as long as nobody sleeps */
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
    line call;     /* how many pieces of work there were */
    line sleepers; /* threads asleep at `awake` */
    int32_t threads, looks;
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

static uint32_t value_of(const line *l)
{
    return __atomic_load_n(&l->value, __ATOMIC_SEQ_CST);
}

/* Waits until a line holds something else than `old`. */
static void wait_for(br_pool *pool, const line *l, uint32_t old)
{
    for (int32_t i = 0; i < pool->looks; i++) {
        if (value_of(l) != old) {
            return;
        }
        breathe();
    }
    for (int i = 0; i < YIELDS; i++) {
        if (value_of(l) != old) {
            return;
        }
        sched_yield();
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
    if (pool->threads == 1) {
        return;
    }
    const uint32_t turn = value_of(&pool->turn);
    if (__atomic_sub_fetch(&pool->missing.value, 1, __ATOMIC_SEQ_CST) == 0) {
        __atomic_store_n(&pool->missing.value, (uint32_t)pool->threads, __ATOMIC_SEQ_CST);
        count_up(pool, &pool->turn);
    } else {
        wait_for(pool, &pool->turn, turn);
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
        pool->work(pool->with, me->thread);
        br_pool_meet(pool);
    }
}

void br_pool_run(br_pool *pool, br_work *work, void *with)
{
    pool->work = work;
    pool->with = with;
    if (pool->threads > 1) {
        count_up(pool, &pool->call);
    }
    work(with, 0);
    br_pool_meet(pool);
}

int32_t br_pool_processors(void)
{
    const long found = sysconf(_SC_NPROCESSORS_ONLN);
    return found < 1 ? 1 : found > BR_THREADS ? BR_THREADS : (int32_t)found;
}

size_t br_pool_bytes(void)
{
    return sizeof(br_pool);
}

int br_pool_start(br_pool *room, int32_t threads)
{
    int error = 0;
    *room = (br_pool){.threads = 1, .looks = threads > br_pool_processors() ? 0 : LOOKS};
    pthread_mutex_init(&room->lock, NULL);
    pthread_cond_init(&room->awake, NULL);
    for (int32_t i = 1; i < threads && error == 0; i++) {
        room->workers[i] = (worker){room, i};
        error = pthread_create(&room->ids[i], NULL, live, &room->workers[i]);
        room->threads += error == 0;
    }
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

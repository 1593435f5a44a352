/* SPDX-License-Identifier: 0BSD
 * A pool of threads that run one piece of work together: the one that asks is thread 0. Between two pieces the others
 * wait; within one all can meet. Who waits looks for a moment, then sleeps. On a busy machine threads may wait for each
 * other longer than they work: then thread 0 runs the next pieces alone, and tries again later. So neither a busy
 * neighbour nor more threads than processors makes the pool much slower than one thread is. Nothing is allocated but
 * the threads themselves.
 */
#ifndef BR_POOL_H
#define BR_POOL_H

#include <stddef.h>
#include <stdint.h>

#define BR_THREADS 64 /* at most */

typedef struct br_pool br_pool;

/* A piece of work, as one thread of so many does it: it is the same work however many they are. */
typedef void br_work(void *with, int32_t thread, int32_t threads);

/* Processors that this process may use, 1 .. BR_THREADS. */
int32_t br_pool_processors(void);

/* Bytes that a pool needs, wherever they lie (at a multiple of 64). */
size_t br_pool_bytes(void);

/* Starts a pool of 1 .. BR_THREADS threads in `room`; 0, or what pthread_create said, and then there is none. */
int br_pool_start(br_pool *room, int32_t threads);

/* Runs a piece of work on all threads, or on thread 0 alone, and comes back when it is done. */
void br_pool_run(br_pool *pool, br_work *work, void *with);

/* Called by all threads of a piece of work: nobody goes on before all are here. */
void br_pool_meet(br_pool *pool);

/* Ends the threads. */
void br_pool_stop(br_pool *pool);

#endif

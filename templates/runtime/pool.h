/* SPDX-License-Identifier: 0BSD
 * A pool of threads that run one piece of work together: the one that asks is thread 0. Between two pieces the others
 * wait; within one all can meet. Who waits looks for a moment, then lets others run, then sleeps: neither a busy
 * neighbour nor more threads than processors makes it stand still. Nothing is allocated but the threads themselves.
 */
#ifndef BR_POOL_H
#define BR_POOL_H

#include <stddef.h>
#include <stdint.h>

#define BR_THREADS 64 /* at most */

typedef struct br_pool br_pool;
typedef void br_work(void *with, int32_t thread);

/* Processors that may run threads now, 1 .. BR_THREADS. */
int32_t br_pool_processors(void);

/* Bytes that a pool needs, wherever they lie (at a multiple of 64). */
size_t br_pool_bytes(void);

/* Starts a pool of 1 .. BR_THREADS threads in `room`; 0, or what pthread_create said, and then there is none. */
int br_pool_start(br_pool *room, int32_t threads);

/* Runs work(with, thread) on every thread, and comes back when all are done. */
void br_pool_run(br_pool *pool, br_work *work, void *with);

/* Called by all threads of a piece of work: nobody goes on before all are here. */
void br_pool_meet(br_pool *pool);

/* Ends the threads. */
void br_pool_stop(br_pool *pool);

#endif

/* Work shared between threads, in shares whose number the caller states: sums are taken share by share, so the bits of
   a result depend on that number, and not on which threads did the shares.

   On a quiet machine the shares go to the threads that PyTorch already runs: a library of ours that brought its own
   OpenMP would bring a second set of threads, and the two would fight for the processors. So nothing is linked:
   GOMP_parallel is looked up among the symbols that PyTorch has loaded, and without it everything runs in the calling
   thread. On a busy machine (load.c) they go to the threads of pool.c, which never wait for one that has not come. */

#ifndef PLUSX_PARALLEL_H
#define PLUSX_PARALLEL_H

typedef void (*plusx_task)(void *work, int share, int shares);

/* task(work, share, shares) for each share from 0 to shares - 1; returns when all are done. */
void plusx_parallel(plusx_task task, void *work, int shares);

/* The calling thread is one of ours, as plusx_pool_own says, and the one whose speed counts. */
void plusx_parallel_own(void);

/* Whether they go to the pool now. */
int plusx_parallel_busy(void);

/* Who does the shares: 0 decides by the load, 1 is always OpenMP, 2 is always the pool. Returns what it was. */
int plusx_parallel_force(int who);

/* What part of `count` things thread number `thread` does: from *begin up to, not including, *end. */
static inline void plusx_share(long count, int thread, int threads, long *begin, long *end) {
  *begin = count * thread / threads;
  *end = count * (thread + 1) / threads;
}

#endif

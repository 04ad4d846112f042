/* Work shared between the threads that PyTorch already runs.

   A library of ours that brought its own OpenMP would bring a second set of threads, and the two would fight for the
   processors. So nothing is linked: GOMP_parallel is looked up among the symbols that
   PyTorch has loaded, and without it everything runs in the calling thread. */

#ifndef PLUSX_PARALLEL_H
#define PLUSX_PARALLEL_H

typedef void (*plusx_task)(void *work, int thread, int threads);

/* task(work, thread, threads) for each thread from 0 to threads - 1; returns when all are done. */
void plusx_parallel(plusx_task task, void *work, int threads);

/* What part of `count` things thread number `thread` does: from *begin up to, not including, *end. */
static inline void plusx_share(long count, int thread, int threads, long *begin, long *end) {
  *begin = count * thread / threads;
  *end = count * (thread + 1) / threads;
}

#endif

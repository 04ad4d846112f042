#include "parallel.h"

extern void GOMP_parallel(void (*run)(void *), void *data, unsigned threads, unsigned flags) __attribute__((weak));
extern int omp_get_thread_num(void) __attribute__((weak));
extern int omp_get_num_threads(void) __attribute__((weak));

struct team {
  plusx_task task;
  void *work;
  int threads;
};

/* The runtime may give fewer threads than asked for; every part is done all the same, and always as the same part. */
static void run(void *data) {
  const struct team *team = data;
  for (int part = omp_get_thread_num(); part < team->threads; part += omp_get_num_threads())
    team->task(team->work, part, team->threads);
}

void plusx_parallel(plusx_task task, void *work, int threads) {
  struct team team = {task, work, threads};
  if (threads > 1 && GOMP_parallel && omp_get_thread_num && omp_get_num_threads) {
    GOMP_parallel(run, &team, (unsigned)threads, 0);
    return;
  }
  for (int part = 0; part < threads; part++) task(work, part, threads);
}

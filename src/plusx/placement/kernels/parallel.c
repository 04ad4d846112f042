#include "parallel.h"

#include <stdatomic.h>

#include "apart.h"
#include "load.h"
#include "pool.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#define ROUNDING() _mm_getcsr()
#define SET_ROUNDING(mode) _mm_setcsr(mode)
#else
#define ROUNDING() 0u
#define SET_ROUNDING(mode) (void)(mode)
#endif

extern void GOMP_parallel(void (*run)(void *), void *data, unsigned threads, unsigned flags) __attribute__((weak));
extern int omp_get_thread_num(void) __attribute__((weak));
extern int omp_get_num_threads(void) __attribute__((weak));

enum { BY_LOAD, OPENMP, POOL };

static _Atomic int forced = BY_LOAD;

struct team {
  plusx_task task;
  void *work;
  int shares;
  unsigned rounding;
};

/* A share rounds and flushes as the calling thread does, whoever does it: this mode belongs to a thread. */
static void do_share(void *team_, int share, int shares) {
  const struct team *team = team_;
  unsigned own = ROUNDING();
  if (own != team->rounding) SET_ROUNDING(team->rounding);
  team->task(team->work, share, shares);
  if (own != team->rounding) SET_ROUNDING(own);
}

/* The runtime may give fewer threads than asked for; every share is done all the same, and always as the same share. */
static void run(void *team_) {
  struct team *team = team_;
  for (int share = omp_get_thread_num(); share < team->shares; share += omp_get_num_threads())
    do_share(team, share, team->shares);
}

int plusx_parallel_busy(void) {
  int who = atomic_load_explicit(&forced, memory_order_relaxed);
  return who == BY_LOAD ? plusx_busy() : who == POOL;
}

static int by_pool(int shares) {
  int busy = plusx_parallel_busy();
  if (atomic_load_explicit(&forced, memory_order_relaxed) == BY_LOAD) plusx_apart(busy, shares);
  return busy;
}

void plusx_parallel(plusx_task task, void *work, int shares) {
  struct team team = {task, work, shares, ROUNDING()};
  if (shares > 1 && by_pool(shares) && plusx_pool(do_share, &team, shares)) return;
  if (shares > 1 && GOMP_parallel && omp_get_thread_num && omp_get_num_threads) {
    GOMP_parallel(run, &team, (unsigned)shares, 0);
    return;
  }
  for (int share = 0; share < shares; share++) task(work, share, shares);
}

void plusx_parallel_own(void) {
  plusx_apart(0, 0); /* its team is kept apart from now on, and no longer that of another thread */
  plusx_pool_own();
}

int plusx_parallel_force(int who) { return atomic_exchange(&forced, who); }

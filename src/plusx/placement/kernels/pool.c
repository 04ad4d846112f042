#define _GNU_SOURCE
#include "pool.h"

#ifndef __linux__

int plusx_pool(plusx_task task, void *work, int shares) {
  (void)task, (void)work, (void)shares;
  return 0;
}

#else

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST 255               /* workers; the calling thread is one more */
#define LOOK_EVERY 20000       /* ns between two looks at whether a worker that we wait for is running */
#define WATCH_FOR 2000000      /* ns of such looks before the calling thread sleeps */

struct worker {
  pid_t id;
  clockid_t clock;             /* of the time that it has been on a processor */
  _Atomic int at_work;         /* it does a share */
};

static struct worker workers[MOST];
static int started;            /* workers; only the owner of the pool changes it */
static atomic_flag owned = ATOMIC_FLAG_INIT;
static pthread_once_t fork_handler = PTHREAD_ONCE_INIT;

/* The work at hand. */
static plusx_task task;
static void *work;
/* Its number, how many shares it has, and the next share that nobody has taken, in 32, 16 and 16 bits. A worker that
   was kept waiting sees that this has changed when it tries to take a share of an earlier work. */
static _Atomic uint64_t ticket;
static _Atomic uint32_t calls;      /* workers sleep on it */
static _Atomic uint32_t sleepers;
static _Atomic uint32_t unfinished; /* shares; the calling thread sleeps on it */
static _Atomic int waiting;         /* the calling thread sleeps */

static void sleep_on(_Atomic uint32_t *word, uint32_t value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *word, int count) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0); }

static long now(clockid_t clock) {
  struct timespec time;
  return clock_gettime(clock, &time) ? -1 : time.tv_sec * 1000000000L + time.tv_nsec;
}

static void take_shares(struct worker *worker) {
  uint64_t seen = atomic_load(&ticket);
  for (;;) {
    int share = seen & 0xffff, shares = seen >> 16 & 0xffff;
    if (share >= shares) return;
    if (worker) atomic_store(&worker->at_work, 1);
    if (atomic_compare_exchange_strong(&ticket, &seen, seen + 1)) {
      task(work, share, shares);
      if (worker) atomic_store(&worker->at_work, 0);
      atomic_fetch_sub(&unfinished, 1);
      if (worker && atomic_load(&waiting)) wake(&unfinished, 1);
      seen = atomic_load(&ticket);
    } else if (worker) {
      atomic_store(&worker->at_work, 0);
    }
  }
}

static void *live(void *worker_) {
  struct worker *worker = worker_;
  worker->id = (pid_t)syscall(SYS_gettid);
  for (;;) {
    uint32_t seen = atomic_load(&calls);
    take_shares(worker);
    atomic_fetch_add(&sleepers, 1);
    if (atomic_load(&calls) == seen) sleep_on(&calls, seen);
    atomic_fetch_sub(&sleepers, 1);
  }
  return NULL;
}

/* The threads of the parent are not in the child. */
static void start_anew(void) {
  started = 0;
  atomic_store(&ticket, 0);
  atomic_store(&sleepers, 0);
  atomic_store(&unfinished, 0);
  atomic_store(&waiting, 0);
  for (int i = 0; i < MOST; i++) atomic_store(&workers[i].at_work, 0);
  atomic_flag_clear(&owned);
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, start_anew); }

/* As many workers as shares can use; fewer where the system gives no more. Signals are for the program's threads. */
static void start(int wanted) {
  cpu_set_t here;
  int most = sched_getaffinity(0, sizeof here, &here) ? MOST : CPU_COUNT(&here) - 1;
  if (most > MOST) most = MOST;
  if (started >= wanted || started >= most) return;
  pthread_once(&fork_handler, watch_forks);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (; started < wanted && started < most; started++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, live, &workers[started])) break;
    if (pthread_getcpuclockid(thread, &workers[started].clock)) workers[started].clock = CLOCK_MONOTONIC;
    pthread_detach(thread);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* The calling thread has nothing left to do and is about to sleep, and another program keeps a worker off its processor
   in the midst of a share. The worker goes on here at once, instead of a time slice later. */
static void fetch(struct worker *worker, uint32_t left) {
  cpu_set_t everywhere, here;
  int cpu = sched_getcpu();
  if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof everywhere, &everywhere)) {
    sleep_on(&unfinished, left);
    return;
  }
  CPU_ZERO(&here);
  CPU_SET(cpu, &here);
  sched_setaffinity(worker->id, sizeof here, &here);
  sleep_on(&unfinished, left);
  sched_setaffinity(worker->id, sizeof everywhere, &everywhere);
}

static void pause_for(long ns) {
  long end = now(CLOCK_MONOTONIC) + ns;
  while (atomic_load(&unfinished) && now(CLOCK_MONOTONIC) < end)
    for (int i = 0; i < 10; i++) __asm__ volatile("" ::: "memory");
}

/* Returns when no share is under way. */
static void wait_for_all(void) {
  long ran[MOST], began = now(CLOCK_MONOTONIC);
  uint32_t left;
  while ((left = atomic_load(&unfinished))) {
    for (int i = 0; i < started; i++)
      if (atomic_load(&workers[i].at_work)) ran[i] = now(workers[i].clock);
      else ran[i] = -1;
    pause_for(LOOK_EVERY);
    struct worker *kept = NULL;
    for (int i = 0; i < started && !kept; i++)
      if (ran[i] >= 0 && atomic_load(&workers[i].at_work) && now(workers[i].clock) == ran[i]) kept = &workers[i];
    if (!kept && now(CLOCK_MONOTONIC) - began < WATCH_FOR) continue;
    atomic_store(&waiting, 1);
    left = atomic_load(&unfinished);
    if (left && kept) fetch(kept, left);
    else if (left) sleep_on(&unfinished, left);
    atomic_store(&waiting, 0);
  }
}

int plusx_pool(plusx_task new_task, void *new_work, int shares) {
  if (shares > 0xffff || atomic_flag_test_and_set(&owned)) {
    for (int share = 0; share < shares; share++) new_task(new_work, share, shares);
    return 1;
  }
  start(shares - 1);
  task = new_task, work = new_work;
  atomic_store(&unfinished, (uint32_t)shares);
  uint64_t number = (atomic_load(&ticket) >> 32) + 1;
  atomic_store(&ticket, number << 32 | (uint64_t)shares << 16);
  atomic_fetch_add(&calls, 1);
  if (atomic_load(&sleepers)) wake(&calls, shares - 1);
  take_shares(NULL);
  wait_for_all();
  atomic_flag_clear(&owned);
  return 1;
}

#endif

#define _GNU_SOURCE
#include "pool.h"

#ifndef __linux__

int plusx_pool(plusx_task task, void *work, int shares) {
  (void)task, (void)work, (void)shares;
  return 0;
}

void plusx_pool_own(void) {}

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
#define GLANCE 3000            /* ns in which the clock of a running thread moves */
#define STAND_BY 150000        /* ns between two looks of an idle worker at the calling thread */
#define LOOKS 40               /* of an idle worker, before it sleeps until it is called */

struct thread {
  _Atomic pid_t id;
  _Atomic clockid_t clock;     /* of the time that it has been on a processor */
  _Atomic int at_work;         /* it does a share; of a worker only */
};

static struct thread caller;
static _Thread_local int own;       /* the thread is one of ours, so its set of processors is nobody else's business */
static _Atomic int caller_is_own;
static struct thread workers[MOST];
static int started;            /* workers; only the owner of the pool changes it */
static atomic_flag owned = ATOMIC_FLAG_INIT;
static atomic_flag moving = ATOMIC_FLAG_INIT; /* a thread's set of processors is being changed */
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

/* Until it is woken, or for so many ns; 0 is for ever. */
static void sleep_on(_Atomic uint32_t *word, uint32_t value, long ns) {
  struct timespec time = {0, ns};
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, ns ? &time : NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *word, int count) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0); }

/* Where the system has none, one that never stands still. */
static clockid_t clock_of(pthread_t thread) {
  clockid_t clock;
  return pthread_getcpuclockid(thread, &clock) ? CLOCK_MONOTONIC : clock;
}

static long now(clockid_t clock) {
  struct timespec time;
  return clock_gettime(clock, &time) ? -1 : time.tv_sec * 1000000000L + time.tv_nsec;
}

/* So many ns, or until the word is no longer this value. */
static void pause_for(long ns, _Atomic uint32_t *word, uint32_t value) {
  long end = now(CLOCK_MONOTONIC) + ns;
  while (atomic_load(word) == value && now(CLOCK_MONOTONIC) < end)
    for (int i = 0; i < 10; i++) __asm__ volatile("" ::: "memory");
}

static void take_shares(struct thread *worker) {
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

/* Threads change processors when their set is narrowed, and stay when it is widened again. */
static void move(pid_t id, const cpu_set_t *there, const cpu_set_t *set) {
  if (!sched_setaffinity(id, sizeof *there, there)) sched_setaffinity(id, sizeof *set, set);
}

/* Another program keeps a thread of ours off its processor, while this one has a processor and nothing to do: the thread
   goes on here at once, instead of a time slice later. If this one is to give way, it moves to another processor. */
static void bring(pid_t id, int give_way) {
  cpu_set_t its, own, here;
  int cpu = sched_getcpu();
  if (cpu < 0 || cpu >= CPU_SETSIZE || atomic_flag_test_and_set(&moving)) return;
  if (!sched_getaffinity(id, sizeof its, &its) && !sched_getaffinity(0, sizeof own, &own) && CPU_ISSET(cpu, &its)) {
    CPU_ZERO(&here);
    CPU_SET(cpu, &here);
    move(id, &here, &its);
    cpu_set_t elsewhere = own;
    CPU_CLR(cpu, &elsewhere);
    if (give_way) move(0, &elsewhere, &own);
  }
  atomic_flag_clear(&moving);
}

/* An idle worker, one of them, looks after the calling thread, which may be kept off its processor in the midst of its
   share, or of what no other thread can do. */
static void stand_by(const struct thread *worker, uint32_t seen) {
  int looks = worker == workers && atomic_load(&caller_is_own) ? LOOKS : 0;
  for (int look = 0; look < looks && atomic_load(&calls) == seen; look++) {
    long ran = now(caller.clock);
    if (look) sleep_on(&calls, seen, STAND_BY);
    else pause_for(GLANCE, &calls, seen);
    if (atomic_load(&calls) == seen && !atomic_load(&waiting) && now(caller.clock) == ran) bring(caller.id, 1);
  }
  if (atomic_load(&calls) == seen) sleep_on(&calls, seen, 0);
}

static void *live(void *worker_) {
  struct thread *worker = worker_;
  worker->id = (pid_t)syscall(SYS_gettid);
  for (;;) {
    uint32_t seen = atomic_load(&calls);
    take_shares(worker);
    atomic_fetch_add(&sleepers, 1);
    stand_by(worker, seen);
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
  atomic_flag_clear(&moving);
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
    workers[started].clock = clock_of(thread);
    pthread_detach(thread);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Returns when no share is under way. */
static void wait_for_all(void) {
  long ran[MOST], began = now(CLOCK_MONOTONIC);
  uint32_t left;
  while ((left = atomic_load(&unfinished))) {
    for (int i = 0; i < started; i++)
      if (atomic_load(&workers[i].at_work)) ran[i] = now(workers[i].clock);
      else ran[i] = -1;
    pause_for(LOOK_EVERY, &unfinished, left);
    struct thread *kept = NULL;
    for (int i = 0; i < started && !kept; i++)
      if (ran[i] >= 0 && atomic_load(&workers[i].at_work) && now(workers[i].clock) == ran[i]) kept = &workers[i];
    if (!kept && now(CLOCK_MONOTONIC) - began < WATCH_FOR) continue;
    atomic_store(&waiting, 1);
    left = atomic_load(&unfinished);
    if (left && kept) bring(kept->id, 0);
    if (left) sleep_on(&unfinished, left, 0);
    atomic_store(&waiting, 0);
  }
}

void plusx_pool_own(void) { own = 1; }

int plusx_pool(plusx_task new_task, void *new_work, int shares) {
  if (shares > 0xffff || atomic_flag_test_and_set(&owned)) {
    for (int share = 0; share < shares; share++) new_task(new_work, share, shares);
    return 1;
  }
  start(shares - 1);
  caller.id = (pid_t)syscall(SYS_gettid);
  caller.clock = clock_of(pthread_self());
  atomic_store(&caller_is_own, own);
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

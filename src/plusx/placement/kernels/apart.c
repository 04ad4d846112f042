#define _GNU_SOURCE
#include "apart.h"

#ifndef __linux__

void plusx_apart(int on, int threads) { (void)on, (void)threads; }

#else

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Threads that sleep at barriers are woken where their waker runs, so a busy machine brings a team together on one
   processor. Inside oneDNN threads also wait for one another without ever sleeping, and there each such wait costs two
   threads of one processor a whole time slice: measured, a training fell from 0.30 of its pace to 0.06. */

extern void GOMP_parallel(void (*run)(void *), void *data, unsigned threads, unsigned flags) __attribute__((weak));
extern int omp_get_thread_num(void) __attribute__((weak));

#define MOST 256

static struct {
  pid_t id; /* 0: not known */
  cpu_set_t before;
} members[MOST];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_handler = PTHREAD_ONCE_INIT;
static _Atomic int kept; /* the team is kept apart */
static pid_t leader;     /* the thread whose team it is */
static _Atomic int last_cpu;

static void introduce(void *data) {
  int number = omp_get_thread_num();
  (void)data;
  if (number > 0 && number < MOST && !sched_getaffinity(0, sizeof members[number].before, &members[number].before))
    members[number].id = (pid_t)syscall(SYS_gettid);
}

static void start_anew(void) {
  pthread_mutex_init(&lock, NULL);
  atomic_store(&kept, 0);
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, start_anew); }

static void move_off(int cpu) {
  for (int i = 1; i < MOST; i++) {
    cpu_set_t elsewhere = members[i].before;
    /* signal 0 asks whether it is still a thread of ours: a number is given away again */
    if (!members[i].id || syscall(SYS_tgkill, getpid(), members[i].id, 0)) continue;
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_CLR(cpu, &elsewhere);
    if (CPU_COUNT(&elsewhere)) sched_setaffinity(members[i].id, sizeof elsewhere, &elsewhere);
  }
  last_cpu = cpu;
}

void plusx_apart(int on, int threads) {
  int cpu = on ? sched_getcpu() : -1;
  if (atomic_load(&kept) == on && (!on || cpu == last_cpu)) return;
  if (!GOMP_parallel || !omp_get_thread_num || pthread_mutex_trylock(&lock)) return;
  pid_t self = (pid_t)syscall(SYS_gettid);
  if (on && !atomic_load(&kept)) {
    pthread_once(&fork_handler, watch_forks);
    memset(members, 0, sizeof members);
    GOMP_parallel(introduce, NULL, (unsigned)threads, 0);
    leader = self;
    atomic_store(&kept, 1);
  }
  if (!on) {
    move_off(-1);
    atomic_store(&kept, 0);
  } else if (leader == self) {
    move_off(cpu);
  }
  pthread_mutex_unlock(&lock);
}

#endif

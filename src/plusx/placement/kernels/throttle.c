#define _GNU_SOURCE
#include "throttle.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

/* libgomp spins 300,000 times at a barrier, milliseconds, but 100 times while it has more threads than there are
   processors. It reads no other setting once it is loaded. So a thread of ours opens a second team, larger than the
   machine, that sleeps; and ends it by ending. */

extern void GOMP_parallel(void (*run)(void *), void *data, unsigned threads, unsigned flags) __attribute__((weak));
extern int omp_get_num_procs(void) __attribute__((weak));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_once_t fork_handler = PTHREAD_ONCE_INIT;
static int on;      /* what is asked for */
static int started; /* the thread lives */

static void nothing(void *data) { (void)data; }

static void *live(void *data) {
  GOMP_parallel(nothing, NULL, (unsigned)omp_get_num_procs() + 1, 0);
  pthread_mutex_lock(&lock);
  while (on) pthread_cond_wait(&changed, &lock);
  started = 0;
  pthread_mutex_unlock(&lock);
  return data;
}

/* The thread is not in a child; what the parent asked for is asked for anew. */
static void start_anew(void) {
  pthread_mutex_init(&lock, NULL);
  pthread_cond_init(&changed, NULL);
  on = started = 0;
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, start_anew); }

void plusx_throttle(int wanted) {
  if (!GOMP_parallel || !omp_get_num_procs) return;
  pthread_once(&fork_handler, watch_forks);
  pthread_mutex_lock(&lock);
  if (on != wanted) {
    on = wanted;
    pthread_cond_signal(&changed);
  }
  if (on && !started) {
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (!pthread_create(&thread, NULL, live, NULL)) started = 1, pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  pthread_mutex_unlock(&lock);
}

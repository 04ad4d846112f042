#define _GNU_SOURCE
#include "load.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "throttle.h"

#define WINDOW 100000000L /* ns between two looks */
#define BUSY_FROM 0.10    /* of a window spent waiting for a processor; a quiet machine has a hundredth */
#define QUIET_BELOW 0.03  /* the same, to be quiet again, */
#define QUIET_WINDOWS 10  /* for so many windows in turn: programs that compute now and then stay noticed */

static _Atomic int busy;
static int quiet_windows;
static _Atomic long next_look; /* ns */
static long last_look, last_delay = -1;
static _Atomic int looking;

int plusx_load_window(long wall, long delay) {
  int now = atomic_load(&busy);
  quiet_windows = delay < QUIET_BELOW * wall ? quiet_windows + 1 : 0;
  if (delay > BUSY_FROM * wall) now = 1;
  else if (quiet_windows >= QUIET_WINDOWS) now = 0;
  atomic_store(&busy, now);
  return now;
}

/* ns that the threads of this process have stood ready and without a processor; -1 where the system does not say. */
static long waited_for_processor(void) {
  DIR *tasks = opendir("/proc/self/task");
  if (!tasks) return -1;
  long sum = -1;
  for (struct dirent *task; (task = readdir(tasks));) {
    char name[300], text[100];
    if (task->d_name[0] == '.') continue;
    snprintf(name, sizeof name, "%s/schedstat", task->d_name);
    int file = openat(dirfd(tasks), name, O_RDONLY | O_CLOEXEC);
    if (file < 0) continue; /* this thread has just ended */
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    char *second = length > 0 ? (text[length] = 0, strchr(text, ' ')) : NULL;
    if (second) sum = (sum < 0 ? 0 : sum) + atol(second);
  }
  closedir(tasks);
  return sum;
}

int plusx_busy(void) {
  struct timespec time;
#ifdef CLOCK_MONOTONIC_COARSE
  clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
#else
  clock_gettime(CLOCK_MONOTONIC, &time);
#endif
  long now = time.tv_sec * 1000000000L + time.tv_nsec;
  if (now < atomic_load_explicit(&next_look, memory_order_relaxed) || atomic_exchange(&looking, 1))
    return atomic_load_explicit(&busy, memory_order_relaxed);
  long delay = waited_for_processor();
  if (delay >= 0 && last_delay >= 0 && now > last_look)
    plusx_throttle(plusx_load_window(now - last_look, delay - last_delay));
  last_look = now, last_delay = delay;
  atomic_store(&next_look, now + WINDOW);
  atomic_store(&looking, 0);
  return atomic_load(&busy);
}

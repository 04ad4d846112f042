/* Threads of our own, for a machine on which other programs run.

   Shares are taken, not dealt: the calling thread takes every share that no other thread has taken, so it never waits
   for a thread that another program keeps off its processor before that has begun. Threads that have nothing to do
   sleep; a sleeper keeps its credit with the scheduler. */

#ifndef PLUSX_POOL_H
#define PLUSX_POOL_H

#include "parallel.h"

/* As plusx_parallel. Where the pool is in use already, in a share or by another thread, the calling thread does
   every share. Returns 0, having done nothing, where there is no pool. */
int plusx_pool(plusx_task task, void *work, int shares);

/* The calling thread is one of ours for as long as it lives. When it calls the pool and is then kept off its processor,
   an idle worker moves it to its own: for a moment the thread may run there only, which nobody else must see, since
   programs ask a thread where it may run, and what it starts may run there too. */
void plusx_pool_own(void);

#endif

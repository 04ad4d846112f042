/* Keeps PyTorch's threads off the processor of the thread that calls them. */

#ifndef PLUSX_APART_H
#define PLUSX_APART_H

/* With on, the other threads of the calling thread's OpenMP team, of `threads` threads, run anywhere but where it runs
   now; without, where they ran before. Costs next to nothing while the calling thread stays where it is. */
void plusx_apart(int on, int threads);

#endif

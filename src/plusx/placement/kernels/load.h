/* Whether other programs want the processors that this one runs on. */

#ifndef PLUSX_LOAD_H
#define PLUSX_LOAD_H

/* Whether the machine is busy; costs a look at the clock, and a few times a second a look at the threads. */
int plusx_busy(void);

/* One window of `wall` ns, in which the threads of this process stood ready and without a processor for `delay` ns.
   Returns whether the machine is busy after it. */
int plusx_load_window(long wall, long delay);

#endif

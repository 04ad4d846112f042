/* How long PyTorch's own threads spin before they sleep. */

#ifndef PLUSX_THROTTLE_H
#define PLUSX_THROTTLE_H

/* With on, they spin shortly, so that they do not use up their time on the processor by waiting; without, as usual. */
void plusx_throttle(int on);

#endif

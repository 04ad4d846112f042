/* bfloat16 on the matrix unit of x86 processors. */

#if defined(__x86_64__) && defined(__linux__)

#define VARIANT amx_bf16
#define LANES 16
#define HALF

#pragma GCC optimize("O3")
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16,prefer-vector-width=512")

#include <sys/syscall.h>
#include <unistd.h>

#include "vectors.h"

#include "tiles.h"

#include "block.h"

/* 1 where the processor has the unit and the system lets this process use it. */
int plusx_tiles_available(void) {
  unsigned a, b, c, d;
  __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
  int has_bf16_tiles = d >> 22 & 1, has_tiles = d >> 24 & 1;
  __builtin_cpu_init();
  return has_bf16_tiles && has_tiles && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
}

#else

int plusx_tiles_available(void) { return 0; }

#endif

/* Single precision with AVX-512. */

#if defined(__x86_64__) && defined(__linux__)

#define VARIANT avx512_fp32
#define LANES 16

#pragma GCC optimize("O3")
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,prefer-vector-width=512")

#include "vectors.h"

#include "winograd.h"

#include "block.h"

#include "columns.h"

#endif

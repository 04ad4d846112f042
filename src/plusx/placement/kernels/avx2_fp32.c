/* Single precision with AVX2. */

#if defined(__x86_64__) && defined(__linux__)

#define VARIANT avx2_fp32
#define LANES 8

#pragma GCC optimize("O3")
#pragma GCC target("avx2,fma")

#include "vectors.h"

#include "winograd.h"

#include "block.h"

#include "columns.h"

#endif

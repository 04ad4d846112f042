/* Tensors in bfloat16, with AVX-512 and its conversions to bfloat16. */

#if defined(__x86_64__) && defined(__linux__)

#define VARIANT avx512_bf16
#define LANES 16
#define HALF

#pragma GCC optimize("O3")
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,prefer-vector-width=512")

#include "vectors.h"

#include "winograd.h"

#include "block.h"

#include "columns.h"

#endif

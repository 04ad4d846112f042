/* Batch norm in training as one operation with what surrounds it in a residual block:

       y = norm(x),   y = relu(norm(x)),   y = relu(norm(x) + residual)

   forward and backward, over channels-last tensors in single precision or bfloat16; Ioffe and Szegedy (2015),
   Algorithm 1, and its gradient. PyTorch reads and writes the tensor for each of the three; here the forward reads x
   twice and writes y once, the backward reads dy and x twice (and y, with a residual) and writes dx once.

   Sums are taken of x less a pivot, the channel's first value, so that a large mean costs no digits; each thread sums
   its own rows and the parts are added in the order of the threads, so that a result depends on their number and on
   nothing else. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "norm.h"
#include "parallel.h"

#define BLOCK 256      /* rows that are summed in single precision before they enter a double */
#define STAGED 64      /* rows that are copied to where they lie side by side, and stay in the nearest caches */
#define FEWEST_LANES 256 /* fewer would have each addition wait for the one before it */

typedef uint16_t bf16;

static inline __attribute__((always_inline)) float float_of(bf16 bits) {
  union { uint32_t bits; float value; } it = {(uint32_t)bits << 16};
  return it.value;
}

/* To the nearest, ties to even. */
static inline __attribute__((always_inline)) bf16 bf16_of(float value) {
  union { float value; uint32_t bits; } it = {value};
  return (bf16)((it.bits + 0x7fff + ((it.bits >> 16) & 1)) >> 16);
}

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)

#pragma GCC push_options
#pragma GCC optimize("O3")
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")
#define REAL bf16
#define LOAD float_of
#define STORE bf16_of
#define PASS(name) PASTE(name, bf16_avx512)
#include "norm_passes.h"
#undef REAL
#undef LOAD
#undef STORE
#undef PASS
#define REAL float
#define LOAD
#define STORE
#define PASS(name) PASTE(name, float_avx512)
#include "norm_passes.h"
#undef PASS
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC optimize("O3")
#pragma GCC target("avx2,fma")
#define PASS(name) PASTE(name, float_avx2)
#include "norm_passes.h"
#undef REAL
#undef LOAD
#undef STORE
#undef PASS
#define REAL bf16
#define LOAD float_of
#define STORE bf16_of
#define PASS(name) PASTE(name, bf16_avx2)
#include "norm_passes.h"
#pragma GCC pop_options

#define CALL(job, name, type, ...)                                                      \
  ((job)->avx512 ? name##_##type##_avx512(__VA_ARGS__) : name##_##type##_avx2(__VA_ARGS__))

/* ---- a call, and its geometry --------------------------------------------------------------------------------- */

enum { PIVOT, SCALE, SHIFT, BY_G, BY_X, CONSTANT, LANE_ARRAYS };

struct job {
  const struct plusx_norm *call;
  int avx512, backward;
  long pixels, pixels_a_row, lanes, rows; /* rows: whole ones; the pixels that are left make a shorter one */
  double *sums; /* per thread: two arrays of `lanes`; all memory begins here */
  float *lane[LANE_ARRAYS];
  char *scratch; /* per thread, so much */
  size_t scratch_size;
};

static size_t size_of(const struct plusx_norm *call) { return call->half ? sizeof(bf16) : sizeof(float); }

static long greatest_common_divisor(long a, long b) { return b ? greatest_common_divisor(b, a % b) : a; }

static int reshaped(const struct plusx_norm *call) {
  return call->stride != 1 || call->residual_channels != call->channels;
}

/* Numbers that a thread copies to where they lie side by side. */
static size_t staged(const struct job *job) {
  const struct plusx_norm *call = job->call;
  return ((call->residual || call->dresidual) && reshaped(call) ? BLOCK : call->pitch ? 2 * STAGED : 0) * job->lanes;
}

/* Whether there was memory for it. */
static int prepare(struct job *job, const struct plusx_norm *call) {
  *job = (struct job){.call = call, .avx512 = call->avx512, .pixels = call->batch * call->height * call->width};
  job->pixels_a_row = 16 / greatest_common_divisor(16, call->channels);
  while (job->pixels_a_row * call->channels < FEWEST_LANES) job->pixels_a_row *= 2;
  job->lanes = job->pixels_a_row * call->channels;
  job->rows = job->pixels / job->pixels_a_row;
  size_t sums = 2 * job->lanes * call->threads * sizeof(double), arrays = LANE_ARRAYS * job->lanes * sizeof(float);
  job->scratch_size = 2 * job->lanes * sizeof(float) + staged(job) * size_of(call); /* for sums, and for copies */
  job->sums = malloc(sums + arrays + job->scratch_size * call->threads);
  if (!job->sums) return 0;
  memset(job->sums, 0, sums);
  for (int i = 0; i < LANE_ARRAYS; i++) job->lane[i] = (float *)((char *)job->sums + sums) + i * job->lanes;
  job->scratch = (char *)job->sums + sums + arrays;
  return 1;
}

static int finish(struct job *job) {
  free(job->sums);
  return 0;
}

static void set_lanes(struct job *job, int array, long channel, float value) {
  for (long pixel = 0; pixel < job->pixels_a_row; pixel++)
    job->lane[array][pixel * job->call->channels + channel] = value;
}

/* Over all threads and all pixels of a row, in their order. */
static double total(const struct job *job, int which, long channel) {
  double sum = 0;
  for (int thread = 0; thread < job->call->threads; thread++)
    for (long lane = channel; lane < job->lanes; lane += job->call->channels)
      sum += job->sums[(2 * thread + which) * job->lanes + lane];
  return sum;
}

/* ---- the shortcut, where it is not of the output's shape --------------------------------------------------------- */

/* Offset in the residual of what is added to this pixel. */
static long source_of(const struct plusx_norm *call, long pixel) {
  long column = pixel % call->width, row = pixel / call->width % call->height, image = pixel / call->width / call->height;
  long height = call->height * call->stride, width = call->width * call->stride;
  return ((image * height + row * call->stride) * width + column * call->stride) * call->residual_channels;
}

static void gather(const struct plusx_norm *call, long first, long count, char *into) {
  size_t size = size_of(call), has = call->residual_channels * size, all = call->channels * size;
  for (long i = 0; i < count; i++) {
    memcpy(into + i * all, (const char *)call->residual + source_of(call, first + i) * size, has);
    memset(into + i * all + has, 0, all - has);
  }
}

static void scatter(const struct plusx_norm *call, long first, long count, const char *from) {
  size_t size = size_of(call), has = call->residual_channels * size, all = call->channels * size;
  for (long i = 0; i < count; i++)
    memcpy((char *)call->dresidual + source_of(call, first + i) * size, from + i * all, has);
}

/* ---- x, where it is a part of more channels ---------------------------------------------------------------------- */

static void gather_x(const struct plusx_norm *call, long first, long count, char *into) {
  size_t size = size_of(call), has = call->channels * size, all = call->pitch * size;
  const char *from = (const char *)call->x + first * all;
  for (long i = 0; i < count; i++) memcpy(into + i * has, from + i * all, has);
}

/* ---- what one thread does ---------------------------------------------------------------------------------------- */

/* The thread's whole rows, and for the last thread the rest, as (first pixel, rows, lanes of each). */
typedef void (*piece)(const struct job *job, long pixel, long rows, long lanes, int thread, char *scratch);

static void each_piece(const struct job *job, piece work, int thread, int threads, char *scratch) {
  long begin, end, rest = job->pixels - job->rows * job->pixels_a_row, most = job->call->pitch ? STAGED : BLOCK;
  plusx_share(job->rows, thread, threads, &begin, &end);
  for (long row = begin; row < end; row += most)
    work(job, row * job->pixels_a_row, end - row < most ? end - row : most, job->lanes, thread, scratch);
  if (rest && thread == threads - 1)
    work(job, job->rows * job->pixels_a_row, 1, rest * job->call->channels, thread, scratch);
}

static const void *at(const struct job *job, const void *tensor, long pixel) {
  return tensor ? (const char *)tensor + pixel * job->call->channels * size_of(job->call) : NULL;
}

/* x from this pixel on, copied into the scratch memory where its pixels do not lie side by side. */
static const void *x_at(const struct job *job, long pixel, long rows, long lanes, char *scratch) {
  if (!job->call->pitch) return at(job, job->call->x, pixel);
  gather_x(job->call, pixel, rows * lanes / job->call->channels, scratch);
  return scratch;
}

#define BY_TYPE(name, ...)                          \
  do {                                              \
    if (call->half)                                 \
      CALL(job, name, bf16, __VA_ARGS__);           \
    else                                            \
      CALL(job, name, float, __VA_ARGS__);          \
  } while (0)

static void sum_piece(const struct job *job, long pixel, long rows, long lanes, int thread, char *scratch) {
  const struct plusx_norm *call = job->call;
  float *part1 = (float *)scratch, *part2 = part1 + job->lanes;
  const void *x = x_at(job, pixel, rows, lanes, (char *)(part2 + job->lanes));
  double *sum1 = job->sums + 2 * thread * job->lanes, *sum2 = sum1 + job->lanes;
  if (job->backward)
    BY_TYPE(gradient_moments, at(job, call->dy, pixel), x, at(job, call->y, pixel), call->relu, rows, lanes,
            job->lane[PIVOT], job->lane[SCALE], job->lane[SHIFT], part1, part2, sum1, sum2);
  else
    BY_TYPE(moments, x, rows, lanes, job->lane[PIVOT], part1, part2, sum1, sum2);
}

static void write_piece(const struct job *job, long pixel, long rows, long lanes, int thread, char *scratch) {
  const struct plusx_norm *call = job->call;
  const void *x = x_at(job, pixel, rows, lanes, scratch), *residual = at(job, call->residual, pixel);
  void *dresidual = (void *)at(job, call->dresidual, pixel), *dx = (void *)at(job, call->dx, pixel);
  long pixels = rows * lanes / call->channels;
  (void)thread;
  if (!job->backward) {
    if (residual && reshaped(call)) gather(call, pixel, pixels, scratch), residual = scratch;
    BY_TYPE(apply, x, residual, (void *)at(job, call->y, pixel), rows, lanes, job->lane[SCALE], job->lane[SHIFT],
            call->relu ? 0.0f : -INFINITY);
    return;
  }
  int moved = dresidual && reshaped(call);
  if (moved) dresidual = scratch;
  if (call->pitch) dx = scratch + STAGED * job->lanes * size_of(call);
  BY_TYPE(gradient, at(job, call->dy, pixel), x, at(job, call->y, pixel), call->relu, dx, dresidual, rows, lanes,
          job->lane[SCALE], job->lane[SHIFT], job->lane[BY_G], job->lane[BY_X], job->lane[CONSTANT]);
  if (moved) scatter(call, pixel, pixels, scratch);
  if (call->pitch)
    BY_TYPE(add, dx, (void *)((char *)call->dx + pixel * call->pitch * size_of(call)), pixels, call->channels, call->pitch);
}

static void sum_rows(void *job_, int thread, int threads) {
  const struct job *job = job_;
  each_piece(job, sum_piece, thread, threads, job->scratch + thread * job->scratch_size);
}

static void write_rows(void *job_, int thread, int threads) {
  const struct job *job = job_;
  each_piece(job, write_piece, thread, threads, job->scratch + thread * job->scratch_size);
}

/* ---- the operations ---------------------------------------------------------------------------------------------- */

int plusx_norm_level(void) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return 2;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

/* scale and shift of each channel: y = scale x + shift. */
static void set_scale_and_shift(struct job *job) {
  const struct plusx_norm *call = job->call;
  for (long c = 0; c < call->channels; c++) {
    float scale = call->weight[c] / sqrtf(call->variance[c] + call->eps);
    set_lanes(job, SCALE, c, scale);
    set_lanes(job, SHIFT, c, call->bias[c] - call->mean[c] * scale);
  }
}

static void set_moments(struct job *job) {
  const struct plusx_norm *call = job->call;
  for (long c = 0; c < call->channels; c++)
    set_lanes(job, PIVOT, c, call->half ? float_of(((const bf16 *)call->x)[c]) : ((const float *)call->x)[c]);
  plusx_parallel(sum_rows, job, call->threads);
  for (long c = 0; c < call->channels; c++) {
    double mean = total(job, 0, c) / job->pixels, below = total(job, 1, c) / job->pixels - mean * mean;
    call->mean[c] = (float)(job->lane[PIVOT][c] + mean);
    call->variance[c] = below > 0 ? (float)below : isnan(below) ? NAN : 0;
  }
}

int plusx_norm_moments(const struct plusx_norm *call) {
  struct job job;
  if (!prepare(&job, call)) return 1;
  set_moments(&job);
  return finish(&job);
}

int plusx_norm_forward(const struct plusx_norm *call) {
  struct job job;
  if (!prepare(&job, call)) return 1;
  set_moments(&job);
  set_scale_and_shift(&job);
  plusx_parallel(write_rows, &job, call->threads);
  return finish(&job);
}

int plusx_norm_apply(const struct plusx_norm *call) {
  struct job job;
  if (!prepare(&job, call)) return 1;
  set_scale_and_shift(&job);
  plusx_parallel(write_rows, &job, call->threads);
  return finish(&job);
}

/* With g the gradient before the ReLU, x' = (x - mean) / sqrt(variance + eps) and averages over pixels,
   dx = weight / sqrt(variance + eps) (g - average(g) - x' average(g x')). */
static void set_gradient_coefficients(struct job *job) {
  const struct plusx_norm *call = job->call;
  job->backward = 1;
  for (long c = 0; c < call->channels; c++) set_lanes(job, PIVOT, c, call->mean[c]);
  set_scale_and_shift(job);
  plusx_parallel(sum_rows, job, call->threads);
  for (long c = 0; c < call->channels; c++) {
    double g = total(job, 0, c), g_x = total(job, 1, c), inverse = 1 / sqrt((double)call->variance[c] + call->eps);
    double by_x = -call->weight[c] * inverse * inverse * inverse * g_x / job->pixels;
    call->dbias[c] = (float)g;
    call->dweight[c] = (float)(g_x * inverse);
    set_lanes(job, BY_G, c, (float)(call->weight[c] * inverse));
    set_lanes(job, BY_X, c, (float)by_x);
    set_lanes(job, CONSTANT, c, (float)(-call->weight[c] * inverse * g / job->pixels - by_x * call->mean[c]));
  }
}

int plusx_norm_backward(const struct plusx_norm *call) {
  struct job job;
  if (!prepare(&job, call)) return 1;
  set_gradient_coefficients(&job);
  plusx_parallel(write_rows, &job, call->threads);
  return finish(&job);
}

int plusx_norm_gradient_coefficients(const struct plusx_norm *call, float *by_g, float *by_x, float *constant) {
  struct job job;
  if (!prepare(&job, call)) return 1;
  set_gradient_coefficients(&job);
  size_t size = call->channels * sizeof(float);
  memcpy(by_g, job.lane[BY_G], size), memcpy(by_x, job.lane[BY_X], size), memcpy(constant, job.lane[CONSTANT], size);
  return finish(&job);
}

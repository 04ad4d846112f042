/* A residual block of two 3x3 convolutions with the identity as shortcut, He et al. (2015), Fig. 2 and 5 (left), as one
   operation, forward and backward:

       y1 = conv(x, weight1)      u = relu(norm1(y1))      y2 = conv(u, weight2)      z = relu(norm2(y2) + x)

   A batch norm needs sums over the whole batch before the first of its results, so each convolution is a pass over the
   tensors; all else is done while a pass reads or writes. u is never written: it is made of y1 where it is needed, and
   so are the gradients of y1 and y2. Counted in tensors read and written, the block moves 21, and the operations of norm.c
   and convolution.c one by one 33: this, not arithmetic, is what a narrow net's time goes to. */

#include <stdint.h>

#include "norm.h"

struct plusx_block {
  long batch, height, width, channels;
  int threads;
  float eps1, eps2;
  const uint16_t *x;
  const float *weight1, *weight2;
  long strides1[4], strides2[4]; /* weight[out strides[0] + in strides[1] + row strides[2] + column strides[3]] */
  const float *scale1, *shift1, *scale2, *shift2; /* learnt, of the batch norms */
  float *mean1, *variance1, *mean2, *variance2;   /* of the batch */
  uint16_t *y1, *y2, *z;
  const uint16_t *dz;
  uint16_t *dx, *g1; /* g1: the gradient of norm1's output before the ReLU, room for it */
  float *dweight1, *dweight2, *dscale1, *dshift1, *dscale2, *dshift2;
};

#if defined(__x86_64__) && defined(__linux__)

#include <math.h>

#include "tiles.h"

/* ---- a pass over the images -------------------------------------------------------------------------------------- */

/* What belongs to a channel, repeated over one row of pixels. */
enum { SCALE, SHIFT, MEAN, BY_G, BY_X, CONSTANT, LANE_ARRAYS };

struct pass {
  const struct plusx_block *block;
  const uint16_t *packed; /* kernel */
  long lanes;             /* numbers of a row of pixels */
  float *lane[LANE_ARRAYS];
  double *sums;           /* for each thread: two arrays of lanes */
  float *gradients;       /* of the weights, for each thread */
  stage stage_x, stage_dy;
  finish finish;
};

/* One thread's part of a pass; its partial sums are those of the image at hand. */
struct worker {
  const struct pass *pass;
  const struct plusx_block *block;
  float *part1, *part2;
  double *sum1, *sum2;
};

static struct pass pass_of(const struct plusx_block *block) {
  struct pass pass = {.block = block, .lanes = block->width * block->channels};
  for (int i = 0; i < LANE_ARRAYS; i++) pass.lane[i] = zeros(pass.lanes * sizeof(float));
  pass.sums = zeros(2 * pass.lanes * block->threads * sizeof(double));
  pass.gradients = zeros(gradient_size(block->channels, block->channels) * block->threads * sizeof(float));
  return pass;
}

static void end_pass(struct pass *pass) {
  for (int i = 0; i < LANE_ARRAYS; i++) free(pass->lane[i]);
  free(pass->sums), free(pass->gradients);
}

static void set_lanes(struct pass *pass, int array, long channel, double value) {
  for (long lane = channel; lane < pass->lanes; lane += pass->block->channels) pass->lane[array][lane] = (float)value;
}

/* Lanes that turn y into norm(y) = scale y + shift. */
static void set_norm(struct pass *pass, const float *scale, const float *shift, const float *mean,
                     const float *variance, float eps) {
  for (long c = 0; c < pass->block->channels; c++) {
    float by = scale[c] / sqrtf(variance[c] + eps);
    set_lanes(pass, SCALE, c, by);
    set_lanes(pass, SHIFT, c, shift[c] - mean[c] * by);
    set_lanes(pass, MEAN, c, mean[c]);
  }
}

/* Over all threads and pixels of a row, in their order. */
static double total(const struct pass *pass, int which, long channel) {
  double sum = 0;
  for (int thread = 0; thread < pass->block->threads; thread++)
    for (long lane = channel; lane < pass->lanes; lane += pass->block->channels)
      sum += pass->sums[(2 * thread + which) * pass->lanes + lane];
  return sum;
}

static long image_size(const struct plusx_block *block) { return block->height * block->width * block->channels; }

static struct worker worker_of(const struct pass *pass, int thread) {
  double *sum1 = pass->sums + 2 * thread * pass->lanes;
  return (struct worker){pass, pass->block, zeros(pass->lanes * sizeof(float)), zeros(pass->lanes * sizeof(float)), sum1,
                         sum1 + pass->lanes};
}

static void end_work(struct worker *worker) { free(worker->part1), free(worker->part2); }

static void end_image(struct worker *worker) {
  for (long i = 0; i < worker->pass->lanes; i++) {
    worker->sum1[i] += worker->part1[i], worker->sum2[i] += worker->part2[i];
    worker->part1[i] = worker->part2[i] = 0;
  }
}

static void forward(void *pass_, int thread, int threads) {
  const struct pass *pass = pass_;
  const struct plusx_block *block = pass->block;
  struct worker worker = worker_of(pass, thread);
  struct frame frame = frame_of(block->height, block->width, block->channels);
  struct layout layout = layout_of(block->width, block->channels, block->channels);
  uint16_t *framed = zeros(framed_size(&frame) * 2);
  float *sums = room_for_sums(&layout);
  long begin, end;
  configure_tiles();
  plusx_share(block->batch, thread, threads, &begin, &end);
  for (long image = begin; image < end; image++) {
    pass->stage_x(&worker, image, &frame, framed);
    convolve(framed, &frame, &layout, pass->packed, sums, pass->finish, &worker, image);
    end_image(&worker);
  }
  _tile_release();
  free(framed), free(sums);
  end_work(&worker);
}

static void backward(void *pass_, int thread, int threads) {
  const struct pass *pass = pass_;
  const struct plusx_block *block = pass->block;
  struct worker worker = worker_of(pass, thread);
  struct backward work = {block->height, block->width, block->channels, block->channels, pass->stage_dy, pass->stage_x,
                          1, pass->packed, pass->finish, &worker,
                          pass->gradients + thread * gradient_size(block->channels, block->channels)};
  long begin, end;
  plusx_share(block->batch, thread, threads, &begin, &end);
  pass_back(&work, begin, end);
  end_image(&worker);
  end_work(&worker);
}

/* scale x + shift */
static inline __m512 scaled(__m512 x, const float *scale, const float *shift) {
  return _mm512_fmadd_ps(x, _mm512_loadu_ps(scale), _mm512_loadu_ps(shift));
}

/* ---- images into frames ------------------------------------------------------------------------------------------ */

static void stage_x(void *worker_, long image, const struct frame *frame, uint16_t *framed) {
  const struct worker *worker = worker_;
  const uint16_t *x = worker->block->x + image * image_size(worker->block);
  for (long h = 0; h < frame->height; h++)
    memcpy(row_in_frame(frame, framed, h), x + h * worker->pass->lanes, worker->pass->lanes * sizeof(uint16_t));
}

/* u = relu(norm1(y1)) */
static void stage_u(void *worker_, long image, const struct frame *frame, uint16_t *framed) {
  const struct worker *worker = worker_;
  const float *scale = worker->pass->lane[SCALE], *shift = worker->pass->lane[SHIFT];
  for (long h = 0; h < frame->height; h++) {
    const uint16_t *y1 = worker->block->y1 + image * image_size(worker->block) + h * worker->pass->lanes;
    uint16_t *to = row_in_frame(frame, framed, h);
    for (long i = 0; i < worker->pass->lanes; i += 16)
      store(to + i, _mm512_max_ps(_mm512_setzero_ps(), scaled(load(y1 + i), scale + i, shift + i)));
  }
}

/* dy2, of dz where z was positive, and of y2 */
static void stage_dy2(void *worker_, long image, const struct frame *frame, uint16_t *framed) {
  const struct worker *worker = worker_;
  const float *by_g = worker->pass->lane[BY_G], *by_x = worker->pass->lane[BY_X];
  const float *constant = worker->pass->lane[CONSTANT];
  for (long h = 0; h < frame->height; h++) {
    long first = image * image_size(worker->block) + h * worker->pass->lanes;
    const uint16_t *dz = worker->block->dz + first, *z = worker->block->z + first, *y2 = worker->block->y2 + first;
    uint16_t *to = row_in_frame(frame, framed, h);
    for (long i = 0; i < worker->pass->lanes; i += 16) {
      __m512 g = where_positive(load(z + i), load(dz + i)), rest = scaled(load(y2 + i), by_x + i, constant + i);
      store(to + i, _mm512_fmadd_ps(g, _mm512_loadu_ps(by_g + i), rest));
    }
  }
}

/* dy1, of g1 and y1 */
static void stage_dy1(void *worker_, long image, const struct frame *frame, uint16_t *framed) {
  const struct worker *worker = worker_;
  const float *by_g = worker->pass->lane[BY_G], *by_x = worker->pass->lane[BY_X];
  const float *constant = worker->pass->lane[CONSTANT];
  for (long h = 0; h < frame->height; h++) {
    long first = image * image_size(worker->block) + h * worker->pass->lanes;
    const uint16_t *g1 = worker->block->g1 + first, *y1 = worker->block->y1 + first;
    uint16_t *to = row_in_frame(frame, framed, h);
    for (long i = 0; i < worker->pass->lanes; i += 16) {
      __m512 rest = scaled(load(y1 + i), by_x + i, constant + i);
      store(to + i, _mm512_fmadd_ps(load(g1 + i), _mm512_loadu_ps(by_g + i), rest));
    }
  }
}

/* ---- sums out of tiles ------------------------------------------------------------------------------------------- */

/* Adds to 16 partial sums. */
static inline void add(float *part, __m512 numbers) {
  _mm512_storeu_ps(part, _mm512_add_ps(_mm512_loadu_ps(part), numbers));
}

/* y, and the sums of y and of its square. */
static void put_y(struct worker *worker, uint16_t *y, long first, const float *sums, long count) {
  float *part1 = worker->part1 + first % worker->pass->lanes, *part2 = worker->part2 + first % worker->pass->lanes;
  for (long i = 0; i < count; i += 16) {
    __m512 value = stored(_mm512_loadu_ps(sums + i));
    store(y + i, value);
    add(part1 + i, value);
    add(part2 + i, _mm512_mul_ps(value, value));
  }
}

static void put_y1(void *worker_, long image, long first, const float *sums, long count) {
  struct worker *worker = worker_;
  put_y(worker, worker->block->y1 + image * image_size(worker->block) + first, first, sums, count);
}

static void put_y2(void *worker_, long image, long first, const float *sums, long count) {
  struct worker *worker = worker_;
  put_y(worker, worker->block->y2 + image * image_size(worker->block) + first, first, sums, count);
}

/* g1 = du where u was positive, and the sums of g1 and of g1 (y1 - mean1). */
static void put_g1(void *worker_, long image, long first, const float *sums, long count) {
  struct worker *worker = worker_;
  const struct pass *pass = worker->pass;
  long lane = first % pass->lanes, at = image * image_size(worker->block) + first;
  const float *scale = pass->lane[SCALE] + lane, *shift = pass->lane[SHIFT] + lane, *mean = pass->lane[MEAN] + lane;
  float *part1 = worker->part1 + lane, *part2 = worker->part2 + lane;
  const uint16_t *y1 = worker->block->y1 + at;
  uint16_t *g1 = worker->block->g1 + at;
  for (long i = 0; i < count; i += 16) {
    __m512 value = load(y1 + i);
    __m512 g = stored(where_positive(scaled(value, scale + i, shift + i), _mm512_loadu_ps(sums + i)));
    store(g1 + i, g);
    add(part1 + i, g);
    add(part2 + i, _mm512_mul_ps(g, _mm512_sub_ps(value, _mm512_loadu_ps(mean + i))));
  }
}

/* dx: by the branch, and by the shortcut dz where z was positive. */
static void put_dx(void *worker_, long image, long first, const float *sums, long count) {
  struct worker *worker = worker_;
  long at = image * image_size(worker->block) + first;
  const uint16_t *dz = worker->block->dz + at, *z = worker->block->z + at;
  uint16_t *dx = worker->block->dx + at;
  for (long i = 0; i < count; i += 16)
    store(dx + i, _mm512_add_ps(_mm512_loadu_ps(sums + i), where_positive(load(z + i), load(dz + i))));
}

/* ---- the operations ---------------------------------------------------------------------------------------------- */

/* y = conv(framed x), with its mean and variance. */
static void forward_pass(struct pass *pass, const float *weight, const long *strides, float *mean, float *variance) {
  const struct plusx_block *block = pass->block;
  double pixels = (double)block->batch * block->height * block->width;
  uint16_t *packed = packed_kernel(weight, strides, block->width, block->channels, block->channels, block->threads);
  pass->packed = packed;
  plusx_parallel(forward, pass, block->threads);
  free(packed);
  for (long c = 0; c < block->channels; c++) {
    double average = total(pass, 0, c) / pixels, below = total(pass, 1, c) / pixels - average * average;
    mean[c] = (float)average;
    variance[c] = below > 0 ? (float)below : isnan(below) ? NAN : 0;
  }
}

/* The second batch norm, as norm.c knows it. */
static struct plusx_norm join_of(const struct plusx_block *block) {
  return (struct plusx_norm){.avx512 = 1, .half = 1, .relu = 1, .threads = block->threads, .batch = block->batch,
                             .height = block->height, .width = block->width, .channels = block->channels,
                             .eps = block->eps2, .x = block->y2, .weight = block->scale2, .bias = block->shift2,
                             .mean = block->mean2, .variance = block->variance2, .y = block->z,
                             .residual = block->x, .residual_channels = block->channels, .stride = 1,
                             .dy = block->dz, .dweight = block->dscale2, .dbias = block->dshift2};
}

void plusx_block_forward(const struct plusx_block *block) {
  struct pass first = pass_of(block), second = pass_of(block);
  first.stage_x = stage_x, first.finish = put_y1;
  forward_pass(&first, block->weight1, block->strides1, block->mean1, block->variance1);
  second.stage_x = stage_u, second.finish = put_y2;
  set_norm(&second, block->scale1, block->shift1, block->mean1, block->variance1, block->eps1);
  forward_pass(&second, block->weight2, block->strides2, block->mean2, block->variance2);
  struct plusx_norm join = join_of(block);
  plusx_norm_apply(&join);
  end_pass(&first), end_pass(&second);
}

static void backward_pass(struct pass *pass, const float *weight, const long *strides, float *dweight) {
  const struct plusx_block *block = pass->block;
  uint16_t *packed = packed_turned(weight, strides, block->width, block->channels, block->channels, block->threads);
  pass->packed = packed;
  plusx_parallel(backward, pass, block->threads);
  free(packed);
  put_gradient(pass->gradients, block->threads, block->channels, block->channels, dweight, strides);
}

void plusx_block_backward(const struct plusx_block *block) {
  struct pass second = pass_of(block), first = pass_of(block);
  long channels = block->channels;
  double pixels = (double)block->batch * block->height * block->width;
  float *by_g = zeros(3 * channels * sizeof(float)), *by_x = by_g + channels, *constant = by_x + channels;
  struct plusx_norm join = join_of(block);
  plusx_norm_gradient_coefficients(&join, by_g, by_x, constant);
  for (long c = 0; c < channels; c++) {
    set_lanes(&second, BY_G, c, by_g[c]);
    set_lanes(&second, BY_X, c, by_x[c]);
    set_lanes(&second, CONSTANT, c, constant[c]);
  }
  free(by_g);
  set_norm(&second, block->scale1, block->shift1, block->mean1, block->variance1, block->eps1);
  second.stage_dy = stage_dy2, second.stage_x = stage_u, second.finish = put_g1;
  backward_pass(&second, block->weight2, block->strides2, block->dweight2);
  for (long c = 0; c < channels; c++) { /* as in norm.c */
    double g = total(&second, 0, c), g_y = total(&second, 1, c), by = 0;
    double inverse = 1 / sqrt((double)block->variance1[c] + block->eps1);
    by = -block->scale1[c] * inverse * inverse * inverse * g_y / pixels;
    block->dshift1[c] = (float)g;
    block->dscale1[c] = (float)(g_y * inverse);
    set_lanes(&first, BY_G, c, block->scale1[c] * inverse);
    set_lanes(&first, BY_X, c, by);
    set_lanes(&first, CONSTANT, c, -block->scale1[c] * inverse * g / pixels - by * block->mean1[c]);
  }
  first.stage_dy = stage_dy1, first.stage_x = stage_x, first.finish = put_dx;
  backward_pass(&first, block->weight1, block->strides1, block->dweight1);
  end_pass(&second), end_pass(&first);
}

#else

void plusx_block_forward(const struct plusx_block *block) { (void)block; }
void plusx_block_backward(const struct plusx_block *block) { (void)block; }

#endif

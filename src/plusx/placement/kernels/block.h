/* A residual block of two 3x3 convolutions with the identity as shortcut, He et al. (2015), Fig. 2 and 5 (left), as one
   operation, forward and backward:

       y1 = conv(x, weight1)      u = relu(norm1(y1))      y2 = conv(u, weight2)      z = relu(norm2(y2) + x)

   A batch norm needs sums over the whole batch before the first of its results, so each convolution is a pass over the
   tensors; all else is done while a pass reads or writes. u is never written: it is made of y1 where it is needed, and
   so are the gradients of y1 and y2. Counted in tensors read and written, the block moves 21, and the operations of norm.c
   and convolution.h one by one 33: this, not arithmetic, is what a narrow net's time goes to. */

#ifndef PLUSX_BLOCK_H
#define PLUSX_BLOCK_H

#include <math.h>

#include "convolution.h"
#include "norm.h"

struct plusx_block {
  long batch, height, width, channels;
  int threads;
  float eps1, eps2;
  const REAL *x;
  const float *weight1, *weight2;
  long strides1[4], strides2[4]; /* weight[out strides[0] + in strides[1] + row strides[2] + column strides[3]] */
  const float *scale1, *shift1, *scale2, *shift2; /* learnt, of the batch norms */
  float *mean1, *variance1, *mean2, *variance2;   /* of the batch */
  const REAL *shortcut; /* what is added where it is not x, or null */
  REAL *y1, *y2, *z;
  const REAL *dz;
  REAL *dshortcut; /* null where the shortcut is x */
  REAL *dx, *g1; /* g1: the gradient of norm1's output before the ReLU, room for it */
  float *dweight1, *dweight2, *dscale1, *dshift1, *dscale2, *dshift2;
};

/* ---- a pass over the images -------------------------------------------------------------------------------------- */

/* What belongs to a channel, repeated over one row of pixels. */
enum { SCALE, SHIFT, MEAN, BY_G, BY_X, CONSTANT, LANE_ARRAYS };

/* Whether sums are kept short, and taken of numbers less a pivot: bfloat16 has too few digits to need it. */
#ifdef HALF
enum { CAREFUL = 0 };
#else
enum { CAREFUL = 1 };
#endif

struct pass {
  const struct plusx_block *block;
  long lanes; /* numbers of a row of pixels */
  float *lane[LANE_ARRAYS];
  double *sums;     /* for each share: two arrays of lanes */
  float *parts;     /* for each share: two sums of lanes in single precision, and the pivot */
  float *gradients; /* of the weights, for each share */
  void *kernel;     /* packed */
  char *rooms;      /* for each share, what the engine needs */
  size_t room;
  stage stage_x, stage_dy;
  finish finish;
};

/* One share of a pass; its sums in single precision are those of the image at hand. */
struct worker {
  const struct pass *pass;
  const struct plusx_block *block;
  float *part1, *part2, *pivot;
  double *sum1, *sum2;
  long image, first; /* the one that was summed last, and the share's first; -1 for none */
};

static struct forward forward_of_pass(const struct pass *pass, struct worker *worker) {
  const struct plusx_block *block = pass->block;
  return (struct forward){block->height, block->width, block->channels, block->channels,
                          pass->stage_x, pass->finish, worker, pass->kernel};
}

static struct backward backward_of_pass(const struct pass *pass, struct worker *worker, int share) {
  const struct plusx_block *block = pass->block;
  size_t size = gradient_bytes(block->channels, block->channels) / sizeof(float);
  return (struct backward){block->height, block->width, block->channels, block->channels, pass->stage_dy,
                           pass->stage_x, pass->finish, worker, pass->kernel, pass->gradients + share * size};
}

/* A pass and its memory, or what it would take, in an arena without a base. */
static struct pass pass_of(const struct plusx_block *block, int back, struct arena *arena) {
  struct pass pass = {.block = block, .lanes = block->width * block->channels};
  struct arena counted = {0};
  if (back) {
    struct backward work = backward_of_pass(&pass, NULL, 0);
    backward_room(&work, &counted);
  } else {
    struct forward work = forward_of_pass(&pass, NULL);
    forward_room(&work, &counted);
  }
  for (int i = 0; i < LANE_ARRAYS; i++) pass.lane[i] = take_zeros(arena, pass.lanes * sizeof(float));
  pass.sums = take_zeros(arena, 2 * pass.lanes * block->threads * sizeof(double));
  pass.parts = take_zeros(arena, 3 * pass.lanes * block->threads * sizeof(float));
  pass.gradients = back ? take_zeros(arena, gradient_bytes(block->channels, block->channels) * block->threads) : NULL;
  pass.kernel = take(arena, kernel_bytes(block->width, block->channels, block->channels));
  pass.room = counted.used;
  pass.rooms = take(arena, pass.room * block->threads);
  return pass;
}

/* The memory of `count` passes, or none. */
static struct arena arena_of(const struct plusx_block *block, int back, int count) {
  struct arena counted = {0};
  pass_of(block, back, &counted);
  return arena_with(count * counted.used);
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

/* Over all shares and pixels of a row, in their order. */
static double total(const struct pass *pass, int which, long channel) {
  double sum = 0;
  for (int share = 0; share < pass->block->threads; share++)
    for (long lane = channel; lane < pass->lanes; lane += pass->block->channels)
      sum += pass->sums[(2 * share + which) * pass->lanes + lane];
  return sum;
}

static long image_size(const struct plusx_block *block) { return block->height * block->width * block->channels; }

static struct worker worker_of(const struct pass *pass, int share) {
  double *sum1 = pass->sums + 2 * share * pass->lanes;
  float *part1 = pass->parts + 3 * share * pass->lanes, *part2 = part1 + pass->lanes;
  return (struct worker){pass, pass->block, part1, part2, part2 + pass->lanes, sum1, sum1 + pass->lanes, -1, -1};
}

/* What was summed in single precision enters the sums. */
static void enter(struct worker *worker) {
  for (long i = 0; i < worker->pass->lanes; i++) {
    worker->sum1[i] += worker->part1[i], worker->sum2[i] += worker->part2[i];
    worker->part1[i] = worker->part2[i] = 0;
  }
}

/* Before a row of this image is summed. */
static inline void begin_row(struct worker *worker, long image) {
  if (image == worker->image) return;
  if (worker->image >= 0) enter(worker);
  worker->image = image;
}

static void forward_share(void *pass_, int share, int shares) {
  const struct pass *pass = pass_;
  struct worker worker = worker_of(pass, share);
  struct forward work = forward_of_pass(pass, &worker);
  long begin, end;
  plusx_share(pass->block->batch, share, shares, &begin, &end);
  pass_forward(&work, begin, end, (struct arena){pass->rooms + share * pass->room, 0});
  enter(&worker);
  double count = (double)(end - begin) * pass->block->height; /* of each lane */
  for (long i = 0; CAREFUL && i < pass->lanes; i++) {         /* of numbers less the pivot -> of numbers */
    double pivot = worker.pivot[i];
    worker.sum2[i] += pivot * (2 * worker.sum1[i] + count * pivot);
    worker.sum1[i] += count * pivot;
  }
}

static void backward_share(void *pass_, int share, int shares) {
  const struct pass *pass = pass_;
  struct worker worker = worker_of(pass, share);
  struct backward work = backward_of_pass(pass, &worker, share);
  long begin, end;
  plusx_share(pass->block->batch, share, shares, &begin, &end);
  pass_back(&work, begin, end, (struct arena){pass->rooms + share * pass->room, 0});
  enter(&worker);
}

/* scale x + shift */
static inline vec scaled(vec x, const float *scale, const float *shift) {
  return multiply_add(x, load_floats(scale), load_floats(shift));
}

/* ---- images into frames ------------------------------------------------------------------------------------------ */

static void stage_block_x(void *worker_, long image, const struct frame *frame, long first, long last, framed *to) {
  const struct plusx_block *block = ((const struct worker *)worker_)->block;
  put_in_frame(block->x + image * image_size(block), frame, first, last, to);
}

/* u = relu(norm1(y1)) */
static void stage_u(void *worker_, long image, const struct frame *frame, long first, long last, framed *to) {
  const struct worker *worker = worker_;
  const float *scale = worker->pass->lane[SCALE], *shift = worker->pass->lane[SHIFT];
  for (long h = first; h < last; h++) {
    const REAL *y1 = worker->block->y1 + image * image_size(worker->block) + h * worker->pass->lanes;
    framed *row = row_in_frame(frame, to, h);
    for (long i = 0; i < worker->pass->lanes; i += LANES)
      store_framed(row + i, larger(all(0), scaled(load(y1 + i), scale + i, shift + i)));
  }
}

/* dy2, of dz where z was positive, and of y2; and the gradient of the shortcut, if it is not x. */
static void stage_dy2(void *worker_, long image, const struct frame *frame, long first, long last, framed *to) {
  const struct worker *worker = worker_;
  const struct plusx_block *block = worker->block;
  const float *by_g = worker->pass->lane[BY_G], *by_x = worker->pass->lane[BY_X];
  const float *constant = worker->pass->lane[CONSTANT];
  for (long h = first; h < last; h++) {
    long at = image * image_size(block) + h * worker->pass->lanes;
    const REAL *dz = block->dz + at, *z = block->z + at, *y2 = block->y2 + at;
    framed *row = row_in_frame(frame, to, h);
    for (long i = 0; i < worker->pass->lanes; i += LANES) {
      vec g = where_positive(load(z + i), load(dz + i)), rest = scaled(load(y2 + i), by_x + i, constant + i);
      if (block->dshortcut) store(block->dshortcut + at + i, g);
      store_framed(row + i, multiply_add(g, load_floats(by_g + i), rest));
    }
  }
}

/* dy1, of g1 and y1 */
static void stage_dy1(void *worker_, long image, const struct frame *frame, long first, long last, framed *to) {
  const struct worker *worker = worker_;
  const float *by_g = worker->pass->lane[BY_G], *by_x = worker->pass->lane[BY_X];
  const float *constant = worker->pass->lane[CONSTANT];
  for (long h = first; h < last; h++) {
    long at = image * image_size(worker->block) + h * worker->pass->lanes;
    const REAL *g1 = worker->block->g1 + at, *y1 = worker->block->y1 + at;
    framed *row = row_in_frame(frame, to, h);
    for (long i = 0; i < worker->pass->lanes; i += LANES) {
      vec rest = scaled(load(y1 + i), by_x + i, constant + i);
      store_framed(row + i, multiply_add(load(g1 + i), load_floats(by_g + i), rest));
    }
  }
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static inline void add(float *part, vec numbers) { store_floats(part, load_floats(part) + numbers); }

/* y, and the sums of y and of its square. */
static void put_y(struct worker *worker, long image, REAL *y, long first, const float *sums, long count) {
  const struct pass *pass = worker->pass;
  long channels = worker->block->channels;
  if (CAREFUL && worker->image < 0)
    for (long i = 0; i < pass->lanes; i++) worker->pivot[i] = sums[i % channels];
  begin_row(worker, image);
  long lane = first % pass->lanes;
  float *part1 = worker->part1 + lane, *part2 = worker->part2 + lane, *pivot = worker->pivot + lane;
  for (long i = 0; i < count; i += LANES) {
    vec value = stored(load_floats(sums + i));
    store(y + i, value);
    if (CAREFUL) value = value - load_floats(pivot + i);
    add(part1 + i, value);
    add(part2 + i, value * value);
  }
}

static void put_y1(void *worker_, long image, long first, const float *sums, long count) {
  struct worker *worker = worker_;
  put_y(worker, image, worker->block->y1 + image * image_size(worker->block) + first, first, sums, count);
}

static void put_y2(void *worker_, long image, long first, const float *sums, long count) {
  struct worker *worker = worker_;
  put_y(worker, image, worker->block->y2 + image * image_size(worker->block) + first, first, sums, count);
}

/* g1 = du where u was positive, and the sums of g1 and of g1 (y1 - mean1). */
static void put_g1(void *worker_, long image, long first, const float *sums, long count) {
  struct worker *worker = worker_;
  const struct pass *pass = worker->pass;
  if (CAREFUL) begin_row(worker, image);
  long lane = first % pass->lanes, at = image * image_size(worker->block) + first;
  const float *scale = pass->lane[SCALE] + lane, *shift = pass->lane[SHIFT] + lane, *mean = pass->lane[MEAN] + lane;
  float *part1 = worker->part1 + lane, *part2 = worker->part2 + lane;
  const REAL *y1 = worker->block->y1 + at;
  REAL *g1 = worker->block->g1 + at;
  for (long i = 0; i < count; i += LANES) {
    vec value = load(y1 + i);
    vec g = stored(where_positive(scaled(value, scale + i, shift + i), load_floats(sums + i)));
    store(g1 + i, g);
    add(part1 + i, g);
    add(part2 + i, g * (value - load_floats(mean + i)));
  }
}

/* dx: by the branch, and by the shortcut dz where z was positive. */
static void put_block_dx(void *worker_, long image, long first, const float *sums, long count) {
  struct worker *worker = worker_;
  long at = image * image_size(worker->block) + first;
  const REAL *dz = worker->block->dz + at, *z = worker->block->z + at;
  REAL *dx = worker->block->dx + at;
  if (worker->block->dshortcut)
    put(dx, sums, count);
  else
    for (long i = 0; i < count; i += LANES)
      store(dx + i, load_floats(sums + i) + where_positive(load(z + i), load(dz + i)));
}

/* ---- the operations ---------------------------------------------------------------------------------------------- */

/* y = conv(framed x), with its mean and variance. */
static void run_forward(struct pass *pass, const float *weight, const long *strides, float *mean, float *variance) {
  const struct plusx_block *block = pass->block;
  double pixels = (double)block->batch * block->height * block->width;
  pack_kernel(pass->kernel, weight, strides, block->width, block->channels, block->channels, block->threads);
  plusx_parallel(forward_share, pass, block->threads);
  for (long c = 0; c < block->channels; c++) {
    double average = total(pass, 0, c) / pixels, below = total(pass, 1, c) / pixels - average * average;
    mean[c] = (float)average;
    variance[c] = below > 0 ? (float)below : isnan(below) ? NAN : 0;
  }
}

/* The second batch norm, as norm.c knows it. */
static struct plusx_norm join_of(const struct plusx_block *block) {
  return (struct plusx_norm){.avx512 = LANES == 16, .half = sizeof(REAL) == 2, .relu = 1, .threads = block->threads,
                             .batch = block->batch, .height = block->height, .width = block->width,
                             .channels = block->channels, .eps = block->eps2, .x = block->y2,
                             .weight = block->scale2, .bias = block->shift2, .mean = block->mean2,
                             .variance = block->variance2, .y = block->z,
                             .residual = block->shortcut ? block->shortcut : block->x,
                             .residual_channels = block->channels, .stride = 1, .dy = block->dz,
                             .dweight = block->dscale2, .dbias = block->dshift2};
}

int EXPORTED(plusx_block_forward)(const struct plusx_block *block) {
  struct arena arena = arena_of(block, 0, 2);
  if (!arena.base) return NO_MEMORY;
  struct pass first = pass_of(block, 0, &arena), second = pass_of(block, 0, &arena);
  first.stage_x = stage_block_x, first.finish = put_y1;
  run_forward(&first, block->weight1, block->strides1, block->mean1, block->variance1);
  second.stage_x = stage_u, second.finish = put_y2;
  set_norm(&second, block->scale1, block->shift1, block->mean1, block->variance1, block->eps1);
  run_forward(&second, block->weight2, block->strides2, block->mean2, block->variance2);
  struct plusx_norm join = join_of(block);
  free(arena.base);
  return plusx_norm_apply(&join);
}

static void run_backward(struct pass *pass, const float *weight, const long *strides, float *dweight) {
  const struct plusx_block *block = pass->block;
  pack_turned(pass->kernel, weight, strides, block->width, block->channels, block->channels, block->threads);
  plusx_parallel(backward_share, pass, block->threads);
  put_gradient(pass->gradients, block->threads, block->channels, block->channels, dweight, strides);
}

int EXPORTED(plusx_block_backward)(const struct plusx_block *block) {
  long channels = block->channels;
  struct plusx_norm join = join_of(block);
  float *by_g = malloc(3 * channels * sizeof(float));
  if (!by_g) return NO_MEMORY;
  float *by_x = by_g + channels, *constant = by_x + channels;
  struct arena arena = arena_of(block, 1, 2);
  if (!arena.base || plusx_norm_gradient_coefficients(&join, by_g, by_x, constant)) {
    free(by_g), free(arena.base);
    return NO_MEMORY;
  }
  struct pass second = pass_of(block, 1, &arena), first = pass_of(block, 1, &arena);
  for (long c = 0; c < channels; c++) {
    set_lanes(&second, BY_G, c, by_g[c]);
    set_lanes(&second, BY_X, c, by_x[c]);
    set_lanes(&second, CONSTANT, c, constant[c]);
  }
  free(by_g);
  set_norm(&second, block->scale1, block->shift1, block->mean1, block->variance1, block->eps1);
  second.stage_dy = stage_dy2, second.stage_x = stage_u, second.finish = put_g1;
  run_backward(&second, block->weight2, block->strides2, block->dweight2);
  double pixels = (double)block->batch * block->height * block->width;
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
  first.stage_dy = stage_dy1, first.stage_x = stage_block_x, first.finish = put_block_dx;
  run_backward(&first, block->weight1, block->strides1, block->dweight1);
  free(arena.base);
  return DONE;
}

#endif

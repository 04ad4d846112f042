/* Any other convolution as a product of matrices, in single precision: what each pixel of the output reads becomes a row of
   a matrix, `columns`, of which a chunk at a time stays in the caches.

       y = columns w        dw = columns' dy        dcolumns = dy w', whose numbers are added where they were read

   For strided convolutions and for stems, in which Winograd's algorithm saves nothing. Output channels are a multiple
   of 16. */

#ifndef PLUSX_COLUMNS_H
#define PLUSX_COLUMNS_H

#include "convolution.h"
#include "product.h"

#define PIXELS 48 /* of a chunk; a multiple of ROWS */

struct columns_job {
  const struct plusx_convolution *call;
  long down, across, pitch; /* pixels of the output; numbers that one reads, with zeros up to a multiple of 16 */
  float *kernel, *turned;          /* pitch x out_channels; out_channels x pitch */
  float *gradients;                /* as kernel, for each share */
  char *rooms;
  size_t room;
};

struct columns_room {
  float *columns, *dy, *dcolumns, *image;
};

static struct columns_room columns_room(const struct columns_job *job, struct arena *arena) {
  const struct plusx_convolution *call = job->call;
  struct columns_room room = {take_zeros(arena, PIXELS * job->pitch * sizeof(float)),
                              take_zeros(arena, PIXELS * call->out_channels * sizeof(float)), NULL, NULL};
  if (call->dx) {
    room.dcolumns = take(arena, PIXELS * job->pitch * sizeof(float));
    room.image = take(arena, (call->height * call->width * call->in_channels + 16) * sizeof(float));
  }
  return room;
}

static inline void add_numbers(float *to, const float *from, long count) {
  long i = 0;
  for (; i + LANES <= count; i += LANES) store_floats(to + i, load_floats(to + i) + load_floats(from + i));
  for (; i < count; i++) to[i] += from[i];
}

/* What a pixel of the output reads of one row of the kernel lies side by side in the image: `count` numbers from `image`
   on, which are those from `column` on of its row of columns. */
struct run {
  long image, column, count;
};

static inline struct run run_of(const struct columns_job *job, long pixel, long row) {
  const struct plusx_convolution *call = job->call;
  long h = pixel / job->across * call->stride - call->padding + row;
  long w = pixel % job->across * call->stride - call->padding;
  long from = w < 0 ? -w : 0, to = least(call->side, call->width - w);
  if (h < 0 || h >= call->height || from >= to) return (struct run){0, 0, 0};
  return (struct run){(h * call->width + w + from) * call->in_channels, (row * call->side + from) * call->in_channels,
                      (to - from) * call->in_channels};
}

static void gather_columns(const struct columns_job *job, const REAL *image, long first, long count, float *columns) {
  memset(columns, 0, count * job->pitch * sizeof(float));
  for (long pixel = 0; pixel < count; pixel++)
    for (long row = 0; row < job->call->side; row++) {
      struct run run = run_of(job, first + pixel, row);
      widen(columns + pixel * job->pitch + run.column, image + run.image, run.count);
    }
}

static void scatter_columns(const struct columns_job *job, const float *columns, long first, long count, float *image) {
  for (long pixel = 0; pixel < count; pixel++)
    for (long row = 0; row < job->call->side; row++) {
      struct run run = run_of(job, first + pixel, row);
      add_numbers(image + run.image, columns + pixel * job->pitch + run.column, run.count);
    }
}

static void columns_forward(void *job_, int share, int shares) {
  const struct columns_job *job = job_;
  const struct plusx_convolution *call = job->call;
  struct arena arena = {job->rooms + share * job->room, 0};
  struct columns_room room = columns_room(job, &arena);
  long begin, end, pixels = job->down * job->across, out = call->out_channels;
  plusx_share(call->batch, share, shares, &begin, &end);
  for (long image = begin; image < end; image++)
    for (long first = 0; first < pixels; first += PIXELS) {
      long count = least(PIXELS, pixels - first);
      gather_columns(job, call->x + image * call->height * call->width * call->in_channels, first, count, room.columns);
      multiply(room.columns, PIXELS, job->pitch, job->kernel, out, room.dy);
      narrow(call->y + (image * pixels + first) * out, room.dy, count * out);
    }
}

static void columns_backward(void *job_, int share, int shares) {
  const struct columns_job *job = job_;
  const struct plusx_convolution *call = job->call;
  struct arena arena = {job->rooms + share * job->room, 0};
  struct columns_room room = columns_room(job, &arena);
  long begin, end, pixels = job->down * job->across, out = call->out_channels;
  long size = call->height * call->width * call->in_channels;
  float *gradient = job->gradients + share * job->pitch * out;
  plusx_share(call->batch, share, shares, &begin, &end);
  for (long image = begin; image < end; image++) {
    if (call->dx) memset(room.image, 0, size * sizeof(float));
    for (long first = 0; first < pixels; first += PIXELS) {
      long count = least(PIXELS, pixels - first);
      widen(room.dy, call->dy + (image * pixels + first) * out, count * out);
      gather_columns(job, call->x + image * size, first, count, room.columns);
      add_turned(room.columns, job->pitch, room.dy, out, count, gradient);
      if (!call->dx) continue;
      multiply(room.dy, PIXELS, out, job->turned, job->pitch, room.dcolumns);
      scatter_columns(job, room.dcolumns, first, count, room.image);
    }
    if (call->dx) narrow(call->dx + image * size, room.image, size);
  }
}

/* For each number of a column, its row, column and channel of the kernel, and where its weights begin. */
#define EACH_NUMBER(call)                                                                                      \
  for (long i = 0, k = 0; i < (call)->side; i++)                                                               \
    for (long j = 0; j < (call)->side; j++)                                                                    \
      for (long in = 0, at = i * (call)->strides[2] + j * (call)->strides[3]; in < (call)->in_channels;        \
           in++, k++, at += (call)->strides[1])

static struct columns_job columns_job(const struct plusx_convolution *call) {
  struct columns_job job = {.call = call,
                            .down = (call->height + 2 * call->padding - call->side) / call->stride + 1,
                            .across = (call->width + 2 * call->padding - call->side) / call->stride + 1,
                            .pitch = ceiling(call->side * call->side * call->in_channels, 16) * 16};
  struct arena counted = {0};
  columns_room(&job, &counted);
  job.room = counted.used;
  return job;
}

int EXPORTED(plusx_columns_forward)(const struct plusx_convolution *call) {
  struct columns_job job = columns_job(call);
  size_t kernel = job.pitch * call->out_channels * sizeof(float);
  struct arena arena = arena_with(job.room * call->threads + kernel + 64);
  if (!arena.base) return NO_MEMORY;
  job.rooms = take(&arena, job.room * call->threads);
  job.kernel = take_zeros(&arena, kernel);
  EACH_NUMBER(call)
    for (long out = 0; out < call->out_channels; out++)
      job.kernel[k * call->out_channels + out] = call->weight[at + out * call->strides[0]];
  plusx_parallel(columns_forward, &job, call->threads);
  free(arena.base);
  return DONE;
}

int EXPORTED(plusx_columns_backward)(const struct plusx_convolution *call) {
  struct columns_job job = columns_job(call);
  size_t kernel = job.pitch * call->out_channels * sizeof(float);
  struct arena arena = arena_with(job.room * call->threads + (call->threads + 1) * (kernel + 64));
  if (!arena.base) return NO_MEMORY;
  job.rooms = take(&arena, job.room * call->threads);
  job.turned = take_zeros(&arena, kernel);
  job.gradients = take_zeros(&arena, kernel * call->threads);
  EACH_NUMBER(call)
    for (long out = 0; out < call->out_channels; out++)
      job.turned[out * job.pitch + k] = call->weight[at + out * call->strides[0]];
  plusx_parallel(columns_backward, &job, call->threads);
  EACH_NUMBER(call)
    for (long out = 0; out < call->out_channels; out++) {
      float sum = 0;
      for (int share = 0; share < call->threads; share++)
        sum += job.gradients[(share * job.pitch + k) * call->out_channels + out];
      call->dweight[at + out * call->strides[0]] = sum;
    }
  free(arena.base);
  return DONE;
}

#endif

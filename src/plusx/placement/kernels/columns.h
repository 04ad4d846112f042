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
  long down, across, depth, pitch; /* pixels of the output; numbers that one reads, and with zeros up to whole vectors */
  float *kernel, *turned;          /* pitch x out_channels; out_channels x pitch */
  float *gradients;                /* as kernel, for each share */
  char *rooms;
  size_t room;
};

/* Images in single precision, in frames of zeros as wide as the padding, so that every pixel reads the same pattern. */
struct columns_room {
  float *x, *dx, *columns, *dy, *dcolumns;
};

/* Numbers of a row of a framed image. */
static inline long framed_row(const struct plusx_convolution *call) {
  return (call->width + 2 * call->padding) * call->in_channels;
}

/* Bytes of a framed image, and of a vector that is read beyond it. */
static inline size_t framed_bytes(const struct plusx_convolution *call) {
  return ((call->height + 2 * call->padding) * framed_row(call) + LANES) * sizeof(float);
}

static struct columns_room columns_room(const struct columns_job *job, struct arena *arena) {
  const struct plusx_convolution *call = job->call;
  struct columns_room room = {.x = take_zeros(arena, framed_bytes(call)),
                              .columns = take_zeros(arena, (PIXELS * job->pitch + LANES) * sizeof(float)),
                              .dy = take_zeros(arena, PIXELS * call->out_channels * sizeof(float))};
  if (call->dx) {
    room.dx = take(arena, framed_bytes(call));
    room.dcolumns = take(arena, PIXELS * job->pitch * sizeof(float));
  }
  return room;
}

static inline float *row_of(const struct plusx_convolution *call, float *frame, long h) {
  return frame + (h + call->padding) * framed_row(call) + call->padding * call->in_channels;
}

static void put_image(const struct plusx_convolution *call, long image, float *frame) {
  long lanes = call->width * call->in_channels;
  for (long h = 0; h < call->height; h++)
    widen(row_of(call, frame, h), call->x + (image * call->height + h) * lanes, lanes);
}

/* Where what a pixel of the output reads begins in a framed image. */
static inline float *first_of(const struct columns_job *job, float *frame, long pixel) {
  const struct plusx_convolution *call = job->call;
  return frame + pixel / job->across * call->stride * framed_row(call) +
         pixel % job->across * call->stride * call->in_channels;
}

/* A row of the kernel reads numbers that lie side by side; what a vector copies beyond them is written over by the next
   row's, and at last by zeros. */
static void gather_columns(const struct columns_job *job, float *frame, long first, long count, float *columns) {
  long side = job->call->side, run = side * job->call->in_channels, line = framed_row(job->call);
  for (long pixel = 0; pixel < count; pixel++) {
    const float *from = first_of(job, frame, first + pixel);
    float *to = columns + pixel * job->pitch;
    for (long row = 0; row < side; row++)
      for (long i = 0; i < run; i += LANES) store_floats(to + row * run + i, load_floats(from + row * line + i));
    for (long i = job->depth; i < job->pitch; i++) to[i] = 0;
  }
}

static inline void add_numbers(float *to, const float *from, long count) {
  long i = 0;
  for (; i + LANES <= count; i += LANES) store_floats(to + i, load_floats(to + i) + load_floats(from + i));
  for (; i < count; i++) to[i] += from[i];
}

static void scatter_columns(const struct columns_job *job, const float *columns, long first, long count, float *frame) {
  long side = job->call->side, run = side * job->call->in_channels, line = framed_row(job->call);
  for (long pixel = 0; pixel < count; pixel++) {
    float *to = first_of(job, frame, first + pixel);
    for (long row = 0; row < side; row++)
      add_numbers(to + row * line, columns + pixel * job->pitch + row * run, run);
  }
}

static void columns_forward(void *job_, int share, int shares) {
  const struct columns_job *job = job_;
  const struct plusx_convolution *call = job->call;
  struct arena arena = {job->rooms + share * job->room, 0};
  struct columns_room room = columns_room(job, &arena);
  long begin, end, pixels = job->down * job->across, out = call->out_channels;
  plusx_share(call->batch, share, shares, &begin, &end);
  for (long image = begin; image < end; image++) {
    put_image(call, image, room.x);
    for (long first = 0; first < pixels; first += PIXELS) {
      long count = least(PIXELS, pixels - first);
      gather_columns(job, room.x, first, count, room.columns);
      multiply(room.columns, count, job->pitch, job->kernel, out, room.dy);
      narrow(call->y + (image * pixels + first) * out, room.dy, count * out);
    }
  }
}

static void columns_backward(void *job_, int share, int shares) {
  const struct columns_job *job = job_;
  const struct plusx_convolution *call = job->call;
  struct arena arena = {job->rooms + share * job->room, 0};
  struct columns_room room = columns_room(job, &arena);
  long begin, end, pixels = job->down * job->across, out = call->out_channels;
  float *gradient = job->gradients + share * job->pitch * out;
  plusx_share(call->batch, share, shares, &begin, &end);
  for (long image = begin; image < end; image++) {
    put_image(call, image, room.x);
    if (call->dx) memset(room.dx, 0, framed_bytes(call));
    for (long first = 0; first < pixels; first += PIXELS) {
      long count = least(PIXELS, pixels - first);
      widen(room.dy, call->dy + (image * pixels + first) * out, count * out);
      gather_columns(job, room.x, first, count, room.columns);
      add_turned(room.columns, job->pitch, room.dy, out, count, gradient);
      if (!call->dx) continue;
      multiply(room.dy, count, out, job->turned, job->pitch, room.dcolumns);
      scatter_columns(job, room.dcolumns, first, count, room.dx);
    }
    long lanes = call->width * call->in_channels;
    for (long h = 0; call->dx && h < call->height; h++)
      narrow(call->dx + (image * call->height + h) * lanes, row_of(call, room.dx, h), lanes);
  }
}

/* For each number of a column, its row, column and channel of the kernel, and where its weights begin. */
#define EACH_NUMBER(call)                                                                                      \
  for (long i = 0, k = 0; i < (call)->side; i++)                                                               \
    for (long j = 0; j < (call)->side; j++)                                                                    \
      for (long in = 0, at = i * (call)->strides[2] + j * (call)->strides[3]; in < (call)->in_channels;        \
           in++, k++, at += (call)->strides[1])

static struct columns_job columns_job(const struct plusx_convolution *call) {
  long depth = call->side * call->side * call->in_channels;
  struct columns_job job = {.call = call,
                            .down = (call->height + 2 * call->padding - call->side) / call->stride + 1,
                            .across = (call->width + 2 * call->padding - call->side) / call->stride + 1,
                            .depth = depth,
                            .pitch = ceiling(depth, 16) * 16};
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

/* The 3x3 convolution with stride 1 and padding 1, forward and backward, with a quarter of the multiplications: Winograd's
   F(4x4, 3x3) as Lavin and Gray (2015), arXiv:1509.09308, Sec. 4.3, give it.

   For a tile of 4 x 4 pixels of the output, which reads 6 x 6 of the input, and the kernel w of 3 x 3,

       y = A' [(G w G') * (B' x B)] A

   where * multiplies number by number; summed over input channels, each of its 36 places is a product of matrices, tiles
   by channels. The same holds for the data's gradient, a convolution of dy with the kernel turned around, and for the
   gradient of the weights: with x and dy changing sides, 4 x 4 pixels of x meet 6 x 6 of dy, and

       dw, turned around = G' [(A x A') * (B' dy B)] G

   so that what is made of dy serves both gradients. All is in single precision, whatever the tensors hold. Channels on
   both sides are a multiple of 16. */

#ifndef PLUSX_WINOGRAD_H
#define PLUSX_WINOGRAD_H

#include "arena.h"
#include "parallel.h"
#include "product.h"

#define PLACES 36
#define LEAST 48       /* tiles of a chunk, at least about */
#define NUMBERS 98304  /* of a chunk before and after its products, about: they stay in the second-level cache */

typedef float framed;

static inline void store_framed(framed *to, vec numbers) { store_floats(to, numbers); }

/* 16 numbers of a tensor. */
static inline void copy_framed(framed *to, const REAL *from) {
  for (int i = 0; i < 16; i += LANES) store_floats(to + i, load(from + i));
}

/* An image and the zeros around it; tiles down and across it. */
struct frame {
  long height, width, channels, pitch, down, across;
};

#include "passes.h"

static inline struct frame frame_of(long height, long width, long channels) {
  long down = ceiling(height, 4), across = ceiling(width, 4);
  return (struct frame){height, width, channels, 4 * across + 2, down, across};
}

static inline size_t frame_bytes(const struct frame *frame) {
  return (4 * frame->down + 2) * frame->pitch * frame->channels * sizeof(framed);
}

/* ---- the transforms, of one line of pixels ----------------------------------------------------------------------- */

/* B' d, of 6 numbers that lie `step` apart. */
static inline void to_places(const vec d[6], vec to[6]) {
  vec four = all(4), two = all(2), five = all(5);
  vec even = d[4] - four * d[2], odd = d[3] - four * d[1], even2 = d[4] - d[2], odd2 = d[3] - d[1];
  to[0] = four * d[0] + (d[4] - five * d[2]);
  to[1] = even + odd;
  to[2] = even - odd;
  to[3] = even2 + two * odd2;
  to[4] = even2 - two * odd2;
  to[5] = four * d[1] + (d[5] - five * d[3]);
}

/* A' m */
static inline void to_pixels(const vec m[6], vec to[4]) {
  vec sum = m[1] + m[2], difference = m[1] - m[2], sum2 = m[3] + m[4], difference2 = m[3] - m[4];
  to[0] = m[0] + sum + sum2;
  to[1] = difference + all(2) * difference2;
  to[2] = sum + all(4) * sum2;
  to[3] = difference + all(8) * difference2 + m[5];
}

/* A x */
static inline void lift(const vec x[4], vec to[6]) {
  vec even = x[0] + x[2], odd = x[1] + x[3], even2 = x[0] + all(4) * x[2], odd2 = all(2) * x[1] + all(8) * x[3];
  to[0] = x[0];
  to[1] = even + odd;
  to[2] = even - odd;
  to[3] = even2 + odd2;
  to[4] = even2 - odd2;
  to[5] = x[3];
}

/* ---- the transforms, of a row of tiles --------------------------------------------------------------------------- */

/* A chunk's tiles at each of the 36 places: numbers[place * step + tile * channels + channel]. */
struct places {
  float *numbers;
  long channels, step;
};

/* The step is no power of two, so that places do not share the same few lines of the cache. */
static inline struct places places_of(struct arena *arena, long tiles, long channels) {
  long step = ceiling(tiles, ROWS) * ROWS * channels + 16;
  return (struct places){take(arena, PLACES * step * sizeof(float)), channels, step};
}

/* B' x B of row r of tiles, which become the chunk's tiles from `tile` on. */
static inline void transform_row(const struct frame *frame, const framed *image, long r, struct places to, long tile) {
  long pitch = frame->pitch * frame->channels;
  for (long t = 0; t < frame->across; t++)
    for (long c = 0; c < frame->channels; c += LANES) {
      const framed *from = image + 4 * r * pitch + 4 * t * frame->channels + c;
      float *into = to.numbers + (tile + t) * to.channels + c;
      vec half[6][6], line[6], out[6];
#pragma GCC unroll 6
      for (int j = 0; j < 6; j++) {
        for (int i = 0; i < 6; i++) line[i] = load_floats(from + i * pitch + j * frame->channels);
        to_places(line, out);
        for (int i = 0; i < 6; i++) half[i][j] = out[i];
      }
#pragma GCC unroll 6
      for (int i = 0; i < 6; i++) {
        to_places(half[i], out);
        for (int j = 0; j < 6; j++) store_floats(into + (6 * i + j) * to.step, out[j]);
      }
    }
}

/* A x A' */
static inline void lift_row(const struct frame *frame, const framed *image, long r, struct places to, long tile) {
  long pitch = frame->pitch * frame->channels;
  for (long t = 0; t < frame->across; t++)
    for (long c = 0; c < frame->channels; c += LANES) {
      const framed *from = image + (4 * r + 1) * pitch + (4 * t + 1) * frame->channels + c;
      float *into = to.numbers + (tile + t) * to.channels + c;
      vec half[6][4], line[4], out[6];
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) {
        for (int i = 0; i < 4; i++) line[i] = load_floats(from + i * pitch + j * frame->channels);
        lift(line, out);
        for (int i = 0; i < 6; i++) half[i][j] = out[i];
      }
#pragma GCC unroll 6
      for (int i = 0; i < 6; i++) {
        lift(half[i], out);
        for (int j = 0; j < 6; j++) store_floats(into + (6 * i + j) * to.step, out[j]);
      }
    }
}

/* A' m A of the tiles from `tile` on, as four rows of pixels. */
static inline void restore_row(struct places from, long tile, long across, float *rows) {
  long pitch = 4 * across * from.channels;
  for (long t = 0; t < across; t++)
    for (long c = 0; c < from.channels; c += LANES) {
      const float *m = from.numbers + (tile + t) * from.channels + c;
      float *into = rows + 4 * t * from.channels + c;
      vec half[4][6], line[6], out[4];
#pragma GCC unroll 6
      for (int j = 0; j < 6; j++) {
        for (int i = 0; i < 6; i++) line[i] = load_floats(m + (6 * i + j) * from.step);
        to_pixels(line, out);
        for (int i = 0; i < 4; i++) half[i][j] = out[i];
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        to_pixels(half[i], out);
        for (int j = 0; j < 4; j++) store_floats(into + i * pitch + j * from.channels, out[j]);
      }
    }
}

/* Numbers from one place's matrix of in_channels x out_channels to the next's; likewise no power of two. */
static inline long matrix_size(long in_channels, long out_channels) { return in_channels * out_channels + 16; }

/* ---- products, at each place -------------------------------------------------------------------------------------- */

static inline void multiply_places(struct places from, const float *kernel, struct places to, long tiles) {
  for (int place = 0; place < PLACES; place++)
    multiply(from.numbers + place * from.step, tiles, from.channels,
             kernel + place * matrix_size(from.channels, to.channels), to.channels, to.numbers + place * to.step);
}

/* gradient += x' dy */
static inline void add_gradient(struct places x, struct places dy, long tiles, float *gradient) {
  for (int place = 0; place < PLACES; place++)
    add_turned(x.numbers + place * x.step, x.channels, dy.numbers + place * dy.step, dy.channels, tiles,
               gradient + place * matrix_size(x.channels, dy.channels));
}

/* ---- passes over images ------------------------------------------------------------------------------------------ */

/* Rows of tiles of a chunk. */
static inline long chunk_of(const struct frame *frame, long channels) {
  long tiles = NUMBERS / PLACES / channels;
  return ceiling(tiles > LEAST ? tiles : LEAST, frame->across);
}

struct forward_room {
  framed *image;
  struct places before, after;
  float *rows;
};

static inline struct forward_room forward_room(const struct forward *f, struct arena *arena) {
  struct frame frame = frame_of(f->height, f->width, f->in_channels);
  long tiles = chunk_of(&frame, f->in_channels + f->out_channels) * frame.across;
  return (struct forward_room){take_zeros(arena, frame_bytes(&frame)), places_of(arena, tiles, f->in_channels),
                               places_of(arena, tiles, f->out_channels),
                               take(arena, 16 * frame.across * f->out_channels * sizeof(float))};
}

/* The results of a chunk's rows of tiles from `first` to `last` - 1, counted over the images from `begin` on. */
static inline void put_rows(const struct frame *frame, struct places from, long begin, long first, long last,
                            float *rows, finish finish, void *worker) {
  for (long row = first; row < last; row++) {
    long image = begin + row / frame->down, h = row % frame->down * 4, count = frame->width * from.channels;
    restore_row(from, (row - first) * frame->across, frame->across, rows);
    for (long i = 0; i < least(4, frame->height - h); i++)
      finish(worker, image, (h + i) * count, rows + i * 4 * frame->across * from.channels, count);
  }
}

static inline void pass_forward(const struct forward *f, long begin, long end, struct arena arena) {
  struct frame frame = frame_of(f->height, f->width, f->in_channels);
  struct forward_room room = forward_room(f, &arena);
  long chunk = chunk_of(&frame, f->in_channels + f->out_channels), total = (end - begin) * frame.down;
  for (long first = 0; first < total; first += chunk) {
    long last = least(first + chunk, total);
    for (long row = first; row < last; row++) {
      long r = row % frame.down;
      f->stage(f->worker, begin + row / frame.down, &frame, r ? 4 * r + 1 : 0, least(4 * r + 5, frame.height),
               room.image);
      transform_row(&frame, room.image, r, room.before, (row - first) * frame.across);
    }
    multiply_places(room.before, f->kernel, room.after, (last - first) * frame.across);
    put_rows(&frame, room.after, begin, first, last, room.rows, f->finish, f->worker);
  }
}

struct backward_room {
  framed *dy, *x;
  struct places of_dy, of_x, after;
  float *rows;
};

static inline struct backward_room backward_room(const struct backward *b, struct arena *arena) {
  struct frame dy = frame_of(b->height, b->width, b->out_channels), x = frame_of(b->height, b->width, b->in_channels);
  long tiles = chunk_of(&dy, 2 * b->in_channels + b->out_channels) * dy.across;
  return (struct backward_room){take_zeros(arena, frame_bytes(&dy)), take_zeros(arena, frame_bytes(&x)),
                                places_of(arena, tiles, b->out_channels), places_of(arena, tiles, b->in_channels),
                                places_of(arena, tiles, b->in_channels),
                                take(arena, 16 * x.across * b->in_channels * sizeof(float))};
}

static inline void pass_back(const struct backward *b, long begin, long end, struct arena arena) {
  struct frame dy = frame_of(b->height, b->width, b->out_channels), x = frame_of(b->height, b->width, b->in_channels);
  struct backward_room room = backward_room(b, &arena);
  long chunk = chunk_of(&dy, 2 * b->in_channels + b->out_channels), total = (end - begin) * dy.down;
  for (long first = 0; first < total; first += chunk) {
    long last = least(first + chunk, total), tiles = (last - first) * dy.across;
    for (long row = first; row < last; row++) {
      long image = begin + row / dy.down, r = row % dy.down, tile = (row - first) * dy.across;
      b->stage_dy(b->worker, image, &dy, r ? 4 * r + 1 : 0, least(4 * r + 5, dy.height), room.dy);
      transform_row(&dy, room.dy, r, room.of_dy, tile);
      b->stage_x(b->worker, image, &x, 4 * r, least(4 * r + 4, x.height), room.x);
      lift_row(&x, room.x, r, room.of_x, tile);
    }
    if (b->kernel) {
      multiply_places(room.of_dy, b->kernel, room.after, tiles);
      put_rows(&x, room.after, begin, first, last, room.rows, b->finish, b->worker);
    }
    add_gradient(room.of_x, room.of_dy, tiles, b->gradient);
  }
}

/* ---- kernels, and their gradients -------------------------------------------------------------------------------- */

/* G w G', at each place a matrix of in_channels x out_channels. */
struct packing {
  const float *weight;
  long in_channels, out_channels, out_stride, in_stride, row_stride, column_stride;
  float *packed;
};

static inline size_t kernel_bytes(long width, long in_channels, long out_channels) {
  (void)width;
  return PLACES * matrix_size(in_channels, out_channels) * sizeof(float);
}

/* G w */
static inline void spread(const vec w[3], vec to[6]) {
  vec even = w[0] + w[2], even2 = w[0] + all(4) * w[2];
  to[0] = all(1 / 4.0f) * w[0];
  to[1] = all(-1 / 6.0f) * (even + w[1]);
  to[2] = all(-1 / 6.0f) * (even - w[1]);
  to[3] = all(1 / 24.0f) * (even2 + all(2) * w[1]);
  to[4] = all(1 / 24.0f) * (even2 - all(2) * w[1]);
  to[5] = w[2];
}

static inline void pack(void *packing_, int share, int shares) {
  const struct packing *p = packing_;
  long begin, end, size = matrix_size(p->in_channels, p->out_channels);
  plusx_share(p->in_channels, share, shares, &begin, &end);
  for (long in = begin; in < end; in++)
    for (long out = 0; out < p->out_channels; out += LANES) {
      const float *from = p->weight + in * p->in_stride + out * p->out_stride;
      float *to = p->packed + in * p->out_channels + out;
      vec half[6][3], line[3], full[6];
#pragma GCC unroll 3
      for (int j = 0; j < 3; j++) {
        for (int i = 0; i < 3; i++) {
          float numbers[LANES];
          for (int n = 0; n < LANES; n++)
            numbers[n] = from[n * p->out_stride + i * p->row_stride + j * p->column_stride];
          line[i] = load_floats(numbers);
        }
        spread(line, full);
        for (int i = 0; i < 6; i++) half[i][j] = full[i];
      }
#pragma GCC unroll 6
      for (int i = 0; i < 6; i++) {
        spread(half[i], full);
        for (int j = 0; j < 6; j++) store_floats(to + (6 * i + j) * size, full[j]);
      }
    }
}

static inline void pack_kernel(void *to, const float *weight, const long s[4], long width, long in_channels,
                               long out_channels, int threads) {
  struct packing p = {weight, in_channels, out_channels, s[0], s[1], s[2], s[3], to};
  (void)width;
  plusx_parallel(pack, &p, threads);
}

static inline size_t gradient_bytes(long in_channels, long out_channels) {
  return PLACES * matrix_size(in_channels, out_channels) * sizeof(float);
}

/* G' m */
static inline void gather(const vec m[6], vec to[3]) {
  vec sum = m[1] + m[2], sum2 = m[3] + m[4];
  to[0] = all(1 / 4.0f) * m[0] - all(1 / 6.0f) * sum + all(1 / 24.0f) * sum2;
  to[1] = all(1 / 6.0f) * (m[2] - m[1]) + all(1 / 12.0f) * (m[3] - m[4]);
  to[2] = m[5] + all(1 / 6.0f) * (sum2 - sum);
}

/* The shares' gradients, added in their order, to where the weights' lie. */
static inline void put_gradient_of(void *gradients_, int share, int shares) {
  const struct gradients *g = gradients_;
  const long *s = g->strides;
  long begin, end, size = matrix_size(g->in_channels, g->out_channels);
  plusx_share(g->in_channels, share, shares, &begin, &end);
  for (long in = begin; in < end; in++)
    for (long out = 0; out < g->out_channels; out += LANES) {
      float *to = g->dweight + in * s[1] + out * s[0];
      vec half[3][6], line[6], full[3];
#pragma GCC unroll 6
      for (int j = 0; j < 6; j++) {
        for (int i = 0; i < 6; i++) {
          const float *part = g->parts + (6 * i + j) * size + in * g->out_channels + out;
          line[i] = load_floats(part);
          for (int each = 1; each < shares; each++) line[i] = line[i] + load_floats(part + each * PLACES * size);
        }
        gather(line, full);
        for (int i = 0; i < 3; i++) half[i][j] = full[i];
      }
      for (int i = 0; i < 3; i++) {
        gather(half[i], full);
        for (int j = 0; j < 3; j++) {
          float numbers[LANES];
          store_floats(numbers, full[j]);
          for (int n = 0; n < LANES; n++) to[n * s[0] + (2 - i) * s[2] + (2 - j) * s[3]] = numbers[n];
        }
      }
    }
}

#endif

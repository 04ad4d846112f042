/* The 3x3 convolution with stride 1 and padding 1, forward and backward, on the matrix unit of x86 processors (AMX);
   for convolution.h and block.h, which say where numbers come from and where they go.

   Tensors are channels last in bfloat16, sums are in single precision, and the channels on both sides a multiple of 16.
   One instruction multiplies a tile of 16 x 32 numbers by one of 32 x 16 and adds the product to 16 x 16 sums. To feed
   it, an image is put into a frame of zeros, so that pixel p of the output, counted along rows that are W + 2 long,
   reads pixels p, p + 1, p + 2 of each of the three rows below it: 3 C numbers side by side. So

       forward           rows are 16 pixels p, the sum runs over 3 rows x 3 C numbers, columns are 16 output channels
       data gradient     the same with dy for x and the kernel turned around
       weight gradient   rows are 16 output channels, the sum runs over 32 pixels, columns are 16 input channels of one
                         of the nine places of the kernel

   The two pixels a row beyond the W of the image are computed and dropped; their dy are zeros. Where both sides have 16
   channels and the rows an even length, a row of a tile is two pixels: 32 numbers in, 32 out, as if of 32 channels, and
   no row of a tile crosses a line of the cache. */

#ifndef PLUSX_TILES_H
#define PLUSX_TILES_H

#include "arena.h"
#include "parallel.h"

#define TILE 1024  /* bytes of a tile: 16 rows of 64 */
#define CHUNK 64   /* rows of tiles whose sums are kept in single precision before they are passed on */
#define GROUP 200  /* pixels, about, whose images share a pass over the gradient of the weights */
#define SLACK 96   /* pixels that are read beyond an image, into zeros */

typedef uint16_t framed;

static inline void store_framed(framed *to, vec numbers) { store(to, numbers); }

/* 16 numbers of a tensor. */
static inline void copy_framed(framed *to, const REAL *from) { memcpy(to, from, 16 * sizeof(framed)); }

/* Tiles 0 to 3 are sums, 4 and 5 left factors, 6 and 7 right ones; all are full. */
static inline void configure_tiles(void) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } config = {.palette = 1};
  for (int tile = 0; tile < 8; tile++) config.bytes[tile] = 64, config.rows[tile] = 16;
  /* Not _tile_loadconfig: that of GCC 12 tells the compiler that only the first 8 bytes are read. */
  __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

/* ---- the image in its frame ------------------------------------------------------------------------------------ */

struct frame {
  long height, width, channels, pitch, pixels; /* pixels: from the first to the last that is computed */
};

#include "passes.h"

static inline struct frame frame_of(long height, long width, long channels) {
  return (struct frame){height, width, channels, width + 2, height * (width + 2) - 2};
}

static inline size_t frame_bytes(const struct frame *frame) {
  return (frame->pitch * (frame->height + 2) + SLACK) * frame->channels * sizeof(framed);
}

/* ---- forward, and the gradient of the data --------------------------------------------------------------------- */

/* How a convolution is laid out in tiles. */
struct layout {
  long in_channels, out_channels, fold; /* fold: pixels a row of a tile */
  long across;                          /* tiles for each row of the kernel: its numbers, and zeros up to a multiple of 32 */
};

static inline struct layout layout_of(long width, long in_channels, long out_channels) {
  long fold = in_channels == 16 && out_channels == 16 && width % 2 == 0 ? 2 : 1;
  return (struct layout){in_channels, out_channels, fold, fold == 2 ? 2 : ceiling(3 * in_channels, 32)};
}

static inline long packed_size(const struct layout *layout) {
  return layout->fold * layout->out_channels / 16 * 3 * layout->across * (TILE / 2);
}

/* The kernel as right factors: for each 16 columns, kernel row and 32 numbers one tile, numbers in pairs. */
struct packing {
  struct layout layout;
  const float *weight;
  long out_stride, in_stride, row_stride, column_stride;
  uint16_t *packed;
};

static inline uint16_t rounded(float value) {
  union { float value; uint32_t bits; } it = {value};
  return (uint16_t)((it.bits + 0x7fff + ((it.bits >> 16) & 1)) >> 16);
}

static inline void pack(void *packing_, int thread, int threads) {
  const struct packing *p = packing_;
  long across = p->layout.across, begin, end;
  plusx_share(packed_size(&p->layout) / (TILE / 2), thread, threads, &begin, &end);
  for (long tile = begin; tile < end; tile++) {
    long j = tile % across, row = tile / across % 3, n = tile / across / 3;
    long later = p->layout.fold == 2 ? n : 0; /* the second pixel of a pair reads one pixel later */
    const float *from = p->weight + row * p->row_stride + (p->layout.fold == 2 ? 0 : n * 16 * p->out_stride);
    for (long k = 0; k < 32; k++) {
      long column = (32 * j + k) / p->layout.in_channels - later, in = (32 * j + k) % p->layout.in_channels;
      uint16_t *to = p->packed + tile * (TILE / 2) + k / 2 * 32 + k % 2;
      if (column < 0 || column > 2)
        for (long out = 0; out < 16; out++) to[2 * out] = 0;
      else
        for (long out = 0; out < 16; out++)
          to[2 * out] = rounded(from[column * p->column_stride + in * p->in_stride + out * p->out_stride]);
    }
  }
}

/* Left factors: rows of `row` numbers, and the rows of the image `line` numbers apart. */
struct left {
  const uint16_t *numbers;
  long row, line;
};

/* Sums of 64 rows (4 tiles) by 16 columns. */
static inline void sums_4x1(struct left left, const uint16_t *kernel, long across, float *sums, long pitch) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (long h = 0; h < 3; h++)
    for (long j = 0; j < across; j++, kernel += TILE / 2) {
      const uint16_t *a = left.numbers + h * left.line + 32 * j;
      _tile_loadd(6, kernel, 64);
      _tile_loadd(4, a, left.row * 2);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(5, a + 16 * left.row, left.row * 2);
      _tile_dpbf16ps(1, 5, 6);
      _tile_loadd(4, a + 32 * left.row, left.row * 2);
      _tile_dpbf16ps(2, 4, 6);
      _tile_loadd(5, a + 48 * left.row, left.row * 2);
      _tile_dpbf16ps(3, 5, 6);
    }
  _tile_stored(0, sums, pitch * 4);
  _tile_stored(1, sums + 16 * pitch, pitch * 4);
  _tile_stored(2, sums + 32 * pitch, pitch * 4);
  _tile_stored(3, sums + 48 * pitch, pitch * 4);
}

/* Sums of 32 rows by 32 columns; the second 16 columns' kernel follows the first's. */
static inline void sums_2x2(struct left left, const uint16_t *kernel, long across, float *sums, long pitch) {
  const uint16_t *other = kernel + 3 * across * (TILE / 2);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (long h = 0; h < 3; h++)
    for (long j = 0; j < across; j++, kernel += TILE / 2, other += TILE / 2) {
      const uint16_t *a = left.numbers + h * left.line + 32 * j;
      _tile_loadd(6, kernel, 64);
      _tile_loadd(4, a, left.row * 2);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, other, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, a + 16 * left.row, left.row * 2);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  _tile_stored(0, sums, pitch * 4);
  _tile_stored(1, sums + 16, pitch * 4);
  _tile_stored(2, sums + 16 * pitch, pitch * 4);
  _tile_stored(3, sums + 16 * pitch + 16, pitch * 4);
}

/* What `convolve` needs beside the image: room for a chunk of sums. */
static inline float *room_for_sums(const struct layout *layout, struct arena *arena) {
  return take(arena, CHUNK * layout->fold * layout->out_channels * sizeof(float));
}

/* The pixels of one chunk to whoever wants them, in runs that lie in one row of the image. */
static inline void pass_on(const struct frame *frame, long begin, long end, const float *sums, long out_channels,
                           finish finish, void *worker, long image) {
  end = least(end, frame->pixels);
  for (long pixel = begin; pixel < end;) {
    long h = pixel / frame->pitch, w = pixel % frame->pitch, run = least(frame->width - w, end - pixel);
    if (run > 0) {
      finish(worker, image, (h * frame->width + w) * out_channels, sums + (pixel - begin) * out_channels,
             run * out_channels);
      pixel += run;
    } else {
      pixel += frame->pitch - w;
    }
  }
}

/* One framed image -> sums. */
static inline void convolve(const uint16_t *framed, const struct frame *frame, const struct layout *layout,
                            const uint16_t *packed, float *sums, finish finish, void *worker, long image) {
  long pitch = layout->fold * layout->out_channels, rows = ceiling(frame->pixels, layout->fold);
  long kernel = 3 * layout->across * (TILE / 2);
  for (long begin = 0; begin < rows; begin += CHUNK) {
    struct left left = {framed, layout->fold * frame->channels, frame->pitch * frame->channels};
    left.numbers += begin * left.row;
    struct left second = left;
    second.numbers += 32 * left.row;
    long n = 0;
    for (; n + 32 <= pitch; n += 32) {
      sums_2x2(left, packed + n / 16 * kernel, layout->across, sums + n, pitch);
      if (begin + 32 < rows) sums_2x2(second, packed + n / 16 * kernel, layout->across, sums + 32 * pitch + n, pitch);
    }
    if (n < pitch) sums_4x1(left, packed + n / 16 * kernel, layout->across, sums + n, pitch);
    pass_on(frame, begin * layout->fold, (begin + CHUNK) * layout->fold, sums, layout->out_channels, finish, worker, image);
  }
}

struct forward_room {
  framed *image;
  float *sums;
};

static inline struct forward_room forward_room(const struct forward *f, struct arena *arena) {
  struct frame frame = frame_of(f->height, f->width, f->in_channels);
  struct layout layout = layout_of(f->width, f->in_channels, f->out_channels);
  return (struct forward_room){take_zeros(arena, frame_bytes(&frame)), room_for_sums(&layout, arena)};
}

static inline void pass_forward(const struct forward *f, long begin, long end, struct arena arena) {
  struct frame frame = frame_of(f->height, f->width, f->in_channels);
  struct layout layout = layout_of(f->width, f->in_channels, f->out_channels);
  struct forward_room room = forward_room(f, &arena);
  configure_tiles();
  for (long image = begin; image < end; image++) {
    f->stage(f->worker, image, &frame, 0, f->height, room.image);
    convolve(room.image, &frame, &layout, f->kernel, room.sums, f->finish, f->worker, image);
  }
  _tile_release();
}

/* ---- the gradient of the weights ------------------------------------------------------------------------------- */

/* 16 rows of 16 words of 32 bits, turned. */
static inline void transpose(const __m512i *from, uint16_t *to, long to_pitch) {
  __m512i a[16], b[16];
  for (int i = 0; i < 8; i++) {
    a[2 * i] = _mm512_unpacklo_epi32(from[2 * i], from[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi32(from[2 * i], from[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {
    b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
    b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    a[i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
    a[4 + i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
    a[8 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
    a[12 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
  }
  for (int i = 0; i < 4; i++) {
    _mm512_storeu_si512(to + i * to_pitch, _mm512_shuffle_i32x4(a[i], a[8 + i], 0x88));
    _mm512_storeu_si512(to + (4 + i) * to_pitch, _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0x88));
    _mm512_storeu_si512(to + (8 + i) * to_pitch, _mm512_shuffle_i32x4(a[i], a[8 + i], 0xdd));
    _mm512_storeu_si512(to + (12 + i) * to_pitch, _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0xdd));
  }
}

/* Two pixels side by side, number by number: of 16 channels one row of a right factor. */
static inline __m512i paired(const uint16_t *pixel, long channels) {
  __m512i first = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)pixel));
  __m512i second = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(pixel + channels)));
  return _mm512_or_si512(first, _mm512_slli_epi32(second, 16));
}

/* Left factors: for each channel the pixels of dy, in steps of 32. */
static inline void turn(const struct frame *frame, const uint16_t *framed_dy, long steps, uint16_t *turned) {
  const uint16_t *first = framed_dy + (frame->pitch + 1) * frame->channels; /* pixel 0 of the output */
  for (long c = 0; c < frame->channels; c += 16)
    for (long step = 0; step < steps; step++) {
      __m512i pairs[16];
      for (long i = 0; i < 16; i++)
        pairs[i] = paired(first + (32 * step + 2 * i) * frame->channels + c, frame->channels);
      transpose(pairs, turned + (c / 16 * steps + step) * (TILE / 2), 32);
    }
}

/* Right factors: pairs of pixels that begin at an even pixel, and pairs that begin at an odd one. */
static inline void pair_up(const struct frame *frame, const uint16_t *framed, long pairs, uint16_t *even,
                           uint16_t *odd) {
  for (long c = 0; c < frame->channels; c += 16, even += 32 * pairs, odd += 32 * pairs)
    for (long j = 0; j < pairs; j++) {
      const uint16_t *pixel = framed + 2 * j * frame->channels + c;
      _mm512_storeu_si512(even + 32 * j, paired(pixel, frame->channels));
      _mm512_storeu_si512(odd + 32 * j, paired(pixel + frame->channels, frame->channels));
    }
}

/* The factors of a group of images. */
struct factors {
  struct frame x, dy;
  long images, steps, pairs;       /* steps of 32 pixels and pairs of pixels, of one image */
  size_t turned_size, paired_size; /* numbers, of one image */
  uint16_t *turned, *even, *odd;
};

/* Where the right factor for a place of the kernel and 16 channels begins, in the first image. */
static inline const uint16_t *right_factor(const struct factors *f, long place, long channel) {
  long offset = place / 3 * f->x.pitch + place % 3;
  return (offset % 2 ? f->odd : f->even) + 2 * channel * f->pairs + 32 * (offset / 2);
}

/* Sums of 16 output channels by up to 4 right factors, over all images of the group. */
static inline void gradient_1x4(const struct factors *f, const uint16_t *left, const uint16_t *const right[4], int count,
                         float *const sums[4]) {
  _tile_loadd(0, sums[0], 64);
  if (count > 1) _tile_loadd(1, sums[1], 64);
  if (count > 2) _tile_loadd(2, sums[2], 64);
  if (count > 3) _tile_loadd(3, sums[3], 64);
  for (long image = 0; image < f->images; image++)
    for (long step = 0; step < f->steps; step++) {
      long at = image * f->paired_size + step * (TILE / 2);
      _tile_loadd(4, left + image * f->turned_size + step * (TILE / 2), 64);
      _tile_loadd(6, right[0] + at, 64);
      _tile_dpbf16ps(0, 4, 6);
      if (count > 1) {
        _tile_loadd(7, right[1] + at, 64);
        _tile_dpbf16ps(1, 4, 7);
      }
      if (count > 2) {
        _tile_loadd(6, right[2] + at, 64);
        _tile_dpbf16ps(2, 4, 6);
      }
      if (count > 3) {
        _tile_loadd(7, right[3] + at, 64);
        _tile_dpbf16ps(3, 4, 7);
      }
    }
  _tile_stored(0, sums[0], 64);
  if (count > 1) _tile_stored(1, sums[1], 64);
  if (count > 2) _tile_stored(2, sums[2], 64);
  if (count > 3) _tile_stored(3, sums[3], 64);
}

/* Sums of 32 output channels by 2 right factors. */
static inline void gradient_2x2(const struct factors *f, const uint16_t *left, const uint16_t *const right[2],
                         float *const sums[4]) {
  const uint16_t *other = left + f->steps * (TILE / 2);
  _tile_loadd(0, sums[0], 64);
  _tile_loadd(1, sums[1], 64);
  _tile_loadd(2, sums[2], 64);
  _tile_loadd(3, sums[3], 64);
  for (long image = 0; image < f->images; image++)
    for (long step = 0; step < f->steps; step++) {
      long at = image * f->paired_size + step * (TILE / 2), of = image * f->turned_size + step * (TILE / 2);
      _tile_loadd(4, left + of, 64);
      _tile_loadd(6, right[0] + at, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, right[1] + at, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, other + of, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  _tile_stored(0, sums[0], 64);
  _tile_stored(1, sums[1], 64);
  _tile_stored(2, sums[2], 64);
  _tile_stored(3, sums[3], 64);
}

/* The group's share of the gradient; sums holds a tile of 16 output by 16 input channels for each
   (16 output channels, place, 16 input channels). */
static inline void add_weight_gradient(const struct factors *f, float *sums) {
  long inputs = f->x.channels / 16, outputs = f->dy.channels / 16, rights = 9 * inputs;
#define SUMS(m, r) (sums + ((m) * rights + (r)) * (TILE / 4))
#define RIGHT(r) right_factor(f, (r) / inputs, (r) % inputs * 16)
  long m = 0;
  for (; m + 2 <= outputs; m += 2) {
    const uint16_t *left = f->turned + m * f->steps * (TILE / 2);
    long r = 0;
    for (; r + 2 <= rights; r += 2) {
      const uint16_t *right[2] = {RIGHT(r), RIGHT(r + 1)};
      float *into[4] = {SUMS(m, r), SUMS(m, r + 1), SUMS(m + 1, r), SUMS(m + 1, r + 1)};
      gradient_2x2(f, left, right, into);
    }
    for (; r < rights; r++)
      for (long i = 0; i < 2; i++) {
        const uint16_t *right[4] = {RIGHT(r)};
        float *into[4] = {SUMS(m + i, r)};
        gradient_1x4(f, left + i * f->steps * (TILE / 2), right, 1, into);
      }
  }
  if (m < outputs)
    for (long r = 0; r < rights; r += 4) {
      const uint16_t *right[4];
      float *into[4];
      int count = (int)least(4, rights - r);
      for (int i = 0; i < count; i++) right[i] = RIGHT(r + i), into[i] = SUMS(m, r + i);
      gradient_1x4(f, f->turned + m * f->steps * (TILE / 2), right, count, into);
    }
#undef SUMS
#undef RIGHT
}

/* ---- backward ---------------------------------------------------------------------------------------------------- */

static inline size_t gradient_size(long in_channels, long out_channels) { return 9 * in_channels * out_channels; }

static inline size_t gradient_bytes(long in_channels, long out_channels) {
  return gradient_size(in_channels, out_channels) * sizeof(float);
}

struct backward_room {
  framed *x, *dy;
  struct factors factors;
  float *sums;
  long group;
};

/* With room for one image more than a group, as its last tiles are read beyond its pixels. */
static inline struct backward_room backward_room(const struct backward *b, struct arena *arena) {
  struct factors f = {.x = frame_of(b->height, b->width, b->in_channels),
                      .dy = frame_of(b->height, b->width, b->out_channels)};
  struct layout layout = layout_of(b->width, b->out_channels, b->in_channels);
  long group = ceiling(GROUP, f.dy.pixels);
  f.steps = ceiling(f.dy.pixels, 32);
  f.pairs = f.x.pitch + 2 + 16 * f.steps; /* up to the last place of the kernel */
  f.turned_size = f.steps * 32 * f.dy.channels;
  f.paired_size = f.pairs * 2 * f.x.channels;
  f.turned = take_zeros(arena, (group + 1) * f.turned_size * 2);
  f.even = take_zeros(arena, (group + 1) * f.paired_size * 2);
  f.odd = take_zeros(arena, (group + 1) * f.paired_size * 2);
  framed *x = take_zeros(arena, frame_bytes(&f.x)), *dy = take_zeros(arena, frame_bytes(&f.dy));
  return (struct backward_room){x, dy, f, room_for_sums(&layout, arena), group};
}

static inline void pass_back(const struct backward *b, long begin, long end, struct arena arena) {
  struct layout layout = layout_of(b->width, b->out_channels, b->in_channels);
  struct backward_room room = backward_room(b, &arena);
  struct factors *f = &room.factors;
  configure_tiles();
  for (long first = begin; first < end; first += room.group) {
    f->images = least(room.group, end - first);
    for (long i = 0; i < f->images; i++) {
      b->stage_dy(b->worker, first + i, &f->dy, 0, b->height, room.dy);
      if (b->kernel) convolve(room.dy, &f->dy, &layout, b->kernel, room.sums, b->finish, b->worker, first + i);
      turn(&f->dy, room.dy, f->steps, f->turned + i * f->turned_size);
      b->stage_x(b->worker, first + i, &f->x, 0, b->height, room.x);
      pair_up(&f->x, room.x, f->pairs, f->even + i * f->paired_size, f->odd + i * f->paired_size);
    }
    add_weight_gradient(f, b->gradient);
  }
  _tile_release();
}

/* The shares' gradients, added in their order, to where the weights' lie. */
static inline void put_gradient_of(void *gradients_, int thread, int threads) {
  const struct gradients *g = gradients_;
  const long *s = g->strides;
  long begin, end, inputs = g->in_channels / 16;
  plusx_share(g->out_channels, thread, threads, &begin, &end);
  for (long out = begin; out < end; out++)
    for (long place = 0; place < 9; place++)
      for (long n = 0; n < inputs; n++) {
        const float *from = g->parts + ((out / 16 * 9 + place) * inputs + n) * (TILE / 4) + out % 16 * 16;
        float *to = g->dweight + out * s[0] + n * 16 * s[1] + place / 3 * s[2] + place % 3 * s[3];
        for (long in = 0; in < 16; in++) {
          float sum = 0;
          for (int part = 0; part < threads; part++)
            sum += from[part * gradient_size(g->in_channels, g->out_channels) + in];
          to[in * s[1]] = sum;
        }
      }
}

static inline size_t kernel_bytes(long width, long in_channels, long out_channels) {
  struct layout layout = layout_of(width, in_channels, out_channels);
  return packed_size(&layout) * sizeof(uint16_t);
}

static inline void pack_kernel(void *to, const float *weight, const long s[4], long width, long in_channels,
                               long out_channels, int threads) {
  struct packing p = {layout_of(width, in_channels, out_channels), weight, s[0], s[1], s[2], s[3], to};
  plusx_parallel(pack, &p, threads);
}

#endif

/* The 3x3 convolution as an operation by itself, by the engine that was included before. */

#ifndef PLUSX_CONVOLUTION_H
#define PLUSX_CONVOLUTION_H

struct plusx_convolution {
  long batch, height, width, in_channels, out_channels; /* of the input */
  long side, stride, padding;                           /* of the kernel, which is square; here 3, 1, 1 */
  int threads;
  const REAL *x;
  const float *weight; /* weight[out strides[0] + in strides[1] + row strides[2] + column strides[3]] */
  long strides[4];
  REAL *y;
  const REAL *dy;
  REAL *dx;       /* null where it is not wanted */
  float *dweight; /* as weight */
};

/* The kernel of the data's gradient, which is a convolution of dy: channels change sides, and places are read from the
   last. */
static inline void pack_turned(void *to, const float *weight, const long s[4], long width, long in_channels,
                               long out_channels, int threads) {
  const long turned[4] = {s[1], s[0], -s[2], -s[3]};
  pack_kernel(to, weight + 2 * s[2] + 2 * s[3], turned, width, out_channels, in_channels, threads);
}

static inline void put_gradient(const float *parts, int threads, long in_channels, long out_channels, float *dweight,
                                const long strides[4]) {
  struct gradients gradients = {parts, in_channels, out_channels, dweight, strides};
  plusx_parallel(put_gradient_of, &gradients, threads);
}

/* Rows of numbers as they are. */
static inline void put_in_frame(const REAL *image, const struct frame *frame, long first, long last, framed *to) {
  long lanes = frame->width * frame->channels;
  for (long h = first; h < last; h++) {
    framed *row = row_in_frame(frame, to, h);
    for (long i = 0; i < lanes; i += 16) copy_framed(row + i, image + h * lanes + i);
  }
}

/* An operation, and where its shares find what they need. */
struct job {
  const struct plusx_convolution *call;
  const void *kernel; /* packed, or null */
  float *gradients;   /* of the weights, for each share */
  char *rooms;
  size_t room; /* bytes of a share's */
};

static void stage_x(void *job_, long image, const struct frame *frame, long first, long last, framed *to) {
  const struct plusx_convolution *call = ((const struct job *)job_)->call;
  put_in_frame(call->x + image * call->height * call->width * call->in_channels, frame, first, last, to);
}

static void stage_dy(void *job_, long image, const struct frame *frame, long first, long last, framed *to) {
  const struct plusx_convolution *call = ((const struct job *)job_)->call;
  put_in_frame(call->dy + image * call->height * call->width * call->out_channels, frame, first, last, to);
}

static inline void put(REAL *to, const float *sums, long count) {
  for (long i = 0; i < count; i += LANES) store(to + i, load_floats(sums + i));
}

static void put_conv_y(void *job_, long image, long first, const float *sums, long count) {
  const struct plusx_convolution *call = ((const struct job *)job_)->call;
  put(call->y + image * call->height * call->width * call->out_channels + first, sums, count);
}

static void put_dx(void *job_, long image, long first, const float *sums, long count) {
  const struct plusx_convolution *call = ((const struct job *)job_)->call;
  put(call->dx + image * call->height * call->width * call->in_channels + first, sums, count);
}

static struct forward forward_of(struct job *job) {
  const struct plusx_convolution *call = job->call;
  return (struct forward){call->height, call->width, call->in_channels, call->out_channels,
                          stage_x, put_conv_y, job, job->kernel};
}

static struct backward backward_of(struct job *job, int share) {
  const struct plusx_convolution *call = job->call;
  size_t size = gradient_bytes(call->in_channels, call->out_channels) / sizeof(float);
  return (struct backward){call->height, call->width, call->in_channels, call->out_channels, stage_dy, stage_x,
                           put_dx, job, call->dx ? job->kernel : NULL, job->gradients + share * size};
}

static void forward(void *job_, int share, int shares) {
  struct job *job = job_;
  struct forward work = forward_of(job);
  long begin, end;
  plusx_share(job->call->batch, share, shares, &begin, &end);
  pass_forward(&work, begin, end, (struct arena){job->rooms + share * job->room, 0});
}

static void backward(void *job_, int share, int shares) {
  struct job *job = job_;
  struct backward work = backward_of(job, share);
  long begin, end;
  plusx_share(job->call->batch, share, shares, &begin, &end);
  pass_back(&work, begin, end, (struct arena){job->rooms + share * job->room, 0});
}

int EXPORTED(plusx_convolution_forward)(const struct plusx_convolution *call) {
  struct job job = {.call = call};
  struct forward work = forward_of(&job);
  struct arena counted = {0};
  forward_room(&work, &counted);
  size_t kernel = kernel_bytes(call->width, call->in_channels, call->out_channels);
  job.room = counted.used;
  struct arena arena = arena_with(job.room * call->threads + kernel);
  if (!arena.base) return NO_MEMORY;
  job.rooms = take(&arena, job.room * call->threads);
  void *packed = take(&arena, kernel);
  pack_kernel(packed, call->weight, call->strides, call->width, call->in_channels, call->out_channels, call->threads);
  job.kernel = packed;
  plusx_parallel(forward, &job, call->threads);
  free(arena.base);
  return DONE;
}

int EXPORTED(plusx_convolution_backward)(const struct plusx_convolution *call) {
  struct job job = {.call = call};
  struct backward work = backward_of(&job, 0);
  struct arena counted = {0};
  backward_room(&work, &counted);
  size_t kernel = kernel_bytes(call->width, call->out_channels, call->in_channels);
  size_t gradient = gradient_bytes(call->in_channels, call->out_channels);
  job.room = counted.used;
  struct arena arena = arena_with(job.room * call->threads + kernel + 64 + gradient * call->threads);
  if (!arena.base) return NO_MEMORY;
  job.rooms = take(&arena, job.room * call->threads);
  void *packed = take(&arena, kernel);
  job.gradients = take_zeros(&arena, gradient * call->threads);
  if (call->dx)
    pack_turned(packed, call->weight, call->strides, call->width, call->in_channels, call->out_channels, call->threads);
  job.kernel = packed;
  plusx_parallel(backward, &job, call->threads);
  put_gradient(job.gradients, call->threads, call->in_channels, call->out_channels, call->dweight, call->strides);
  free(arena.base);
  return DONE;
}

#endif

/* The 3x3 convolution of tiles.h as an operation by itself. The general library that PyTorch calls is fast where
   channels are many; the CIFAR nets of He et al. (2015) have 16, 32 and 64, and there it leaves the matrix unit idle
   most of the time. */

#include <stdint.h>

struct plusx_convolution {
  long batch, height, width, in_channels, out_channels;
  int threads;
  const uint16_t *x;
  const float *weight; /* weight[out strides[0] + in strides[1] + row strides[2] + column strides[3]] */
  long strides[4];
  uint16_t *y;
  const uint16_t *dy;
  uint16_t *dx;   /* null where it is not wanted */
  float *dweight; /* as weight */
};

#if defined(__x86_64__) && defined(__linux__)

#include <sys/syscall.h>
#include <unistd.h>

#include "tiles.h"

struct job {
  const struct plusx_convolution *call;
  const uint16_t *packed; /* of the kernel, or of the kernel turned around */
  float *gradients;       /* of the weights, for each thread */
};

static void put_in_frame(const uint16_t *image, const struct frame *frame, uint16_t *framed) {
  size_t row = frame->width * frame->channels;
  for (long h = 0; h < frame->height; h++)
    memcpy(row_in_frame(frame, framed, h), image + h * row, row * sizeof(uint16_t));
}

static void stage_x(void *job_, long image, const struct frame *frame, uint16_t *framed) {
  const struct plusx_convolution *call = ((const struct job *)job_)->call;
  put_in_frame(call->x + image * call->height * call->width * call->in_channels, frame, framed);
}

static void stage_dy(void *job_, long image, const struct frame *frame, uint16_t *framed) {
  const struct plusx_convolution *call = ((const struct job *)job_)->call;
  put_in_frame(call->dy + image * call->height * call->width * call->out_channels, frame, framed);
}

static void put(uint16_t *to, const float *sums, long count) {
  for (long i = 0; i < count; i += 16) store(to + i, _mm512_loadu_ps(sums + i));
}

static void put_y(void *job_, long image, long first, const float *sums, long count) {
  const struct plusx_convolution *call = ((const struct job *)job_)->call;
  put(call->y + image * call->height * call->width * call->out_channels + first, sums, count);
}

static void put_dx(void *job_, long image, long first, const float *sums, long count) {
  const struct plusx_convolution *call = ((const struct job *)job_)->call;
  put(call->dx + image * call->height * call->width * call->in_channels + first, sums, count);
}

static void forward(void *job_, int thread, int threads) {
  const struct job *job = job_;
  const struct plusx_convolution *call = job->call;
  struct frame frame = frame_of(call->height, call->width, call->in_channels);
  struct layout layout = layout_of(call->width, call->in_channels, call->out_channels);
  uint16_t *framed = zeros(framed_size(&frame) * 2);
  float *sums = room_for_sums(&layout);
  long begin, end;
  configure_tiles();
  plusx_share(call->batch, thread, threads, &begin, &end);
  for (long image = begin; image < end; image++) {
    stage_x(job_, image, &frame, framed);
    convolve(framed, &frame, &layout, job->packed, sums, put_y, job_, image);
  }
  _tile_release();
  free(sums), free(framed);
}

static void backward(void *job_, int thread, int threads) {
  const struct job *job = job_;
  const struct plusx_convolution *call = job->call;
  struct backward work = {
      call->height, call->width, call->in_channels, call->out_channels, stage_dy, stage_x,
      call->dx != NULL, job->packed, put_dx, job_,
      job->gradients + thread * gradient_size(call->in_channels, call->out_channels)};
  long begin, end;
  plusx_share(call->batch, thread, threads, &begin, &end);
  pass_back(&work, begin, end);
}

/* 1 where the processor has the unit and the system lets this process use it. */
int plusx_convolution_available(void) {
  unsigned a, b, c, d;
  __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
  int has_bf16_tiles = d >> 22 & 1, has_tiles = d >> 24 & 1;
  __builtin_cpu_init();
  return has_bf16_tiles && has_tiles && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
}

void plusx_convolution_forward(const struct plusx_convolution *call) {
  uint16_t *packed = packed_kernel(call->weight, call->strides, call->width, call->in_channels, call->out_channels,
                                   call->threads);
  struct job job = {call, packed, NULL};
  plusx_parallel(forward, &job, call->threads);
  free(packed);
}

void plusx_convolution_backward(const struct plusx_convolution *call) {
  uint16_t *packed = packed_turned(call->weight, call->strides, call->width, call->in_channels, call->out_channels,
                                   call->threads);
  struct job job = {call, packed,
                    zeros(call->threads * gradient_size(call->in_channels, call->out_channels) * sizeof(float))};
  plusx_parallel(backward, &job, call->threads);
  put_gradient(job.gradients, call->threads, call->in_channels, call->out_channels, call->dweight, call->strides);
  free(job.gradients), free(packed);
}

#else

int plusx_convolution_available(void) { return 0; }
void plusx_convolution_forward(const struct plusx_convolution *call) { (void)call; }
void plusx_convolution_backward(const struct plusx_convolution *call) { (void)call; }

#endif

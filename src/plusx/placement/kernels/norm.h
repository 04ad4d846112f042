/* Batch norm with what surrounds it; norm.c says what it computes. */

#ifndef PLUSX_NORM_H
#define PLUSX_NORM_H

struct plusx_norm {
  int avx512, half, relu, threads; /* half: bfloat16 */
  long batch, height, width, channels;
  float eps;
  const void *x;
  const float *weight, *bias;
  float *mean, *variance; /* of the batch, the variance divided by the number of pixels */
  void *y;                /* in the backward read, where a residual was added */
  /* The shortcut: null for none; of the size of x, or `stride` times as high and wide, or with fewer channels, in
     whose place there are zeros: option A of He et al. (2015). */
  const void *residual;
  long residual_channels, stride;
  const void *dy;
  void *dx, *dresidual;
  float *dweight, *dbias;
  /* Not 0: x is the first `channels` of so many, and dx likewise is the first of as many, to which is added. */
  long pitch;
};

/* The best instruction set of this processor that the passes are written for: 2 AVX-512, 1 AVX2, 0 neither. */
int plusx_norm_level(void);

/* Each operation returns 0, or 1 where there was no memory, and then it has computed nothing. */

/* y from x, and the batch's mean and variance. */
int plusx_norm_forward(const struct plusx_norm *call);

/* The batch's mean and variance alone. */
int plusx_norm_moments(const struct plusx_norm *call);

/* y from x by the mean and variance that are given, as in evaluation. */
int plusx_norm_apply(const struct plusx_norm *call);

/* dx, dweight, dbias and dresidual. */
int plusx_norm_backward(const struct plusx_norm *call);

/* dweight and dbias, and for each channel what makes dx of the gradient g before the ReLU:
   dx = by_g g + by_x x + constant. */
int plusx_norm_gradient_coefficients(const struct plusx_norm *call, float *by_g, float *by_x, float *constant);

#endif

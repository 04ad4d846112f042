/* The passes of batch norm over a tensor, for one number type and one instruction set; norm.c includes this once for
   each, with REAL, LOAD, STORE and PASS defined.

   A tensor is rows of `lanes` numbers. A row is one pixel's channels or, where those are few or not a multiple of a
   vector, a whole number of pixels', so that every loop below is a long one over numbers side by side, which is what
   compilers turn into vector instructions. Whatever belongs to a channel is an array over the lanes. */

/* Sums of x - pivot and of its square. Single precision for a few hundred rows, then double. */
static void PASS(moments)(const REAL *restrict x, long rows, long lanes, const float *restrict pivot,
                          float *restrict part1, float *restrict part2, double *restrict sum1, double *restrict sum2) {
  for (long begin = 0; begin < rows; begin += BLOCK) {
    long end = begin + BLOCK < rows ? begin + BLOCK : rows;
    for (long i = 0; i < lanes; i++) part1[i] = part2[i] = 0;
    for (long row = begin; row < end; row++) {
      const REAL *restrict x_row = x + row * lanes;
      for (long i = 0; i < lanes; i++) {
        float d = LOAD(x_row[i]) - pivot[i];
        part1[i] += d;
        part2[i] += d * d;
      }
    }
    for (long i = 0; i < lanes; i++) {
      sum1[i] += part1[i];
      sum2[i] += part2[i];
    }
  }
}

/* y = scale x + shift + residual, then ReLU if asked for; residual may be null. */
static void PASS(apply)(const REAL *restrict x, const REAL *restrict residual, REAL *restrict y, long rows, long lanes,
                        const float *restrict scale, const float *restrict shift, float floor) {
  for (long row = 0; row < rows; row++) {
    const REAL *restrict x_row = x + row * lanes;
    REAL *restrict y_row = y + row * lanes;
    if (residual) {
      const REAL *restrict r_row = residual + row * lanes;
      for (long i = 0; i < lanes; i++) {
        float v = LOAD(x_row[i]) * scale[i] + shift[i] + LOAD(r_row[i]);
        y_row[i] = STORE(v < floor ? floor : v);
      }
    } else {
      for (long i = 0; i < lanes; i++) {
        float v = LOAD(x_row[i]) * scale[i] + shift[i];
        y_row[i] = STORE(v < floor ? floor : v);
      }
    }
  }
}

/* Sums of g and of g (x - mean), where g is dy, or with ReLU dy where the output was positive. Without a residual the
   sign of the output is that of scale x + shift, which is cheaper to compute again than y is to read. */
static void PASS(gradient_moments)(const REAL *restrict dy, const REAL *restrict x, const REAL *restrict y, int relu,
                                   long rows, long lanes, const float *restrict mean, const float *restrict scale,
                                   const float *restrict shift, float *restrict part1, float *restrict part2,
                                   double *restrict sum1, double *restrict sum2) {
  for (long begin = 0; begin < rows; begin += BLOCK) {
    long end = begin + BLOCK < rows ? begin + BLOCK : rows;
    for (long i = 0; i < lanes; i++) part1[i] = part2[i] = 0;
    for (long row = begin; row < end; row++) {
      const REAL *restrict dy_row = dy + row * lanes, *restrict x_row = x + row * lanes;
      if (!relu) {
        for (long i = 0; i < lanes; i++) {
          float g = LOAD(dy_row[i]);
          part1[i] += g;
          part2[i] += g * (LOAD(x_row[i]) - mean[i]);
        }
      } else if (y) {
        const REAL *restrict y_row = y + row * lanes;
        for (long i = 0; i < lanes; i++) {
          float g = LOAD(dy_row[i]), value = LOAD(x_row[i]);
          g = LOAD(y_row[i]) > 0 ? g : 0;
          part1[i] += g;
          part2[i] += g * (value - mean[i]);
        }
      } else {
        for (long i = 0; i < lanes; i++) {
          float g = LOAD(dy_row[i]), value = LOAD(x_row[i]);
          g = value * scale[i] + shift[i] > 0 ? g : 0;
          part1[i] += g;
          part2[i] += g * (value - mean[i]);
        }
      }
    }
    for (long i = 0; i < lanes; i++) {
      sum1[i] += part1[i];
      sum2[i] += part2[i];
    }
  }
}

/* dx = by_g g + by_x x + constant, and dresidual = g where a residual was added. */
static void PASS(gradient)(const REAL *restrict dy, const REAL *restrict x, const REAL *restrict y, int relu,
                           REAL *restrict dx, REAL *restrict dresidual, long rows, long lanes,
                           const float *restrict scale, const float *restrict shift, const float *restrict by_g,
                           const float *restrict by_x, const float *restrict constant) {
  for (long row = 0; row < rows; row++) {
    const REAL *restrict dy_row = dy + row * lanes, *restrict x_row = x + row * lanes;
    REAL *restrict dx_row = dx + row * lanes;
    if (y) {
      const REAL *restrict y_row = y + row * lanes;
      REAL *restrict dr_row = dresidual + row * lanes;
      for (long i = 0; i < lanes; i++) {
        float g = LOAD(dy_row[i]);
        g = LOAD(y_row[i]) > 0 ? g : 0;
        dx_row[i] = STORE(g * by_g[i] + (LOAD(x_row[i]) * by_x[i] + constant[i]));
        dr_row[i] = STORE(g);
      }
    } else if (relu) {
      for (long i = 0; i < lanes; i++) {
        float g = LOAD(dy_row[i]), value = LOAD(x_row[i]);
        g = value * scale[i] + shift[i] > 0 ? g : 0;
        dx_row[i] = STORE(g * by_g[i] + (value * by_x[i] + constant[i]));
      }
    } else {
      for (long i = 0; i < lanes; i++)
        dx_row[i] = STORE(LOAD(dy_row[i]) * by_g[i] + (LOAD(x_row[i]) * by_x[i] + constant[i]));
    }
  }
}

/* A gradient added to the first `channels` of `pitch` channels of each pixel. */
static void PASS(add)(const REAL *restrict from, REAL *restrict into, long pixels, long channels, long pitch) {
  for (long pixel = 0; pixel < pixels; pixel++)
    for (long i = 0; i < channels; i++)
      into[pixel * pitch + i] = STORE(LOAD(into[pixel * pitch + i]) + LOAD(from[pixel * channels + i]));
}

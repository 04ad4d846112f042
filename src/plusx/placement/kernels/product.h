/* Products of matrices in single precision, their sums in registers. Included after vectors.h. */

#ifndef PLUSX_PRODUCT_H
#define PLUSX_PRODUCT_H

#define ROWS 12 /* a left factor has room for a multiple of so many */

/* The matrix left, rows x depth, by the matrix right, depth x columns, of which the columns are vectors; added to `to` or
   written there. left[row * row_step + k * step], right[k * right_pitch + column]. Every count is known when this is
   compiled, so that the sums stay in registers. */
static inline __attribute__((always_inline)) void product(int rows, int columns, const float *left, long row_step,
                                                          long step, const float *right, long right_pitch, long depth,
                                                          float *to, long pitch, int adds) {
  vec sums[ROWS][2], factors[2];
#pragma GCC unroll 12
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
    for (int j = 0; j < columns; j++) sums[i][j] = adds ? load_floats(to + i * pitch + j * LANES) : all(0);
  for (long k = 0; k < depth; k++, left += step, right += right_pitch) {
#pragma GCC unroll 2
    for (int j = 0; j < columns; j++) factors[j] = load_floats(right + j * LANES);
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
      vec factor = all(left[i * row_step]);
#pragma GCC unroll 2
      for (int j = 0; j < columns; j++) sums[i][j] = multiply_add(factor, factors[j], sums[i][j]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
    for (int j = 0; j < columns; j++) store_floats(to + i * pitch + j * LANES, sums[i][j]);
}

#if LANES == 16
#define LEFT_AT_ONCE 12
#define TURNED_AT_ONCE 8
#else
#define LEFT_AT_ONCE 6
#define TURNED_AT_ONCE 4
#endif

/* to = left right, from rows x depth and depth x columns. It computes a multiple of LEFT_AT_ONCE rows. */
static inline void multiply(const float *left, long rows, long depth, const float *right, long columns, float *to) {
  long n = 0;
  for (; n + 2 * LANES <= columns; n += 2 * LANES)
    for (long row = 0; row < rows; row += LEFT_AT_ONCE)
      product(LEFT_AT_ONCE, 2, left + row * depth, depth, 1, right + n, columns, depth, to + row * columns + n, columns, 0);
  for (; n < columns; n += LANES)
    for (long row = 0; row < rows; row += LEFT_AT_ONCE)
      product(LEFT_AT_ONCE, 1, left + row * depth, depth, 1, right + n, columns, depth, to + row * columns + n, columns, 0);
}

/* to += left' right, from depth x rows and depth x columns. */
static inline void add_turned(const float *left, long rows, const float *right, long columns, long depth, float *to) {
  for (long row = 0; row < rows; row += TURNED_AT_ONCE) {
    long n = 0;
    for (; n + 2 * LANES <= columns; n += 2 * LANES)
      product(TURNED_AT_ONCE, 2, left + row, 1, rows, right + n, columns, depth, to + row * columns + n, columns, 1);
    for (; n < columns; n += LANES)
      product(TURNED_AT_ONCE, 1, left + row, 1, rows, right + n, columns, depth, to + row * columns + n, columns, 1);
  }
}

#endif

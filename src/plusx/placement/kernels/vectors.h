/* Vectors of LANES numbers in single precision, and tensors of numbers of type REAL, which is bfloat16 where HALF is
   defined. */

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#if LANES == 16

typedef __m512 vec;

static inline vec load_floats(const float *from) { return _mm512_loadu_ps(from); }
static inline void store_floats(float *to, vec numbers) { _mm512_storeu_ps(to, numbers); }
static inline vec all(float number) { return _mm512_set1_ps(number); }
static inline vec larger(vec a, vec b) { return _mm512_max_ps(a, b); }

/* a b + c, rounded once. */
static inline vec multiply_add(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }

/* The numbers where `sign` is positive, else 0. */
static inline vec where_positive(vec sign, vec numbers) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(sign, _mm512_setzero_ps(), _CMP_GT_OQ), numbers);
}

#else

typedef __m256 vec;

static inline vec load_floats(const float *from) { return _mm256_loadu_ps(from); }
static inline void store_floats(float *to, vec numbers) { _mm256_storeu_ps(to, numbers); }
static inline vec all(float number) { return _mm256_set1_ps(number); }
static inline vec larger(vec a, vec b) { return _mm256_max_ps(a, b); }
static inline vec multiply_add(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline vec where_positive(vec sign, vec numbers) {
  return _mm256_and_ps(_mm256_cmp_ps(sign, _mm256_setzero_ps(), _CMP_GT_OQ), numbers);
}

#endif

#ifdef HALF

typedef uint16_t REAL;

static inline vec load(const REAL *from) {
  __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

static inline void store(REAL *to, vec numbers) {
  _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(numbers));
}

/* What `store` leaves of the numbers. */
static inline vec stored(vec numbers) {
  __m512i words = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(numbers));
  return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

static inline float number(REAL bits) {
  union { uint32_t bits; float value; } it = {(uint32_t)bits << 16};
  return it.value;
}

#else

typedef float REAL;

static inline vec load(const REAL *from) { return load_floats(from); }
static inline void store(REAL *to, vec numbers) { store_floats(to, numbers); }
static inline vec stored(vec numbers) { return numbers; }
static inline float number(REAL value) { return value; }

#endif

/* Copies of `count` numbers, of which the last may be fewer than a vector. */

static inline void widen(float *to, const REAL *from, long count) {
  long i = 0;
  for (; i + LANES <= count; i += LANES) store_floats(to + i, load(from + i));
  for (; i < count; i++) to[i] = number(from[i]);
}

static inline void narrow(REAL *to, const float *from, long count) {
  long i = 0;
  for (; i + LANES <= count; i += LANES) store(to + i, load_floats(from + i));
  if (i == count) return;
  float padded[LANES] = {0};
  REAL rounded[LANES];
  memcpy(padded, from + i, (count - i) * sizeof(float));
  store(rounded, load_floats(padded));
  memcpy(to + i, rounded, (count - i) * sizeof(REAL));
}

/* What every operation needs beside its numbers: a name for each way to compute it, and memory. */

#ifndef PLUSX_ARENA_H
#define PLUSX_ARENA_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define EXPORTED(name) PASTE(name, VARIANT)

/* What an operation returns: 0, or 1 where there was no memory, and then it has computed nothing. */
enum { DONE, NO_MEMORY };

static inline long least(long a, long b) { return a < b ? a : b; }
static inline long ceiling(long a, long b) { return (a + b - 1) / b; }

/* Memory from which pieces are taken in turn, each at the beginning of a line of the cache. Without a base it only
   counts, so that the function that takes the pieces also says how much memory they need. */
struct arena {
  char *base;
  size_t used;
};

static inline void *take(struct arena *arena, size_t bytes) {
  size_t base = ((size_t)arena->base + 63) / 64 * 64;
  void *piece = arena->base ? (void *)(base + arena->used) : NULL;
  arena->used += (bytes + 63) / 64 * 64;
  return piece;
}

static inline void *take_zeros(struct arena *arena, size_t bytes) {
  void *piece = take(arena, bytes);
  return piece ? memset(piece, 0, bytes) : NULL;
}

/* An arena with room for so much, or without a base. Not by posix_memalign: glibc before 2.38 often cannot give memory that
   was freed to the next request for aligned memory of its size, and fresh memory arrives page by page. */
static inline struct arena arena_with(size_t bytes) { return (struct arena){malloc(bytes + 64), 0}; }

#endif

/* What an engine of the 3x3 convolution takes, whichever it is.

   An engine is a header that multiplies, tiles.h or winograd.h. It is included after vectors.h, puts an image into a frame
   of zeros, and defines `pass_forward` and `pass_back`. An operation, convolution.h or block.h, says where numbers come
   from and where they go, by a `stage` and a `finish`. So a C file that includes one of each kind is one way to compute
   the operations, and names it in VARIANT. This is included by an engine once it has defined `struct frame` and
   `framed`, the type of a number within a frame. */

#ifndef PLUSX_PASSES_H
#define PLUSX_PASSES_H

/* Where row h of an image begins in its frame. */
static inline framed *row_in_frame(const struct frame *frame, framed *image, long h) {
  return image + ((h + 1) * frame->pitch + 1) * frame->channels;
}

/* Puts rows `first` to `last` - 1 of an image into its frame, whose zeros are there already. */
typedef void (*stage)(void *worker, long image, const struct frame *frame, long first, long last, framed *to);

/* Takes the `count` results of an image that are its numbers from `first` on; they lie in one row of pixels. */
typedef void (*finish)(void *worker, long image, long first, const float *sums, long count);

/* A forward pass: images are staged, and their results passed to `finish`. */
struct forward {
  long height, width, in_channels, out_channels;
  stage stage;
  finish finish;
  void *worker;
  const void *kernel; /* packed */
};

/* A backward pass. With a kernel, turned around, the data's gradient is passed to `finish`; the weights' is added to
   `gradient`. */
struct backward {
  long height, width, in_channels, out_channels;
  stage stage_dy, stage_x;
  finish finish;
  void *worker;
  const void *kernel;
  float *gradient;
};

/* The gradients of the weights, of each share, and where their sum goes. */
struct gradients {
  const float *parts;
  long in_channels, out_channels;
  float *dweight;
  const long *strides;
};

#endif

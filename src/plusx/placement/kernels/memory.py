"""Memory for the tensors that our operators make: blocks that are used again, on large pages.

A training step makes and frees the same few sizes of tensors thousands of times. The C library's allocator, asked for
aligned memory, often cannot give a freed block to the next request of its size (glibc before 2.38), so that the heap
grows to three times of what is alive, and what it gives back to the system returns page by page. Here a freed block
waits for the next tensor of its size; the one that was freed last, which the caches still hold, is taken first.
"""

import ctypes
import mmap
import weakref
from collections import defaultdict

import torch
from torch import Tensor

_PAGE = 2 << 20
_free = defaultdict[int, list[mmap.mmap]](list)
"""Blocks that no tensor uses, by their size."""


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A channels-last tensor of rank 4 on the CPU, its numbers whatever the memory held.

    Example:
        >>> x = empty((2, 3, 4, 5), torch.bfloat16)
        >>> x.shape, x.is_contiguous(memory_format=torch.channels_last)
        (torch.Size([2, 3, 4, 5]), True)
    """
    batch, channels, height, width = shape
    count = batch * channels * height * width
    size = -(-count * dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
    if size < _PAGE // 8:  # small tensors are no trouble
        return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
    blocks = _free[size]
    block = blocks.pop() if blocks else _new(size)
    lease = (ctypes.c_char * size).from_buffer(block)
    weakref.finalize(lease, blocks.append, block).atexit = False
    storage = torch.frombuffer(lease, dtype=dtype, count=count).untyped_storage()
    stride = (height * width * channels, 1, width * channels, channels)
    return torch.empty(0, dtype=dtype).set_(storage, 0, shape, stride)  # no view, so that it may be changed in place


def empty_like(x: Tensor) -> Tensor:
    """As `empty`, of the shape and type of x."""
    return empty(tuple(x.shape), x.dtype)


def _new(size: int) -> mmap.mmap:
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    block = mmap.mmap(-1, size, **private)  # memory that is shared gets no large pages
    if hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)
    return block

"""A thread of our own for what is computed beside other busy programs.

There an idle worker of the pool moves the thread that calls it to another processor (pool.h), and for a moment the
thread may run on that one only. In a thread of the program's this could be seen, and inherited by what it starts.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import ParamSpec, TypeVar

import torch

from plusx.placement.kernels.native import library

P = ParamSpec("P")
T = TypeVar("T")


class OwnThread:
    """`own(call, *args)` is `call(*args)`: on a quiet machine in the calling thread, on a busy one in a thread of ours.

    On a busy machine PyTorch's threads of this thread are throttled anyhow (throttle.h), so that a second thread with
    threads of PyTorch's costs nothing; on a quiet one it would.

    Args:
        wanted: Whether the calls reach the pool; if not, all are made in the calling thread.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._library = library() if wanted else None
        self._thread: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the call returns or raises. Whatever ends the wait, the call itself has ended."""
        if self._process != os.getpid():  # the thread is not in a child
            self._thread, self._process = None, os.getpid()
        if self._library is None or torch.get_num_threads() == 1 or not self._library.plusx_parallel_busy():
            self._thread = None  # ends it
            return call(*args, **kwargs)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "plusx", _introduce, (torch.get_num_threads(),))
        future: Future[T] = self._thread.submit(call, *args, **kwargs)
        try:
            return future.result()
        finally:
            wait([future])


def _introduce(threads: int) -> None:
    """PyTorch's threads are started before this one may be moved, since they may run where it may at that moment."""
    torch.set_num_threads(threads)
    torch.ones(1 << 20).add_(1)
    found = library()
    assert found is not None
    found.plusx_parallel_own()

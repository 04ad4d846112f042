"""Threads that compute, owned by one object: every processor by itself, or all of them together.

The logits of many images can be computed by all processors together, each a share of every layer, or by each processor
on a batch of its own. Together, the first result is there sooner; apart, no processor waits for another, not at the end
of a layer and not when another program keeps one of them busy.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_starting = threading.Lock()
"""Held while a thread takes its processors, which for a moment changes what every new thread would begin with."""


class Streams:
    """Threads of its own, which start when they are first needed. Any number of threads may use it at once.

    How many processors PyTorch takes is a property of each thread, so that the caller's is neither read nor changed.

    Args:
        threads: Processors.

    Example:
        >>> with Streams(2) as streams:
        ...     list(streams.apart(abs, iter([-3, 2, -1])))
        ...     streams.together(torch.get_num_threads)
        [3, 2, 1]
        2
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._apart = ThreadPoolExecutor(threads, "stream", initializer=_take_processors, initargs=(1,))
        self._together = ThreadPoolExecutor(1, "streams", initializer=_take_processors, initargs=(threads,))

    def __repr__(self) -> str:
        return f"<Streams on {self.threads} processors>"

    def __enter__(self) -> "Streams":
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads after what they are working on; a `Streams` that is forgotten ends them as well."""
        for pool in (self._apart, self._together):
            pool.shutdown(cancel_futures=True)

    def apart(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results in the order of the items, of which no more are taken than are soon worked on.

        Args:
            work: Called by threads that use one processor each.
            items: May be endless.
        """
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self._apart.submit(work, item))
                if len(waiting) == 2 * self.threads:  # one at work and one ready for each thread
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            wait([future for future in waiting if not future.cancel()])

    def together(self, work: Callable[[], Result]) -> Result:
        """The result of one piece of work, for which PyTorch uses all processors; such pieces take turns."""
        return self.submit(work, together=True).result()

    def submit(self, work: Callable[[], Result], *, together: bool = False) -> Future[Result]:
        """One piece of work, computed by the next processor that is free or, together, by all of them.

        Args:
            work: What is done.
            together: Whether PyTorch uses all processors for it; such pieces take turns.
        """
        return (self._together if together else self._apart).submit(work)


def _take_processors(count: int) -> None:
    """Let PyTorch use so many processors in this thread, and leave the number that new threads begin with as it is.

    `torch.set_num_threads` sets both, so a thread that ends at once sets the second one back.
    """
    with _starting:
        before = torch.get_num_threads()  # this thread has computed nothing yet: it is what every thread begins with
        torch.set_num_threads(count)
        restore = threading.Thread(target=torch.set_num_threads, args=(before,))
        restore.start()
        restore.join()

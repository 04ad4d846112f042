"""Work on a stream of items, every processor by itself.

A net's answer to a batch can be made by all processors together, each a part of every layer, or by each processor a
batch of its own. Together the first answer is there sooner; apart nobody waits for anybody, not at the end of a layer
and not for a processor that another program keeps busy.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_streams(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """The results in the order of the items, of which no more are taken than are soon worked on.

    Args:
        work: Done in threads, in each of which PyTorch uses one processor.
        items: May be endless.
        threads: How many.

    Example:
        >>> list(in_streams(abs, iter([-3, 2, -1]), threads=2))
        [3, 2, 1]
    """
    together = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, "stream", initializer=torch.set_num_threads, initargs=(1,))
    try:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) == 2 * threads:  # one in work and one ready for each
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(together)  # the last call, of whatever thread, is what threads to come begin with

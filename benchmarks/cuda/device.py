"""The device that is measured: waiting for it, freeing its memory, and several streams on it."""

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
import torch._dynamo

from plusx.placement.machine import accelerator

DEVICE = accelerator() or "cpu"
RECOMPILATIONS = 64
"""Kinds of block and shapes of batches that one process may compile; torch's default is 8."""


def wait() -> None:
    """Return when the device has finished everything that was launched on it."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def free() -> None:
    """Release memory before the next contender takes its own."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
        gc.collect()
        torch.cuda.empty_cache()


def allow_recompilations(*, fail_beyond: bool) -> None:
    """Let one process compile for many nets; `fail_beyond` makes it an error to need more, rather than to run eagerly.

    Args:
        fail_beyond: Whether to raise at the limit.
    """
    torch._dynamo.config.recompile_limit = RECOMPILATIONS
    torch._dynamo.config.fail_on_recompile_limit_hit = fail_beyond


@contextmanager
def own_stream() -> Iterator[None]:
    """What is launched within goes to a stream of its own."""
    with torch.cuda.stream(torch.cuda.Stream()) if DEVICE == "cuda" else nullcontext():
        yield


def together(calls: Sequence[Callable[[], object]]) -> None:
    """Run each call in a thread of its own, until all have ended."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

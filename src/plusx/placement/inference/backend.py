"""What computes the logits: our frozen graph or OpenVINO, whichever is faster for this net on this machine.

Shapes: B images in a batch, C channels, H height, W width, K classes.
"""

import time
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from plusx.placement.choose import fastest
from plusx.placement.inference.frozen import freeze
from plusx.placement.inference.openvino import OpenVino, is_installed
from plusx.placement.inference.streams import Streams

Forward = Callable[[Tensor], Tensor]
"""Normalised float32 images, B x C x H x W, to float32 logits, B x K. Any number of threads may call it."""
BATCH = 8
"""Images that one processor takes at a time. With fewer, calling operators weighs more; more leave the caches:
ResNet-50 at 224 pixels takes 10.9, 9.8 and 10.5 ms of a processor for each of 4, 8 and 16 images."""


def candidates(
    net: nn.Module, input_shape: tuple[int, int, int], *, precision: Literal["fp32", "bf16"], threads: int
) -> dict[str, Callable[[], Forward]]:
    """The backends there are, by name, made when called; the first is taken where timing them would not pay.

    Args:
        net: In evaluation mode, on the CPU.
        input_shape: Channels, height and width.
        precision: The same for all of them.
        threads: Processors.

    Example:
        >>> next(iter(candidates(nn.Flatten(), (1, 2, 2), precision="fp32", threads=1)))
        'frozen'
    """
    backends: dict[str, Callable[[], Forward]] = {"frozen": lambda: freeze(net, precision=precision)}
    if is_installed("openvino"):
        backends["openvino"] = lambda: OpenVino(net, input_shape, precision=precision, threads=threads, batch=BATCH)
    return backends


def choose_backend(
    net: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    precision: Literal["fp32", "bf16"],
    streams: Streams,
    measure: bool,
) -> tuple[str, Forward]:
    """The first backend, or the fastest of all after timing them: its name, and what computes the logits.

    Args:
        net: In evaluation mode, on the CPU.
        input_shape: Channels, height and width.
        precision: fp32 or bf16.
        streams: The threads that will call it.
        measure: Whether to time the backends, which takes seconds that many images pay for.
    """
    make = candidates(net, input_shape, precision=precision, threads=streams.threads)
    if len(make) == 1 or not measure:
        name = next(iter(make))
        return name, make[name]()
    made = {name: each() for name, each in make.items()}
    name = list(made)[fastest([measure_seconds(each, input_shape, streams=streams) for each in made.values()])]
    return name, made[name]


def measure_seconds(forward: Forward, input_shape: tuple[int, int, int], *, streams: Streams, rounds: int = 3) -> float:
    """Seconds an image when every processor computes batches of its own; the least of some rounds.

    Args:
        forward: May be called by several threads at once.
        input_shape: Channels, height and width.
        streams: The threads that call it.
        rounds: Measured after one that is not counted.

    Example:
        >>> with Streams(1) as streams:
        ...     measure_seconds(lambda x_BCHW: x_BCHW, (1, 2, 2), streams=streams) > 0
        True
    """
    x_BCHW, batches, seconds = torch.zeros(BATCH, *input_shape), 2 * streams.threads, []
    for _ in range(1 + rounds):
        began = time.perf_counter()
        for _ in streams.apart(forward, [x_BCHW] * batches):
            pass
        seconds.append((time.perf_counter() - began) / (BATCH * batches))
    return min(seconds[1:])

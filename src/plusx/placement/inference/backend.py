"""What answers: our frozen graph or OpenVINO, whichever is faster for this net on this machine.

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
from plusx.placement.inference.streams import in_streams

Answers = Callable[[Tensor], Tensor]
"""Normalised float32 images, B x C x H x W, to float32 logits, B x K."""
BATCH = 8
"""Images that one processor answers at a time. With fewer, calling operators weighs more; more leave the caches:
ResNet-50 at 224 pixels takes 10.9, 9.8 and 10.5 ms of a processor for each of 4, 8 and 16 images."""


def candidates(
    net: nn.Module, input_shape: tuple[int, int, int], *, precision: Literal["fp32", "bf16"], threads: int
) -> dict[str, Callable[[], Answers]]:
    """What could answer, by name, made when called; the first is taken where measuring would not pay.

    Args:
        net: In evaluation mode, on the CPU.
        input_shape: Channels, height and width.
        precision: Of all of them.
        threads: Processors.

    Example:
        >>> next(iter(candidates(nn.Flatten(), (1, 2, 2), precision="fp32", threads=1)))
        'frozen'
    """
    found: dict[str, Callable[[], Answers]] = {"frozen": lambda: freeze(net, precision=precision)}
    if is_installed("openvino"):
        found["openvino"] = lambda: OpenVino(net, input_shape, precision=precision, threads=threads, batch=BATCH)
    return found


def chosen(
    net: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    precision: Literal["fp32", "bf16"],
    threads: int,
    measure: bool,
) -> tuple[str, Answers]:
    """The first candidate, or after measuring the fastest, by its name and made.

    Args:
        net: In evaluation mode, on the CPU.
        input_shape: Channels, height and width.
        precision: Of all of them.
        threads: Processors.
        measure: Whether to take the time, which many pictures pay for.
    """
    make = candidates(net, input_shape, precision=precision, threads=threads)
    if len(make) == 1 or not measure:
        name = next(iter(make))
        return name, make[name]()
    made = {name: each() for name, each in make.items()}
    name = list(made)[fastest([measure_seconds(each, input_shape, threads=threads) for each in made.values()])]
    return name, made[name]


def measure_seconds(answers: Answers, input_shape: tuple[int, int, int], *, threads: int, rounds: int = 3) -> float:
    """Seconds an image when every processor answers batches of its own; the least of some rounds.

    Args:
        answers: May be called by as many threads.
        input_shape: Channels, height and width.
        threads: Processors.
        rounds: After one that is not counted.

    Example:
        >>> measure_seconds(lambda x_BCHW: x_BCHW, (1, 2, 2), threads=1) > 0
        True
    """
    x_BCHW, batches, seconds = torch.zeros(BATCH, *input_shape), 2 * threads, []
    for _ in range(1 + rounds):
        began = time.perf_counter()
        for _ in in_streams(answers, [x_BCHW] * batches, threads=threads):
            pass
        seconds.append((time.perf_counter() - began) / (BATCH * batches))
    return min(seconds[1:])

"""What answers: our frozen graph or OpenVINO, whichever is faster for this net on this machine.

Shapes: B images in a batch, C channels, H height, W width, K classes.
"""

import time
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from plusx.deploy.frozen import freeze
from plusx.deploy.openvino_net import OpenVino, is_installed
from plusx.deploy.streams import in_streams

Answers = Callable[[Tensor], Tensor]
"""Normalised float32 images, B x C x H x W, to float32 logits, B x K."""
BATCH = 8
"""Images that one processor answers at a time: beyond 4 none gains more than chance, and memory grows."""


def candidates(
    net: nn.Module, input_shape: tuple[int, int, int], *, precision: Literal["fp32", "bf16"], threads: int
) -> dict[str, Callable[[], Answers]]:
    """What could answer, by name, made when called; the first is taken where measuring would not pay."""
    found: dict[str, Callable[[], Answers]] = {"frozen": lambda: freeze(net, precision=precision)}
    if is_installed("openvino"):
        found["openvino"] = lambda: OpenVino(net, input_shape, precision=precision, threads=threads)
    return found


def measure_seconds(answers: Answers, input_shape: tuple[int, int, int], *, threads: int, rounds: int = 3) -> float:
    """Seconds an image when every processor answers batches of its own; the least of some rounds.

    Args:
        answers: May be called by as many threads.
        input_shape: Channels, height and width.
        threads: Processors.
        rounds: After one that is not counted.
    """
    x_BCHW, batches, seconds = torch.zeros(BATCH, *input_shape), 2 * threads, []
    for _ in range(1 + rounds):
        began = time.perf_counter()
        for _ in in_streams(answers, [x_BCHW] * batches, threads=threads):
            pass
        seconds.append((time.perf_counter() - began) / (BATCH * batches))
    return min(seconds[1:])


def fastest(seconds: Mapping[str, float], *, margin: float = 0.05) -> str:
    """The first, unless another is faster by more than chance.

    Example:
        >>> fastest({"frozen": 1.00, "openvino": 0.97}), fastest({"frozen": 1.0, "openvino": 0.8})
        ('frozen', 'openvino')
    """
    first, best = next(iter(seconds)), min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] < (1 - margin) * seconds[first] else first

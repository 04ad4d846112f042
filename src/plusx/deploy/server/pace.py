"""How fast a model computes: measured when it is loaded, so that images are put together only where that is faster.

Two images at once may take as long as one, or as long as two; between the sizes that a model is prepared for, it may be
faster to compute a copy of the last image too. The seconds of a few sizes tell the fastest way for every number.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from plusx.deploy.predictor import Prediction
from plusx.deploy.server.classifiers import Classifier
from plusx.placement.inference.streams import Streams

ROUNDS = 3
TOGETHER_PAYS = 0.7
"""Of the seconds that one processor takes for an image; below it, all of them compute a lone image together."""


@dataclass(frozen=True)
class Pace:
    """The fastest way to compute some images on one processor."""

    seconds: tuple[float, ...]
    """Of 0, 1, 2, ... images."""
    first: tuple[int, ...]
    """The size of the first batch of the fastest way; it may be larger than the number of images."""
    together: bool = False
    """Whether a lone image is computed by all processors together."""

    @staticmethod
    def of(measured: Mapping[int, float], *, together: bool = False) -> "Pace":
        """The fastest ways, from the seconds of some sizes, 1 among them.

        Example:
            >>> pace = Pace.of({1: 2.0, 4: 5.0})
            >>> pace.seconds, pace.batches(3), pace.batches(2)
            ((0.0, 2.0, 4.0, 5.0, 5.0), [4], [1, 1])
        """
        seconds, first = [0.0], [0]
        for count in range(1, max(measured) + 1):
            ways = {size: took + seconds[max(0, count - size)] for size, took in measured.items()}
            size = min(ways, key=lambda size: (ways[size], -size))
            seconds.append(ways[size])
            first.append(size)
        return Pace(tuple(seconds), tuple(first), together)

    @property
    def largest(self) -> int:
        """The most images that are computed at a time."""
        return len(self.seconds) - 1

    @property
    def seconds_an_image(self) -> float:
        """Where as many as possible are computed at a time."""
        return self.seconds[-1] / self.largest

    def batches(self, count: int) -> list[int]:
        """The sizes of the batches that compute so many images the fastest; in the last there may be room left."""
        sizes = []
        while count > 0:
            sizes.append(self.first[min(count, self.largest)])
            count -= sizes[-1]
        return sizes


def measure_pace(classifier: Classifier, *, threads: int, budget: float) -> Pace:
    """Time a model, which also prepares it; heavy ones are timed with few images.

    Threads of its own are used, so that a model that is being loaded keeps no other waiting.

    Args:
        classifier: The model.
        threads: Processors.
        budget: Seconds that images which are computed together may take; one image may take longer.
    """
    channels, (height, width) = classifier.preprocess.channels, classifier.preprocess.size
    image_CHW = torch.zeros(channels, height, width, dtype=torch.uint8)

    def seconds(size: int) -> float:
        took = []
        for _ in range(1 + ROUNDS):
            began = time.perf_counter()
            classifier.predict_pixels([image_CHW] * size, top_k=1)
            took.append(time.perf_counter() - began)
            if took[-1] > 1:
                break
        return min(took[1:] or took)

    with Streams(threads) as streams:
        measured = {1: streams.submit(lambda: seconds(1)).result()}
        for size in classifier.batch_sizes[1:]:
            if size / 2 * measured[1] > budget:  # computing them together does not often halve the time
                break
            took = streams.submit(partial(seconds, size)).result()
            if took > budget:
                break
            measured[size] = took
        together = threads > 1 and streams.together(lambda: seconds(1)) < TOGETHER_PAYS * measured[1]
    return Pace.of(measured, together=together)


def compute(classifier: Classifier, pace: Pace, pixels: Sequence[Tensor], *, top_k: int) -> list[Prediction]:
    """The most probable classes of some images, in batches of the sizes that are fastest.

    Args:
        classifier: The model.
        pace: The model's.
        pixels: uint8, C x H x W each.
        top_k: How many classes.
    """
    results: list[Prediction] = []
    for size in pace.batches(len(pixels)):
        batch = list(pixels[len(results) : len(results) + size])
        filled = [*batch, *[batch[-1]] * (size - len(batch))]
        results += classifier.predict_pixels(filled, top_k=top_k)[: len(batch)]
    return results

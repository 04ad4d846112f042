"""The training images from which int8 takes its scales."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from plusx.data.images import ImageSet, spread
from plusx.data.preprocess import Preprocess
from plusx.runs.card import Card
from plusx.runs.images import images_of

CALIBRATION = 300
"""Training images from which int8 takes its scales: NNCF's own default."""


def training_sample(run: str | Path, card: Card, data_dir: Path | None = None) -> Iterator[Tensor]:
    """Some of a run's training images, as many of each class as its share, as uint8 pixels, C x H x W.

    Args:
        run: Run directory.
        card: The run's.
        data_dir: Where its images lie now, if not where they lay.

    Raises:
        ValueError: The run was converted from weights, or its images are no longer where they were.
    """
    if card.source["name"] is None:
        raise ValueError(f"{run} was converted from weights and has no training images, which int8 calibration needs")
    images = images_of(Path(run), card, split="train", data_dir=data_dir).images
    by_class = images.take(images.labels_N.argsort(stable=True))
    yield from pixels_of(spread(by_class, CALIBRATION), card.preprocess)


def pixels_of(images: ImageSet, preprocess: Preprocess) -> Iterator[Tensor]:
    """The pixels of each image as the net's preprocessing makes them, uint8, C x H x W.

    Args:
        images: Files, or pixels in memory, which have the size of the input.
        preprocess: The net's.
    """
    if images.pixels_NCHW is not None:
        yield from images.pixels_NCHW
        return
    for place in range(len(images)):
        yield preprocess.pixels(images.source(place))

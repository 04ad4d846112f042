"""What a recipe trains on, and how an image becomes a tensor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from plusx.recipes.bounds import require


@dataclass(frozen=True)
class DataSpec:
    """The images to train on, to choose by and to measure on: slices of splits, such as `train[:45000]`, `train[90%:]`.

    A slice of CIFAR or of the digits goes by position. A slice of a folder takes the same share of every class, in an
    order that depends on the content of the files alone.
    """

    train: str = "train"
    """Images to train on."""
    val: str | None = None
    """Images that select the best weights and drive plateau schedules; never the test images."""
    test: str | None = "test"
    """Images for the final measurement, which decide nothing."""
    limit: int | None = None
    """Use only this many images of each split, evenly spaced, to try a recipe out."""
    undecodable: Literal["refuse", "skip"] = "refuse"
    """What to do with files of a class folder that cannot be decoded: refuse to train, or leave out exactly those."""
    group: str | None = None
    """Keeps the images of a group in one split: a regular expression, whose first brackets match an image's group in
    its path below the folder, such as ([^/]+)_[0-9]+[.]jpg for frames of clips. Tables have a column `group`."""
    fold: str | None = None
    """Tests on one fold of the images, such as 2/5, the second of five, and trains on the others; `--folds 5` does so
    with every fold."""
    workers: int = 0
    """Loader processes; any number gives the same batches."""

    def __post_init__(self) -> None:
        require(self.workers >= 0, "data.workers", self.workers, "0 or more")
        require_group(self.group)
        require(self.fold is None or is_fold(self.fold), "data.fold", self.fold, "which of how many, such as 2/5")
        require(self.limit is None or self.limit >= 1, "data.limit", self.limit, "1 or more")


def is_fold(fold: str) -> bool:
    """Whether a text is the number of a fold and how many there are, 2 or more.

    Example:
        >>> is_fold("5/5"), is_fold("0/5"), is_fold("1/1"), is_fold("half")
        (True, False, False, False)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", fold)
    return match is not None and 1 <= int(match[1]) <= int(match[2]) >= 2


def require_group(pattern: str | None) -> None:
    """Raises ValueError when it is no regular expression, or one without brackets."""
    try:
        groups = 1 if pattern is None else re.compile(pattern).groups
    except re.error as fault:
        raise ValueError(f"data.group is {pattern!r}, which is no regular expression: {fault}") from None
    require(groups > 0, "data.group", pattern, "a regular expression with brackets round the group")


@dataclass(frozen=True)
class PreprocessSpec:
    """How an image becomes a tensor. Means and deviations come from the training images and are kept in the run.

    A net that starts from weights gets the preprocessing that these weights were trained with, field by field, unless
    you set the field.
    """

    size: int | None = None
    """Side of the square input in pixels; none keeps the size of data whose images all have one size."""
    fit: Literal["crop", "pad", "squash"] = "crop"
    """How another shape becomes square: centre crop, pad with black, or change the aspect ratio."""
    crop_fraction: float = 1.0
    """With fit=crop: share of the shorter side that the centre crop covers (ImageNet's 224 of 256 is 0.875)."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Resampling filter, always with antialiasing."""
    normalize: Literal["channel", "pixel-mean", "weights"] = "channel"
    """`channel`: mean and standard deviation of each channel. `pixel-mean`: mean of each pixel; He et al. (2015), Sec.
    4.2.
    `weights`: mean and standard deviation that the net's first weights were trained with."""

    def __post_init__(self) -> None:
        require(self.size is None or self.size >= 1, "preprocess.size", self.size, "1 or more")
        require(0 < self.crop_fraction <= 1, "preprocess.crop_fraction", self.crop_fraction, "in (0, 1]")

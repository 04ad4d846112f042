"""Augmentations: what happens to training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from plusx.recipes.bounds import percent, require


@dataclass(frozen=True)
class RandomCrop:
    """Pad every side and crop back at random; He et al. (2015), Sec. 4.2."""

    pad: int = 4
    """Pixels on each side."""
    mode: Literal["zeros", "reflect"] = "zeros"
    """What they show: zeros, which are the mean after normalisation, or the image mirrored at its edge."""

    def __post_init__(self) -> None:
        require(self.pad >= 0, "RandomCrop.pad", self.pad, "0 or more")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        padding = "zeros" if self.mode == "zeros" else "the mirrored image"
        return f"random crop, {self.pad} pixel{'' if self.pad == 1 else 's'} of padding with {padding}"


@dataclass(frozen=True)
class FlipLR:
    """Mirror left and right with probability 1/2."""

    alternate: bool = False
    """Draw at random in an image's first epoch only and mirror it in every other epoch from then on; Jordan (2024),
    arXiv:2404.00498,
    Sec. 3.6. Any two epochs in a row so show both views of every image."""

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return "horizontal flip in every other epoch" if self.alternate else "random horizontal flip"


@dataclass(frozen=True)
class RandomResizedCrop:
    """Crop a random region of the image and resize it; Szegedy et al. (2014), Sec. 6. Only for image files."""

    min_area: float = 0.25
    """Smallest share of the image's area."""
    max_aspect: float = 4 / 3
    """Largest ratio of the crop's sides, either way."""

    def __post_init__(self) -> None:
        require(0 < self.min_area <= 1, "RandomResizedCrop.min_area", self.min_area, "in (0, 1]")
        require(self.max_aspect >= 1, "RandomResizedCrop.max_aspect", self.max_aspect, "1 or more")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        sides = f"sides up to {self.max_aspect:.3g} to 1"
        return f"random crop of at least {percent(self.min_area)} of the area, {sides}, resized"


@dataclass(frozen=True)
class ScaleCrop:
    """Crop the input's size out of the image at a random scale; He et al. (2015), Sec. 3.4. Only for image files."""

    low: int = 256
    """Shortest that the image's shorter side is made, in pixels."""
    high: int = 480
    """Longest."""

    def __post_init__(self) -> None:
        require(1 <= self.low <= self.high, "ScaleCrop.low", self.low, "from 1 to ScaleCrop.high")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return f"random crop from the image at a shorter side of {self.low} to {self.high} pixels"


@dataclass(frozen=True)
class ColorNoise:
    """Shift each RGB image along the main axes of ImageNet's colours; Krizhevsky et al. (2012), Sec. 4.1."""

    std: float = 0.1
    """Standard deviation of the factor that multiplies each axis' eigenvalue, drawn once for an image each time."""

    def __post_init__(self) -> None:
        require(self.std >= 0, "ColorNoise.std", self.std, "0 or more")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return f"colour noise along the main axes of ImageNet's colours, deviation {self.std:g}"


Augment = RandomCrop | FlipLR | RandomResizedCrop | ScaleCrop | ColorNoise


@dataclass(frozen=True)
class Progressive:
    """Smaller images in the first part of the run: steps there cost about scale^2 as much.

    After Howard (2018), "Now anyone can train Imagenet in 18 minutes", and Tan and Le (2021), arXiv:2104.00298, Sec. 4.
    """

    scale: float = 0.75
    """Side of the smaller images, as a share of the full side."""
    until: float = 0.5
    """Fraction of the run that sees them."""
    by: Literal["resize", "crop"] = "resize"
    """`resize` shows the whole image smaller; `crop` a random part at the size that things have in evaluation, which
    Touvron et al. (2019), arXiv:1906.06423, find to matter."""

    def __post_init__(self) -> None:
        require(0 < self.scale < 1, "progressive.scale", self.scale, "in (0, 1)")
        require(0 < self.until < 1, "progressive.until", self.until, "in (0, 1)")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        how = "resized to" if self.by == "resize" else "random crops of"
        return f"{how} {percent(self.scale)} of the side in the first {percent(self.until)} of the run"

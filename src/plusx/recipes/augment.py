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


@dataclass(frozen=True)
class RandomErasing:
    """Erase a random rectangle of some images; Zhong et al. (2017), arXiv:1708.04896, Algorithm 1."""

    probability: float = 0.5
    """Share of the images that lose one."""
    min_area: float = 0.02
    """Smallest share of the image's area."""
    max_area: float = 0.4
    """Largest."""
    max_aspect: float = 1 / 0.3
    """Largest ratio of the rectangle's sides, either way."""
    fill: Literal["mean", "noise"] = "mean"
    """What it shows then: the mean, which is zero after normalisation, or pixels of random values, which the paper
    found best."""

    def __post_init__(self) -> None:
        require(0 <= self.probability <= 1, "RandomErasing.probability", self.probability, "in [0, 1]")
        require(0 < self.min_area <= self.max_area, "RandomErasing.min_area", self.min_area, "in (0, max_area]")
        require(self.max_area <= 1, "RandomErasing.max_area", self.max_area, "1 or less")
        require(self.max_aspect >= 1, "RandomErasing.max_aspect", self.max_aspect, "1 or more")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        area = f"{percent(self.min_area)} to {percent(self.max_area)} of the area"
        filled = "the mean" if self.fill == "mean" else "noise"
        return (
            f"random erasing of {area} in {percent(self.probability)} of the images, "
            f"sides up to {self.max_aspect:.3g} to 1, filled with {filled}"
        )


@dataclass(frozen=True)
class RandAugment:
    """Change the pixels by a few random operations of one strength; Cubuk et al. (2019), arXiv:1909.13719, Sec. 3.

    The operations and their strengths are torchvision's, and what they leave empty is black. On grey images, that of
    colour changes nothing.
    """

    num_ops: int = 2
    """Operations, one after another; the paper's N."""
    magnitude: int = 9
    """Their strength, the paper's M, from 0 to 30. As in torchvision, 30 is what the paper calls 10."""

    def __post_init__(self) -> None:
        require(self.num_ops >= 1, "RandAugment.num_ops", self.num_ops, "1 or more")
        require(0 <= self.magnitude <= 30, "RandAugment.magnitude", self.magnitude, "from 0 to 30")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return f"RandAugment, {self.num_ops} of its operations at magnitude {self.magnitude} of 30"


@dataclass(frozen=True)
class TrivialAugment:
    """Change the pixels by one random operation of a random strength; Müller and Hutter (2021), arXiv:2103.10158.

    The strengths are those of the paper's wide space, as torchvision has them, and what is left empty is black. An
    image is moved by up to 32 pixels, however small it is. On grey images, the operation of colour changes nothing.
    """

    @property
    def in_words(self) -> str:
        """What it does."""
        return "TrivialAugment, one operation of random strength from the wide space"


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue at random, in random order; Howard (2013), arXiv:1312.5402."""

    brightness: float = 0.4
    """Largest change of the factor that multiplies it, up or down."""
    contrast: float = 0.4
    """As for brightness."""
    saturation: float = 0.4
    """As for brightness; 0 for grey images."""
    hue: float = 0.0
    """Largest change, as a share of the colour circle; 0 for grey images."""

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            require(getattr(self, name) >= 0, f"ColorJitter.{name}", getattr(self, name), "0 or more")
        require(0 <= self.hue <= 0.5, "ColorJitter.hue", self.hue, "in [0, 0.5]")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        names = ("brightness", "contrast", "saturation", "hue")
        return f"colour jitter: {', '.join(f'{name} by up to {percent(getattr(self, name))}' for name in names)}"


@dataclass(frozen=True)
class MixUp:
    """Blend the images of a batch, and their labels, two by two; Zhang et al. (2017), arXiv:1710.09412, Sec. 2.

    A recipe that has CutMix as well draws one of the two for each batch.
    """

    alpha: float = 0.2
    """The share of the first image is drawn from Beta(alpha, alpha), once for a batch."""

    def __post_init__(self) -> None:
        require(self.alpha > 0, "MixUp.alpha", self.alpha, "more than 0")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return f"MixUp with alpha {self.alpha:g}"


@dataclass(frozen=True)
class CutMix:
    """Paste a box of one image into another, and mix their labels by area; Yun et al. (2019), arXiv:1905.04899, Sec. 3.

    A recipe that has MixUp as well draws one of the two for each batch.
    """

    alpha: float = 1.0
    """The share of the area that is kept is drawn from Beta(alpha, alpha), once for a batch; boxes end at the edge."""
    probability: float = 1.0
    """Share of the batches that are changed, of those that it is drawn for."""

    def __post_init__(self) -> None:
        require(self.alpha > 0, "CutMix.alpha", self.alpha, "more than 0")
        require(0 <= self.probability <= 1, "CutMix.probability", self.probability, "in [0, 1]")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return f"CutMix with alpha {self.alpha:g} of {percent(self.probability)} of the batches"


OfPixels = RandAugment | TrivialAugment | ColorJitter
"""Before normalisation, and so before all others but the crops out of image files."""
Mixing = MixUp | CutMix
"""Of images and labels of a batch, after all others."""
Augment = RandomCrop | FlipLR | RandomResizedCrop | ScaleCrop | ColorNoise | RandomErasing | OfPixels | Mixing


@dataclass(frozen=True)
class Progressive:
    """Smaller images in the first part of the run, or in all of it: steps there cost about scale^2 as much.

    After Howard (2018), "Now anyone can train Imagenet in 18 minutes", and Tan and Le (2021), arXiv:2104.00298, Sec. 4.
    """

    scale: float = 0.75
    """Side of the smaller images, as a share of the full side."""
    until: float = 0.5
    """Fraction of the run that sees them; with 1 only evaluation sees the full side."""
    by: Literal["resize", "crop"] = "resize"
    """`resize` shows the whole image smaller; `crop` a random part at the size that things have in evaluation, which
    Touvron et al. (2019), arXiv:1906.06423, find to matter."""

    def __post_init__(self) -> None:
        require(0 < self.scale < 1, "progressive.scale", self.scale, "in (0, 1)")
        require(0 < self.until <= 1, "progressive.until", self.until, "in (0, 1]")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        how = "resized to" if self.by == "resize" else "random crops of"
        when = f"in the first {percent(self.until)} of the run" if self.until < 1 else "throughout"
        return f"{how} {percent(self.scale)} of the side {when}"

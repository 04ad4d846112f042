"""How others preprocess images for their nets, as far as the layout of a file tells who trained it."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch

from plusx.data.preprocess import Preprocess
from plusx.nets import entry

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision.transforms._presets


class Preset(NamedTuple):
    """A preprocessing that many nets share."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    obtained: str
    crop_fraction: float = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


_IMAGENET = Preset(IMAGENET_MEAN, IMAGENET_STD, "ImageNet's, as torchvision's and timm's classifiers", 224 / 256)
BY_LAYOUT: Mapping[tuple[str, bool], Preset] = {
    ("torchvision", True): _IMAGENET,
    ("timm", True): _IMAGENET,
    ("akamaster", False): Preset(IMAGENET_MEAN, IMAGENET_STD, "ImageNet's, as akamaster/pytorch_resnet_cifar10"),
    ("kuangliu", False): Preset((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), "kuangliu/pytorch-cifar's"),
}
"""(whose layout, whether the catalog's input is ImageNet's) to what that repository trains with."""
BY_FAMILY: Mapping[tuple[str, str], Preset] = {
    ("timm", "dpn"): Preset(
        (124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3, "timm's dpn (the authors')", 224 / 256, "bicubic"
    ),
}
"""(whose layout, family) where it differs from the layout's."""
TRANSFORMED = Preset((0.5,) * 3, (0.5,) * 3, "torchvision's googlenet.transform_input", 224 / 256)
"""What torchvision's transform_input makes of its usual mean and standard deviation, before the first layer of its
GoogLeNet.

It is on where training began with published weights, and off where it began at random; no tensor shows which."""


def preset_for(source: str, net: str) -> Preprocess | None:
    """The preprocessing of the nets in a layout, or None where the layout does not tell.

    Args:
        source: Whose layout, as `Translation.source`.
        net: Catalog name.

    Example:
        >>> preset_for("akamaster", "resnet20").size
        (32, 32)
    """
    known = entry(net)
    large = known.input_shape[1] >= 224
    preset = BY_FAMILY.get((source, known.family)) or BY_LAYOUT.get((source, large))
    if preset is None:
        return None
    side = 224 if large else known.input_shape[1]
    return channelwise(side, preset.mean, preset.std, preset.obtained, preset.crop_fraction, preset.interpolation)


def channelwise(
    side: int,
    mean: Sequence[float],
    std: Sequence[float],
    obtained: str,
    crop_fraction: float = 1.0,
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
) -> Preprocess:
    """A square centre crop, and one mean and standard deviation for each channel.

    Args:
        side: Of the input in pixels.
        mean: Of pixels / 255.
        std: Of pixels / 255.
        obtained: Where mean and standard deviation come from.
        crop_fraction: Share of the shorter side that the crop covers.
        interpolation: Resampling filter.
    """
    mean_C11, std_C11 = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (mean, std))
    return Preprocess((side, side), mean_C11, std_C11, obtained, "crop", crop_fraction, interpolation)


def in_words(preprocess: Preprocess) -> str:
    """A preprocessing in one sentence.

    Example:
        >>> in_words(channelwise(8, [0.5], [0.25], "as given"))
        '1 x 8 x 8, bilinear, whole centre square; mean 0.5, deviation 0.25 (as given)'
    """
    height, width = preprocess.size
    share = f"{100 * preprocess.crop_fraction:.4g} % of the" if preprocess.crop_fraction < 1 else "whole"
    fit = f"{share} centre square" if preprocess.fit == "crop" else f"fit={preprocess.fit}"
    mean, std = (", ".join(f"{v:.4g}" for v in t[:, 0, 0].tolist()) for t in (preprocess.mean_CHW, preprocess.std_C11))
    if preprocess.mean_CHW.shape[1:] != (1, 1):
        mean = "of each pixel"
    shape = f"{preprocess.channels} x {height} x {width}"
    return f"{shape}, {preprocess.interpolation}, {fit}; mean {mean}, deviation {std} ({preprocess.obtained})"

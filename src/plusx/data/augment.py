"""Augmentations: pure functions of (x, generator), or of (x, coins and epochs of its images); and a recipe's as such.

Those of uint8 pixels are in pixels.py, MixUp and CutMix in mixing.py. Random numbers are drawn on the CPU and copied to
where x is: whatever computes, a batch gets the same ones.

Shapes: B images, C channels, H height, W width, I principal axes.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Literal, assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from plusx.data.batches import Augmentation
from plusx.data.images import ImageSet
from plusx.data.mixing import Mix, cutmix, mixup, one_of
from plusx.data.pixels import color_jitter, rand_augment, trivial_augment
from plusx.data.preprocess import Box, Preprocess
from plusx.recipes.augment import (
    Augment,
    ColorJitter,
    ColorNoise,
    CutMix,
    FlipLR,
    MixUp,
    Progressive,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    ScaleCrop,
    TrivialAugment,
)

# Principal axes of ImageNet's pixels in [0, 1], from facebookarchive/fb.resnet.torch, datasets/imagenet.lua. These are
# eigenvalues of the covariance, not their roots: the covariance that they make has the deviations 0.284, 0.276 and
# 0.290, and the pixels of ILSVRC 2012 have 0.2832, 0.2761 and 0.2895 (chatflip/CalculationMeanStd, README).
IMAGENET_EIGENVALUES = (0.2175, 0.0188, 0.0045)
IMAGENET_EIGENVECTORS = (  # one row per channel, red to blue; one column per eigenvalue
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def make_augmentation(
    augment: Iterable[Augment], preprocess: Preprocess, progressive: Progressive | None = None
) -> Augmentation:
    """The functions that a recipe's augmentations name, those of a kind in their order.

    Args:
        augment: The recipe's.
        preprocess: Normalised the images that the functions will change.
        progressive: The recipe's.
    """
    crop: Callable[..., Box] | None = None
    mirror = False
    by_epoch: list[Callable[..., Tensor]] = []
    change: list[Callable[..., Tensor]] = []
    pixels: list[Callable[..., Tensor]] = []
    mixes: list[Mix] = []
    for item in augment:
        match item:
            case RandomCrop(pad, mode):
                change.append(partial(random_crop, pad=pad, mode=mode))
            case FlipLR(alternate=True):
                by_epoch.append(alternating_flip)
            case FlipLR() if not (change or mirror) and preprocess.mean_CHW.shape[1:] == (1, 1):
                mirror = True  # where every pixel is normalised alike, it makes no difference whether before or after
            case FlipLR():
                change.append(flip_lr)
            case RandomResizedCrop(min_area, max_aspect):
                crop = partial(random_box, min_area=min_area, max_aspect=max_aspect)
            case ScaleCrop(low, high):
                crop = partial(scale_box, side=max(preprocess.size), low=low, high=high)
            case ColorNoise(std):
                change.append(partial(color_noise, std=std, scale_C11=preprocess.std_C11))
            case RandomErasing(probability, min_area, max_area, max_aspect, fill):
                erase = partial(random_erasing, probability=probability, min_area=min_area, max_area=max_area)
                noise = preprocess.normalise if fill == "noise" else None
                change.append(partial(erase, max_aspect=max_aspect, noise=noise))
            case RandAugment(num_ops, magnitude):
                pixels.append(partial(rand_augment, num_ops=num_ops, magnitude=magnitude))
            case TrivialAugment():
                pixels.append(trivial_augment)
            case ColorJitter(light, contrast, saturation, hue):
                jitter = partial(color_jitter, brightness=light, contrast=contrast, saturation=saturation, hue=hue)
                pixels.append(jitter)
            case MixUp(alpha):
                mixes.append(partial(mixup, alpha=alpha))
            case CutMix(alpha, probability):
                mixes.append(partial(cutmix, alpha=alpha, probability=probability))
            case _:
                assert_never(item)
    mix = partial(one_of, mixes=tuple(mixes)) if mixes else None
    whole = Augmentation(crop, tuple(change), tuple(by_epoch), pixels=tuple(pixels), mix=mix, mirror=mirror)
    if progressive is None:
        return whole
    smaller = partial(shrink, scale=progressive.scale, by=progressive.by)
    return replace(whole, shrink=smaller, shrink_share=progressive.until)


def require_fitting(augment: Iterable[Augment], images: ImageSet, preprocess: Preprocess) -> None:
    """Raises ValueError when an augmentation does not fit the images or the size of the net's input."""
    for item in augment:
        match item:
            case RandomResizedCrop() | ScaleCrop() if images.pixels_NCHW is not None:
                name = type(item).__name__
                raise ValueError(f"augment has {name}, which is for image files; these images have one fixed size")
            case ScaleCrop(low=low) if low < max(preprocess.size):
                raise ValueError(f"ScaleCrop.low is {low}; the input has {max(preprocess.size)} pixels")
            case RandomCrop(pad, "reflect") if pad >= (side := min(preprocess.size)):
                raise ValueError(f"RandomCrop.pad is {pad}; images of {side} pixels reflect {side - 1} at most")
            case ColorNoise() if images.channels != 3:
                raise ValueError(
                    f"augment has ColorNoise, which is for RGB; channels of these images: {images.channels}"
                )
            case ColorJitter() if images.channels == 1 and (item.saturation or item.hue):
                name = "saturation" if item.saturation else "hue"
                raise ValueError(f"ColorJitter.{name} is {getattr(item, name):g}; grey images have none: set it to 0")
            case RandAugment() | TrivialAugment() | ColorJitter() if images.channels not in (1, 3):
                name = type(item).__name__
                raise ValueError(
                    f"augment has {name}, which is for grey and RGB images; channels of these images: {images.channels}"
                )


def random_crop(
    x_BCHW: Tensor, *, pad: int, mode: Literal["zeros", "reflect"] = "zeros", generator: torch.Generator
) -> Tensor:
    """A border on every side, then a crop of the old size at a random place of each image; He et al. (2015), Sec. 4.2.

    Args:
        x_BCHW: Normalised images, so that zero is the mean.
        pad: Pixels on each side.
        mode: What they show: zeros, or the image mirrored at its edge.
        generator: Where the places come from.

    Example:
        >>> random_crop(torch.ones(2, 3, 8, 8), pad=1, generator=torch.Generator()).shape
        torch.Size([2, 3, 8, 8])
    """
    height, width = x_BCHW.shape[2:]
    padded = F.pad(x_BCHW, (pad, pad, pad, pad), mode="reflect" if mode == "reflect" else "constant")
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # views: B C 2p+1 2p+1 H W
    down_B, across_B = _beside(x_BCHW, torch.randint(0, 2 * pad + 1, (2, len(x_BCHW)), generator=generator))
    return windows[torch.arange(len(x_BCHW), device=x_BCHW.device), :, down_B, across_B]


def flip_lr(x_BCHW: Tensor, *, generator: torch.Generator) -> Tensor:
    """Each image mirrored with probability 1/2."""
    flip_B111 = _beside(x_BCHW, torch.rand(len(x_BCHW), 1, 1, 1, generator=generator) < 0.5)
    return torch.where(flip_B111, x_BCHW.flip(-1), x_BCHW)


def alternating_flip(x_BCHW: Tensor, *, coin_B: Tensor, epoch_B: Tensor) -> Tensor:
    """Half of the images mirrored in their first epoch, the other half in the next, and so on; Jordan (2024), Sec. 3.6.

    arXiv:2404.00498: any two epochs in a row show both views of every image, which chance does for half of them.

    Args:
        x_BCHW: Images.
        coin_B: A number in [0, 1) that each image keeps for the whole run.
        epoch_B: The epoch in which each is seen, from 0.

    Example:
        >>> x = torch.arange(2.0).expand(2, 1, 1, 2)
        >>> coins = torch.tensor([0.1, 0.9])
        >>> [alternating_flip(x, coin_B=coins, epoch_B=torch.tensor([e, e]))[:, 0, 0, 0].tolist() for e in range(3)]
        [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    flip_B111 = _beside(x_BCHW, (coin_B < 0.5) ^ (epoch_B % 2 == 1))[:, None, None, None]
    return torch.where(flip_B111, x_BCHW.flip(-1), x_BCHW)


def shrink(x_BCHW: Tensor, *, scale: float, by: Literal["resize", "crop"], generator: torch.Generator) -> Tensor:
    """Smaller images: the whole of each, or a random part.

    Args:
        x_BCHW: Images.
        scale: Their new sides as a share of the old.
        by: `resize` shows all of each image, `crop` a part of it at its own size.
        generator: Where the parts come from.

    Example:
        >>> shrink(torch.ones(2, 3, 8, 8), scale=0.75, by="crop", generator=torch.Generator()).shape
        torch.Size([2, 3, 6, 6])
    """
    height, width = (shrunk_side(side, scale) for side in x_BCHW.shape[2:])
    if by == "resize":
        return F.interpolate(x_BCHW, (height, width), mode="bilinear", antialias=True)
    windows = x_BCHW.unfold(2, height, 1).unfold(3, width, 1)
    down_B, across_B = (
        _beside(x_BCHW, torch.randint(0, n, (len(x_BCHW),), generator=generator)) for n in windows.shape[2:4]
    )
    return windows[torch.arange(len(x_BCHW), device=x_BCHW.device), :, down_B, across_B]


def shrunk_side(side: int, scale: float) -> int:
    """A side in pixels after `shrink`."""
    return max(1, round(scale * side))


def color_noise(x_BCHW: Tensor, *, std: float, scale_C11: Tensor, generator: torch.Generator) -> Tensor:
    """[p1 p2 p3] [a1 l1, a2 l2, a3 l3]^T added to every pixel of an image; Krizhevsky et al. (2012), Sec. 4.1.

    p and l are eigenvectors and eigenvalues of the covariance of RGB values. Each a is drawn from N(0, std^2), once for
    an image and anew each time that it is used. Deviation: the axes are ImageNet's whatever the images, and the scale
    of pixels, to which l is quadratic and the paper says nothing, is [0, 1].

    Args:
        x_BCHW: Normalised RGB images.
        std: Deviation of a; the paper has 0.1.
        scale_C11: What pixels / 255 were divided by when the images were normalised.
        generator: Where a comes from.

    Example:
        >>> scale_C11 = torch.full((3, 1, 1), 0.25)
        >>> color_noise(torch.zeros(2, 3, 8, 8), std=0.1, scale_C11=scale_C11, generator=torch.Generator()).shape
        torch.Size([2, 3, 8, 8])
    """
    a_BI = std * torch.randn(len(x_BCHW), 3, generator=generator)
    # DEVIATION Sec. 4.1: ImageNet's axes, with pixels in [0, 1] as fb.resnet.torch has them.
    axes_CI = torch.tensor(IMAGENET_EIGENVECTORS) * torch.tensor(IMAGENET_EIGENVALUES)
    offset_BC = (axes_CI * a_BI[:, None, :]).sum(-1)  # no matmul, whose last bit may depend on the number of threads
    return x_BCHW + _beside(x_BCHW, offset_BC)[:, :, None, None] / scale_C11


RECTANGLES = 10
"""That are drawn for an image, at most, until one fits into it."""


def random_erasing(
    x_BCHW: Tensor,
    *,
    probability: float,
    min_area: float,
    max_area: float,
    max_aspect: float,
    noise: Callable[[Tensor], Tensor] | None,
    generator: torch.Generator,
) -> Tensor:
    """A random rectangle of some images erased; Zhong et al. (2017), Algorithm 1.

    Args:
        x_BCHW: Normalised images, so that zero is the mean.
        probability: Of an image to lose one.
        min_area: Smallest share of the image's area.
        max_area: Largest.
        max_aspect: Largest ratio of the rectangle's sides, either way.
        noise: Normalises pixels of random values, which then fill the rectangles; without it, zeros do.
        generator: Where chance comes from.
    """
    count, _, height, width = x_BCHW.shape
    share, ratio, down, across = torch.rand(4, count, RECTANGLES, generator=generator)
    area = (min_area + (max_area - min_area) * share) * height * width
    aspect = 1 / max_aspect + (max_aspect - 1 / max_aspect) * ratio
    h, w = ((area * a).sqrt().round().clamp(min=1) for a in (aspect, 1 / aspect))
    first_B1 = ((h <= height) & (w <= width)).int().argmax(1, keepdim=True)
    h, w = h.clamp(max=height), w.clamp(max=width)  # the last resort, where none fits
    # DEVIATION Algorithm 1, which draws the place before it asks what fits and so disfavours large rectangles: as in
    # the authors' code, any place where the rectangle fits is as likely as any other.
    top, left = (down * (height - h + 1)).floor(), (across * (width - w + 1)).floor()
    top, bottom, left, right = (edge.gather(1, first_B1) for edge in (top, top + h, left, left + w))
    rows, columns = torch.arange(height), torch.arange(width)
    erased_B1 = torch.rand(count, 1, generator=generator) < probability
    rows_BH, columns_BW = (rows >= top) & (rows < bottom) & erased_B1, (columns >= left) & (columns < right)
    inside_B1HW = _beside(x_BCHW, rows_BH)[:, None, :, None] & _beside(x_BCHW, columns_BW)[:, None, None, :]
    if noise is None:
        return x_BCHW.masked_fill(inside_B1HW, 0)
    pixels_BCHW = torch.randint(0, 256, x_BCHW.shape, dtype=torch.uint8, generator=generator)
    return torch.where(inside_B1HW, noise(_beside(x_BCHW, pixels_BCHW)), x_BCHW)


def random_box(width: int, height: int, *, min_area: float, max_aspect: float, generator: torch.Generator) -> Box:
    """A random box of an image that becomes the whole input; Szegedy et al. (2014), Sec. 6.

    Args:
        width: The image's, in pixels.
        height: The image's, in pixels.
        min_area: Smallest share of the image's area.
        max_aspect: Largest ratio of the sides, either way, before resizing.
        generator: Draws area, aspect and place.
    """
    area, aspect, across, down = torch.rand(4, generator=generator).tolist()
    share = min_area + (1 - min_area) * area
    ratio = math.exp((2 * aspect - 1) * math.log(max_aspect))
    w = min(1.0, math.sqrt(share * ratio * height / width))
    h = min(1.0, math.sqrt(share / ratio * width / height))
    return ((1 - w) * across, (1 - h) * down, (1 - w) * across + w, (1 - h) * down + h)


def scale_box(width: int, height: int, *, side: int, low: int, high: int, generator: torch.Generator) -> Box:
    """A square of `side` pixels at a random place of an image at a random scale; He et al. (2015), Sec. 3.4.

    Args:
        width: The image's, in pixels.
        height: The image's, in pixels.
        side: The input's, in pixels.
        low: Least length of the image's shorter side, in pixels.
        high: Greatest length.
        generator: Draws scale and place.
    """
    scale = int(torch.randint(low, high + 1, (), generator=generator))
    across, down = torch.rand(2, generator=generator).tolist()
    shorter = min(width, height)
    w, h = (min(1.0, side / scale * shorter / length) for length in (width, height))
    return ((1 - w) * across, (1 - h) * down, (1 - w) * across + w, (1 - h) * down + h)


def _beside(x_BCHW: Tensor, drawn: Tensor) -> Tensor:
    """What was drawn for a batch, where the batch is; a device does not wait for it."""
    return drawn.to(x_BCHW.device, non_blocking=True)

"""Augmentations of whole batches: pure functions of (x, generator).

Shapes: B images, C channels, H height, W width, I principal axes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Principal axes of ImageNet's pixels in [0, 1], from facebookarchive/fb.resnet.torch, datasets/imagenet.lua. These are
# eigenvalues of the covariance, not their roots: the covariance that they make has the deviations 0.284, 0.276 and
# 0.290, and the pixels of ILSVRC 2012 have 0.2832, 0.2761 and 0.2895 (chatflip/CalculationMeanStd, README).
IMAGENET_EIGENVALUES = (0.2175, 0.0188, 0.0045)
IMAGENET_EIGENVECTORS = (  # one row per channel, red to blue; one column per eigenvalue
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def random_crop(x_BCHW: Tensor, *, pad: int, generator: torch.Generator) -> Tensor:
    """Zeros on every side, then a crop of the old size at a random place of each image; He et al. (2015), Sec. 4.2.

    Args:
        x_BCHW: Normalised images, so that zero is the mean.
        pad: Pixels on each side.
        generator: Where the places come from.

    Example:
        >>> random_crop(torch.ones(2, 3, 8, 8), pad=1, generator=torch.Generator()).shape
        torch.Size([2, 3, 8, 8])
    """
    height, width = x_BCHW.shape[2:]
    windows = F.pad(x_BCHW, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)  # views: B C 2p+1 2p+1 H W
    down_B, across_B = torch.randint(0, 2 * pad + 1, (2, len(x_BCHW)), generator=generator)
    return windows[torch.arange(len(x_BCHW)), :, down_B, across_B]


def flip_lr(x_BCHW: Tensor, *, generator: torch.Generator) -> Tensor:
    """Each image mirrored with probability 1/2."""
    flip_B111 = torch.rand(len(x_BCHW), 1, 1, 1, generator=generator) < 0.5
    return torch.where(flip_B111, x_BCHW.flip(-1), x_BCHW)


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
    return x_BCHW + offset_BC[:, :, None, None] / scale_C11

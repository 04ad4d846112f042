"""Augmentations of whole batches: pure functions of (x, generator).

Shapes: B images, C channels, H height, W width.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


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

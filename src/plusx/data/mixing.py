"""MixUp and CutMix: images of a batch mixed two by two, and their labels with them, as shares of classes.

Cross entropy is linear in the target: that of lam one-hot(a) + (1 - lam) one-hot(b) is the papers' loss,
lam CE(a) + (1 - lam) CE(b), with label smoothing as without. So labels that are mixed are a tensor like any other, for
the step, a recording of it, and the loss.

Deviation: each image meets the one before it in the batch, as in torchvision; the papers' code permutes. The order
of a batch is random already, and no image meets itself.

Shapes: B images, C channels, H height, W width, K classes.
"""

import math
import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Mixed = tuple[Tensor, Tensor]
"""x_BCHW, and the share of each class in each image, B x K."""
Mix = Callable[..., Mixed]
"""(x_BCHW, shares_BK), and a keyword `generator`, to images and shares that are mixed."""


def one_of(x_BCHW: Tensor, shares_BK: Tensor, *, mixes: Sequence[Mix], generator: torch.Generator) -> Mixed:
    """One of several ways to mix, drawn for the batch.

    Args:
        x_BCHW: Normalised images.
        shares_BK: The share of each class.
        mixes: The ways.
        generator: Decides, and is handed on.
    """
    mix = mixes[int(torch.randint(len(mixes), (), generator=generator))]
    return mix(x_BCHW, shares_BK, generator=generator)


def mixup(x_BCHW: Tensor, shares_BK: Tensor, *, alpha: float, generator: torch.Generator) -> Mixed:
    """lam of each image and 1 - lam of another, likewise their labels; Zhang et al. (2017), Sec. 2.

    Args:
        x_BCHW: Normalised images.
        shares_BK: The share of each class.
        alpha: lam is drawn from Beta(alpha, alpha), once for the batch.
        generator: Where chance comes from.

    Example:
        >>> x, labels = torch.tensor([0.0, 1.0])[:, None, None, None], torch.eye(2)
        >>> mixed, shares = mixup(x, labels, alpha=1, generator=torch.Generator())
        >>> torch.equal(mixed.flatten(), shares[:, 1])
        True
    """
    lam = _beta(alpha, generator)
    return _blend(x_BCHW, lam), _blend(shares_BK, lam)


def cutmix(x_BCHW: Tensor, shares_BK: Tensor, *, alpha: float, probability: float, generator: torch.Generator) -> Mixed:
    """A box of each image from another, and labels by the area that each has; Yun et al. (2019), Sec. 3.1.

    Args:
        x_BCHW: Normalised images.
        shares_BK: The share of each class.
        alpha: The share of the area outside the box is drawn from Beta(alpha, alpha), once for the batch. The box's
            centre is anywhere in the image, and what juts out is cut off.
        probability: Of being mixed, for the batch.
        generator: Where chance comes from.
    """
    height, width = x_BCHW.shape[2:]
    if float(torch.rand((), generator=generator)) >= probability:
        return x_BCHW, shares_BK
    side = math.sqrt(1 - _beta(alpha, generator))
    down, across = torch.rand(2, generator=generator).tolist()
    top, bottom = _part(height, side, down)
    left, right = _part(width, side, across)
    mixed_BCHW = x_BCHW.clone()
    mixed_BCHW[:, :, top:bottom, left:right] = x_BCHW.roll(1, 0)[:, :, top:bottom, left:right]
    return mixed_BCHW, _blend(shares_BK, 1 - (bottom - top) * (right - left) / (height * width))


def _beta(alpha: float, rng: torch.Generator) -> float:
    """A draw from Beta(alpha, alpha)."""
    seed = int(torch.randint(2**62, (), generator=rng))
    return random.Random(seed).betavariate(alpha, alpha)  # PyTorch's Beta draws from the global generator alone


def _part(length: int, share: float, centre: float) -> tuple[int, int]:
    """Where a box begins and ends, in pixels, along a side of the image."""
    cut, middle = int(length * share), int(length * centre)
    return max(0, middle - cut // 2), min(length, middle + cut // 2)


def _blend(rows: Tensor, lam: float) -> Tensor:
    """lam of each row and 1 - lam of the one before it."""
    # DEVIATION Zhang et al. and Yun et al., who permute: the order of a batch is random already.
    return rows * lam + rows.roll(1, 0) * (1 - lam)

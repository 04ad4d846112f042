"""The nets of airbench. Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498, Sec. 3.

A frozen convolution whitens patches of 2x2 pixels (Sec. 3.2); three stages follow, each of two convolutions, the first
with max pooling; the largest value of each map goes to a linear layer. Convolutions begin as identities (Sec. 3.3).
What they put out is normalised without a scale, so that a rate of its own may move the shifts faster (Sec. 3.4).

`airbench94` is the published net. `res_airbench94` has y = gelu(F(x) + x) around the second convolution of each stage,
as the larger airbench96 has around its second and third. The identity is then in the shortcut, and F begins random.

Deviation: the last pooling takes the largest value of the map whatever its size, for images of other sizes than 32.
"""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plusx.nets.catalog import Facts, register
from plusx.nets.layers import classifier
from plusx.nets.net import FittedStem, Net

PATCH = 2  # pixels of the side of a whitened patch; Sec. 3.2
WHITEN_EPS = 5e-4  # added to each variance before it divides, so that noise is not blown up; the authors' code


class PlainBlock(nn.Module):
    """y = gelu(F(x))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(OrderedDict(conv=identity_conv(channels, channels), norm=shift_norm(channels)))
        self.gelu = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.gelu(self.branch(x))


class Block(nn.Module):
    """y = gelu(F(x) + x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.branch = nn.Sequential(OrderedDict(conv=conv, norm=shift_norm(channels)))
        self.shortcut = nn.Identity()
        self.gelu = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.gelu(self.branch(x) + self.shortcut(x))


class Scale(nn.Module):
    """y = factor x."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def shift_norm(num_features: int) -> nn.BatchNorm2d:
    """Batch norm without a scale, whose running statistics keep 0.6 of what they were; Sec. 3.1.

    The scale stays in the state dict, frozen at 1.
    """
    norm = nn.BatchNorm2d(num_features, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad = False
    return norm


def identity_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution without bias whose first outputs are its inputs, the others random; Sec. 3.3."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[:in_channels])
    return conv


def whitening_filters(x_BCHW: Tensor) -> Tensor:
    """W with W E[p p^T] W^T = 1 over all patches p of some images: eigenvectors / sqrt(eigenvalues + eps); Sec. 3.2.

    Args:
        x_BCHW: Normalised images.

    Returns:
        C 2 2 filters of C x 2 x 2, of the smallest variance first.
    """
    size = x_BCHW.shape[1] * PATCH**2
    moments, patches = torch.zeros(size, size, dtype=torch.float64, device=x_BCHW.device), 0
    for part_BCHW in torch.split(x_BCHW, 128):
        # In double: the order of the sums, which depends on the number of threads, is rounded away in the end.
        p_BDN = F.unfold(part_BCHW.double(), PATCH)
        moments += (p_BDN @ p_BDN.mT).sum(0)
        patches += len(p_BDN) * p_BDN.shape[2]
    variances, axes = torch.linalg.eigh(moments / patches)
    return (axes / (variances + WHITEN_EPS).sqrt()).T.reshape(size, -1, PATCH, PATCH).float()


class Airbench(Net, FittedStem):
    """A whitening stem, three stages, and a head whose logits are divided by 9; Sec. 3.1.

    Args:
        residual: Shortcuts around the second convolution of each stage.
        first_width: Channels of the first stage; 64, and 128 in airbench95 and airbench96.
        width: Channels of the second and third; 256, and 384 and 512 there.
        num_classes: Number of logits.
        in_channels: Channels of the image.
    """

    def __init__(
        self, residual: bool, *, first_width: int = 64, width: int = 256, num_classes: int = 10, in_channels: int = 3
    ) -> None:
        whiten = nn.Conv2d(in_channels, 2 * in_channels * PATCH**2, PATCH)  # each filter and its negative
        whiten.weight.requires_grad = False
        nn.init.zeros_(whiten.bias)  # type: ignore[arg-type]
        stem = nn.Sequential(OrderedDict(conv=whiten, gelu=nn.GELU()))  # 24 x 31 x 31
        widths = (whiten.out_channels, first_width, width, width)
        stages = nn.Sequential(
            *(  # 64 x 15 x 15, 256 x 7 x 7, 256 x 3 x 3
                nn.Sequential(
                    OrderedDict(
                        conv=identity_conv(widths[i], widths[i + 1]),
                        pool=nn.MaxPool2d(2),
                        norm=shift_norm(widths[i + 1]),
                        gelu=nn.GELU(),
                        block=Block(widths[i + 1]) if residual else PlainBlock(widths[i + 1]),
                    )
                )
                for i in range(3)
            )
        )
        head = nn.Sequential(
            OrderedDict(
                pool=nn.AdaptiveMaxPool2d(1),  # DEVIATION Sec. 3.1: 3x3 max pooling, which is the same for 32 pixels
                flatten=nn.Flatten(),
                linear=classifier(width, num_classes, bias=False),
                scale=Scale(1 / 9) if num_classes else nn.Identity(),
            )
        )
        super().__init__(stem, stages, head)

    @torch.no_grad()
    def fit_stem(self, x_BCHW: Tensor) -> None:
        """Set the filters of the stem to those that whiten patches of these images, and their negatives; Sec. 3.2.

        Args:
            x_BCHW: Training images as the net will see them, a few thousand, without augmentation.
        """
        filters = whitening_filters(x_BCHW)
        self.get_parameter("stem.conv.weight").copy_(torch.cat((filters, -filters)))


# ---- the catalog's entries -------------------------------------------------------------------------------------------

_CIFAR: Facts = {"paper": "arXiv:2404.00498", "table": "Sec. 3.1", "input_shape": (3, 32, 32), "num_classes": 10}
_COUNTS = {"layers": 8, "params": 1_972_792, "macs": 118_147_360}

register(
    "airbench94",
    partial(Airbench, False),
    **_CIFAR,
    **_COUNTS,
    top1_error=0.0599,
    top1_source="airbench94.py of the authors' cifar10-airbench, CIFAR-10 test, six views, mean of 1,000 runs",
)
register("res_airbench94", partial(Airbench, True), **_CIFAR, **_COUNTS)

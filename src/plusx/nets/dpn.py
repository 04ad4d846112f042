"""Dual Path Networks. Chen et al. 2017, arXiv:1707.01629, Table 1, and the authors' symbols (cypw/DPNs).

A block's input carries two paths side by side, r by addition as in a ResNet and d by concatenation as in a DenseNet:

    y = cat([r + f, d, g], 1)   with   r, d = split(x)   and   f, g = F(x)

F is BN-ReLU-1x1, BN-ReLU-3x3 in groups, BN-ReLU-1x1. The first block of a stage makes r and d by a projection.

`dpn68b` is timm's variant: F's last convolution is two, one for each path; equal counts.
"""

from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from plusx.nets.catalog import Facts, register
from plusx.nets.layers import ConvNorm, NormReluConv, classifier, initialise, zero_biases
from plusx.nets.net import Net

EPS = 1e-3  # of every batch norm, as the authors' symbols


class DualPathBlock(nn.Module):
    """y = cat([r + f, d, g], 1); see above.

    Args:
        in_channels: Of x.
        inner: Width of the 3x3 convolution.
        width: Channels of r.
        growth: Channels that d gains.
        groups: Of the 3x3 convolution.
        stride: Of the 3x3 convolution and the projection; None in all but a stage's first block, which has neither.
        two_convs: One last convolution for each path instead of one for both.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        inner: int,
        width: int,
        growth: int,
        groups: int,
        stride: int | None,
        two_convs: bool,
    ) -> None:
        super().__init__()
        self.width = width
        self.shortcut: nn.Module = nn.Identity()
        if stride is not None:
            self.shortcut = NormReluConv(in_channels, width + 2 * growth, 1, stride, eps=EPS)
        last = TwoConvs(inner, width, growth) if two_convs else OneConv(inner, width, growth)
        self.branch = nn.Sequential(
            OrderedDict(
                conv1=NormReluConv(in_channels, inner, 1, eps=EPS),
                conv2=NormReluConv(inner, inner, 3, stride or 1, groups, eps=EPS),
                conv3=last,
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        r, d = self.shortcut(x).tensor_split([self.width], 1)
        f, g = self.branch(x)
        return torch.cat([r + f, d, g], 1)


class OneConv(NormReluConv):
    """BN-ReLU-1x1 for both paths, then the share of each."""

    def __init__(self, in_channels: int, width: int, growth: int) -> None:
        super().__init__(in_channels, width + growth, 1, eps=EPS)
        self.width = width

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.conv(self.relu(self.norm(x))).tensor_split([self.width], 1)


class TwoConvs(nn.Module):
    """BN-ReLU, then a 1x1 convolution for each path."""

    def __init__(self, in_channels: int, width: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels, EPS)
        self.relu = nn.ReLU(inplace=True)
        self.convs = nn.ModuleList(nn.Conv2d(in_channels, size, 1, bias=False) for size in (width, growth))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.relu(self.norm(x))
        return tuple(conv(x) for conv in self.convs)


class DPN(Net):
    """A stem, four stages of dual path blocks, a head of BN-ReLU, global average pooling and one linear layer; Table 1.

    Args:
        stem_channels: Of the first convolution.
        width: Channels of r in the first stage; each further stage doubles it.
        inner: Width of the 3x3 convolutions in the first stage; each further stage doubles it.
        groups: Of the 3x3 convolutions.
        depths: Blocks of each stage.
        growths: Channels that d gains in each block of a stage.
        small_stem: A 3x3 first convolution instead of 7x7.
        two_convs: As `dpn68b`.
        num_classes: Number of logits.
        in_channels: Channels of the image.
    """

    last_maps = "head.relu"

    def __init__(
        self,
        *,
        stem_channels: int,
        width: int,
        inner: int,
        groups: int,
        depths: tuple[int, int, int, int],
        growths: tuple[int, int, int, int],
        small_stem: bool = False,
        two_convs: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        stem = nn.Sequential(
            OrderedDict(
                conv=ConvNorm(in_channels, stem_channels, 3 if small_stem else 7, stride=2, eps=EPS),  # x 112 x 112
                relu=nn.ReLU(inplace=True),
                pool=nn.MaxPool2d(3, stride=2, padding=1),  # x 56 x 56
            )
        )
        stages: list[nn.Module] = []
        channels = stem_channels
        for stage, (depth, growth) in enumerate(zip(depths, growths, strict=True)):
            blocks = []
            for position in range(depth):
                stride = None if position else (2 if stages else 1)
                blocks.append(
                    DualPathBlock(
                        channels,
                        inner=inner * 2**stage,
                        width=width * 2**stage,
                        growth=growth,
                        groups=groups,
                        stride=stride,
                        two_convs=two_convs,
                    )
                )
                channels = width * 2**stage + (3 + position) * growth
            stages.append(nn.Sequential(*blocks))
        head = nn.Sequential(
            OrderedDict(
                norm=nn.BatchNorm2d(channels, EPS),
                relu=nn.ReLU(inplace=True),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                linear=classifier(channels, num_classes),
            )
        )
        super().__init__(stem, nn.Sequential(*stages), head)
        initialise(self, "he")
        zero_biases(self)


_SMALL: dict[str, Any] = {
    "stem_channels": 10,
    "width": 64,
    "inner": 128,
    "groups": 32,
    "depths": (3, 4, 12, 3),
    "growths": (16, 32, 32, 64),
    "small_stem": True,
}


def _large(stem: int, inner: int, groups: int, depths: tuple[int, ...], growths: tuple[int, ...]) -> dict[str, Any]:
    return {
        "stem_channels": stem,
        "width": 256,
        "inner": inner,
        "groups": groups,
        "depths": depths,
        "growths": growths,
    }


_FACTS: Facts = {
    "paper": "arXiv:1707.01629",
    "table": "Table 1, and cypw/DPNs",
    "input_shape": (3, 224, 224),
    "num_classes": 1000,
}

for _name, _plan, _params, _macs, _error in (
    ("dpn68", _SMALL, 12_611_602, 2_326_163_456, 0.2357),
    ("dpn68b", {**_SMALL, "two_convs": True}, 12_611_602, 2_326_163_456, None),
    ("dpn92", _large(64, 96, 32, (3, 4, 20, 3), (16, 32, 24, 128)), 37_668_392, 6_501_684_224, 0.2073),
    ("dpn98", _large(96, 160, 40, (3, 6, 20, 3), (16, 32, 32, 128)), 61_570_728, 11_671_217_152, 0.2015),
    ("dpn107", _large(128, 200, 50, (4, 8, 20, 3), (20, 64, 64, 128)), 86_917_800, 18_298_764_288, 0.1975),
    ("dpn131", _large(128, 160, 40, (4, 8, 28, 3), (16, 32, 32, 128)), 79_254_504, 16_013_648_896, 0.1993),
):
    register(
        _name,
        partial(DPN, **_plan),
        **_FACTS,
        layers=int(_name.removeprefix("dpn").removesuffix("b")),
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source=_error and "the authors' DPNs, ImageNet val, one crop of 224",
    )

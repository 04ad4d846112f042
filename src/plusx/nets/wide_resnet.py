"""Wide ResNet. Zagoruyko and Komodakis 2016, arXiv:1605.07146, Tables 1 and 8.

On CIFAR, pre-activation blocks k times as wide, with dropout between their convolutions where it is asked for; on
ImageNet, ResNet's bottlenecks with a 3x3 convolution k times as wide.
"""

from collections import OrderedDict
from functools import partial

from torch import nn

from plusx.nets import resnet
from plusx.nets.catalog import Facts, register
from plusx.nets.preact import PreActResNet, basic
from plusx.nets.resnet import ResNet, Shortcut, Stride


def cifar_net(
    depth: int, widen: int, *, dropout: float = 0.0, survival: float = 1.0, num_classes: int = 10, in_channels: int = 3
) -> PreActResNet:
    """WRN-d-k: pre-activation blocks of d = 6n + 4 layers, k times as wide; Table 1.

    d counts the two projections between stages, as the paper does.

    Args:
        depth: 6n + 4.
        widen: k.
        dropout: Between the two convolutions of a block; the paper's best uses 0.3.
        survival: Probability that the last block survives a training step.
        num_classes: Number of logits.
        in_channels: Channels of the image.

    Raises:
        ValueError: The depth is not 6n + 4.
    """
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"depth is {depth}; a wide net has 6n + 4 layers: 10, 16, 22, 28, ...")
    n = (depth - 4) // 6
    return PreActResNet(
        nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, 16, 3, padding=1, bias=False))),
        partial(basic, dropout=dropout),
        depths=(n, n, n),
        widths=(16 * widen, 32 * widen, 64 * widen),
        in_channels=16,
        shortcut="B",
        survival=survival,
        num_classes=num_classes,
    )


def imagenet_net(
    depth: int,
    *,
    base_width: int,
    groups: int = 1,
    shortcut: Shortcut = "B",
    stride_on: Stride = "3x3",
    stem_bias: bool = False,
    survival: float = 1.0,
    num_classes: int = 1000,
    in_channels: int = 3,
) -> ResNet:
    """ResNet's Table 1 with wider bottlenecks: only their 3x3 convolutions are wider, as torchvision; Table 8.

    Args:
        depth: 50, 101 or 152.
        base_width: Channels of each group at width 64; 128 is twice as wide as ResNet.
        groups: Groups of a bottleneck's 3x3 convolution.
        shortcut: Option A, B or C.
        stride_on: Which convolution of a bottleneck carries the stride.
        stem_bias: A bias in the first convolution.
        survival: Probability that the last block survives a training step.
        num_classes: Number of logits.
        in_channels: Channels of the image.

    Raises:
        ValueError: An option is none of its letters or out of its range.
    """
    return resnet.imagenet_net(
        depth,
        shortcut,
        stride_on=stride_on,
        groups=groups,
        base_width=base_width,
        stem_bias=stem_bias,
        survival=survival,
        num_classes=num_classes,
        in_channels=in_channels,
    )


register(
    "wrn_28_10",
    partial(cifar_net, 28, 10),
    paper="arXiv:1605.07146",
    table="Table 1",
    input_shape=(3, 32, 32),
    num_classes=10,
    layers=26,  # 28 with the two projections that the paper counts
    params=36_479_194,
    macs=5_243_328_768,
    top1_error=0.04,
    top1_source="the authors' wide-residual-networks, CIFAR-10 test, without dropout",
)

_IMAGENET: Facts = {"paper": "arXiv:1605.07146", "table": "Table 8", "input_shape": (3, 224, 224), "num_classes": 1000}

for _depth, _params, _macs, _error in (
    (50, 68_883_240, 11_398_021_120, 0.21532),
    (101, 126_886_696, 22_753_050_624, 0.21152),
):
    register(
        f"wide_resnet{_depth}_2",
        partial(imagenet_net, _depth, base_width=128),
        **_IMAGENET,
        layers=_depth,
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source="torchvision IMAGENET1K_V1, ImageNet val, one crop",
    )

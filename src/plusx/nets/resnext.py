"""ResNeXt. Xie, Girshick, Dollar, Tu and He 2016, arXiv:1611.05431, Table 1.

ResNet's bottlenecks, whose 3x3 convolution is split into C groups ("cardinality") of d channels each: "32x4d".
"""

from functools import partial

from plusx.nets import resnet
from plusx.nets.catalog import Facts, register
from plusx.nets.resnet import ResNet, Shortcut, Stride


def imagenet_net(
    depth: int,
    *,
    groups: int,
    base_width: int,
    shortcut: Shortcut = "B",
    stride_on: Stride = "3x3",
    stem_bias: bool = False,
    survival: float = 1.0,
    num_classes: int = 1000,
    in_channels: int = 3,
) -> ResNet:
    """ResNet's Table 1 with grouped 3x3 convolutions in its bottlenecks; Table 1.

    Args:
        depth: 50, 101 or 152.
        groups: C, the groups of a bottleneck's 3x3 convolution.
        base_width: d, the channels of each group at width 64.
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


_FACTS: Facts = {"paper": "arXiv:1611.05431", "table": "Table 1", "input_shape": (3, 224, 224), "num_classes": 1000}

for _depth, _groups, _base, _params, _macs, _error in (
    (50, 32, 4, 25_028_904, 4_230_479_872, 0.22382),
    (101, 32, 8, 88_791_336, 16_414_015_488, 0.20688),
    (101, 64, 4, 83_455_272, 15_460_270_080, None),
):
    register(
        f"resnext{_depth}_{_groups}x{_base}d",
        partial(imagenet_net, _depth, groups=_groups, base_width=_base),
        **_FACTS,
        layers=_depth,
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source=_error and "torchvision IMAGENET1K_V1, ImageNet val, one crop",
    )

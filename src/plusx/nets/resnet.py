"""ResNet and its plain twin. He, Zhang, Ren and Sun 2015, arXiv:1512.03385, Sec. 3, 4.1 and 4.2.

A residual block computes y = relu(F(x) + S(x)), a plain block y = relu(F(x)); all else is equal, so both live here.

S(x), the shortcut, is the identity where shapes agree. Where they do not, and in the paper's letters:

    A   zeros fill the new channels; no shortcut has parameters
    B   a 1x1 projection where dimensions increase, the identity elsewhere
    C   a 1x1 projection at every block

Two placements of a bottleneck's stride are in use:

    "3x3"   on the 3x3 convolution, as fb.resnet.torch and torchvision ("v1.5"); the default here, because published
            weights are of this form
    "1x1"   on the first 1x1 convolution, as the authors' prototxt; 5.7 % fewer multiply-adds in ResNet-50, equal
            parameters

Deviations: batch norm follows every projection (the prototxt has it, the paper does not say); the first convolution has
no bias unless asked for (that of the authors' ResNet-50 prototxt has one; 101 and 152 have none).
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]
from torch.nn import functional as F

from plusx.nets.catalog import Facts, register
from plusx.nets.layers import ConvNorm, as_one_node, classifier, initialise, is_recorded, zero_biases
from plusx.nets.net import Net
from plusx.nets.stochastic_depth import Survivor, set_survival, survives

Shortcut = Literal["A", "B", "C"]
Stride = Literal["1x1", "3x3"]

# ---- shortcuts and blocks --------------------------------------------------------------------------------------------


class ZeroPad(nn.Module):
    """Option A: every `stride`-th pixel, then zeros for the channels that x lacks."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = out_channels - in_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        # Pooling one pixel is x[:, :, ::stride, ::stride], but slicing's gradient would come back in another memory
        # layout and slow every layer before it: 5 to 7 % of a training step of ResNet-20.
        return F.pad(F.avg_pool2d(x, 1, self.stride), (0, 0, 0, 0, 0, self.new_channels))


def make_shortcut(option: Shortcut, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """S(x) of Eqn. (1) and (2).

    Raises:
        ValueError: The option is none of the paper's letters.
    """
    if option not in ("A", "B", "C"):
        raise ValueError(f"shortcut is {option!r}; choose A, B or C")
    same = stride == 1 and in_channels == out_channels
    if option == "C" or (option == "B" and not same):
        return ConvNorm(in_channels, out_channels, 1, stride)
    return nn.Identity() if same else ZeroPad(in_channels, out_channels, stride)


class PlainBlock(nn.Module):
    """y = relu(F(x))."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.branch(x))


class Block(nn.Module):
    """y = relu(F(x) + S(x)); Eqn. (1) and (2).

    With stochastic depth, F is left out of a training step with probability 1 - p, and scaled by p in evaluation:
    y = relu(p F(x) + S(x)); Huang et al. (2016), Eqn. (2) and (5).
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.survival = 1.0
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if not is_scripting() and self.survival < 1.0 and is_recorded(x):
            return as_one_node(self, x)
        if self.survival == 1.0:
            return self.joined(x)
        if not self.training:
            return self.relu(self.survival * self.branch(x) + self.shortcut(x))
        return self.joined(x) if survives(self.survival) else self.relu(self.shortcut(x).clone())

    def joined(self, x: Tensor) -> Tensor:
        """y of a step in which F survives."""
        return self.relu(self.branch(x) + self.shortcut(x))


# ---- the residual function F -----------------------------------------------------------------------------------------


def basic(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """Fig. 5, left: two 3x3 convolutions. Returns F and its number of output channels."""
    layers = OrderedDict(
        conv1=ConvNorm(in_channels, width, 3, stride),
        relu1=nn.ReLU(inplace=True),
        conv2=ConvNorm(width, width, 3),
    )
    return nn.Sequential(layers), width


def single(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """F(x) = W1 x, one convolution: "similar to a linear layer", for which the paper saw no advantage; Sec. 3.2."""
    return nn.Sequential(OrderedDict(conv1=ConvNorm(in_channels, width, 3, stride))), width


def bottleneck(
    in_channels: int, width: int, stride: int, stride_on: Stride = "3x3", groups: int = 1, base_width: int = 64
) -> tuple[nn.Module, int]:
    """Fig. 5, right: 1x1 to `width`, 3x3, 1x1 to 4 `width`. Returns F and its number of output channels.

    ResNeXt splits the 3x3 into `groups` of `base_width` channels each at width 64, Wide ResNet gives it `base_width`
    channels at width 64; both scale with `width` and leave the output as it is.
    """
    first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
    inner = groups * (width * base_width // 64)
    layers = OrderedDict(
        conv1=ConvNorm(in_channels, inner, 1, first),
        relu1=nn.ReLU(inplace=True),
        conv2=ConvNorm(inner, inner, 3, second, groups),
        relu2=nn.ReLU(inplace=True),
        conv3=ConvNorm(inner, 4 * width, 1),
    )
    return nn.Sequential(layers), 4 * width


# ---- the net ---------------------------------------------------------------------------------------------------------

Make = Callable[[int, int, int], tuple[nn.Module, int]]
"""(in_channels, width, stride) to a module, such as F or a block, and its number of output channels."""


def make_stages(
    make_block: Make, depths: tuple[int, ...], widths: tuple[int, ...], in_channels: int
) -> tuple[nn.Sequential, int]:
    """Stages of blocks, and the number of channels that they put out; all but the first stage begin with stride 2."""
    stages: list[nn.Module] = []
    for depth, width in zip(depths, widths, strict=True):
        blocks = []
        for position in range(depth):
            block, in_channels = make_block(in_channels, width, 2 if stages and position == 0 else 1)
            blocks.append(block)
        stages.append(nn.Sequential(*blocks))
    return nn.Sequential(*stages), in_channels


class ResNet(Net):
    """A stem, stages of blocks, and a head of global average pooling and one linear layer; Table 1 and Sec. 4.2.

    Args:
        stem: Everything before the first block.
        branch: (in_channels, width, stride) to F and its number of output channels.
        depths: Blocks of each stage.
        widths: Width of each stage; all but the first stage begin with stride 2.
        in_channels: Channels that the stem puts out.
        shortcut: Option A, B or C; None is the plain net.
        survival: Probability that the last block survives a training step; 1 is constant depth.
        survival_decays: Whether earlier blocks survive more often, or all as often as the last.
        num_classes: Number of logits.

    Raises:
        ValueError: An option is none of its letters or out of its range.
    """

    def __init__(
        self,
        stem: nn.Module,
        branch: Make,
        *,
        depths: tuple[int, ...],
        widths: tuple[int, ...],
        in_channels: int,
        shortcut: Shortcut | None,
        survival: float = 1.0,
        survival_decays: bool = True,
        num_classes: int,
    ) -> None:
        survivors: list[Survivor] = []

        def make_block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
            f, out_channels = branch(in_channels, width, stride)
            if shortcut is None:
                return PlainBlock(f), out_channels
            block = Block(f, make_shortcut(shortcut, in_channels, out_channels, stride))
            survivors.append(block)
            return block, out_channels

        stages, in_channels = make_stages(make_block, depths, widths, in_channels)
        if survivors:
            set_survival(survivors, survival, survival_decays)
        head = OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=classifier(in_channels, num_classes)
        )
        super().__init__(stem, stages, nn.Sequential(head))
        initialise(self, "he")
        zero_biases(self)


# ---- ImageNet: Table 1 -----------------------------------------------------------------------------------------------

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def depths_of(layers: int) -> tuple[int, ...]:
    """Blocks of each stage of a net of that many layers; Table 1. ValueError where the table has no such net."""
    if layers not in DEPTHS:
        raise ValueError(f"depth is {layers}; Table 1 has {', '.join(map(str, DEPTHS))}")
    return DEPTHS[layers]


def imagenet_net(
    depth: int,
    shortcut: Shortcut | None,
    *,
    stride_on: Stride = "3x3",
    groups: int = 1,
    base_width: int = 64,
    stem_bias: bool = False,
    survival: float = 1.0,
    num_classes: int = 1000,
    in_channels: int = 3,
) -> ResNet:
    """Table 1: a 7x7 stem, then four stages; bottlenecks from 50 layers on.

    Args:
        depth: 18, 34, 50, 101 or 152.
        shortcut: Option A, B or C; None is the plain net.
        stride_on: Which convolution of a bottleneck carries the stride.
        groups: Groups of a bottleneck's 3x3 convolution; ResNeXt's cardinality.
        base_width: Channels of each group at width 64.
        stem_bias: A bias in the first convolution, as in the authors' ResNet-50 prototxt.
        survival: Probability that the last block survives a training step.
        num_classes: Number of logits.
        in_channels: Channels of the image.

    Raises:
        ValueError: An option is none of its letters or out of its range.
    """
    if stride_on not in ("1x1", "3x3"):
        raise ValueError(f"stride_on is {stride_on!r}; choose 1x1 or 3x3")
    depths = depths_of(depth)
    if depth < 50 and (groups, base_width) != (1, 64):
        raise ValueError(f"groups and base_width are for bottlenecks; ResNet-{depth} has none")
    conv = ConvNorm(in_channels, 64, 7, stride=2)
    if stem_bias:
        conv.conv.bias = nn.Parameter(torch.zeros(64))
    stem = OrderedDict(
        conv=conv,  # 64 x 112 x 112
        relu=nn.ReLU(inplace=True),
        pool=nn.MaxPool2d(3, stride=2, padding=1),  # 64 x 56 x 56
    )
    return ResNet(
        nn.Sequential(stem),
        basic if depth < 50 else partial(bottleneck, stride_on=stride_on, groups=groups, base_width=base_width),
        depths=depths,
        widths=(64, 128, 256, 512),
        in_channels=64,
        shortcut=shortcut,
        survival=survival,
        num_classes=num_classes,
    )


def small_imagenet_net(depth: int, shortcut: Shortcut = "B", num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """Table 1's stages behind a 3x3 stem, for images of 32 pixels, as kuangliu/pytorch-cifar.

    Args:
        depth: 18, 34, 50, 101 or 152.
        shortcut: Option A, B or C.
        num_classes: Number of logits.
        in_channels: Channels of the image.
    """
    return ResNet(
        nn.Sequential(OrderedDict(conv=ConvNorm(in_channels, 64, 3), relu=nn.ReLU(inplace=True))),
        basic if depth < 50 else bottleneck,
        depths=depths_of(depth),
        widths=(64, 128, 256, 512),
        in_channels=64,
        shortcut=shortcut,
        num_classes=num_classes,
    )


# ---- CIFAR-10: Sec. 4.2 ----------------------------------------------------------------------------------------------


def cifar_net(
    depth: int,
    shortcut: Shortcut | None,
    *,
    layers_per_block: int = 2,
    survival: float = 1.0,
    survival_decays: bool = True,
    num_classes: int = 10,
    in_channels: int = 3,
) -> ResNet:
    """Sec. 4.2: 6n + 2 layers; a 3x3 stem, then 2n convolutions each on maps of full, half and quarter size.

    Args:
        depth: 6n + 2 for any n >= 1.
        shortcut: Option A ("in all cases" in the paper), B or C; None is the plain net.
        layers_per_block: Convolutions that a shortcut spans: 2, or 1 at equal depth, with twice the blocks.
        survival: Probability that the last block survives a training step; Huang et al. (2016) use 0.5.
        survival_decays: Whether earlier blocks survive more often, linearly, or all as the last.
        num_classes: Number of logits.
        in_channels: Channels of the image.

    Raises:
        ValueError: The depth is not 6n + 2, or an option is out of its range.

    Example:
        >>> sum(p.numel() for p in cifar_net(26, "A").parameters())
        366938
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth is {depth}; a CIFAR net has 6n + 2 layers: 8, 14, 20, 26, ...")
    if layers_per_block not in (1, 2):
        raise ValueError(f"layers_per_block is {layers_per_block!r}; choose 1 or 2")
    stem = nn.Sequential(OrderedDict(conv=ConvNorm(in_channels, 16, 3), relu=nn.ReLU(inplace=True)))  # 16 x 32 x 32
    n = (depth - 2) // 3 // layers_per_block
    return ResNet(
        stem,
        basic if layers_per_block == 2 else single,
        depths=(n, n, n),
        widths=(16, 32, 64),  # 32 x 32, 16 x 16, 8 x 8
        in_channels=16,
        shortcut=shortcut,
        survival=survival,
        survival_decays=survival_decays,
        num_classes=num_classes,
    )


# ---- the catalog's entries -------------------------------------------------------------------------------------------

_IMAGENET: Facts = {"paper": "arXiv:1512.03385", "table": "Table 1", "input_shape": (3, 224, 224), "num_classes": 1000}
_CIFAR: Facts = {"paper": "arXiv:1512.03385", "table": "Sec. 4.2", "input_shape": (3, 32, 32), "num_classes": 10}
_B10 = "Table 3, option B, ImageNet val, 10 crops"
_T6 = "Table 6, option A, CIFAR-10 test, one view"

for _depth, _params, _macs, _error in (
    (18, 11_689_512, 1_814_073_344, None),
    (34, 21_797_672, 3_663_761_408, 0.2452),
    (50, 25_557_032, 4_089_184_256, 0.2285),
    (101, 44_549_160, 7_801_405_440, 0.2175),
    (152, 60_192_808, 11_513_626_624, 0.2143),
):
    _counts = {"layers": _depth, "params": _params, "macs": _macs}
    _top1 = {"top1_error": _error, "top1_source": _error and _B10}
    register(f"resnet{_depth}", partial(imagenet_net, _depth, shortcut="B"), **_IMAGENET, **_counts, **_top1)

# Without shortcuts. Table 2 has plain nets of 18 and 34 layers only.
for _depth, _params, _macs, _error in (
    (18, 11_515_688, 1_794_805_760, 0.2794),
    (34, 21_623_848, 3_644_493_824, 0.2854),
    (50, 22_780_456, 3_729_522_688, None),
    (101, 41_772_584, 7_441_743_872, None),
    (152, 57_416_232, 11_153_965_056, None),
):
    _counts = {"layers": _depth, "params": _params, "macs": _macs}
    _top1 = {"top1_error": _error, "top1_source": _error and "Table 2, ImageNet val, 10 crops"}
    register(f"plain{_depth}", partial(imagenet_net, _depth, None), **_IMAGENET, **_counts, **_top1)

# Sec. 4.2, n = 3, 5, 7, 9, 18, 200. The paper prints no table of plain nets' errors.
for _depth, _params, _macs, _error in (
    (20, 269_722, 40_551_040, 0.0875),
    (32, 464_154, 68_862_592, 0.0751),
    (44, 658_586, 97_174_144, 0.0717),
    (56, 853_018, 125_485_696, 0.0697),
    (110, 1_727_962, 252_887_680, 0.0643),
    (1202, 19_421_274, 2_829_238_912, 0.0793),
):
    _counts = {"layers": _depth, "params": _params, "macs": _macs}
    _top1 = {"top1_error": _error, "top1_source": _T6}
    register(f"resnet{_depth}", partial(cifar_net, _depth, shortcut="A"), **_CIFAR, **_counts, **_top1)
    register(f"plain{_depth}", partial(cifar_net, _depth, None), **_CIFAR, **_counts)

_SMALL: Facts = {**_CIFAR, "table": "Table 1 behind a 3x3 stem, as kuangliu/pytorch-cifar"}
for _depth, _params, _macs in ((18, 11_173_962, 555_422_720), (50, 23_520_842, 1_297_829_888)):
    _counts = {"layers": _depth, "params": _params, "macs": _macs}
    register(
        f"resnet{_depth}_cifar", partial(small_imagenet_net, _depth), **_SMALL, **_counts, retired={"preact": False}
    )

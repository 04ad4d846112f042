"""ResNet, its plain twin, and what grew from it at equal cost.

He, Zhang, Ren and Sun 2015, arXiv:1512.03385, Sec. 3, 4.1 and 4.2; the same 2016, arXiv:1603.05027 (pre-activation);
Huang et al. 2016, arXiv:1603.09382 (stochastic depth); Zagoruyko and Komodakis 2016, arXiv:1605.07146 (Wide ResNet);
Xie et al. 2016, arXiv:1611.05431 (ResNeXt).

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

Deviations: batch norm follows every projection (the prototxt has it, the paper does not say), but not in pre-activation
nets (nor in the authors' code); the first convolution has no bias unless asked for (that of the authors' ResNet-50
prototxt has one; 101 and 152 have none).
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.jit import is_scripting, is_tracing  # type: ignore[attr-defined]
from torch.nn import functional as F

from plusx.nets.catalog import Facts, register
from plusx.nets.layers import (
    ConvNorm,
    NormReluConv,
    as_one_node,
    classifier,
    initialise,
    is_recorded,
    zero_biases,
)

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


def make_shortcut(
    option: Shortcut, in_channels: int, out_channels: int, stride: int, *, norm: bool = True
) -> nn.Module:
    """S(x) of Eqn. (1) and (2)."""
    same = stride == 1 and in_channels == out_channels
    if option == "C" or (option == "B" and not same):
        if norm:
            return ConvNorm(in_channels, out_channels, 1, stride)
        return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    return nn.Identity() if same else ZeroPad(in_channels, out_channels, stride)


class Block(nn.Module):
    """y = relu(F(x) + S(x)); Eqn. (1) and (2). Without a shortcut, y = relu(F(x)).

    With stochastic depth, F is left out of a training step with probability 1 - p, and scaled by p in evaluation:
    y = relu(p F(x) + S(x)); Huang et al. (2016), Eqn. (2) and (5).
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.branch = branch
        if shortcut is not None:
            self.shortcut = shortcut
        self.residual = shortcut is not None
        self.survival = 1.0
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if not is_scripting() and self.survival < 1.0 and is_recorded(x):
            return as_one_node(self, x)
        if not self.residual:
            return self.relu(self.branch(x))
        if self.survival == 1.0:
            return self.relu(self.branch(x) + self.shortcut(x))
        if not self.training:
            return self.relu(self.survival * self.branch(x) + self.shortcut(x))
        return self.relu(self.branch(x) + self.shortcut(x) if survives(self.survival) else self.shortcut(x).clone())


class PreActBlock(nn.Module):
    """y = F(x) + S(x), where F opens with batch norm and ReLU; He et al. (2016), Fig. 4 (e).

    Where S projects, it reads the opened x too, as in the authors' code. Stochastic depth as in `Block`.
    """

    def __init__(self, in_channels: int, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.open = nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(in_channels), relu=nn.ReLU(inplace=True)))
        self.branch = branch
        self.shortcut = shortcut
        self.projects = isinstance(shortcut, nn.Conv2d)
        self.survival = 1.0

    def forward(self, x: Tensor) -> Tensor:
        if not is_scripting() and self.survival < 1.0 and is_recorded(x):
            return as_one_node(self, x)
        if self.training and self.survival < 1.0 and not survives(self.survival):
            return self.shortcut(self.open(x) if self.projects else x)
        opened = self.open(x)
        f = self.branch(opened) if self.training or self.survival == 1.0 else self.survival * self.branch(opened)
        return f + self.shortcut(opened if self.projects else x)


def survives(p: float) -> bool:
    """One Bernoulli draw for the whole mini-batch, from torch's generator."""
    if is_tracing():
        raise ValueError(
            "survival is below 1: each training step draws which blocks survive, and torch.jit.trace would keep the "
            "first draw for ever; trace the net in evaluation, or use torch.fx, torch.jit.script or torch.compile"
        )
    return bool(torch.rand(()) < p)


def set_survival(blocks: Sequence[Block | PreActBlock], last: float, decays: bool = True) -> None:
    """Linear decay, p_l = 1 - l / L (1 - p_L) for block l of L; Huang et al. (2016), Eqn. (4). Or p_l = p_L."""
    if not 0 < last <= 1:
        raise ValueError(f"survival is {last!r}; it must be in (0, 1]")
    for number, block in enumerate(blocks, start=1):
        block.survival = 1 - (number / len(blocks) if decays else 1) * (1 - last)


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


def preact_basic(in_channels: int, width: int, stride: int, dropout: float = 0.0) -> tuple[nn.Module, int]:
    """He et al. (2016): conv, BN-ReLU-conv; the opening BN-ReLU is the block's. Dropout as Wide ResNet, Fig. 1 (d)."""
    layers = OrderedDict[str, nn.Module](conv1=nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False))
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    layers["conv2"] = NormReluConv(width, width, 3)
    return nn.Sequential(layers), width


def preact_bottleneck(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """He et al. (2016): 1x1, BN-ReLU-3x3, BN-ReLU-1x1 to 4 `width`."""
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(in_channels, width, 1, bias=False),
        conv2=NormReluConv(width, width, 3, stride),
        conv3=NormReluConv(width, 4 * width, 1),
    )
    return nn.Sequential(layers), 4 * width


# ---- the net ---------------------------------------------------------------------------------------------------------


class ResNet(nn.Module):
    """A stem, stages of blocks, and a head of global average pooling and one linear layer; Table 1 and Sec. 4.2.

    Args:
        stem: Everything before the first block.
        branch: (in_channels, width, stride) to F and its number of output channels.
        depths: Blocks of each stage.
        widths: Width of each stage; all but the first stage begin with stride 2.
        in_channels: Channels that the stem puts out.
        shortcut: Option A, B or C; None is the plain net.
        preact: Pre-activation blocks; the head then opens with BN-ReLU.
        survival: Probability that the last block survives a training step; 1 is constant depth.
        survival_decays: Whether earlier blocks survive more often, or all as the last.
        num_classes: Number of logits.

    Raises:
        ValueError: An option is none of its letters or out of its range.
    """

    def __init__(
        self,
        stem: nn.Module,
        branch: Callable[[int, int, int], tuple[nn.Module, int]],
        *,
        depths: tuple[int, ...],
        widths: tuple[int, ...],
        in_channels: int,
        shortcut: Shortcut | None,
        preact: bool = False,
        survival: float = 1.0,
        survival_decays: bool = True,
        num_classes: int,
    ) -> None:
        super().__init__()
        if shortcut not in ("A", "B", "C", None):
            raise ValueError(f"shortcut is {shortcut!r}; choose A, B or C")
        stages: list[nn.Module] = []
        blocks: list[Block | PreActBlock] = []
        for depth, width in zip(depths, widths, strict=True):
            for position in range(depth):
                stride = 2 if stages and position == 0 else 1
                f, out_channels = branch(in_channels, width, stride)
                if shortcut is None:
                    blocks.append(Block(f, None))
                elif preact:
                    s = make_shortcut(shortcut, in_channels, out_channels, stride, norm=False)
                    blocks.append(PreActBlock(in_channels, f, s))
                else:
                    blocks.append(Block(f, make_shortcut(shortcut, in_channels, out_channels, stride)))
                in_channels = out_channels
            stages.append(nn.Sequential(*blocks[-depth:]))
        if shortcut is not None:
            set_survival(blocks, survival, survival_decays)
        head = OrderedDict[str, nn.Module](norm=nn.BatchNorm2d(in_channels), relu=nn.ReLU(inplace=True))
        head = head if preact else OrderedDict()
        head |= OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=classifier(in_channels, num_classes)
        )
        self.stem = stem
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(head)
        initialise(self, "he")
        zero_biases(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)))


# ---- ImageNet: Table 1 -----------------------------------------------------------------------------------------------

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


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
        in_channels: Channels of the picture.

    Raises:
        ValueError: An option is none of its letters or out of its range.
    """
    if stride_on not in ("1x1", "3x3"):
        raise ValueError(f"stride_on is {stride_on!r}; choose 1x1 or 3x3")
    if depth < 50 and (groups, base_width) != (1, 64):
        raise ValueError(f"groups and base_width are of bottlenecks, which ResNet-{depth} has none of")
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
        depths=DEPTHS[depth],
        widths=(64, 128, 256, 512),
        in_channels=64,
        shortcut=shortcut,
        survival=survival,
        num_classes=num_classes,
    )


def small_imagenet_net(
    depth: int, shortcut: Shortcut = "B", preact: bool = False, num_classes: int = 10, in_channels: int = 3
) -> ResNet:
    """Table 1's stages behind a 3x3 stem, for pictures of 32 pixels, as kuangliu/pytorch-cifar.

    Args:
        depth: 18, 34, 50, 101 or 152.
        shortcut: Option A, B or C.
        preact: Pre-activation blocks, which that repository leaves without the last BN-ReLU.
        num_classes: Number of logits.
        in_channels: Channels of the picture.
    """
    stem = nn.Sequential(OrderedDict(conv=ConvNorm(in_channels, 64, 3), relu=nn.ReLU(inplace=True)))
    if preact:
        stem = nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)))
    net = ResNet(
        stem,
        (preact_basic if preact else basic) if depth < 50 else (preact_bottleneck if preact else bottleneck),
        depths=DEPTHS[depth],
        widths=(64, 128, 256, 512),
        in_channels=64,
        shortcut=shortcut,
        preact=preact,
        num_classes=num_classes,
    )
    if preact:  # DEVIATION He et al. (2016), Sec. 3.1: BN-ReLU after the last block; the repository has none
        del net.head.norm, net.head.relu
    return net


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
        in_channels: Channels of the picture.

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


def preact_cifar_net(
    depth: int, shortcut: Shortcut = "B", *, survival: float = 1.0, num_classes: int = 10, in_channels: int = 3
) -> ResNet:
    """He et al. (2016): pre-activation blocks, basic at 110 layers and below, bottlenecks above.

    Args:
        depth: 6n + 2 up to 110, 9n + 2 above.
        shortcut: Option A, B or C.
        survival: Probability that the last block survives a training step.
        num_classes: Number of logits.
        in_channels: Channels of the picture.

    Raises:
        ValueError: The depth is neither 6n + 2 nor 9n + 2.
    """
    each, branch = (6, preact_basic) if depth <= 110 else (9, preact_bottleneck)
    if depth < 8 or depth % each != 2:
        raise ValueError(f"depth is {depth}; a pre-activation net has 6n + 2 layers up to 110 and 9n + 2 above")
    n = (depth - 2) // each
    return ResNet(
        nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, 16, 3, padding=1, bias=False))),
        branch,
        depths=(n, n, n),
        widths=(16, 32, 64),
        in_channels=16,
        shortcut=shortcut,
        preact=True,
        survival=survival,
        num_classes=num_classes,
    )


def wide_cifar_net(
    depth: int, widen: int, *, dropout: float = 0.0, survival: float = 1.0, num_classes: int = 10, in_channels: int = 3
) -> ResNet:
    """WRN-d-k: pre-activation blocks of d = 6n + 4 layers, k times as wide; Zagoruyko and Komodakis (2016), Table 1.

    d counts the two projections between stages, as the paper does.

    Args:
        depth: 6n + 4.
        widen: k.
        dropout: Between the two convolutions of a block; the paper's best uses 0.3.
        survival: Probability that the last block survives a training step.
        num_classes: Number of logits.
        in_channels: Channels of the picture.

    Raises:
        ValueError: The depth is not 6n + 4.
    """
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"depth is {depth}; a wide net has 6n + 4 layers: 10, 16, 22, 28, ...")
    n = (depth - 4) // 6
    return ResNet(
        nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, 16, 3, padding=1, bias=False))),
        partial(preact_basic, dropout=dropout),
        depths=(n, n, n),
        widths=(16 * widen, 32 * widen, 64 * widen),
        in_channels=16,
        shortcut="B",
        preact=True,
        survival=survival,
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
    register(
        f"resnet{_depth}",
        partial(imagenet_net, _depth, shortcut="B"),
        **_IMAGENET,
        layers=_depth,
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source=_error and _B10,
    )

# Without shortcuts. Table 2 has plain nets of 18 and 34 layers only.
for _depth, _params, _macs, _error in (
    (18, 11_515_688, 1_794_805_760, 0.2794),
    (34, 21_623_848, 3_644_493_824, 0.2854),
    (50, 22_780_456, 3_729_522_688, None),
    (101, 41_772_584, 7_441_743_872, None),
    (152, 57_416_232, 11_153_965_056, None),
):
    register(
        f"plain{_depth}",
        partial(imagenet_net, _depth, None),
        **_IMAGENET,
        layers=_depth,
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source=_error and "Table 2, ImageNet val, 10 crops",
    )

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
    register(
        f"resnet{_depth}",
        partial(cifar_net, _depth, shortcut="A"),
        **_CIFAR,
        **_counts,
        top1_error=_error,
        top1_source=_T6,
    )
    register(f"plain{_depth}", partial(cifar_net, _depth, None), **_CIFAR, **_counts)

_PREACT: Facts = {**_CIFAR, "paper": "arXiv:1603.05027", "table": "Table 4"}

for _depth, _params, _macs, _error in (
    (110, 1_730_522, 253_149_824, None),
    (164, 1_703_258, 247_646_720, 0.0546),
    (1001, 10_327_706, 1_490_995_712, 0.0462),
):
    register(
        f"preact_resnet{_depth}",
        partial(preact_cifar_net, _depth),
        **_PREACT,
        layers=_depth,
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source=_error and "the authors' resnet-1k-layers, CIFAR-10 test, one view",
    )

register(
    "wrn_28_10",
    partial(wide_cifar_net, 28, 10),
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

_RESNEXT: Facts = {**_IMAGENET, "paper": "arXiv:1611.05431"}
_WIDE: Facts = {**_IMAGENET, "paper": "arXiv:1605.07146", "table": "Table 8"}

for _name, _facts, _depth, _groups, _base, _params, _macs, _error in (
    ("resnext50_32x4d", _RESNEXT, 50, 32, 4, 25_028_904, 4_230_479_872, 0.22382),
    ("resnext101_32x8d", _RESNEXT, 101, 32, 8, 88_791_336, 16_414_015_488, 0.20688),
    ("resnext101_64x4d", _RESNEXT, 101, 64, 4, 83_455_272, 15_460_270_080, None),
    ("wide_resnet50_2", _WIDE, 50, 1, 128, 68_883_240, 11_398_021_120, 0.21532),
    ("wide_resnet101_2", _WIDE, 101, 1, 128, 126_886_696, 22_753_050_624, 0.21152),
):
    register(
        _name,
        partial(imagenet_net, _depth, shortcut="B", groups=_groups, base_width=_base),
        **_facts,
        layers=_depth,
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source=_error and "torchvision IMAGENET1K_V1, ImageNet val, one crop",
    )

_SMALL: Facts = {**_CIFAR, "table": "Table 1 behind a 3x3 stem, as kuangliu/pytorch-cifar"}

for _name, _depth, _preact, _params, _macs in (
    ("resnet18_cifar", 18, False, 11_173_962, 555_422_720),
    ("resnet50_cifar", 50, False, 23_520_842, 1_297_829_888),
    ("preact_resnet18_cifar", 18, True, 11_171_146, 555_422_720),
):
    register(
        _name,
        partial(small_imagenet_net, _depth, preact=_preact),
        **_SMALL,
        layers=_depth,
        params=_params,
        macs=_macs,
    )

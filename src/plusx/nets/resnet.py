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
no bias (that of the authors' ResNet-50 prototxt has one; 101 and 152 have none).
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from plusx.nets.catalog import Facts, register

Shortcut = Literal["A", "B", "C"]
Stride = Literal["1x1", "3x3"]


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch norm: "right after each convolution and before activation" (Sec. 3.4)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)


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
    """S(x) of Eqn. (1) and (2)."""
    same = stride == 1 and in_channels == out_channels
    if option == "C" or (option == "B" and not same):
        return ConvNorm(in_channels, out_channels, 1, stride)
    return nn.Identity() if same else ZeroPad(in_channels, out_channels, stride)


class Block(nn.Module):
    """y = relu(F(x) + S(x)); Eqn. (1) and (2). Without a shortcut, y = relu(F(x))."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.branch = branch
        if shortcut is not None:
            self.shortcut = shortcut
        self.residual = shortcut is not None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.branch(x) + self.shortcut(x)) if self.residual else self.relu(self.branch(x))


def basic(in_channels: int, width: int, stride: int, stride_on: Stride) -> tuple[nn.Module, int]:
    """Fig. 5, left: two 3x3 convolutions. Returns F and its number of output channels; the stride has one place."""
    layers = OrderedDict(
        conv1=ConvNorm(in_channels, width, 3, stride),
        relu1=nn.ReLU(inplace=True),
        conv2=ConvNorm(width, width, 3),
    )
    return nn.Sequential(layers), width


def bottleneck(in_channels: int, width: int, stride: int, stride_on: Stride) -> tuple[nn.Module, int]:
    """Fig. 5, right: 1x1 to `width`, 3x3, 1x1 to 4 `width`. Returns F and its number of output channels."""
    first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
    layers = OrderedDict(
        conv1=ConvNorm(in_channels, width, 1, first),
        relu1=nn.ReLU(inplace=True),
        conv2=ConvNorm(width, width, 3, second),
        relu2=nn.ReLU(inplace=True),
        conv3=ConvNorm(width, 4 * width, 1),
    )
    return nn.Sequential(layers), 4 * width


class ResNet(nn.Module):
    """A stem, stages of blocks, and a head of global average pooling and one linear layer; Table 1 and Sec. 4.2.

    Args:
        stem: Everything before the first block.
        branch: F: `basic` or `bottleneck`.
        depths: Blocks of each stage.
        widths: Width of each stage; all but the first stage begin with stride 2.
        in_channels: Channels that the stem puts out.
        shortcut: Option A, B or C; None is the plain net.
        stride_on: Which convolution of a bottleneck carries the stride.
        num_classes: Number of logits.

    Raises:
        ValueError: An option is none of its letters.
    """

    def __init__(
        self,
        stem: nn.Module,
        branch: Callable[[int, int, int, Stride], tuple[nn.Module, int]],
        *,
        depths: tuple[int, ...],
        widths: tuple[int, ...],
        in_channels: int,
        shortcut: Shortcut | None,
        stride_on: Stride = "3x3",
        num_classes: int,
    ) -> None:
        super().__init__()
        if shortcut not in ("A", "B", "C", None):
            raise ValueError(f"shortcut is {shortcut!r}; choose A, B or C")
        if stride_on not in ("1x1", "3x3"):
            raise ValueError(f"stride_on is {stride_on!r}; choose 1x1 or 3x3")
        stages: list[nn.Module] = []
        for depth, width in zip(depths, widths, strict=True):
            blocks = []
            for position in range(depth):
                stride = 2 if stages and position == 0 else 1
                f, out_channels = branch(in_channels, width, stride, stride_on)
                s = make_shortcut(shortcut, in_channels, out_channels, stride) if shortcut else None
                blocks.append(Block(f, s))
                in_channels = out_channels
            stages.append(nn.Sequential(*blocks))
        self.stem = stem
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(
            OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=nn.Linear(in_channels, num_classes))
        )
        self.apply(init_he)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)))


def init_he(module: nn.Module) -> None:
    """Weights from N(0, 2 / fan_in), biases 0; He et al. (2015), arXiv:1502.01852, Eqn. (10)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# ---- ImageNet: Table 1 -----------------------------------------------------------------------------------------------

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def imagenet_net(
    depth: int, shortcut: Shortcut | None, stride_on: Stride = "3x3", num_classes: int = 1000, in_channels: int = 3
) -> ResNet:
    """Table 1: a 7x7 stem, then four stages; bottlenecks from 50 layers on.

    Args:
        depth: 18, 34, 50, 101 or 152.
        shortcut: Option A, B or C; None is the plain net.
        stride_on: Which convolution of a bottleneck carries the stride.
        num_classes: Number of logits.
        in_channels: Channels of the picture.
    """
    stem = nn.Sequential(
        OrderedDict(
            conv=ConvNorm(in_channels, 64, 7, stride=2),  # 64 x 112 x 112
            relu=nn.ReLU(inplace=True),
            pool=nn.MaxPool2d(3, stride=2, padding=1),  # 64 x 56 x 56
        )
    )
    return ResNet(
        stem,
        basic if depth < 50 else bottleneck,
        depths=DEPTHS[depth],
        widths=(64, 128, 256, 512),
        in_channels=64,
        shortcut=shortcut,
        stride_on=stride_on,
        num_classes=num_classes,
    )


# ---- CIFAR-10: Sec. 4.2 ----------------------------------------------------------------------------------------------


def cifar_net(depth: int, shortcut: Shortcut | None, num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """Sec. 4.2: 6n + 2 layers; a 3x3 stem, then 2n convolutions each on maps of full, half and quarter size.

    Args:
        depth: 6n + 2 for any n >= 1.
        shortcut: Option A ("in all cases" in the paper), B or C; None is the plain net.
        num_classes: Number of logits.
        in_channels: Channels of the picture.

    Raises:
        ValueError: The depth is not 6n + 2.

    Example:
        >>> sum(p.numel() for p in cifar_net(26, "A").parameters())
        366938
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth is {depth}; a CIFAR net has 6n + 2 layers: 8, 14, 20, 26, ...")
    stem = nn.Sequential(OrderedDict(conv=ConvNorm(in_channels, 16, 3), relu=nn.ReLU(inplace=True)))  # 16 x 32 x 32
    n = (depth - 2) // 6
    return ResNet(
        stem,
        basic,
        depths=(n, n, n),
        widths=(16, 32, 64),  # 32 x 32, 16 x 16, 8 x 8
        in_channels=16,
        shortcut=shortcut,
        num_classes=num_classes,
    )


# ---- the catalog's entries -------------------------------------------------------------------------------------------

_IMAGENET: Facts = {"paper": "arXiv:1512.03385", "table": "Table 1", "input_shape": (3, 224, 224), "num_classes": 1000}
_CIFAR: Facts = {"paper": "arXiv:1512.03385", "table": "Sec. 4.2", "input_shape": (3, 32, 32), "num_classes": 10}
_B10 = "Table 3, option B, ImageNet val, 10 crops"
_T6 = "Table 6, option A, CIFAR-10 test, one view"


@register(**_IMAGENET, layers=18, params=11_689_512, macs=1_814_073_344)
def resnet18(shortcut: Shortcut = "B", num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-18 of Table 1."""
    return imagenet_net(18, shortcut, "3x3", num_classes, in_channels)


@register(**_IMAGENET, layers=34, params=21_797_672, macs=3_663_761_408, top1_error=0.2452, top1_source=_B10)
def resnet34(shortcut: Shortcut = "B", num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-34 of Table 1."""
    return imagenet_net(34, shortcut, "3x3", num_classes, in_channels)


@register(**_IMAGENET, layers=50, params=25_557_032, macs=4_089_184_256, top1_error=0.2285, top1_source=_B10)
def resnet50(
    shortcut: Shortcut = "B", stride_on: Stride = "3x3", num_classes: int = 1000, in_channels: int = 3
) -> ResNet:
    """ResNet-50 of Table 1."""
    return imagenet_net(50, shortcut, stride_on, num_classes, in_channels)


@register(**_IMAGENET, layers=101, params=44_549_160, macs=7_801_405_440, top1_error=0.2175, top1_source=_B10)
def resnet101(
    shortcut: Shortcut = "B", stride_on: Stride = "3x3", num_classes: int = 1000, in_channels: int = 3
) -> ResNet:
    """ResNet-101 of Table 1."""
    return imagenet_net(101, shortcut, stride_on, num_classes, in_channels)


@register(**_IMAGENET, layers=152, params=60_192_808, macs=11_513_626_624, top1_error=0.2143, top1_source=_B10)
def resnet152(
    shortcut: Shortcut = "B", stride_on: Stride = "3x3", num_classes: int = 1000, in_channels: int = 3
) -> ResNet:
    """ResNet-152 of Table 1."""
    return imagenet_net(152, shortcut, stride_on, num_classes, in_channels)


@register(
    **_IMAGENET,
    layers=18,
    params=11_515_688,
    macs=1_794_805_760,
    top1_error=0.2794,
    top1_source="Table 2, ImageNet val, 10 crops",
)
def plain18(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-18 without its shortcuts, the plain net of Table 2."""
    return imagenet_net(18, None, "3x3", num_classes, in_channels)


@register(
    **_IMAGENET,
    layers=34,
    params=21_623_848,
    macs=3_644_493_824,
    top1_error=0.2854,
    top1_source="Table 2, ImageNet val, 10 crops",
)
def plain34(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-34 without its shortcuts, the plain net of Table 2."""
    return imagenet_net(34, None, "3x3", num_classes, in_channels)


@register(**_IMAGENET, layers=50, params=22_780_456, macs=3_729_522_688)
def plain50(stride_on: Stride = "3x3", num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-50 without its shortcuts; the paper has no such net."""
    return imagenet_net(50, None, stride_on, num_classes, in_channels)


@register(**_IMAGENET, layers=101, params=41_772_584, macs=7_441_743_872)
def plain101(stride_on: Stride = "3x3", num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-101 without its shortcuts; the paper has no such net."""
    return imagenet_net(101, None, stride_on, num_classes, in_channels)


@register(**_IMAGENET, layers=152, params=57_416_232, macs=11_153_965_056)
def plain152(stride_on: Stride = "3x3", num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-152 without its shortcuts; the paper has no such net."""
    return imagenet_net(152, None, stride_on, num_classes, in_channels)


@register(**_CIFAR, layers=20, params=269_722, macs=40_551_040, top1_error=0.0875, top1_source=_T6)
def resnet20(shortcut: Shortcut = "A", num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-20: n = 3."""
    return cifar_net(20, shortcut, num_classes, in_channels)


@register(**_CIFAR, layers=32, params=464_154, macs=68_862_592, top1_error=0.0751, top1_source=_T6)
def resnet32(shortcut: Shortcut = "A", num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-32: n = 5."""
    return cifar_net(32, shortcut, num_classes, in_channels)


@register(**_CIFAR, layers=44, params=658_586, macs=97_174_144, top1_error=0.0717, top1_source=_T6)
def resnet44(shortcut: Shortcut = "A", num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-44: n = 7."""
    return cifar_net(44, shortcut, num_classes, in_channels)


@register(**_CIFAR, layers=56, params=853_018, macs=125_485_696, top1_error=0.0697, top1_source=_T6)
def resnet56(shortcut: Shortcut = "A", num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-56: n = 9."""
    return cifar_net(56, shortcut, num_classes, in_channels)


@register(**_CIFAR, layers=110, params=1_727_962, macs=252_887_680, top1_error=0.0643, top1_source=_T6)
def resnet110(shortcut: Shortcut = "A", num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-110: n = 18."""
    return cifar_net(110, shortcut, num_classes, in_channels)


@register(**_CIFAR, layers=1202, params=19_421_274, macs=2_829_238_912, top1_error=0.0793, top1_source=_T6)
def resnet1202(shortcut: Shortcut = "A", num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-1202: n = 200."""
    return cifar_net(1202, shortcut, num_classes, in_channels)


@register(**_CIFAR, layers=20, params=269_722, macs=40_551_040)
def plain20(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-20 without its shortcuts."""
    return cifar_net(20, None, num_classes, in_channels)


@register(**_CIFAR, layers=32, params=464_154, macs=68_862_592)
def plain32(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-32 without its shortcuts."""
    return cifar_net(32, None, num_classes, in_channels)


@register(**_CIFAR, layers=44, params=658_586, macs=97_174_144)
def plain44(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-44 without its shortcuts."""
    return cifar_net(44, None, num_classes, in_channels)


@register(**_CIFAR, layers=56, params=853_018, macs=125_485_696)
def plain56(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-56 without its shortcuts."""
    return cifar_net(56, None, num_classes, in_channels)


@register(**_CIFAR, layers=110, params=1_727_962, macs=252_887_680)
def plain110(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-110 without its shortcuts."""
    return cifar_net(110, None, num_classes, in_channels)


@register(**_CIFAR, layers=1202, params=19_421_274, macs=2_829_238_912)
def plain1202(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-1202 without its shortcuts."""
    return cifar_net(1202, None, num_classes, in_channels)

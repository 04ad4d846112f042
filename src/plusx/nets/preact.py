"""Pre-activation ResNet. He, Zhang, Ren and Sun 2016, arXiv:1603.05027, Fig. 4 (e) and Table 4.

A block computes y = F(x) + S(x), where F opens with batch norm and ReLU, and no ReLU follows: the identity shortcuts
carry a signal through the whole net unchanged. The head then opens with batch norm and ReLU.

Deviations: none follow from the paper; as in the authors' code, no batch norm follows a projection.
"""

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]

from plusx.nets.catalog import Facts, register
from plusx.nets.layers import ConvNorm, NormReluConv, as_one_node, classifier, initialise, is_recorded, zero_biases
from plusx.nets.net import Net
from plusx.nets.resnet import Make, Shortcut, depths_of, make_shortcut, make_stages
from plusx.nets.stochastic_depth import Survivor, set_survival, survives

# ---- the block -------------------------------------------------------------------------------------------------------


class PreActBlock(nn.Module):
    """y = F(x) + S(x), where F opens with batch norm and ReLU; Fig. 4 (e).

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
        if self.survival == 1.0:
            return self.joined(x)
        if not self.training:
            opened = self.open(x)
            return self.survival * self.branch(opened) + self.shortcut(opened if self.projects else x)
        return self.joined(x) if survives(self.survival) else self.shortcut(self.open(x) if self.projects else x)

    def joined(self, x: Tensor) -> Tensor:
        """y of a step in which F survives."""
        opened = self.open(x)
        return self.branch(opened) + self.shortcut(opened if self.projects else x)


def make_clean_shortcut(option: Shortcut, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """S(x) as in ResNet, but a projection without batch norm.

    Raises:
        ValueError: The option is none of the paper's letters.
    """
    shortcut = make_shortcut(option, in_channels, out_channels, stride)
    return shortcut.conv if isinstance(shortcut, ConvNorm) else shortcut


# ---- the residual function F -----------------------------------------------------------------------------------------


def basic(in_channels: int, width: int, stride: int, dropout: float = 0.0) -> tuple[nn.Module, int]:
    """conv, BN-ReLU-conv; the opening BN-ReLU is the block's. Dropout as in Wide ResNet, Fig. 1 (d)."""
    layers = OrderedDict[str, nn.Module](conv1=nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False))
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    layers["conv2"] = NormReluConv(width, width, 3)
    return nn.Sequential(layers), width


def bottleneck(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """1x1, BN-ReLU-3x3, BN-ReLU-1x1 to 4 `width`."""
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(in_channels, width, 1, bias=False),
        conv2=NormReluConv(width, width, 3, stride),
        conv3=NormReluConv(width, 4 * width, 1),
    )
    return nn.Sequential(layers), 4 * width


# ---- the net ---------------------------------------------------------------------------------------------------------


class PreActResNet(Net):
    """A stem, stages of pre-activation blocks, and a head of BN-ReLU, global average pooling and one linear layer.

    Args:
        stem: Everything before the first block.
        branch: (in_channels, width, stride) to F and its number of output channels.
        depths: Blocks of each stage.
        widths: Width of each stage; all but the first stage begin with stride 2.
        in_channels: Channels that the stem puts out.
        shortcut: Option A, B or C.
        survival: Probability that the last block survives a training step; 1 is constant depth.
        num_classes: Number of logits.

    Raises:
        ValueError: An option is none of its letters or out of its range.
    """

    last_maps = "head.relu"

    def __init__(
        self,
        stem: nn.Module,
        branch: Make,
        *,
        depths: tuple[int, ...],
        widths: tuple[int, ...],
        in_channels: int,
        shortcut: Shortcut,
        survival: float = 1.0,
        num_classes: int,
    ) -> None:
        survivors: list[Survivor] = []

        def make_block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
            f, out_channels = branch(in_channels, width, stride)
            block = PreActBlock(in_channels, f, make_clean_shortcut(shortcut, in_channels, out_channels, stride))
            survivors.append(block)
            return block, out_channels

        stages, in_channels = make_stages(make_block, depths, widths, in_channels)
        set_survival(survivors, survival)
        head = OrderedDict[str, nn.Module](
            norm=nn.BatchNorm2d(in_channels),
            relu=nn.ReLU(inplace=True),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            linear=classifier(in_channels, num_classes),
        )
        super().__init__(stem, stages, nn.Sequential(head))
        initialise(self, "he")
        zero_biases(self)


def cifar_net(
    depth: int, shortcut: Shortcut = "B", *, survival: float = 1.0, num_classes: int = 10, in_channels: int = 3
) -> PreActResNet:
    """Table 4: blocks, basic at 110 layers and below, bottlenecks above.

    Args:
        depth: 6n + 2 up to 110, 9n + 2 above.
        shortcut: Option A, B or C.
        survival: Probability that the last block survives a training step.
        num_classes: Number of logits.
        in_channels: Channels of the image.

    Raises:
        ValueError: The depth is neither 6n + 2 nor 9n + 2.
    """
    each, branch = (6, basic) if depth <= 110 else (9, bottleneck)
    if depth < 8 or depth % each != 2:
        raise ValueError(f"depth is {depth}; a pre-activation net has 6n + 2 layers up to 110 and 9n + 2 above")
    n = (depth - 2) // each
    return PreActResNet(
        nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, 16, 3, padding=1, bias=False))),
        branch,
        depths=(n, n, n),
        widths=(16, 32, 64),
        in_channels=16,
        shortcut=shortcut,
        survival=survival,
        num_classes=num_classes,
    )


def small_imagenet_net(
    depth: int, shortcut: Shortcut = "B", num_classes: int = 10, in_channels: int = 3
) -> PreActResNet:
    """ResNet's stages for ImageNet behind a 3x3 stem, for images of 32 pixels, as kuangliu/pytorch-cifar.

    Args:
        depth: 18, 34, 50, 101 or 152.
        shortcut: Option A, B or C.
        num_classes: Number of logits.
        in_channels: Channels of the image.
    """
    ConvNorm(in_channels, 64, 3)  # drawn and left out, so that a seed begins with the weights that it always gave
    net = PreActResNet(
        nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, 64, 3, padding=1, bias=False))),
        basic if depth < 50 else bottleneck,
        depths=depths_of(depth),
        widths=(64, 128, 256, 512),
        in_channels=64,
        shortcut=shortcut,
        num_classes=num_classes,
    )
    net.last_maps = "stages"
    del net.head.norm, net.head.relu  # DEVIATION Sec. 3.1: BN-ReLU after the last block; the repository has none
    return net


# ---- the catalog's entries -------------------------------------------------------------------------------------------

_CIFAR: Facts = {"paper": "arXiv:1603.05027", "table": "Table 4", "input_shape": (3, 32, 32), "num_classes": 10}

for _depth, _params, _macs, _error in (
    (110, 1_730_522, 253_149_824, None),
    (164, 1_703_258, 247_646_720, 0.0546),
    (1001, 10_327_706, 1_490_995_712, 0.0462),
):
    register(
        f"preact_resnet{_depth}",
        partial(cifar_net, _depth),
        **_CIFAR,
        layers=_depth,
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source=_error and "the authors' resnet-1k-layers, CIFAR-10 test, one view",
    )

register(
    "preact_resnet18_cifar",
    partial(small_imagenet_net, 18),
    **{**_CIFAR, "table": "ResNet's Table 1 behind a 3x3 stem, as kuangliu/pytorch-cifar"},
    layers=18,
    params=11_171_146,
    macs=555_422_720,
    retired={"preact": True},
)

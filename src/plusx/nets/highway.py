"""Highway networks. Srivastava, Greff and Schmidhuber 2015, arXiv:1507.06228, Sec. 2 and 3.

A highway layer computes y = H(x) T(x) + x (1 - T(x)); Eqn. (3). T, the transform gate, is a sigmoid whose bias begins
negative, so that a fresh net carries its input through.

Deviations: Table 2 prints counts only. B is the authors' own published definition (their cifar10-19layers), 2.24 M
against "~2.3M" in the table; A and C follow its plan with widths chosen here to meet the table's counts, and are not
certain to be the authors'. Layers that change the width are plain convolutions, as there.
"""

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from plusx.nets.catalog import Facts, register
from plusx.nets.layers import classifier, initialise, zero_biases
from plusx.nets.net import Net


class HighwayBlock(nn.Module):
    """y = t H(x) + (1 - t) x with t = T(x) = sigmoid(gate(x)); Eqn. (3).

    Args:
        branch: H without its activation.
        gate: T without its sigmoid; its bias begins at `gate_bias`.
        gate_bias: Negative, from -1 to -10 in the paper.
    """

    def __init__(self, branch: nn.Module, gate: nn.Conv2d | nn.Linear, gate_bias: float) -> None:
        super().__init__()
        self.branch = nn.Sequential(OrderedDict(layer=branch, act=nn.ReLU(inplace=True)))
        self.gate = gate
        self.gate_bias = gate_bias

    def forward(self, x: Tensor) -> Tensor:
        t = self.gate(x).sigmoid()
        return t * self.branch(x) + (1 - t) * x


class Highway(Net):
    """A stem, stages of highway blocks, a head.

    Args:
        stem: Up to the first highway block.
        stages: Highway blocks, and the plain layers that change width.
        head: To the logits.
        last_maps: Name of the module that puts out the last maps; None in a fully connected net.
    """

    def __init__(self, stem: nn.Module, stages: nn.Module, head: nn.Module, *, last_maps: str | None) -> None:
        super().__init__(stem, stages, head)
        self.last_maps = last_maps
        initialise(self, "xavier")
        zero_biases(self)
        for module in self.modules():
            if isinstance(module, HighwayBlock) and module.gate.bias is not None:
                nn.init.constant_(module.gate.bias, module.gate_bias)


def highway_fc(
    width: int = 50,
    depth: int = 50,
    gate_bias: float = -2.0,
    image_size: int = 28,
    num_classes: int = 10,
    in_channels: int = 1,
) -> Highway:
    """Fully connected: a plain layer to `width`, highway layers, a linear layer to the logits; Sec. 3.1.

    Args:
        width: Units of every hidden layer; 50 in the paper.
        depth: Layers with weights; 10, 20, 50 or 100 in the paper.
        gate_bias: First bias of every gate; -2 was the paper's best at 50 layers on MNIST.
        image_size: Side of the image in pixels.
        num_classes: Number of logits.
        in_channels: Channels of the image.

    Raises:
        ValueError: The depth is below 3.
    """
    if depth < 3:
        raise ValueError(f"depth is {depth}; a highway net has 3 or more layers")
    features = in_channels * image_size**2
    return Highway(
        nn.Sequential(OrderedDict(flatten=nn.Flatten(), linear=nn.Linear(features, width), act=nn.ReLU(inplace=True))),
        nn.Sequential(
            *(HighwayBlock(nn.Linear(width, width), nn.Linear(width, width), gate_bias) for _ in range(depth - 2))
        ),
        nn.Sequential(OrderedDict(linear=classifier(width, num_classes))),
        last_maps=None,
    )


def highway_conv(channels: int, gate_bias: float) -> HighwayBlock:
    """A highway layer of 3x3 convolutions."""
    h, t = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
    return HighwayBlock(h, t, gate_bias)


def highway_mnist(width: int, gate_bias: float = -1.0, num_classes: int = 10, in_channels: int = 1) -> Highway:
    """Ten layers on 28 x 28 images: a 5x5 convolution, eight highway layers with three poolings, a linear one; Table 1.

    Args:
        width: Channels throughout; 16 or 32 in the paper.
        gate_bias: First bias of every gate.
        num_classes: Number of logits.
        in_channels: Channels of the image.
    """
    stem = OrderedDict(drop=nn.Dropout(0.2), conv=nn.Conv2d(in_channels, width, 5), relu=nn.ReLU(inplace=True))
    stages: list[nn.Module] = []
    for depth, pool, dropout in (
        (2, nn.MaxPool2d(3, stride=2, ceil_mode=True), 0.3),  # width x 12 x 12
        (3, nn.MaxPool2d(3, stride=2, ceil_mode=True), 0.4),  # width x 6 x 6
        (3, nn.MaxPool2d(2), 0.5),  # width x 3 x 3
    ):
        stages.append(nn.Sequential(*(highway_conv(width, gate_bias) for _ in range(depth)), pool, nn.Dropout(dropout)))
    head = OrderedDict(flatten=nn.Flatten(), linear=classifier(9 * width, num_classes))
    return Highway(nn.Sequential(stem), nn.Sequential(*stages), nn.Sequential(head), last_maps="stages.2.2")


def highway_cifar(
    widths: tuple[int, int, int],
    depths: tuple[int, int, int],
    gate_bias: float = -2.0,
    num_classes: int = 10,
    in_channels: int = 3,
) -> Highway:
    """Three stages on maps of 32, 16 and 8 pixels, each a plain convolution and then highway layers; Sec. 3.3.

    The head is a 1x1 convolution to the classes, global average pooling and a linear layer.

    Args:
        widths: Channels of each stage.
        depths: Layers of each stage.
        gate_bias: First bias of every gate.
        num_classes: Number of logits.
        in_channels: Channels of the image.
    """
    stages: list[nn.Module] = []
    for width, depth in zip(widths, depths, strict=True):
        plain = OrderedDict(conv=nn.Conv2d(in_channels, width, 3, padding=1), relu=nn.ReLU(inplace=True))
        pool = [] if len(stages) == 2 else [nn.MaxPool2d(2), nn.Dropout(0.2)]
        stages.append(
            nn.Sequential(nn.Sequential(plain), *(highway_conv(width, gate_bias) for _ in range(depth - 1)), *pool)
        )
        in_channels = width
    head = OrderedDict(
        conv=nn.Conv2d(in_channels, num_classes, 1) if num_classes else nn.Identity(),
        relu=nn.ReLU(inplace=True),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        drop=nn.Dropout(0.2),
        linear=classifier(num_classes, num_classes),
    )
    return Highway(nn.Dropout(0.2), nn.Sequential(*stages), nn.Sequential(head), last_maps="head.relu")


_MNIST: Facts = {"paper": "arXiv:1507.06228", "table": "Table 1", "input_shape": (1, 28, 28), "num_classes": 10}
_CIFAR: Facts = {"paper": "arXiv:1507.06228", "table": "Table 2", "input_shape": (3, 32, 32), "num_classes": 10}

register(
    "highway_fc",
    highway_fc,
    **{**_MNIST, "table": "Sec. 3.1"},
    layers=50,
    params=784 * 50 + 50 + 48 * 2 * (50 * 50 + 50) + 50 * 10 + 10,
    macs=784 * 50 + 48 * 2 * 50 * 50 + 50 * 10,
)
for _width, _params, _macs, _error in ((16, 38_986, 8_028_576, 0.0057), (32, 151_690, 31_650_624, 0.0045)):
    register(
        f"highway_mnist_{_width}",
        partial(highway_mnist, _width),
        **_MNIST,
        layers=10,
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source="Table 1, MNIST test",
    )

for _name, _widths, _depths, _params, _macs, _error in (
    ("highway_a", (24, 32, 64), (3, 3, 3), 232_408, 43_761_764, 0.1082),
    ("highway_b", (32, 80, 128), (5, 6, 6), 2_244_328, 330_088_548, 0.0754),
    ("highway_c", (32, 48, 64), (10, 10, 10), 1_248_520, 314_122_340, 0.0880),
):
    register(
        _name,
        partial(highway_cifar, _widths, _depths),
        **_CIFAR,
        layers=sum(_depths) + 2,
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source="Table 2, CIFAR-10 test, best run",
    )

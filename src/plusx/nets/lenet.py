"""LeNet-5. LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition".

`lenet5` is the net of the paper, 60,000 trainable parameters; `lenet5_dense` the form that is taught today, whose third
layer reads every map, whose subsampling is a plain average, and whose output is linear.

Deviations of `lenet5`: the output's 7 x 12 bitmaps are drawn after Fig. 3, since the paper prints no numbers for them;
classes beyond the ten digits get random bitmaps. Its logits are the negated distances, so that cross entropy is the
negative log of the posterior that Eqn. (9) approaches, and low distances mean high probability.
"""

import random
from collections import OrderedDict

import torch
from torch import Tensor, nn

from plusx.nets.catalog import Facts, register
from plusx.nets.layers import ScaledTanh, classifier, zero_biases
from plusx.nets.net import Net

# Table I: which maps of S2 each map of C3 reads.
C3_TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5)),
)


class Subsampling(nn.Module):
    """S2 and S4: the sum of four neighbours times a coefficient, plus a bias, one of each a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2)
        self.coefficient = nn.Parameter(torch.ones(channels, 1, 1) / 4)
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return 4 * self.pool(x) * self.coefficient + self.bias


class TableConv(nn.Module):
    """C3: each of 16 maps is a 5x5 convolution of the maps that the table names for it.

    Maps that read equally many inputs are computed together, as the groups of one convolution.
    """

    def __init__(self, table: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.reads = []
        convs = []
        for fan in sorted({len(row) for row in table}):
            rows = [row for row in table if len(row) == fan]
            self.reads.append([index for row in rows for index in row])
            convs.append(nn.Conv2d(fan * len(rows), len(rows), 5, groups=len(rows)))
        self.convs = nn.ModuleList(convs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([conv(x[:, reads]) for conv, reads in zip(self.convs, self.reads, strict=True)], 1)


class RBF(nn.Module):
    """Output: y_i = sum_j (x_j - w_ij)^2 with fixed w; Eqn. (7). Returns -y."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.bitmaps: Tensor
        self.register_buffer("bitmaps", bitmaps(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return -(x[:, None] - self.bitmaps).square().sum(-1)


class LeNet(Net):
    """Three convolutions with two subsamplings between, then a hidden layer and the output.

    Args:
        stem: C1 and S2.
        stages: C3 and S4.
        head: C5, F6 and the output.
        last_maps: Name of C3's activation.
    """

    def __init__(self, stem: nn.Module, stages: nn.Module, head: nn.Module, *, last_maps: str) -> None:
        super().__init__(stem, stages, head)
        self.last_maps = last_maps
        for module in self.modules():  # Appendix A: U(-2.4 / fan_in, 2.4 / fan_in)
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = 2.4 / module.weight[0].numel()
                nn.init.uniform_(module.weight, -bound, bound)
        zero_biases(self)


def lenet5(num_classes: int = 10, in_channels: int = 1) -> LeNet:
    """Sec. II.B, on 32 x 32 images. Every layer up to F6 ends in f(a) = 1.7159 tanh(2a / 3).

    Args:
        num_classes: Number of bitmaps.
        in_channels: Channels of the image.
    """
    stem = OrderedDict(
        c1=nn.Conv2d(in_channels, 6, 5),  # 6 x 28 x 28
        squash1=ScaledTanh(),
        s2=Subsampling(6),  # 6 x 14 x 14
        squash2=ScaledTanh(),
    )
    stages = OrderedDict(c3=TableConv(C3_TABLE), squash3=ScaledTanh(), s4=Subsampling(16), squash4=ScaledTanh())
    head = OrderedDict[str, nn.Module](
        c5=nn.Conv2d(16, 120, 5),  # 120 x 1 x 1
        squash5=ScaledTanh(),
        flatten=nn.Flatten(),
        f6=nn.Linear(120, 84),
        squash6=ScaledTanh(),
        output=RBF(num_classes) if num_classes else nn.Identity(),
    )
    return LeNet(*(nn.Sequential(layers) for layers in (stem, stages, head)), last_maps="stages.squash3")


def lenet5_dense(dropout: float = 0.0, batch_norm: bool = False, num_classes: int = 10, in_channels: int = 1) -> LeNet:
    """LeNet-5 as it is taught today: C3 reads every map, average pooling, tanh, a linear output.

    Args:
        dropout: Of the outputs of C5 and F6.
        batch_norm: After each convolution, before its activation.
        num_classes: Number of logits.
        in_channels: Channels of the image.
    """

    def conv(in_channels: int, out_channels: int) -> nn.Module:
        layer = nn.Conv2d(in_channels, out_channels, 5)
        return nn.Sequential(OrderedDict(conv=layer, norm=nn.BatchNorm2d(out_channels))) if batch_norm else layer

    stem = OrderedDict(c1=conv(in_channels, 6), act1=nn.Tanh(), s2=nn.AvgPool2d(2))
    stages = OrderedDict(c3=conv(6, 16), act3=nn.Tanh(), s4=nn.AvgPool2d(2))
    head = OrderedDict[str, nn.Module](
        c5=conv(16, 120),
        act5=nn.Tanh(),
        flatten=nn.Flatten(),
        drop5=nn.Dropout(dropout),
        f6=nn.Linear(120, 84),
        act6=nn.Tanh(),
        drop6=nn.Dropout(dropout),
        output=classifier(84, num_classes),
    )
    return LeNet(*(nn.Sequential(layers) for layers in (stem, stages, head)), last_maps="stages.act3")


def bitmaps(num_classes: int) -> Tensor:
    """One 7 x 12 bitmap a class as 84 numbers, ink +1 and ground -1."""
    drawn = [[1.0 if pixel == "#" else -1.0 for pixel in digit] for digit in _digits()]
    rng = random.Random(0)
    rest = [[rng.choice((-1.0, 1.0)) for _ in range(84)] for _ in range(num_classes - len(drawn))]
    return torch.tensor((drawn + rest)[:num_classes])


def _digits() -> list[str]:
    rows = (
        "....... ....... ....... ....... ....... ....... ....... ....... ....... .......",
        "..###.. ...#... ..###.. ..###.. ....##. .#####. ...##.. .#####. ..###.. ..###..",
        ".##.##. ..##... .#...#. .#...#. ...###. .#..... ..##... .....#. .##.##. .##.##.",
        ".#...#. .###... .....#. .....#. ...#.#. .#..... .##.... .....#. .#...#. .#...#.",
        ".#...#. ...#... .....#. .....#. ..##.#. .#.##.. .#..... ....##. .##.##. .#...#.",
        ".#...#. ...#... ....##. ...##.. ..#..#. .##.##. .#.##.. ....#.. ..###.. .##.##.",
        ".#...#. ...#... ...##.. .....#. .##..#. .....#. .##.##. ....#.. .##.##. ..##.#.",
        ".#...#. ...#... ..##... .....#. .#...#. .....#. .#...#. ...##.. .#...#. .....#.",
        ".#...#. ...#... .##.... .....#. .######.....#.. .#...#. ...#... .#...#. ....##.",
        ".##.##. ...#... .#..... .#...#. .....#. .#..##. .##.##. ...#... .##.##. ...##..",
        "..###.. ..###.. .#####. ..###.. .....#. ..###.. ..###.. ...#... ..###.. ..##...",
        "....... ....... ....... ....... ....... ....... ....... ....... ....... .......",
    )
    return ["".join(row[8 * digit : 8 * digit + 7] for row in rows) for digit in range(10)]


_FACTS: Facts = {"paper": "LeCun et al. 1998", "table": "Sec. II.B", "input_shape": (1, 32, 32), "num_classes": 10}
# Four layers of weights; the paper's seven count the subsamplings and the fixed output.
register("lenet5", lenet5, **_FACTS, layers=4, params=60_000, macs=325_680)
register("lenet5_dense", lenet5_dense, **_FACTS, layers=5, params=61_706, macs=416_520)

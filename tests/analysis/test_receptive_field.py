"""Receptive fields: against arithmetic, and against the pixels from which a NaN arrives."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plusx.analysis.cost import compare, cost, summarise
from plusx.nets import resnet


def test_two_convolutions_see_five_pixels_and_three_see_seven() -> None:
    """VGG, Sec. 2.3."""
    convs = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)))
    assert [layer.receptive_field for layer in cost(convs, (1, 8, 8)).layers] == [3, 5, 7]


@pytest.mark.parametrize(
    ("name", "options", "pixels"),
    [
        ("vgg16", {}, 212),
        ("alexnet", {}, 195),
        ("resnet18", {}, 435),
        # Stem 11; the 3x3 of a block adds twice the jump before it: 3 x 8, 4 x 16, 6 x 32, 3 x 64 where the stride is
        # on the 1x1 and all of a stage run at its jump; else the first of each of three stages adds half of that.
        ("resnet50", {"stride_on": "1x1"}, 11 + 24 + 64 + 192 + 192),
        ("resnet50", {"stride_on": "3x3"}, 11 + 24 + 64 + 192 + 192 - 8 - 16 - 32),
    ],
)
def test_published_nets_see_what_arithmetic_says(name: str, options: dict[str, str], pixels: int) -> None:
    total = summarise(name, options=options)[1]
    assert total.receptive_field == pixels and total.layers[-1].receptive_field is None


def test_the_last_convolutions_of_vgg16_and_alexnet() -> None:
    (_, vgg), (_, alexnet) = compare(["vgg16", "alexnet"])
    assert [x.receptive_field for x in vgg.layers if x.kind == "Conv2d"][-1] == 196
    assert [x.receptive_field for x in alexnet.layers if x.kind == "Conv2d"][-1] == 163


class Branches(nn.Module):
    """Windows of many kinds, joined by sums and concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(2, 2, 5, stride=2, padding=2)
        self.dilated = nn.Conv2d(2, 2, 3, stride=2, padding=4, dilation=4)
        self.after = nn.Conv2d(8, 2, (1, 2))

    def forward(self, x: Tensor) -> Tensor:
        padded = F.max_pool2d(F.pad(x, (3, 0, 3, 0)), 2, 2)[:, :, 1:-1, 1:-1]
        dilated = self.dilated(x)
        size = min(padded.shape[-1], dilated.shape[-1]) - 2
        maps = [self.wide(x), dilated, padded, F.avg_pool2d(x, 1, 2) * 2]
        return self.after(torch.cat([m[:, :, :size, :size] for m in maps], 1).relu_()) - 1


NETS = {
    "branches": (Branches, 2),
    "resnet": (lambda: nn.Sequential(*resnet.cifar_net(8, "A")._modules.values())[:2], 3),
    "pooled": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, 2), nn.AdaptiveAvgPool2d(8), nn.MaxPool2d(3, 2)), 2),
}


@pytest.mark.parametrize("name", NETS)
def test_a_value_sees_the_pixels_from_which_a_nan_reaches_it(name: str) -> None:
    make, channels = NETS[name]
    net, side = make().eval().double(), 65
    x = torch.zeros(side, channels, side, side, dtype=torch.float64)
    for column in range(side):
        x[column, :, :, column] = torch.nan  # image i holds it in column i
    y = net(x)
    middle = y.shape[-1] // 2
    seen = y[:, 0, middle, middle].isnan().nonzero()
    predicted = cost(net, (channels, side, side)).receptive_field
    assert predicted == seen.max() - seen.min() + 1 < side


def test_a_fully_connected_net_sees_the_whole_input() -> None:
    assert summarise("mlp")[1].receptive_field is None


def test_global_operations_see_the_whole_input() -> None:
    for net in (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.AdaptiveAvgPool2d(3)):
        fields = [x.receptive_field for x in cost(nn.Sequential(nn.Conv2d(1, 1, 3), net), (1, 10, 10)).layers]
        assert fields == [3, 3 if isinstance(net, nn.Flatten) else None]

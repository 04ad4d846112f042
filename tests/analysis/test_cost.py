"""Costs by layer."""

import pytest
import torch
from torch import nn

from plusx.analysis.cost import cost, summarise
from plusx.nets import build


def test_layers_sum_to_the_total() -> None:
    with torch.device("meta"):
        total = cost(build("resnet50"), (3, 224, 224))
    assert sum(layer.params for layer in total.layers) == total.params == 25_557_032
    assert sum(layer.macs for layer in total.layers) == total.macs == 4_089_184_256


def test_a_layer_is_counted_by_hand() -> None:
    with torch.device("meta"):
        layers = {x.name: x for x in cost(build("resnet20"), (3, 32, 32)).layers}
    conv = layers["stages.1.0.branch.conv1.conv"]
    assert conv.output_shape == (32, 16, 16) and conv.params == 32 * 16 * 9
    assert conv.macs == conv.params * 16 * 16 and conv.activation_bytes == 32 * 16 * 16 * 4
    assert layers["stem.relu"].activation_bytes == 0  # in place


def test_activation_bytes_are_those_that_the_layers_allocate() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    assert cost(net, (3, 10, 10)).activation_bytes == 4 * (800 + 800 + 0 + 200)


def test_a_run_is_summarised_with_its_own_input(digits_run) -> None:  # type: ignore[no-untyped-def]
    name, total = summarise(str(digits_run))
    assert name == "resnet20" and total.layers[0].output_shape == (16, 8, 8)


def test_options_and_size_are_taken() -> None:
    _, total = summarise("resnet20", options={"num_classes": "5", "shortcut": "B"}, size=64)
    assert total.layers[0].output_shape == (16, 64, 64) and total.layers[-1].output_shape == (5,)


def test_a_net_that_does_not_take_the_shape_says_so() -> None:
    with pytest.raises(ValueError, match="does not take images of 5 x 8 x 8"):
        cost(build("resnet20"), (5, 8, 8))


def test_the_net_keeps_its_mode() -> None:
    net = build("resnet20").train()
    cost(net, (3, 32, 32))
    assert net.training and not any(m._forward_hooks for m in net.modules())

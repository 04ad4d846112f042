"""The multilayer perceptron, with and without residual connections: for studying how gradients flow.

A residual block of two layers is y = a(W2 a(W1 x) + S(x)), Eqn. (1) and (2) of He et al. (2015), arXiv:1512.03385, with
any activation a in the place of ReLU and no batch norm.
"""

from collections import OrderedDict
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from plusx.nets.catalog import Facts, register
from plusx.nets.layers import classifier, initialise, swap_activations, zero_biases
from plusx.nets.net import Net

Shortcut = Literal["none", "identity", "projection"]


class PlainBlock(nn.Module):
    """y = a(F(x)), F of two linear layers."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.branch = two_layers(width, bias)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.branch(x))


class Block(nn.Module):
    """y = a(F(x) + S(x)), F of two linear layers."""

    def __init__(self, width: int, bias: bool, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = two_layers(width, bias)
        self.shortcut = shortcut
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.branch(x) + self.shortcut(x))


def two_layers(width: int, bias: bool) -> nn.Sequential:
    """F(x) = W2 a(W1 x)."""
    layers = OrderedDict(
        linear1=nn.Linear(width, width, bias), act1=nn.ReLU(inplace=True), linear2=nn.Linear(width, width, bias)
    )
    return nn.Sequential(layers)


def make_block(shortcut: Shortcut, width: int, bias: bool) -> nn.Module:
    """A block with that shortcut. ValueError when it is unknown."""
    match shortcut:
        case "none":
            return PlainBlock(width, bias)
        case "identity":
            return Block(width, bias, nn.Identity())
        case "projection":
            return Block(width, bias, nn.Linear(width, width, bias=False))
        case _:
            raise ValueError(f"shortcut is {shortcut!r}; choose none, identity or projection")


class MLP(Net):
    """A linear layer, blocks of two, and a linear layer to the logits.

    Args:
        in_features: Numbers in one image.
        width: Units of every hidden layer.
        depth: Linear layers on the longest path: 2n + 2 for n blocks.
        shortcut: Of every block: none, identity, or projection (a matrix W_s).
        bias: Whether layers have biases; projections never do.
        num_classes: Number of logits.

    Raises:
        ValueError: The depth is odd or below 2, or the shortcut is unknown.
    """

    last_maps = None

    def __init__(
        self, in_features: int, *, width: int, depth: int, shortcut: Shortcut, bias: bool = True, num_classes: int
    ) -> None:
        if depth < 2 or depth % 2:
            raise ValueError(f"depth is {depth}; a perceptron of blocks has 2n + 2 layers: 2, 4, 6, ...")
        stem = nn.Sequential(
            OrderedDict(flatten=nn.Flatten(), linear=nn.Linear(in_features, width, bias), act=nn.ReLU(inplace=True))
        )
        stages = nn.Sequential(*(make_block(shortcut, width, bias) for _ in range((depth - 2) // 2)))
        head = nn.Sequential(OrderedDict(linear=classifier(width, num_classes, bias)))
        super().__init__(stem, stages, head)
        initialise(self, "he")
        zero_biases(self)


def mlp(
    width: int = 50,
    depth: int = 10,
    shortcut: Shortcut = "none",
    image_size: int = 28,
    num_classes: int = 10,
    in_channels: int = 1,
) -> MLP:
    """A perceptron on square images.

    Args:
        width: Units of every hidden layer.
        depth: 2n + 2 linear layers.
        shortcut: none, identity or projection.
        image_size: Side of the image in pixels.
        num_classes: Number of logits.
        in_channels: Channels of the image.

    Raises:
        ValueError: As for `MLP`.

    Example:
        >>> mlp(width=8, depth=4, shortcut="identity", image_size=8)(torch.zeros(1, 1, 8, 8)).shape
        torch.Size([1, 10])
    """
    return MLP(in_channels * image_size**2, width=width, depth=depth, shortcut=shortcut, num_classes=num_classes)


def worked_example(*, residual: bool, first_weight: float = 0.1) -> MLP:
    """Three scalar sigmoid layers, all weights 0.1: h1 = s(w1 x), h2 = s(w2 h1), y = s(w3 h2 [+ w_r h1]).

    With x = 0.5 and L = (y - 1)^2, the gradient of w1 along the shortcut is 40 times that along the main path. It
    illustrates sigmoids without batch norm, and is not why plain nets degrade (He et al. 2015, Sec. 4.1).

    Args:
        residual: Whether w_r is there.
        first_weight: w1.

    Returns:
        A net whose head is the identity, so that it puts out y.
    """
    net = MLP(1, width=1, depth=4, shortcut="projection" if residual else "none", bias=False, num_classes=1)
    net.head = nn.Sequential()
    swap_activations(net, "sigmoid")
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.fill_(first_weight if name.startswith("stem.") else 0.1)
    return net


_PARAMS, _MACS = 784 * 50 + 50 + 8 * (50 * 50 + 50) + 50 * 10 + 10, 784 * 50 + 8 * 50 * 50 + 50 * 10
_MNIST: Facts = {"paper": "arXiv:1512.03385", "table": "Eqn. (1)", "input_shape": (1, 28, 28), "num_classes": 10}
_PLAIN: Facts = {**_MNIST, "paper": "Rumelhart et al. 1986", "table": "with ReLU"}
register("mlp", mlp, **_PLAIN, layers=10, params=_PARAMS, macs=_MACS)
register("residual_mlp", partial(mlp, shortcut="identity"), **_MNIST, layers=10, params=_PARAMS, macs=_MACS)

"""DenseNet. Huang, Liu, van der Maaten and Weinberger 2016, arXiv:1608.06993, Sec. 3 and Tables 1 and 2.

A dense layer puts out its input and k maps more: y = cat([x, H(x)], 1), where H is BN-ReLU-conv3x3, or with bottlenecks
(B) BN-ReLU-conv1x1(4k)-BN-ReLU-conv3x3(k). A transition is BN-ReLU-conv1x1 and average pooling; with compression (C) it
keeps half of the maps.

Every layer reads all maps before it, so that a block of L layers keeps O(L^2) maps for the backward pass.
`save_memory=True` keeps the O(L) new ones and computes the rest again; Pleiss et al. (2017), arXiv:1707.06990. Equal
results, one more forward pass of the first half of each layer.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.jit import is_tracing  # type: ignore[attr-defined]
from torch.utils.checkpoint import checkpoint

from plusx.nets.catalog import Facts, register
from plusx.nets.layers import NormReluConv, classifier, initialise, is_recorded, zero_biases
from plusx.nets.net import Net


class DenseLayer(nn.Module):
    """y = cat([x, H(x)], 1); Eqn. (2)."""

    def __init__(self, in_channels: int, growth: int, bottleneck: bool, dropout: float) -> None:
        super().__init__()
        layers = OrderedDict[str, nn.Module]()
        if bottleneck:
            layers["reduce"] = NormReluConv(in_channels, 4 * growth, 1)
        layers["conv"] = NormReluConv(4 * growth if bottleneck else in_channels, growth, 3)
        if dropout:
            layers["dropout"] = nn.Dropout(dropout)
        self.branch = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.branch(x)], 1)


class DenseBlock(nn.Sequential):
    """Dense layers one after another, on maps of one size.

    Args:
        layers: The layers.
        save_memory: Compute each layer's concatenation, norm, ReLU and first convolution again in the backward pass.
    """

    def __init__(self, *layers: DenseLayer, save_memory: bool) -> None:
        super().__init__(*layers)
        self.save_memory = save_memory

    def forward(self, x: Tensor) -> Tensor:
        # Tracers cannot record what computes again. The results are equal.
        recorded = is_recorded(x) or is_tracing()
        if recorded or not (self.save_memory and torch.is_grad_enabled()):
            for layer in self.children():
                x = layer(x)
            return x
        maps = [x]
        for layer in self.children():
            assert isinstance(layer, DenseLayer)
            first, *rest = layer.branch
            assert isinstance(first, NormReluConv)
            maps.append(nn.Sequential(*rest)(_computed_twice(first, maps)))
        return torch.cat(maps, 1)


def _computed_twice(unit: NormReluConv, maps: Sequence[Tensor]) -> Tensor:
    """unit(cat(maps)), of which the backward pass keeps the maps alone, which it has, and computes the rest again."""

    def compute(*maps: Tensor) -> Tensor:
        return unit(torch.cat(maps, 1))

    twice = partial(checkpoint, compute, *maps, use_reentrant=False, preserve_rng_state=False)  # nothing random in it
    if torch.compiler.is_compiling():  # a compiler changes the running statistics once, whatever it computes twice
        return twice()
    return twice(context_fn=lambda: (nullcontext(), _statistics_kept(unit.norm)))


@contextmanager
def _statistics_kept(norm: nn.BatchNorm2d) -> Iterator[None]:
    """The second pass over a batch must not enter its mean and variance into the running ones again."""
    momentum, norm.momentum = norm.momentum, 0.0
    try:
        yield
    finally:
        norm.momentum = momentum
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.sub_(1)


class DenseNet(Net):
    """A stem, dense blocks with transitions between, and a head of BN-ReLU, global average pooling, one linear layer.

    Args:
        stem: Everything before the first block.
        in_channels: Channels that the stem puts out.
        growth: k, maps that each layer adds.
        depths: Layers of each block.
        bottleneck: 1x1 convolutions before the 3x3 ones (B) and halving in transitions (C).
        dropout: After each 3x3 convolution; the paper's 0.2 where there is no augmentation.
        save_memory: See `DenseBlock`.
        num_classes: Number of logits.
    """

    last_maps = "head.relu"

    def __init__(
        self,
        stem: nn.Module,
        *,
        in_channels: int,
        growth: int,
        depths: tuple[int, ...],
        bottleneck: bool = True,
        dropout: float = 0.0,
        save_memory: bool = False,
        num_classes: int,
    ) -> None:
        stages: list[nn.Module] = []
        for depth in depths:
            stage = OrderedDict[str, nn.Module]()
            if stages:
                out_channels = in_channels // 2 if bottleneck else in_channels
                stage["transition"] = NormReluConv(in_channels, out_channels, 1)
                stage["pool"] = nn.AvgPool2d(2)
                in_channels = out_channels
            layers = [DenseLayer(in_channels + i * growth, growth, bottleneck, dropout) for i in range(depth)]
            stage["block"] = DenseBlock(*layers, save_memory=save_memory)
            in_channels += depth * growth
            stages.append(nn.Sequential(stage))
        head = nn.Sequential(
            OrderedDict(
                norm=nn.BatchNorm2d(in_channels),
                relu=nn.ReLU(inplace=True),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                linear=classifier(in_channels, num_classes),
            )
        )
        super().__init__(stem, nn.Sequential(*stages), head)
        initialise(self, "he")
        zero_biases(self)


def imagenet_net(
    growth: int,
    stem_channels: int,
    depths: tuple[int, int, int, int],
    *,
    save_memory: bool = False,
    dropout: float = 0.0,
    num_classes: int = 1000,
    in_channels: int = 3,
) -> DenseNet:
    """Table 1: a 7x7 stem, then four blocks, with bottlenecks and compression.

    Args:
        growth: k.
        stem_channels: 2k in the paper.
        depths: Layers of each block.
        save_memory: Keep less for the backward pass, compute more.
        dropout: After each 3x3 convolution.
        num_classes: Number of logits.
        in_channels: Channels of the image.
    """
    stem = OrderedDict(
        conv=nn.Conv2d(in_channels, stem_channels, 7, stride=2, padding=3, bias=False),  # x 112 x 112
        norm=nn.BatchNorm2d(stem_channels),
        relu=nn.ReLU(inplace=True),
        pool=nn.MaxPool2d(3, stride=2, padding=1),  # x 56 x 56
    )
    return DenseNet(
        nn.Sequential(stem),
        in_channels=stem_channels,
        growth=growth,
        depths=depths,
        dropout=dropout,
        save_memory=save_memory,
        num_classes=num_classes,
    )


def cifar_net(
    depth: int,
    growth: int,
    *,
    bottleneck: bool,
    save_memory: bool = False,
    dropout: float = 0.0,
    num_classes: int = 10,
    in_channels: int = 3,
) -> DenseNet:
    """Sec. 3, "Implementation details": a 3x3 stem of 16 channels (2k in BC), then three equal blocks.

    Args:
        depth: L = 3n + 4; with bottlenecks 6n + 4.
        growth: k.
        bottleneck: DenseNet-BC.
        save_memory: Keep less for the backward pass, compute more.
        dropout: After each 3x3 convolution.
        num_classes: Number of logits.
        in_channels: Channels of the image.

    Raises:
        ValueError: The depth does not fit.

    Example:
        >>> sum(p.numel() for p in cifar_net(40, 12, bottleneck=False).parameters())
        1019722
    """
    each = 6 if bottleneck else 3
    if depth <= 4 or depth % each != 4 % each:
        raise ValueError(f"depth is {depth}; it must be {each}n + 4")
    n, stem_channels = (depth - 4) // each, 2 * growth if bottleneck else 16
    return DenseNet(
        nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, stem_channels, 3, padding=1, bias=False))),
        in_channels=stem_channels,
        growth=growth,
        depths=(n, n, n),
        bottleneck=bottleneck,
        dropout=dropout,
        save_memory=save_memory,
        num_classes=num_classes,
    )


_IMAGENET: Facts = {"paper": "arXiv:1608.06993", "table": "Table 1", "input_shape": (3, 224, 224), "num_classes": 1000}
_CIFAR: Facts = {"paper": "arXiv:1608.06993", "table": "Table 2", "input_shape": (3, 32, 32), "num_classes": 10}
_T3 = "Table 3, ImageNet val, one crop"

for _name, _growth, _stem, _depths, _params, _macs, _error, _source in (
    ("densenet121", 32, 64, (6, 12, 24, 16), 7_978_856, 2_834_161_664, 0.2502, _T3),
    ("densenet161", 48, 96, (6, 12, 36, 24), 28_681_000, 7_727_907_072, 0.222, "the authors' DenseNet, one crop"),
    ("densenet169", 32, 64, (6, 12, 32, 32), 14_149_480, 3_359_843_328, 0.2380, _T3),
    ("densenet201", 32, 64, (6, 12, 48, 32), 20_013_928, 4_291_365_888, 0.2258, _T3),
    ("densenet264", 32, 64, (6, 12, 64, 48), 33_337_704, 5_751_653_376, 0.2215, _T3),
):
    register(
        _name,
        partial(imagenet_net, _growth, _stem, _depths),
        **_IMAGENET,
        layers=2 * sum(_depths) + 5,  # the name's number, but for 264, whose table has 265
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source=_source,
    )

for _name, _depth, _growth, _bottleneck, _params, _macs, _error in (
    ("densenet_40_12", 40, 12, False, 1_019_722, 264_812_928, 0.0524),
    ("densenet_100_12", 100, 12, False, 6_979_642, 1_769_516_448, 0.0410),
    ("densenet_100_24", 100, 24, False, 27_249_082, 6_889_347_744, 0.0374),
    ("densenet_bc_100_12", 100, 12, True, 769_162, 287_929_692, 0.0451),
    ("densenet_bc_250_24", 250, 24, True, 15_324_406, 5_418_785_724, 0.0362),
    ("densenet_bc_190_40", 190, 40, True, 25_624_430, 9_301_945_740, 0.0346),
):
    register(
        _name,
        partial(cifar_net, _depth, _growth, bottleneck=_bottleneck),
        **_CIFAR,
        layers=_depth,
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source="Table 2, CIFAR-10 test, with augmentation",
    )

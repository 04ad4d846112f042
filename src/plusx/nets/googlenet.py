"""GoogLeNet. Szegedy et al. 2014, arXiv:1409.4842, Table 1 and Sec. 5.

`googlenet_paper` is the net of the paper: biases, no batch norm, local response normalisation, 5x5 convolutions.
`googlenet` is the form of today's libraries, loadable from torchvision's weights: batch norm, no biases, and the
branches called 5x5 are 3x3, a bug that torchvision keeps for its weights' sake (pytorch/vision issue 906).

In training, two auxiliary heads on 4a and 4d add their loss at weight 0.3 (the recipe's `loss.aux_weight`); `forward`
leaves them out. Of the paper's Table 1, the filters are exact; the parameter counts are rounded, and partly wrong.

Deviations: the paper does not say how weights begin, nor the constants of its response normalisation; here as Glorot
and Bengio (2010), and AlexNet's. The last pooling is global, which at the paper's 224 pixels is its 7x7.
"""

from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from plusx.nets.catalog import Facts, register
from plusx.nets.layers import ConvNorm, classifier, initialise, local_response_norm, zero_biases
from plusx.nets.net import AuxiliaryHeads, Net, Outputs


class Inception(nn.Module):
    """y = cat([1x1, 3x3, 5x5, pooled 1x1], 1), each from its own reduction; Fig. 2 (b).

    Args:
        in_channels: Channels of x.
        filters: Table 1's row: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj.
        batch_norm: Batch norm in place of biases, and 3x3 for 5x5.
    """

    def __init__(self, in_channels: int, filters: tuple[int, int, int, int, int, int], batch_norm: bool) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, pooled = filters
        unit = partial(conv, batch_norm=batch_norm)
        five_size = 3 if batch_norm else 5  # DEVIATION Table 1: torchvision's "5x5" is 3x3
        self.branch1x1 = unit(in_channels, one, 1)
        self.branch3x3 = nn.Sequential(OrderedDict(reduce=unit(in_channels, reduce3, 1), conv=unit(reduce3, three, 3)))
        self.branch5x5 = nn.Sequential(
            OrderedDict(reduce=unit(in_channels, reduce5, 1), conv=unit(reduce5, five, five_size))
        )
        self.branch_pool = nn.Sequential(
            OrderedDict(
                pool=nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=batch_norm), proj=unit(in_channels, pooled, 1)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1x1(x), self.branch3x3(x), self.branch5x5(x), self.branch_pool(x)], 1)


class GoogLeNet(Net, AuxiliaryHeads):
    """A stem, three groups of inception modules, global average pooling and one linear layer; Table 1.

    `forward` gives the logits of the net, `forward_with_aux` those of the auxiliary heads too. A loss of `forward`
    alone never trains the auxiliary heads.

    Args:
        batch_norm: The libraries' form instead of the paper's.
        aux: Auxiliary heads.
        dropout: On the pooled features; 0.4 in the paper.
        num_classes: Number of logits.
        in_channels: Channels of the image.
    """

    def __init__(
        self,
        *,
        batch_norm: bool = False,
        aux: bool = True,
        dropout: float = 0.4,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        unit, inception = partial(conv, batch_norm=batch_norm), partial(Inception, batch_norm=batch_norm)
        stem = OrderedDict(
            conv1=unit(in_channels, 64, 7, 2),  # 64 x 112 x 112
            pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 64 x 56 x 56
            norm1=local_response_norm(),
            reduce2=unit(64, 64, 1),
            conv2=unit(64, 192, 3),
            norm2=local_response_norm(),
            pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 192 x 28 x 28
        )
        if batch_norm:
            del stem["norm1"], stem["norm2"]
        three = OrderedDict[str, nn.Module](
            a=inception(192, (64, 96, 128, 16, 32, 32)),
            b=inception(256, (128, 128, 192, 32, 96, 64)),
            pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 480 x 14 x 14
        )
        four = OrderedDict[str, nn.Module](
            a=inception(480, (192, 96, 208, 16, 48, 64)),
            b=inception(512, (160, 112, 224, 24, 64, 64)),
            c=inception(512, (128, 128, 256, 24, 64, 64)),
            d=inception(512, (112, 144, 288, 32, 64, 64)),
            e=inception(528, (256, 160, 320, 32, 128, 128)),
            pool=nn.MaxPool2d(2 if batch_norm else 3, stride=2, ceil_mode=True),  # 832 x 7 x 7
        )
        five = OrderedDict[str, nn.Module](
            a=inception(832, (256, 160, 320, 32, 128, 128)),
            b=inception(832, (384, 192, 384, 48, 128, 128)),
        )
        stages = nn.Sequential(
            OrderedDict(inception3=nn.Sequential(three), inception4=nn.Sequential(four), inception5=nn.Sequential(five))
        )
        head = nn.Sequential(
            OrderedDict(
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                dropout=nn.Dropout(dropout),
                linear=classifier(1024, num_classes),
            )
        )
        heads = [aux_head(channels, num_classes, batch_norm) for channels in (512, 528)]
        super().__init__(nn.Sequential(stem), stages, head)
        self.aux = nn.ModuleList(heads if aux else [])
        initialise(self, "xavier")
        zero_biases(self)

    def forward_with_aux(self, x: Tensor) -> Outputs:
        """Logits of all heads; Sec. 5. Without auxiliary heads, `aux` is empty.

        In a training loop of one's own, the loss is of these: `forward` leaves the auxiliary heads out, which then get
        no gradient. `DistributedDataParallel` averages gradients after its own `forward` alone, so that
        `ddp.module.forward_with_aux(x)` lets the ranks drift apart; give it a module whose `forward` is this method:

        Example:
            >>> class WithAux(nn.Module):
            ...     def __init__(self, net: GoogLeNet) -> None:
            ...         super().__init__()
            ...         self.net = net
            ...
            ...     def forward(self, x: Tensor) -> Outputs:
            ...         return self.net.forward_with_aux(x)
            >>> outputs = WithAux(GoogLeNet(batch_norm=True, num_classes=10))(torch.zeros(2, 3, 64, 64))
            >>> outputs.main.shape, len(outputs.aux)
            (torch.Size([2, 10]), 2)
        """
        if not self.aux:
            return Outputs(self.forward(x), ())
        stages: Any = self.stages
        four = stages.inception4
        a = four.a(stages.inception3(self.stem(x)))
        aux1 = self.aux[0](a)
        d = four.d(four.c(four.b(a)))
        aux2 = self.aux[1](d)
        return Outputs(self.head(stages.inception5(four.pool(four.e(d)))), (aux1, aux2))


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, batch_norm: bool) -> nn.Sequential:
    """Convolution and ReLU, in the libraries' form with batch norm between."""
    unit: nn.Sequential
    if batch_norm:
        unit = ConvNorm(in_channels, out_channels, kernel_size, stride, eps=1e-3)
    else:
        unit = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2))
        )
    unit.add_module("relu", nn.ReLU(inplace=True))
    return unit


def aux_head(in_channels: int, num_classes: int, batch_norm: bool) -> nn.Sequential:
    """Average pooling of 5 with stride 3, 128 1x1 filters, 1024 units, 70 % dropout, classes; Sec. 5.

    The libraries' form pools to 4 x 4 whatever the size.
    """
    return nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(4) if batch_norm else nn.AvgPool2d(5, stride=3),  # 4 x 4
            conv=conv(in_channels, 128, 1, batch_norm=batch_norm),
            flatten=nn.Flatten(),
            fc1=nn.Linear(128 * 4 * 4, 1024),
            relu=nn.ReLU(inplace=True),
            dropout=nn.Dropout(0.7),
            fc2=classifier(1024, num_classes),
        )
    )


_FACTS: Facts = {"paper": "arXiv:1409.4842", "table": "Table 1", "input_shape": (3, 224, 224), "num_classes": 1000}
register("googlenet_paper", GoogLeNet, **_FACTS, layers=22, params=13_378_280, macs=1_582_671_872)
register(
    "googlenet",
    partial(GoogLeNet, batch_norm=True, dropout=0.2),
    **{**_FACTS, "table": "Table 1 with batch norm, as torchvision"},
    layers=22,
    params=13_004_888,
    macs=1_498_376_192,
    top1_error=0.30222,
    top1_source="torchvision IMAGENET1K_V1, ImageNet val, one crop",
)

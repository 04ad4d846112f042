"""VGG. Simonyan and Zisserman 2014, arXiv:1409.1556, Sec. 2 and 3.2.

Convolutions of 3x3 (in C also of 1x1), ReLU after each, five max poolings, three linear layers.

Deviations: adaptive pooling before the first linear layer lets in other sizes; at the paper's 224 pixels it is the
identity. Batch norm, in the `_bn` nets, is later than the paper; their convolutions keep biases, as torchvision's.
Weights begin as Glorot and Bengio (2010) prescribe, which Sec. 3.1 found to do without the pre-training of net A; with
batch norm, as He et al. (2015).
"""

import math
from collections import OrderedDict
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from plusx.nets.catalog import Facts, register
from plusx.nets.layers import classifier, initialise, local_response_norm, zero_biases
from plusx.nets.net import DenseEvaluation, Net

Head = Literal["paper", "gap", "linear"]

WIDTHS = (64, 128, 256, 512, 512)
KERNELS = {  # Table 1: the convolutions of the five blocks
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}


class VGG(Net, DenseEvaluation):
    """Five blocks of convolutions, the first of which is the stem, and three linear layers.

    Args:
        config: A to E, the columns of Table 1.
        batch_norm: Batch norm after every convolution.
        response_norm: Local response normalisation after the first; A-LRN.
        head: `paper`: 7x7x512 values to 4096, 4096, classes. `gap`: their global average instead of the 7x7x512, then
            the same three layers. `linear`: the global average, then one layer.
        dropout: On the outputs of the first two linear layers.
        num_classes: Number of logits.
        in_channels: Channels of the image.

    Raises:
        ValueError: The head is unknown.
    """

    def __init__(
        self,
        config: str,
        *,
        batch_norm: bool = False,
        response_norm: bool = False,
        head: Head = "paper",
        dropout: float = 0.5,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        if head not in ("paper", "gap", "linear"):
            raise ValueError(f"head is {head!r}; choose paper, gap or linear")
        blocks: list[nn.Module] = []
        for kernels, width in zip(KERNELS[config], WIDTHS, strict=True):
            layers = OrderedDict[str, nn.Module]()
            for number, kernel in enumerate(kernels, start=1):
                layers[f"conv{number}"] = nn.Conv2d(in_channels, width, kernel, padding=kernel // 2)
                if batch_norm:
                    layers[f"norm{number}"] = nn.BatchNorm2d(width)
                layers[f"relu{number}"] = nn.ReLU(inplace=True)
                in_channels = width
            if response_norm and not blocks:
                layers["lrn"] = local_response_norm()
            layers["pool"] = nn.MaxPool2d(2)
            blocks.append(nn.Sequential(layers))
        side = 7 if head == "paper" else 1
        pool = OrderedDict(pool=nn.AdaptiveAvgPool2d(side), flatten=nn.Flatten())  # DEVIATION Sec. 2.1: see above
        if head == "linear":
            linear = OrderedDict[str, nn.Module](fc=classifier(512, num_classes))
        else:
            linear = OrderedDict[str, nn.Module](
                fc6=nn.Linear(512 * side * side, 4096),
                relu6=nn.ReLU(inplace=True),
                drop6=nn.Dropout(dropout),
                fc7=nn.Linear(4096, 4096),
                relu7=nn.ReLU(inplace=True),
                drop7=nn.Dropout(dropout),
                fc8=classifier(4096, num_classes),
            )
        super().__init__(
            blocks[0],  # 64 x 112 x 112
            nn.Sequential(*blocks[1:]),  # 512 x 7 x 7
            nn.Sequential(pool | linear),
        )
        self.last_maps = f"stages.3.relu{len(KERNELS[config][-1])}"
        initialise(self, "he" if batch_norm else "xavier")
        zero_biases(self)

    def forward_dense(self, x: Tensor) -> Tensor:
        """Logits averaged over every place of a larger image where the net fits; Sec. 3.2, "dense evaluation".

        The first linear layer becomes a 7x7 convolution and the others 1x1 convolutions, with the same weights.

        Args:
            x: B x C x H x W, sides at least 224; any, with global average pooling in the head.
        """
        pool, _, *layers = self.head.children()
        if isinstance(pool, nn.AdaptiveAvgPool2d) and pool.output_size == 1:  # `forward` takes any size then
            return self(x)
        maps = self.stages(self.stem(x))
        for layer in layers:  # without pooling and flattening
            if isinstance(layer, nn.Linear):
                side = math.isqrt(layer.in_features // maps.shape[1])
                maps = F.conv2d(maps, layer.weight.reshape(-1, maps.shape[1], side, side), layer.bias)
            else:
                maps = layer(maps)
        return maps.mean((2, 3))


_FACTS: Facts = {"paper": "arXiv:1409.1556", "table": "Table 1", "input_shape": (3, 224, 224), "num_classes": 1000}
_T3 = "Table 3, ImageNet val, one scale"

for _name, _config, _layers, _params, _macs, _error in (
    ("vgg11", "A", 11, 132_863_336, 7_609_090_048, 0.296),
    ("vgg13", "B", 13, 133_047_848, 11_308_466_176, 0.287),
    ("vgg16_c", "C", 16, 133_638_952, 11_770_888_192, 0.273),
    ("vgg16", "D", 16, 138_357_544, 15_470_264_320, 0.256),
    ("vgg19", "E", 19, 143_667_240, 19_632_062_464, 0.255),
):
    register(
        _name,
        partial(VGG, _config),
        **_FACTS,
        layers=_layers,
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source=_T3,
    )

register(
    "vgg11_lrn",
    partial(VGG, "A", response_norm=True),
    **_FACTS,
    layers=11,
    params=132_863_336,
    macs=7_609_090_048,
    top1_error=0.297,
    top1_source=_T3,
)

for _name, _config, _layers, _params, _macs, _error in (
    ("vgg11_bn", "A", 11, 132_868_840, 7_609_090_048, 0.29630),
    ("vgg13_bn", "B", 13, 133_053_736, 11_308_466_176, 0.28414),
    ("vgg16_bn", "D", 16, 138_365_992, 15_470_264_320, 0.26640),
    ("vgg19_bn", "E", 19, 143_678_248, 19_632_062_464, 0.25782),
):
    register(
        _name,
        partial(VGG, _config, batch_norm=True),
        **_FACTS,
        layers=_layers,
        params=_params,
        macs=_macs,
        top1_error=_error,
        top1_source="torchvision IMAGENET1K_V1, ImageNet val, one crop",
    )

register(
    "vgg16_cifar",
    partial(VGG, "D", batch_norm=True, head="linear", num_classes=10),
    paper="arXiv:1409.1556",
    table="Table 1 with one linear layer, as kuangliu/pytorch-cifar",
    input_shape=(3, 32, 32),
    num_classes=10,
    layers=14,
    params=14_728_266,
    macs=313_201_664,
)

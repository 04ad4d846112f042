"""AlexNet. Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks".

`alexnet_two_tower` is the net of the paper: convolutions 2, 4 and 5 read only the maps of their own GPU, which is a
convolution of two groups. `alexnet` is the one-tower form of today's libraries, after Krizhevsky (2014),
arXiv:1404.5997, Sec. 5: no local response normalisation, no groups, other widths, and dropout before the first two
linear layers where the paper has it on their outputs.

The paper's images of 224 pixels do not fit its own strides; 227 without padding do, and give Fig. 2's maps of 55, 27
and 13. (Its 253,440 neurons of the first layer are 48 x 55 x 96, a slip.)

Deviations: adaptive pooling before the first linear layer lets in other sizes; at the sizes above it is the identity.
"""

from collections import OrderedDict

from torch import nn

from plusx.nets.catalog import register
from plusx.nets.layers import classifier, initialise, local_response_norm, zero_biases
from plusx.nets.net import Net


class AlexNet(Net):
    """Five convolutions, three linear layers; Sec. 3.5.

    Args:
        stem: The first convolution and what follows up to the second.
        stages: The other four.
        head: Three linear layers.
    """

    last_maps = "stages.3.relu"


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    norm: bool = False,
    pool: bool = False,
) -> nn.Sequential:
    """Convolution, ReLU, then, where asked for, response normalisation and pooling of 3 with stride 2; Sec. 3.5."""
    layers = OrderedDict[str, nn.Module](
        conv=nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups),
        relu=nn.ReLU(inplace=True),
    )
    if norm:
        layers["norm"] = local_response_norm()
    if pool:
        layers["pool"] = nn.MaxPool2d(3, stride=2)
    return nn.Sequential(layers)


def alexnet_two_tower(dropout: float = 0.5, num_classes: int = 1000, in_channels: int = 3) -> AlexNet:
    """Sec. 3.5 and Fig. 2, on 227 x 227 images.

    Weights begin from N(0, 0.01^2); biases at 1 in convolutions 2, 4, 5 and the hidden linear layers, else 0; Sec. 5.

    Args:
        dropout: Share of the first two linear layers' outputs that training sets to zero.
        num_classes: Number of logits.
        in_channels: Channels of the image.
    """
    net = AlexNet(
        conv(in_channels, 96, 11, stride=4, norm=True, pool=True),  # 96 x 27 x 27
        nn.Sequential(
            conv(96, 256, 5, padding=2, groups=2, norm=True, pool=True),  # 256 x 13 x 13
            conv(256, 384, 3, padding=1),
            conv(384, 384, 3, padding=1, groups=2),
            conv(384, 256, 3, padding=1, groups=2, pool=True),  # 256 x 6 x 6
        ),
        nn.Sequential(
            OrderedDict(
                pool=nn.AdaptiveAvgPool2d(6),  # DEVIATION Sec. 3.5: see above
                flatten=nn.Flatten(),
                fc6=nn.Linear(256 * 6 * 6, 4096),
                relu6=nn.ReLU(inplace=True),
                drop6=nn.Dropout(dropout),
                fc7=nn.Linear(4096, 4096),
                relu7=nn.ReLU(inplace=True),
                drop7=nn.Dropout(dropout),
                fc8=classifier(4096, num_classes),
            )
        ),
    )
    initialise(net, "gaussian")
    zero_biases(net)
    for name in ("stages.0.conv", "stages.2.conv", "stages.3.conv", "head.fc6", "head.fc7"):
        nn.init.ones_(net.get_parameter(f"{name}.bias"))
    return net


def alexnet(dropout: float = 0.5, num_classes: int = 1000, in_channels: int = 3) -> AlexNet:
    """The one-tower form, with torchvision's widths, on 224 x 224 images.

    Args:
        dropout: Share of the first two linear layers' inputs that training sets to zero.
        num_classes: Number of logits.
        in_channels: Channels of the image.
    """
    net = AlexNet(
        conv(in_channels, 64, 11, stride=4, padding=2, pool=True),  # 64 x 27 x 27
        nn.Sequential(
            conv(64, 192, 5, padding=2, pool=True),  # 192 x 13 x 13
            conv(192, 384, 3, padding=1),
            conv(384, 256, 3, padding=1),
            conv(256, 256, 3, padding=1, pool=True),  # 256 x 6 x 6
        ),
        nn.Sequential(
            OrderedDict(
                pool=nn.AdaptiveAvgPool2d(6),
                flatten=nn.Flatten(),
                drop6=nn.Dropout(dropout),  # DEVIATION Krizhevsky et al. (2012), Sec. 4.2: on the input of fc6
                fc6=nn.Linear(256 * 6 * 6, 4096),
                relu6=nn.ReLU(inplace=True),
                drop7=nn.Dropout(dropout),
                fc7=nn.Linear(4096, 4096),
                relu7=nn.ReLU(inplace=True),
                fc8=classifier(4096, num_classes),
            )
        ),
    )
    initialise(net, "he")
    zero_biases(net)
    return net


register(
    "alexnet_two_tower",
    alexnet_two_tower,
    paper="Krizhevsky et al. 2012",
    table="Fig. 2",
    input_shape=(3, 227, 227),
    num_classes=1000,
    layers=8,
    params=60_965_224,
    macs=724_406_816,
    top1_error=0.375,
    top1_source="Table 1, ILSVRC-2010 test, 10 crops",
)
register(
    "alexnet",
    alexnet,
    paper="arXiv:1404.5997",
    table="Sec. 5, as torchvision",
    input_shape=(3, 224, 224),
    num_classes=1000,
    layers=8,
    params=61_100_840,
    macs=714_188_480,
    top1_error=0.43478,
    top1_source="torchvision IMAGENET1K_V1, ImageNet val, one crop",
)

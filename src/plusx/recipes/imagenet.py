"""Recipes for ImageNet as class folders, train/ and val/; for other data of its kind as well."""

from plusx.recipes.augment import (
    ColorNoise,
    CutMix,
    FlipLR,
    MixUp,
    Progressive,
    RandAugment,
    RandomResizedCrop,
    ScaleCrop,
)
from plusx.recipes.data import DataSpec, PreprocessSpec
from plusx.recipes.evaluation import Evaluation
from plusx.recipes.loss import BinaryCrossEntropy, CrossEntropy
from plusx.recipes.net import NetSpec
from plusx.recipes.optim import SGD, Lamb
from plusx.recipes.recipe import Recipe
from plusx.recipes.schedule import Cosine, OneCycle, Plateau, Warmup


def imagenet() -> Recipe:
    """He et al. (2015), Sec. 3.4: 600,000 steps of 256 images, rate 0.1 divided by ten when the error plateaus.

    Run: `plusx train IMAGENET --recipe imagenet --set net.name=resnet34`. Paper, Table 3, ten crops: 24.52 % top-1
    error for ResNet-34 B, 22.85 % for ResNet-50.

    Deviations: the mean of each channel is subtracted, and its deviation divided by, where the paper subtracts the mean
    of each pixel; an evaluation every 5,000 steps tells the plateaus, and five without a new best are one.
    """
    return Recipe(
        name="imagenet",
        net=NetSpec("resnet50"),
        data=DataSpec(train="train", val="val", test=None, reading="fast"),
        preprocess=PreprocessSpec(size=224, crop_fraction=0.875),
        augment=(ScaleCrop(256, 480), FlipLR(), ColorNoise()),
        optim=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Plateau(patience=5, factor=0.1),
        steps=600_000,
        batch_size=256,
        evaluation=Evaluation(count=120, splits=("val",), keep="last"),
        log_every=100,
    )


def imagenet_a3() -> Recipe:
    """Wightman et al. (2021), arXiv:2110.00476, procedure A3: 100 epochs at 160 pixels, tested at 224.

    Run: `plusx train IMAGENET --recipe imagenet-a3`. Paper, Table 1: 78.1 % top-1 accuracy for ResNet-50, which as here
    has its stride in the 3x3 convolutions. LAMB with batches of 2,048, binary cross entropy for each class,
    MixUp or CutMix in every batch, RandAugment; no label smoothing, erasing, stochastic depth or averaging.

    Deviations: RandAugment is torchvision's, whose magnitude 18 of 30 is timm's 6 of 10, without timm's noise of 0.5
    on it; images are cropped at 224 pixels and then resized to 160.
    """
    return Recipe(
        name="imagenet-a3",
        net=NetSpec("resnet50"),
        data=DataSpec(train="train", val="val", test=None),
        preprocess=PreprocessSpec(size=224, crop_fraction=0.95, interpolation="bicubic"),
        augment=(RandomResizedCrop(min_area=0.08), FlipLR(), RandAugment(magnitude=18), MixUp(alpha=0.1), CutMix()),
        progressive=Progressive(scale=160 / 224, until=1.0),
        optim=Lamb(lr=8e-3, weight_decay=0.02),
        schedule=Cosine(),
        warmup=Warmup(fraction=0.05, start=1e-3),
        loss=BinaryCrossEntropy(),
        epochs=100,
        batch_size=2048,
        evaluation=Evaluation(splits=("val",), keep="last"),
        log_every=100,
    )


def imagenet_small() -> Recipe:
    """ResNet-18 on images of 64 pixels, for the subsets of ImageNet that fit a laptop.

    Run: `plusx train FOLDER --recipe imagenet-small`. The first convolution keeps its stride, so that the weights fit
    images of any size, and a step costs a twelfth of one at 224 pixels. Half of the run sees images of 48 pixels.
    """
    return Recipe(
        name="imagenet-small",
        net=NetSpec("resnet18"),
        data=DataSpec(train="train", val="val", test=None),
        preprocess=PreprocessSpec(size=64),
        augment=(RandomResizedCrop(min_area=0.25), FlipLR()),
        progressive=Progressive(scale=0.75, until=0.5),
        optim=SGD(lr=0.2, momentum=0.9, weight_decay=5e-4, nesterov=True),
        schedule=OneCycle(peak_at=0.2, start=0.1),
        loss=CrossEntropy(label_smoothing=0.1),
        epochs=30,
        batch_size=128,
        evaluation=Evaluation(count=3, splits=("val",), keep="last"),
        log_every=50,
    )

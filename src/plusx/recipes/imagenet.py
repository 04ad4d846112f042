"""Recipe for ImageNet as class folders, train/ and val/; of other data of its size as well."""

from plusx.recipes.augment import ColorNoise, FlipLR, ScaleCrop
from plusx.recipes.data import DataSpec, PreprocessSpec
from plusx.recipes.evaluation import Evaluation
from plusx.recipes.net import NetSpec
from plusx.recipes.optim import SGD
from plusx.recipes.recipe import Recipe
from plusx.recipes.schedule import Plateau


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

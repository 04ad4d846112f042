"""Recipe for your own images: a folder of class folders."""

from plusx.recipes.augment import FlipLR, RandomResizedCrop
from plusx.recipes.data import DataSpec, PreprocessSpec
from plusx.recipes.evaluation import Evaluation
from plusx.recipes.length import ByImages
from plusx.recipes.loss import CrossEntropy
from plusx.recipes.net import NetSpec
from plusx.recipes.optim import SGD
from plusx.recipes.recipe import Recipe
from plusx.recipes.schedule import OneCycle


def folder() -> Recipe:
    """ResNet-18 at 128 pixels, from random weights; the number of epochs follows the number of training images.

    Run: `plusx train FOLDER`. A few hundred images get 60 epochs and 100,000 get 15: small sets need the passes, large
    ones cannot afford them. The crops are those of Szegedy et al. (2014), Sec. 6.
    """
    return Recipe(
        name="folder",
        net=NetSpec("resnet18"),
        data=DataSpec(val="val", reading="fast"),
        preprocess=PreprocessSpec(size=128),
        augment=(RandomResizedCrop(), FlipLR()),
        optim=SGD(lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True),
        schedule=OneCycle(peak_at=0.2, start=0.1),
        loss=CrossEntropy(label_smoothing=0.1),
        epochs=ByImages(60_000, least=15, most=60),
        batch_size=32,
        evaluation=Evaluation(splits=("val",), keep="best", batch_size=64),
        log_every=10,
    )

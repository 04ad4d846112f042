"""Recipes for the handwritten digits that ship inside scikit-learn: 1,797 images of 8 x 8 pixels."""

from plusx.recipes.augment import RandomCrop
from plusx.recipes.evaluation import Evaluation
from plusx.recipes.loss import CrossEntropy
from plusx.recipes.net import NetSpec
from plusx.recipes.optim import SGD
from plusx.recipes.placement import PlacementSpec
from plusx.recipes.recipe import Recipe
from plusx.recipes.schedule import Cosine, OneCycle, Warmup

# On images of 8 x 8 pixels, converting to bf16 costs more than it saves, and a second thread gains a third on an idle
# machine and loses tenfold on a busy one, where threads wait for each other after every small operation.
PLACEMENT = PlacementSpec(precision="fp32", threads=1)


def digits() -> Recipe:
    """ResNet-20 on the digits, in well under a minute on two cores.

    Run: `plusx train digits`. No paper: the net is that of He et al. (2015), Sec. 4.2, on smaller images. Length and
    label smoothing were chosen on the last fifth of the training images.
    """
    return Recipe(
        name="digits",
        net=NetSpec("resnet20"),
        augment=(RandomCrop(pad=1),),
        optim=SGD(lr=0.1, weight_decay=5e-4, nesterov=True),
        schedule=OneCycle(),
        loss=CrossEntropy(label_smoothing=0.1),
        epochs=40,
        batch_size=64,
        evaluation=Evaluation(splits=("train", "test"), keep="last"),
        placement=PLACEMENT,
        log_every=20,
    )


def digits_degradation(net: str) -> Recipe:
    """One recipe for nets of every depth, plain and residual, so that only the net differs; He et al. (2015), Fig. 6.

    Run: `plusx demo`. No augmentation and constant length: what is compared is the training error.
    """
    return Recipe(
        name="digits-degradation",
        net=NetSpec(net),
        optim=SGD(lr=0.05),
        schedule=Cosine(),
        warmup=Warmup(fraction=1 / 15, start=0.1),
        epochs=15,
        batch_size=64,
        evaluation=Evaluation(count=15, splits=("train", "test"), keep="last"),
        placement=PLACEMENT,
        log_every=10,
    )

"""Recipes for your own images that start from weights which somebody trained on others."""

import dataclasses

from plusx.recipes.augment import FlipLR, RandomResizedCrop
from plusx.recipes.data import DataSpec, PreprocessSpec
from plusx.recipes.evaluation import Evaluation
from plusx.recipes.length import ByImages
from plusx.recipes.loss import CrossEntropy
from plusx.recipes.net import NetSpec
from plusx.recipes.optim import SGD, Averaging
from plusx.recipes.recipe import Recipe
from plusx.recipes.schedule import OneCycle


def finetune() -> Recipe:
    """ResNet-18 from weights: the last layer is fitted first, then all layers are trained, the first ones least.

    Run: `plusx train FOLDER --pretrained`, or with `--from` a run or a file of weights. Fitting before training is
    Kumar et al. (2022), arXiv:2202.10054; rates that fall from layer to layer are Howard and Ruder (2018),
    arXiv:1801.06146, Sec. 3.1. The stem stays as it is, its batch norm included. Images are prepared as the weights'
    own were. The run ends with the average of its weights, so that no image is needed to choose among them.
    """
    return Recipe(
        name="finetune",
        net=NetSpec("resnet18", fit_head=True, freeze=("stem",)),
        data=DataSpec(val="val", reading="fast"),
        preprocess=PreprocessSpec(size=128),
        augment=(RandomResizedCrop(min_area=0.35), FlipLR()),
        optim=SGD(lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True, layer_decay=0.5),
        schedule=OneCycle(peak_at=0.2, start=0.1),
        averaging=Averaging(decay=0.98),
        loss=CrossEntropy(label_smoothing=0.1),
        epochs=ByImages(15_000, least=4, most=30),
        batch_size=32,
        evaluation=Evaluation(splits=("val",), keep="last", batch_size=64),
        log_every=10,
    )


def quick() -> Recipe:
    """ResNet-18 from weights, of which the last layer alone is fitted: seconds instead of minutes.

    Run: `plusx train FOLDER --pretrained --quick`, or with `--from` a run or a file of weights. Each image passes
    through the net once, and logistic regression is fitted to what comes before the last layer; its penalty is chosen
    by cross-validation.
    """
    return dataclasses.replace(
        finetune(),
        name="quick",
        net=NetSpec("resnet18", fit_head=True),
        averaging=None,
        epochs=None,
        steps=0,
    )

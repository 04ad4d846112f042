"""Recipes for the small nets of two experiments, where many trainings are compared with each other."""

from typing import Any

from plusx.recipes.cifar10 import AUGMENT
from plusx.recipes.data import DataSpec
from plusx.recipes.digits import PLACEMENT
from plusx.recipes.evaluation import Evaluation
from plusx.recipes.net import NetSpec
from plusx.recipes.optim import SGD
from plusx.recipes.recipe import Recipe
from plusx.recipes.schedule import Cosine


def ingredients() -> Recipe:
    """LeNet-5 with ReLU, max pooling and He's initialisation on CIFAR-10, three epochs: what others are changed from.

    Run: `plusx reproduce ingredients`, which changes one part at a time. Of the rates 0.01, 0.02 and 0.05 the second
    has the least validation error: 50.9, 48.7 and 51.0 %, one seed each but the last.
    """
    return Recipe(
        name="ingredients",
        net=NetSpec("lenet5_dense", {"activation": "relu", "pooling": "max", "init": "he"}),
        data=DataSpec(train="train[:45000]", val="train[45000:]"),
        augment=AUGMENT,
        optim=SGD(lr=0.02, momentum=0.9, weight_decay=0.0),
        schedule=Cosine(),
        epochs=3,
        batch_size=128,
        evaluation=Evaluation(count=1, splits=("train", "val"), keep="last"),
        log_every=50,
    )


def gates(net: str, depth: int, **options: Any) -> Recipe:
    """A fully connected net of 50 units a layer on the digits; Srivastava et al. (2015), Sec. 3.1, who took MNIST.

    Run: `plusx reproduce gates`. Branches of residual nets begin small, N(0, 0.01^2), because without batch norm a sum
    of fifty blocks would overflow.
    """
    options = {"width": 50, "depth": depth} | ({"init": "gaussian"} if net == "residual_mlp" else {}) | options
    return Recipe(
        name="gates",
        net=NetSpec(net, options),
        optim=SGD(lr=0.02, momentum=0.9, weight_decay=0.0),
        schedule=Cosine(),
        epochs=40,
        batch_size=64,
        evaluation=Evaluation(count=10, splits=("train", "test"), keep="last"),
        placement=PLACEMENT,
        log_every=20,
    )

"""The trainings on CIFAR-10 that several experiments share; He et al. (2015), Sec. 4.2.

At the paper's budget they are the paper's, 64,000 steps. The quick budget cuts the steps and keeps batch, momentum,
decay, augmentation and rate, which is divided by ten at the same fractions of the run. But for every net the rate rises
from 0.01 to 0.1 over the first 400 steps. The paper says of 110 layers that at 0.1 from the start they learn only after
several epochs, and begins them at 0.01 for about 400 steps. With 56 layers our loss is 2.2, hardly below chance,
after 240 steps at 0.1, and 1.2 after 360 steps of the rise; a short run has no epochs to spare.

All 50,000 images are trained on, which is one of the two readings of the paper; the weights are those of the last step;
the test images are measured on and decide nothing.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from plusx.experiments.lab import Budget, Trial
from plusx.recipes.cifar10 import cifar10_paper, cifar10_paper_110
from plusx.recipes.data import DataSpec
from plusx.recipes.evaluation import Evaluation
from plusx.recipes.net import NetSpec
from plusx.recipes.schedule import Warmup

Length = Literal["short", "long"]
STEPS = {"short": 2_000, "long": 6_000}
"""Steps in the quick budget: short where many small changes are compared, long where depth is."""
RISE = 400
"""Steps over which the rate rises in the quick budget."""


def cifar_trials(
    net: str, seeds: Iterable[int], budget: Budget, length: Length, label: str = "", **options: Any
) -> list[Trial]:
    """The trainings of a net, one for each seed.

    Args:
        net: Catalog name.
        seeds: One for each training.
        budget: quick or paper.
        length: Length of the quick budget's trainings; the paper's have one length.
        label: A name in place of the net's, where only options distinguish nets.
        options: Options of the net's builder.
    """
    paper = cifar10_paper_110() if net.endswith("110") else cifar10_paper()
    recipe = dataclasses.replace(
        paper,
        net=NetSpec(net, options),
        data=DataSpec(train="train", val=None),
        evaluation=Evaluation(count=32 if budget == "paper" else 5, splits=("train", "test"), keep="last"),
    )
    label = label or net
    if budget == "quick":
        steps = STEPS[length]
        warmup = Warmup(fraction=RISE / steps, start=0.1, shape="linear")
        recipe = dataclasses.replace(recipe, name=f"{paper.name}-{length}", steps=steps, warmup=warmup)
        label = f"{label}-{length}"
    return [Trial(label, dataclasses.replace(recipe, seed=seed)) for seed in seeds]


def pooled(*groups: Iterable[Trial]) -> tuple[Trial, ...]:
    """The trainings in order, each once."""
    return tuple({trial.key: trial for group in groups for trial in group}.values())

"""The experiments in the one order in which docs/story.md tells them and `plusx reproduce --list` lists them."""

import difflib

from plusx.experiments.accounting import ACCOUNTING
from plusx.experiments.cifar10_table import CIFAR10_TABLE
from plusx.experiments.degradation import DEGRADATION
from plusx.experiments.ensemble import ENSEMBLE
from plusx.experiments.gates import GATES
from plusx.experiments.gradients import GRADIENTS
from plusx.experiments.imagenet_table import IMAGENET_TABLE
from plusx.experiments.ingredients import INGREDIENTS
from plusx.experiments.lab import Experiment
from plusx.experiments.lesions import LESIONS
from plusx.experiments.responses import RESPONSES
from plusx.experiments.shortcuts import SHORTCUTS
from plusx.experiments.stochastic_depth import STOCHASTIC_DEPTH
from plusx.experiments.worked_example import WORKED_EXAMPLE

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        ACCOUNTING,
        INGREDIENTS,
        WORKED_EXAMPLE,
        GATES,
        DEGRADATION,
        GRADIENTS,
        CIFAR10_TABLE,
        SHORTCUTS,
        RESPONSES,
        LESIONS,
        STOCHASTIC_DEPTH,
        ENSEMBLE,
        IMAGENET_TABLE,
    )
}
"""By name, from the nets before residual ones to ImageNet."""


def find_experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        ValueError: There is none; the message names the nearest.
    """
    if name not in EXPERIMENTS:
        near = difflib.get_close_matches(name, EXPERIMENTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(EXPERIMENTS)}"
        raise ValueError(f"unknown experiment {name!r}; {hint}")
    return EXPERIMENTS[name]

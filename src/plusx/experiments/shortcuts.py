"""Shortcut options A, B and C at equal depth; He et al. (2015), Sec. 4.1 and Table 3, here on CIFAR-10."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from plusx.analysis.cost import cost
from plusx.experiments.cifar import cifar_trials, pooled
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial, mean_std
from plusx.nets import build, entry
from plusx.report.figure import panels, svg
from plusx.report.palette import PLAIN, RESIDUAL

NET = "resnet20"
OPTIONS = {
    "A": "zeros fill new channels",
    "B": "projections where channels increase",
    "C": "projections everywhere",
}
SEEDS = (0, 1, 2)
IMAGENET = {"A": "25.03", "B": "24.52", "C": "24.19"}
"""Top-1 error of ResNet-34 in per cent, ten crops; Table 3."""


def nets(budget: Budget) -> dict[str, Sequence[Trial]]:
    """The trainings by option, and the plain twin's. A is the catalog's, and shared with other experiments."""
    found: dict[str, Sequence[Trial]] = {"plain": cifar_trials("plain20", SEEDS, budget, "short")}
    for option in OPTIONS:
        other = {} if option == "A" else {"shortcut": option}
        label = NET if option == "A" else f"{NET}-{option}"
        found[option] = cifar_trials(NET, SEEDS, budget, "short", label, **other)
    return found


def conclude(lab: Lab, budget: Budget) -> Result:
    """Parameters, multiply-adds and error of each."""
    groups = nets(budget)
    errors = {option: lab.results(trials, "test_error") for option, trials in groups.items()}
    rows = [("none (plain)", *_cost("plain20"), mean_std(errors["plain"]), "28.54")]
    rows += [
        (f"{option}: {what}", *_cost(NET, shortcut=option), mean_std(errors[option]), IMAGENET[option])
        for option, what in OPTIONS.items()
    ]
    means = {option: sum(each) / len(each) for option, each in errors.items()}
    options = [means[option] for option in OPTIONS]
    apart = 100 * (max(options) - min(options))
    below = means["plain"] - max(options)
    seen = {"all beat the plain net by far": below > 0.01, "they differ less from each other": 100 * below > apart}
    findings = (
        f"{'All three have' if below > 0 else 'Not all three have'} a lower test error than the plain net, and they "
        f"lie within {apart:.2f} points of each other. The paper: B is slightly better than A, C marginally better "
        "than B; the small differences mean that projections are not essential. Three seeds say little about the order "
        "of the three.",
        "Option B is often described as zero padding where dimensions increase. That is option A; option B projects "
        "there.",
    )
    head = ("shortcut", "parameters", "multiply-adds", "ours, test error (%)", "paper, ImageNet (%)")
    title = f"{NET} on CIFAR-10, and the paper's ResNet-34 on ImageNet"
    return Result(
        findings,
        seen,
        (Table(title, head, tuple(rows)),),
        {"test": errors},
    )


def _figures(numbers: Mapping[str, Any]) -> list[Figure]:
    [panel] = panels("")
    errors = {option: [100 * error for error in each] for option, each in numbers["test"].items()}
    for place, (option, each) in enumerate(errors.items()):
        colour, mean = PLAIN if option == "plain" else RESIDUAL, sum(each) / len(each)
        panel.points([place] * len(each), each, colour, size=26)
        panel.axis.plot([place - 0.2, place + 0.2], [mean, mean], color=colour, linewidth=2)
    panel.axis.set_xticks(range(len(errors)), list(errors))
    panel.axis.set(xlabel="shortcut", ylabel="test error (%)")
    return [Figure("shortcuts", svg([panel]), "Each seed's test error, and their means as bars; 20 layers.")]


def _cost(net: str, **options: object) -> tuple[str, str]:
    with torch.device("meta"):
        found = cost(build(net, **options), entry(net).input_shape)
    return f"{found.params:,}", f"{found.macs:,}"


SHORTCUTS = Experiment(
    "shortcuts",
    "Options A, B and C all beat the plain net by far and differ little, so projections are not essential "
    "(He et al. 2015, Sec. 4.1, Table 3).",
    conclude,
    lambda budget: pooled(*nets(budget).values()),
    _figures,
    minutes=66,
)

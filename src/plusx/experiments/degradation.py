"""Deeper plain nets train worse, deeper residual nets do not; He et al. (2015), Fig. 6 and Sec. 4.2."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from plusx.experiments.cifar import STEPS, cifar_trials, pooled
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial, mean_std
from plusx.report.figure import panels, svg
from plusx.report.palette import net_colours, net_widths

DEPTHS = (20, 32, 44, 56)
SEEDS = {20: (0, 1, 2), 32: (0,), 44: (0,), 56: (0, 1, 2)}
"""Three where the order is tested."""
Nets = Mapping[tuple[str, int], Sequence[Trial]]


def nets(budget: Budget) -> Nets:
    """The trainings by kind and depth."""
    kinds = ("plain", "resnet")
    return {(kind, d): cifar_trials(f"{kind}{d}", SEEDS[d], budget, "long") for d in DEPTHS for kind in kinds}


def conclude(lab: Lab, budget: Budget) -> Result:
    """Errors by depth, and whether the order is the paper's at every seed."""
    groups = nets(budget)
    errors = {
        split: {net: lab.results(trials, f"{split}_error") for net, trials in groups.items()}
        for split in ("train", "test")
    }
    rows = [
        (f"{kind}-{d}", *(mean_std(errors[split][kind, d]) for split in ("train", "test")))
        for kind in ("plain", "resnet")
        for d in DEPTHS
    ]
    train = errors["train"]
    plain, residual = (_paired(train[kind, 56], train[kind, 20]) for kind in ("plain", "resnet"))
    degrades = all(difference > 0 for difference in plain)
    cured = all(difference < 0 for difference in residual)
    findings = [
        f"From 20 to 56 layers the training error of plain nets changes by {_points(plain)}, that of residual nets by "
        f"{_points(residual)} (percentage points, mean of {len(plain)} seeds).",
        f"Plain-56 has a higher training error than plain-20 {_seeds(degrades)}, and resnet-56 a lower one than "
        f"resnet-20 {_seeds(cured)}.",
    ]
    if budget == "quick":
        findings.append(
            f"{STEPS['long']:,} steps show how fast nets learn, not where the paper's 64,000 steps would end."
        )
    return Result(
        tuple(findings),
        {"plain-56 trains worse than plain-20": degrades, "resnet-56 trains better than resnet-20": cured},
        (Table("Error at the last step", ("net", "training error (%)", "test error (%)"), tuple(rows)),),
        {
            **{split: {f"{kind}{d}": values for (kind, d), values in each.items()} for split, each in errors.items()},
            "curves": {
                split: {f"{kind}{d}": _mean_curve(lab, trials, split) for (kind, d), trials in groups.items()}
                for split in ("train", "test")
            },
        },
    )


def _mean_curve(lab: Lab, trials: Sequence[Trial], split: str) -> dict[str, list[float]]:
    curves = [lab.curve(trial, f"{split}_error") for trial in trials]
    means = [statistics.mean(values) for values in zip(*(errors for _, errors in curves), strict=True)]
    return {"steps": list(curves[0][0]), "errors": means}


def _figures(numbers: Mapping[str, Any]) -> list[Figure]:
    curves = numbers["curves"]
    steps = max(curve["steps"][-1] for curve in curves["train"].values())
    kinds, splits = {"plain": "Plain nets", "resnet": "Residual nets"}, {"train": "training", "test": "test"}
    drawn = panels(*(f"{who}, {what} error in {steps:,} steps" for what in splits.values() for who in kinds.values()))
    for panel, (split, kind) in zip(drawn, product(splits, kinds), strict=True):
        nets = [net for net in curves[split] if net.startswith(kind)]
        for net, colour, width in zip(nets, net_colours(nets), net_widths(nets), strict=True):
            curve, name = curves[split][net], f"{net.removeprefix(kind)} layers"
            panel.line(curve["steps"], [100 * e for e in curve["errors"]], colour, name=name, width=width)
        panel.axis.set(xlabel="step", ylabel=f"{splits[split]} error (%)", ylim=(0, 90))
    caption = (
        f"Error over the {steps:,} steps of training, mean over the seeds; thicker lines are deeper nets. "
        "Compare He et al. (2015), Fig. 6, with 64,000 steps."
    )
    return [Figure("degradation", svg(drawn), caption)]


def _paired(deep: Sequence[float], shallow: Sequence[float]) -> list[float]:
    return [100 * (d - s) for d, s in zip(deep, shallow, strict=True)]


def _seeds(every: bool) -> str:
    return "for every seed" if every else "not for every seed"


def _points(differences: Sequence[float]) -> str:
    return f"{statistics.mean(differences):+.2f}"


DEGRADATION = Experiment(
    "degradation",
    "Deeper plain nets have a higher training error, deeper residual nets a lower one "
    "(He et al. 2015, Sec. 4.2 and Fig. 6). The paper prints curves and no table.",
    conclude,
    lambda budget: pooled(*nets(budget).values()),
    _figures,
    minutes=338,
)

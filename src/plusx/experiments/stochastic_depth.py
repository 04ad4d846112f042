"""Constant depth, and blocks that survive each training step at random; Huang et al. (2016), arXiv:1603.09382."""

from collections.abc import Mapping, Sequence
from typing import Any

from plusx.experiments.cifar import cifar_trials, pooled
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial, mean_std
from plusx.report.figure import panels, svg
from plusx.report.palette import RESIDUAL, SERIES

PUBLISHED = {"constant depth": "6.41", "all blocks survive at 0.5": "–", "survival falls linearly to 0.5": "5.23"}
"""Test error of 110 layers in per cent; from the authors' repository."""


def nets(budget: Budget) -> dict[str, Sequence[Trial]]:
    """110 layers in the paper's budget, 56 in the quick one."""
    net, seeds = ("resnet110", (0, 1, 2)) if budget == "paper" else ("resnet56", (0,))
    options: tuple[tuple[str, dict[str, object]], ...] = (
        ("", {}),
        ("-uniform", {"survival": 0.5, "survival_decays": False}),
        ("-linear", {"survival": 0.5}),
    )
    return {
        name: cifar_trials(net, seeds, budget, "short", f"{net}{suffix}", **chosen)
        for name, (suffix, chosen) in zip(PUBLISHED, options, strict=True)
    }


def conclude(lab: Lab, budget: Budget) -> Result:
    """The errors of the three ways to train."""
    groups = nets(budget)
    errors = {split: {n: lab.results(t, f"{split}_error") for n, t in groups.items()} for split in ("train", "test")}
    rows = tuple(
        (name, PUBLISHED[name], mean_std(errors["test"][name]), mean_std(errors["train"][name])) for name in groups
    )
    means = {name: sum(each) / len(each) for name, each in errors["test"].items()}
    constant, uniform, linear = (means[name] for name in PUBLISHED)
    findings = [
        f"The test error is {100 * constant:.2f} % with constant depth, {100 * linear:.2f} % with a survival "
        f"probability that falls to 0.5, and {100 * uniform:.2f} % with 0.5 everywhere."
    ]
    if budget == "quick" and linear >= constant:
        findings.append(
            "Stochastic depth is a regulariser: it helps where a net overfits, as over the paper's 500 epochs. In so "
            "short a run nothing overfits, and the last block was trained in only half of the steps."
        )
    head = ("training", "paper, 110 layers (%)", "ours, test error (%)", "ours, training error (%)")
    seen = {"falling survival lowers the test error": linear < constant}
    curves = {
        split: {
            name: dict(zip(("steps", "errors"), lab.curve(first, f"{split}_error"), strict=True))
            for name, [first, *_] in groups.items()
        }
        for split in ("train", "test")
    }
    return Result(tuple(findings), seen, (Table("Error", head, rows),), {**errors, "curves": curves})


def _figures(numbers: Mapping[str, Any]) -> list[Figure]:
    drawn = panels("Training error", "Test error")
    for panel, split in zip(drawn, ("train", "test"), strict=True):
        for (name, curve), colour in zip(numbers["curves"][split].items(), (RESIDUAL, *SERIES), strict=False):
            panel.line(curve["steps"], [100 * error for error in curve["errors"]], colour, label=name)
        panel.axis.set(xlabel="step", ylabel="error (%)", ylim=(0, 100))
    drawn[0].axis.legend(frameon=False, fontsize=9)
    caption = f"Error over the {curve['steps'][-1]:,} steps of training, first seed."
    return [Figure("stochastic-depth", svg(drawn), caption)]


STOCHASTIC_DEPTH = Experiment(
    "stochastic-depth",
    "Dropping blocks at random during training, later ones more often, lowers the test error from 6.41 to 5.23 % "
    "(Huang et al. 2016).",
    conclude,
    lambda budget: pooled(*nets(budget).values()),
    _figures,
    minutes=38,
)

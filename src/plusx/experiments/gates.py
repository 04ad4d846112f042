"""Plain, highway and residual nets at equal depth; Srivastava et al. (2015), arXiv:1507.06228, Fig. 1, on digits."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial
from plusx.recipes.small import gates
from plusx.report.figure import panels, svg
from plusx.report.palette import PLAIN, RESIDUAL, SERIES

NETS: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "plain": ("mlp", {}),
    "highway": ("highway_fc", {}),
    "highway-bias-4": ("highway_fc", {"gate_bias": -4.0}),
    "residual": ("residual_mlp", {}),
}
"""Gates begin at -2, the paper's best at 50 layers on MNIST, or at -4, its best there on CIFAR-100."""
SHOWN = {"highway": "highway, gate bias -2", "highway-bias-4": "highway, gate bias -4"}
DEPTHS = (10, 20, 50, 100)
SEEDS = (0, 1, 2)


def trials(kind: str, depth: int) -> list[Trial]:
    """One training for each seed. Both budgets are the same, since the trainings take minutes."""
    net, options = NETS[kind]
    recipe = gates(net, depth, **options)
    return [Trial(f"digits-{kind}-{depth}", dataclasses.replace(recipe, seed=seed), "digits") for seed in SEEDS]


def conclude(lab: Lab, budget: Budget) -> Result:
    """Training errors by kind and depth."""
    found: dict[str, dict[int, list[float | None]]] = {
        kind: {depth: [lab.outcome(trial, "train_error") for trial in trials(kind, depth)] for depth in DEPTHS}
        for kind in NETS
    }
    rows = tuple(
        (SHOWN.get(kind, kind), *(_cell(each) for each in by_depth.values())) for kind, by_depth in found.items()
    )
    deepest = {kind: _median(by_depth[DEPTHS[-1]]) for kind, by_depth in found.items()}
    highway = min(deepest["highway"], deepest["highway-bias-4"])
    seen = {
        "the plain net fails": deepest["plain"] > 0.5,
        "a highway net learns": highway < 0.5,
        "the residual net learns": deepest["residual"] < 0.5,
    }
    findings = (
        f"With {DEPTHS[-1]} layers the plain net ends at {100 * deepest['plain']:.1f} % training error, the highway "
        f"net whose gates begin at -2 at {100 * deepest['highway']:.1f} %, at -4 at "
        f"{100 * deepest['highway-bias-4']:.1f} %, the residual net at {100 * deepest['residual']:.1f} % (medians). "
        "The paper searched for the bias, from -1 to -10, and for the rate; here all nets share one rate.",
        f"Before training, a gate with initial bias b passes on 1 - sigmoid(b) of its input. A chain of {DEPTHS[-1]} "
        f"gates passes on {_carried(-2):.0e} at b = -2 but {_carried(-4):.2f} at b = -4, which is the likeliest "
        "reason.",
        "A highway layer's gate has weights and can close, y = H(x) T(x) + x (1 - T(x)); a residual shortcut has none "
        "and is always open.",
    )
    return Result(
        findings,
        seen,
        (Table("Training error by depth", ("net", *(f"{d} layers (%)" for d in DEPTHS)), rows),),
        {kind: {str(d): each for d, each in by_depth.items()} for kind, by_depth in found.items()},
    )


def _figures(numbers: Mapping[str, Any]) -> list[Figure]:
    [panel] = panels("")
    for (kind, by_depth), colour in zip(numbers.items(), (PLAIN, *SERIES[:2], RESIDUAL), strict=True):
        width = 4 if kind == "highway-bias-4" else 1.8  # shows around the residual net's, which may lie on it
        medians = [100 * _median(each) for each in by_depth.values()]
        panel.line(range(len(by_depth)), medians, colour, label=SHOWN.get(kind, kind), width=width, marker="o")
    panel.axis.set_xticks(range(len(DEPTHS)), DEPTHS)
    panel.axis.set(xlabel="layers", ylabel="training error (%)", ylim=(0, 100))
    panel.axis.legend(frameon=False)
    caption = "Training error after 40 epochs, medians of three seeds; 50 units a layer."
    return [Figure("gates", svg([panel]), caption)]


def _carried(bias: float) -> float:
    """The share of the input that the carry gates of all layers let through, gate weights left aside."""
    return (1 - 1 / (1 + math.exp(-bias))) ** DEPTHS[-1]


def _median(values: Sequence[float | None]) -> float:
    return statistics.median(1.0 if value is None else value for value in values)


def _cell(values: Sequence[float | None]) -> str:
    return ", ".join("diverged" if value is None else f"{100 * value:.1f}" for value in values)


GATES = Experiment(
    "gates",
    "Plain nets of many layers cannot be trained, highway nets can (Srivastava et al. 2015, Fig. 1); residual nets can "
    "with no gate at all (He et al. 2015, Sec. 2).",
    conclude,
    lambda budget: [trial for depth in DEPTHS for kind in NETS for trial in trials(kind, depth)],
    _figures,
    minutes=5,
)

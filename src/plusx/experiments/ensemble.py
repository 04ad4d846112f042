"""Nets of different depth, alone and averaged; the shape of He et al. (2015), Tables 4 and 5, on CIFAR-10."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from plusx.experiments.cifar import cifar_trials, pooled
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial
from plusx.report.figure import panels, svg
from plusx.report.palette import RESIDUAL

NETS = ("resnet20", "resnet32", "resnet44", "resnet56")


def trials(budget: Budget) -> tuple[Trial, ...]:
    """One training of each depth, those of Table 6."""
    return pooled(*(cifar_trials(net, (0,), budget, "long") for net in NETS))


def conclude(lab: Lab, budget: Budget) -> Result:
    """The error of each net, and of each set of them whose softmaxes are averaged."""
    runs = {trial.recipe.net.name: lab.run(trial) for trial in trials(budget)}
    found = {}
    for count in range(1, len(runs) + 1):
        for group in combinations(runs, count):
            out = lab.folder / "ensemble" / "evaluations" / "-".join(group)
            evaluated = lab.evaluated([runs[net] for net in group], out)
            found[group] = (evaluated["error"], evaluated["loss"])
    singles = {group[0]: error for group, (error, _) in found.items() if len(group) == 1}
    together = found[tuple(runs)]
    best = min(singles, key=lambda net: singles[net])
    findings = (
        f"The best single net, {best}, has a test error of {100 * singles[best]:.2f} %; the average of all {len(runs)} "
        f"has {100 * together[0]:.2f} %. The paper: 4.49 % top-5 for its best single net, 3.57 % for six.",
        f"{sum(found[g][0] < min(singles[net] for net in g) for g in found if len(g) > 1)} of the "
        f"{sum(len(g) > 1 for g in found)} sets are better than each of their nets alone.",
    )
    rows = tuple((" + ".join(group), f"{100 * e:.2f}", f"{loss:.4f}") for group, (e, loss) in found.items())
    return Result(
        findings,
        {"the average has a lower error than the best net": together[0] < singles[best]},
        (Table("Test error of nets and of their mean", ("nets", "error (%)", "cross entropy (nats)"), rows),),
        {" + ".join(group): {"error": e, "loss": loss} for group, (e, loss) in found.items()},
    )


def _figures(numbers: Mapping[str, Any]) -> list[Figure]:
    [panel] = panels("")
    errors: dict[int, list[float]] = {}
    for group, found in numbers.items():
        errors.setdefault(group.count("+") + 1, []).append(100 * found["error"])
    for count, each in errors.items():
        panel.points([count] * len(each), each, RESIDUAL, size=34)
    panel.line(list(errors), [_mean(each) for each in errors.values()], RESIDUAL, width=1.4)
    panel.axis.set(xlabel="nets averaged", ylabel="test error (%)", xticks=list(errors))
    return [Figure("ensemble", svg([panel]), "Each point is a set of nets; the line connects the means.")]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


ENSEMBLE = Experiment(
    "ensemble",
    "The average of nets of different depth has a lower error than the best of them (He et al. 2015, Tables 4 and 5).",
    conclude,
    trials,
    _figures,
    minutes=87,
)

"""Nets of different depth, alone and averaged; the shape of He et al. (2015), Tables 4 and 5, on CIFAR-10."""

from itertools import combinations

from plusx.experiments.cifar import cifar_trials, pooled
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial
from plusx.runs.figure import COLOURS, canvas, svg

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
            told = lab.evaluated([runs[net] for net in group], out)
            found[group] = (told["error"], told["loss"])
    singles = {group[0]: error for group, (error, _) in found.items() if len(group) == 1}
    together = found[tuple(runs)]
    best = min(singles, key=lambda net: singles[net])
    findings = (
        f"The best single net, {best}, errs on {100 * singles[best]:.2f} %, the mean of all {len(runs)} on "
        f"{100 * together[0]:.2f} %. The paper: 4.49 % top-5 for its best single net, 3.57 % for six.",
        f"Of the {sum(len(g) > 1 for g in found)} sets, "
        f"{sum(found[g][0] < min(singles[net] for net in g) for g in found if len(g) > 1)} are better than each of "
        "their nets alone.",
    )
    rows = tuple((" + ".join(group), f"{100 * e:.2f}", f"{loss:.4f}") for group, (e, loss) in found.items())
    figure, [axis] = canvas(1, 3.8)
    for group, (error, _) in found.items():
        axis.scatter(len(group), 100 * error, color=COLOURS[len(group) - 1], s=34)
    means = [_mean([100 * e for g, (e, _) in found.items() if len(g) == k]) for k in range(1, len(runs) + 1)]
    axis.plot(range(1, len(runs) + 1), means, color=COLOURS[1], linewidth=1.4, alpha=0.7)
    axis.set(xlabel="nets averaged", ylabel="test error (%)", xticks=range(1, len(runs) + 1))
    return Result(
        findings,
        {"the mean errs less than the best net": together[0] < singles[best]},
        (Table("Test error of nets and of their mean", ("nets", "error (%)", "cross entropy (nats)"), rows),),
        (Figure("ensemble", svg(figure), "Each point a set of nets; the line joins the means."),),
        {" + ".join(group): {"error": e, "loss": loss} for group, (e, loss) in found.items()},
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


ENSEMBLE = Experiment(
    "ensemble",
    "Nets of different depth, averaged, err less than the best of them (He et al. 2015, Tables 4 and 5).",
    conclude,
    trials,
)

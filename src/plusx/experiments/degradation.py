"""Deeper plain nets train worse, deeper residual nets do not; He et al. (2015), Fig. 6 and Sec. 4.2."""

import statistics
from collections.abc import Mapping, Sequence

from plusx.experiments.cifar import STEPS, cifar_trials, pooled
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial, mean_std
from plusx.runs.figure import COLOURS, canvas, label_ends, svg

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
        part: {net: lab.results(trials, f"{part}_error") for net, trials in groups.items()}
        for part in ("train", "test")
    }
    rows = [
        (f"{kind}-{d}", *(mean_std(errors[part][kind, d]) for part in ("train", "test")))
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
        f"Every seed has plain-56 above plain-20 in training error: {'yes' if degrades else 'no'}. Every seed has "
        f"resnet-56 below resnet-20: {'yes' if cured else 'no'}.",
    ]
    if budget == "quick":
        findings.append(f"What {STEPS['long']:,} steps show is how fast nets learn, not where the paper's 64,000 end.")
    return Result(
        tuple(findings),
        {"plain-56 trains worse than plain-20": degrades, "resnet-56 trains better than resnet-20": cured},
        (Table("Error at the last step, in per cent", ("net", "training error", "test error"), tuple(rows)),),
        (_figure(lab, groups),),
        {part: {f"{kind}{d}": values for (kind, d), values in each.items()} for part, each in errors.items()},
    )


def _figure(lab: Lab, groups: Nets) -> Figure:
    figure, axes = canvas(2, 4.4)
    for axis, kind, title in zip(axes, ("plain", "resnet"), ("Plain nets", "Residual nets"), strict=True):
        ends = []
        for number, d in enumerate(DEPTHS):
            colour, width = COLOURS[number], 2.6 if d == DEPTHS[-1] else 1.4
            for part, style in (("train", "--"), ("test", "-")):
                curves = [lab.curve(trial, f"{part}_error") for trial in groups[kind, d]]
                steps = curves[0][0]
                means = [100 * statistics.mean(values) for values in zip(*(c[1] for c in curves), strict=True)]
                axis.plot(steps, means, color=colour, linewidth=width, linestyle=style)
                if part == "test":
                    ends.append((means[-1], f"{d} layers", colour, steps[-1]))
        axis.set(xlabel="step", ylabel="error (%)")
        axis.set_title(title, loc="left")
        axis.set_ylim(0, 90)
        label_ends(axis, ends)
    caption = (
        "Error over the steps of training, means of the seeds; solid: test, dashed: training. He et al. (2015), Fig. 6."
    )
    return Figure("degradation", svg(figure), caption)


def _paired(deep: Sequence[float], shallow: Sequence[float]) -> list[float]:
    return [100 * (d - s) for d, s in zip(deep, shallow, strict=True)]


def _points(differences: Sequence[float]) -> str:
    return f"{statistics.mean(differences):+.2f}"


DEGRADATION = Experiment(
    "degradation",
    "Plain nets of more layers have higher training error; residual nets of more layers have lower "
    "(He et al. 2015, Sec. 4.2 and Fig. 6). The paper prints curves and no table.",
    conclude,
    lambda budget: pooled(*nets(budget).values()),
)

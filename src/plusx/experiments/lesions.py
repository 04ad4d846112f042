"""Taking blocks away from trained nets; Veit et al. (2016), arXiv:1605.06431, Sec. 4 and 5."""

import statistics
from collections.abc import Mapping
from typing import Any

from plusx.analysis import lesions, paths
from plusx.data.batches import EvalBatches
from plusx.data.images import spread
from plusx.experiments.cifar import cifar_trials, pooled
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial
from plusx.runs.images import images_of
from plusx.runs.metrics import Measurement
from plusx.runs.store import load_run

IMAGES = 1_000
CHANCE = 0.9
"""Error of guessing among ten classes."""


def trials(budget: Budget) -> tuple[Trial, ...]:
    """A residual net and its plain twin; the plain one of 20 layers, because that of 56 has little to lose."""
    return pooled(*(cifar_trials(net, (0,), budget, "long") for net in ("resnet56", "plain20", "resnet20")))


def conclude(lab: Lab, budget: Budget) -> Result:
    """One block away, many away, blocks moved, and the paths by which gradient comes."""
    each, removed, moved = {}, {}, {}
    by_length: dict[str, list[float]] = {}
    for trial in trials(budget):
        name = trial.recipe.net.name
        run = lab.run(trial)
        net, card = load_run(run)
        images = images_of(run, card, data_dir=lab.data_dir).images
        batches = list(EvalBatches(spread(images, IMAGES), card.preprocess, 125))
        each[name] = list(lesions.probe(net, batches))
        removed[name] = list(lesions.removing(net, batches))
        if name == "resnet56":
            moved[name] = list(lesions.shuffling(net, batches))
            found = list(paths.probe(net, batches[:1]))
            by_length = {kind: [m.value for m in found if m.name.endswith(f" {kind}")] for kind in ("path", "share")}
    rises = {name: [m.value - found[0].value for m in found[1:]] for name, found in each.items()}
    rows = [
        (
            name,
            f"{100 * found[0].value:.1f}",
            f"{100 * (found[0].value + statistics.median(rises[name])):.1f}",
            f"{100 * (found[0].value + max(rises[name])):.1f}",
        )
        for name, found in each.items()
    ]
    share = by_length["share"]
    n, most = len(share) - 1, max(range(len(share)), key=lambda k: share[k])
    nearly_all = next(k for k in range(len(share)) if sum(share[: k + 1]) > 0.9)
    findings = (
        f"Without one block of resnet-56 the error rises by {100 * statistics.median(rises['resnet56']):.1f} points "
        f"(median of {len(rises['resnet56'])} blocks); without the same two layers of plain-20 by "
        f"{100 * statistics.median(rises['plain20']):.1f} points, where chance is {100 * CHANCE:.0f} % error.",
        f"Of the gradient that reaches the input of resnet-56, 90 % arrives through paths with at most {nearly_all} of "
        f"the {n} branches, and paths with {most} carry the most; half of all paths have {n // 2} or more.",
        "No block is skipped when such a net runs: F(x) is always computed and added. Skipping is the lesion, made "
        "here on purpose.",
    )
    head = ("net", "whole (%)", "one block away, median (%)", "one block away, worst (%)")
    numbers = {
        "each": {name: [m.value for m in found] for name, found in each.items()},
        "removed": {name: {m.name: m.value for m in found} for name, found in removed.items()},
        "moved": {name: [[float(m.name), m.value] for m in found] for name, found in moved.items()},
        "gradient_by_path_length": by_length["path"],
        "share_of_gradient_by_path_length": share,
    }
    seen = {
        "removing a block barely affects resnet-56": statistics.median(rises["resnet56"]) < 0.05,
        "it breaks plain-20": statistics.median(rises["plain20"]) > 0.5,
        "nearly all of the gradient arrives through short paths": nearly_all < n // 2,
    }
    return Result(findings, seen, (Table("Test error", head, tuple(rows)),), numbers)


def _figures(numbers: Mapping[str, Any]) -> list[Figure]:
    each = {net: [Measurement("", error, "1") for error in errors] for net, errors in numbers["each"].items()}
    removed, moved = (
        {net: [Measurement(str(at), error, "1") for at, error in points] for net, points in found.items()}
        for found in ({net: by_count.items() for net, by_count in numbers["removed"].items()}, numbers["moved"])
    )
    kinds = {"path": "gradient_by_path_length", "share": "share_of_gradient_by_path_length"}
    by_length = [
        Measurement(f"{k} {kind}", value, "1") for kind, key in kinds.items() for k, value in enumerate(numbers[key])
    ]
    return [
        Figure(
            "lesions",
            lesions.draw(each),
            f"Test error on {IMAGES:,} images with each block removed in turn; the dotted line is the intact net. "
            "Veit et al., Fig. 3.",
        ),
        Figure(
            "lesions-many",
            lesions.draw_many(removed, moved),
            "Left: random blocks removed, mean of three draws. Right: blocks swapped, resnet-56; Veit et al., Fig. 5.",
        ),
        Figure(
            "paths",
            paths.draw(by_length),
            "One path: the norm of the gradient that reaches the input through a path of k branches. All paths: how "
            "many paths have that length, and which share of the gradient they carry; resnet-56, Veit et al., Fig. 6.",
        ),
    ]


LESIONS = Experiment(
    "lesions",
    "Removing a block barely affects a residual net but breaks a plain net, and nearly all of the gradient arrives "
    "through short paths (Veit et al. 2016, Sec. 4 and 5).",
    conclude,
    trials,
    _figures,
    minutes=74,
)

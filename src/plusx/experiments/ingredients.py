"""One ingredient at a time on one small net: optimizers, initialisers, poolings, activations, regularisation; and
residual blocks of one layer, in which He et al. (2015), Sec. 3.2, saw no advantage.
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from plusx.experiments.cifar import cifar_trials
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial, mean_std
from plusx.recipes import Recipe
from plusx.recipes.optim import SGD, Adadelta, Adagrad, Adam, AdamW, Optim, Penalty, RMSprop
from plusx.recipes.small import ingredients
from plusx.report.figure import panels, svg
from plusx.report.palette import INK, SERIES

SEEDS = (0, 1, 2)
BASE = "as it is"

OPTIMIZERS: Mapping[str, Optim] = {
    "SGD": SGD(lr=0.1, momentum=0.0, weight_decay=0.0),
    "Nesterov": SGD(lr=0.02, momentum=0.9, weight_decay=0.0, nesterov=True),
    "Adagrad": Adagrad(lr=0.02),
    "Adadelta": Adadelta(lr=1.0),
    "RMSprop": RMSprop(lr=1e-3),
    "Adam": Adam(lr=2e-3),
    "AdamW": AdamW(lr=2e-3),
}
"""The rates are common ones and, except for the unchanged net's, were not tuned: a ranking would need that."""


def variants() -> dict[str, dict[str, Recipe]]:
    """Recipes by kind of ingredient and by what is changed; the unchanged net is under the empty kind."""
    base = ingredients()

    def net(**options: Any) -> Recipe:
        return dataclasses.replace(base, net=dataclasses.replace(base.net, options={**base.net.options, **options}))

    def optim(**changes: Any) -> Recipe:
        return dataclasses.replace(base, optim=dataclasses.replace(base.optim, **changes))

    return {
        "": {BASE: base},
        "optimizer (the base net uses momentum)": {
            name: dataclasses.replace(base, optim=optim) for name, optim in OPTIMIZERS.items()
        },
        "initialisation (the base net uses He's)": {name: net(init=name) for name in ("uniform", "xavier", "gaussian")},
        "pooling (the base net uses max)": {name: net(pooling=name) for name in ("average", "stochastic")},
        "activation (the base net uses ReLU)": {
            name: net(activation=name) for name in ("leaky_relu", "prelu", "elu", "tanh", "sigmoid")
        },
        "regularisation": {
            "dropout 0.5": net(dropout=0.5),
            "L1 1e-5": dataclasses.replace(base, penalty=Penalty(l1=1e-5)),
            "L2 5e-4": optim(weight_decay=5e-4),
            "batch norm": net(batch_norm=True),
            "no augmentation": dataclasses.replace(base, augment=()),
        },
    }


def trials_of(name: str, recipe: Recipe) -> list[Trial]:
    """One training for each seed."""
    label = "lenet5-" + "".join(c if c.isalnum() else "-" for c in name.lower())
    return [Trial(label, dataclasses.replace(recipe, seed=seed)) for seed in SEEDS]


def one_layer_blocks(budget: Budget) -> dict[str, Sequence[Trial]]:
    """Twenty layers, plain, in blocks of one layer and of two."""
    return {
        "plain": cifar_trials("plain20", SEEDS, budget, "short"),
        "shortcuts over one layer": cifar_trials(
            "resnet20", SEEDS, budget, "short", "resnet20-one", layers_per_block=1
        ),
        "shortcuts over two layers": cifar_trials("resnet20", SEEDS, budget, "short"),
    }


def conclude(lab: Lab, budget: Budget) -> Result:
    """A table for each kind of ingredient, and one for blocks of one layer."""
    found = {
        kind: {
            name: [lab.outcome(trial, "val_error") for trial in trials_of(name, recipe)]
            for name, recipe in each.items()
        }
        for kind, each in variants().items()
    }
    [base] = found.pop("").values()
    base_mean = _mean(base)
    tables = []
    for kind, each in found.items():
        rows = [("unchanged", _cell(base), "")]
        rows += [(name, _cell(errors), f"{100 * (_mean(errors) - base_mean):+.2f}") for name, errors in each.items()]
        tables.append(Table(f"Validation error: {kind}", ("changed", "error (%)", "difference (points)"), tuple(rows)))
    blocks = {name: lab.results(trials, "train_error") for name, trials in one_layer_blocks(budget).items()}
    head = ("20 layers", "training error (%)")
    tables.append(
        Table("Residual blocks of one layer", head, tuple((name, mean_std(each)) for name, each in blocks.items()))
    )
    plain, one, two = (statistics.mean(each) for each in blocks.values())
    clear = [
        f"{name} ({100 * (_mean(errors) - base_mean):+.1f}{', one diverged' if None in errors else ''})"
        for each in found.values()
        for name, errors in each.items()
        if abs(_mean(errors) - base_mean) > 3 * max(_spread(errors), _spread(base))
    ]
    findings = (
        f"LeNet-5 with ReLU ends at {100 * base_mean:.1f} % validation error after three epochs. Changes beyond "
        f"three standard deviations over the seeds, in percentage points: {', '.join(clear) or 'none'}. Three epochs "
        "favour what learns fast; in so short a run, regularisation costs more than it gains.",
        f"The training error is {100 * one:.2f} % with shortcuts over one layer, {100 * plain:.2f} % without shortcuts "
        f"and {100 * two:.2f} % with shortcuts over two layers. Shortcuts over one layer gain "
        f"{100 * (plain - one):.1f} points, where the seeds deviate by {100 * _spread(blocks['plain']):.1f} and "
        f"{100 * _spread(blocks['shortcuts over one layer']):.1f}; those over two layers gain "
        f"{100 * (plain - two):.1f}. The paper saw no advantage of one layer, y = W x + x, which is 'similar to a "
        "linear layer' with weights W + 1; here a ReLU follows.",
    )
    numbers = {"base": base, **found, "blocks": blocks}
    alike = one > plain - _spread(blocks["plain"])
    seen = {"blocks of one layer have no advantage over plain layers": alike}
    return Result(findings, seen, tuple(tables), numbers)


def _figures(numbers: Mapping[str, Any]) -> list[Figure]:
    kinds = {kind: each for kind, each in numbers.items() if kind not in ("base", "blocks")}
    [panel] = panels("", height=1.2 + 0.22 * sum(map(len, kinds.values())))
    axis = panel.axis
    axis.grid(visible=False, axis="y")
    axis.grid(axis="x", color=INK, alpha=0.12)
    labels: list[str] = []
    for each, colour in zip(kinds.values(), SERIES, strict=False):
        for name, errors in each.items():
            ends = [100 * error for error in _known(errors)]
            axis.scatter(ends, [len(labels)] * len(ends), color=colour, s=16)
            labels.append(name)
    axis.axvline(100 * _mean(numbers["base"]), color=INK, linewidth=1, alpha=0.5)
    axis.set_yticks(range(len(labels)), labels)
    axis.invert_yaxis()
    axis.set(xlabel="validation error (%)")
    caption = "Each point is a seed, and the line marks the unchanged net. Colours distinguish the kinds of ingredient."
    return [Figure("ingredients", svg([panel]), caption)]


def _known(values: Sequence[float | None]) -> list[float]:
    """The values of the trainings that did not diverge."""
    return [value for value in values if value is not None]


def _mean(values: Sequence[float | None]) -> float:
    """The mean of the trainings that did not diverge; if all did, the error of guessing."""
    return statistics.mean(_known(values) or [0.9])


def _spread(values: Sequence[float | None]) -> float:
    known = _known(values)
    return statistics.stdev(known) if known[1:] else 0.0


def _cell(values: Sequence[float | None]) -> str:
    known = _known(values)
    lost = len(values) - len(known)
    return mean_std(known) + (f", {lost} diverged" if lost else "") if known else "diverged"


INGREDIENTS = Experiment(
    "ingredients",
    "How much each ingredient of a small net contributes, changed one at a time; and whether blocks of one layer help, "
    "for which He et al. (2015), Sec. 3.2, 'have not observed advantages'.",
    conclude,
    lambda budget: [
        *(t for each in variants().values() for name, recipe in each.items() for t in trials_of(name, recipe)),
        *(t for trials in one_layer_blocks(budget).values() for t in trials),
    ],
    _figures,
    minutes=72,
)

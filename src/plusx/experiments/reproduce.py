"""`plusx reproduce EXPERIMENT`: which experiments there are, how far each has come, and how to run one."""

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from plusx.engine.training import Event
from plusx.experiments.accounting import ACCOUNTING
from plusx.experiments.cifar10_table import CIFAR10_TABLE
from plusx.experiments.degradation import DEGRADATION
from plusx.experiments.ensemble import ENSEMBLE
from plusx.experiments.gates import GATES
from plusx.experiments.gradients import GRADIENTS
from plusx.experiments.imagenet_table import IMAGENET_TABLE
from plusx.experiments.ingredients import INGREDIENTS
from plusx.experiments.lab import Budget, Experiment, Lab, Result, verdict, write_result
from plusx.experiments.lesions import LESIONS
from plusx.experiments.responses import RESPONSES
from plusx.experiments.shortcuts import SHORTCUTS
from plusx.experiments.stochastic_depth import STOCHASTIC_DEPTH
from plusx.experiments.worked_example import WORKED_EXAMPLE
from plusx.recipes import Recipe

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        WORKED_EXAMPLE,
        GRADIENTS,
        DEGRADATION,
        CIFAR10_TABLE,
        SHORTCUTS,
        RESPONSES,
        LESIONS,
        ENSEMBLE,
        INGREDIENTS,
        GATES,
        STOCHASTIC_DEPTH,
        ACCOUNTING,
        IMAGENET_TABLE,
    )
}
"""By name, in the order of the story."""


@dataclass(frozen=True)
class Reproduced:
    """An experiment that was run."""

    experiment: Experiment
    result: Result
    seconds: float
    """Of all its trainings, also those that were there before."""
    folder: Path
    """Has result.json, report.html and the figures."""


@dataclass(frozen=True)
class Standing:
    """How far an experiment has come in a folder."""

    name: str
    claim: str
    trials: int
    """Trainings that it needs."""
    trained: int
    """Of them, those that are done."""
    seconds: float | None
    """What its trainings took; None before it has a result."""
    seen: Mapping[str, bool]
    """The parts of its claim; empty before it has a result."""
    findings: tuple[str, ...]
    """Empty before it has a result."""

    @property
    def verdict(self) -> str:
        """How much of the claim was seen."""
        return verdict(self.seen)


def reproduce(
    name: str,
    *,
    out: str | Path = "reproduced",
    budget: Budget = "quick",
    data_dir: str | Path | None = None,
    watch: Callable[[Event, str], None] = lambda event, training: None,
    should_stop: Callable[[], bool] = lambda: False,
    shrink: Callable[[Recipe], Recipe] = lambda recipe: recipe,
) -> Reproduced:
    """Run an experiment, or go on with it: trainings that are done are used, the one that was stopped goes on.

    Args:
        name: Of the experiment.
        out: Folder of all experiments of a budget, which share trainings.
        budget: quick, the paper's recipe in fewer steps, or paper.
        data_dir: Where CIFAR lies; for imagenet-table, the folder of ImageNet.
        watch: Told of progress over all trainings that are still to be made, and which of them it is.
        should_stop: As for `train`.
        shrink: Changes every recipe; for trying an experiment out.

    Raises:
        ValueError: The experiment is unknown, or what it needs is not there.
        StoppedError: It was stopped; the same call goes on.

    Example:
        >>> found = reproduce("worked-example", out="reproduced")
        >>> round(found.result.numbers["ratio"])
        40
    """
    experiment, folder = find(name), Path(out) / budget
    missing = [t for t in experiment.trials(budget) if not Lab(folder).finished(t)]
    begun: list[str] = []

    def over_all(event: Event, key: str) -> None:
        if key not in begun:
            begun.append(key)
        done, total = event.total_steps * (len(begun) - 1), event.total_steps * max(len(missing), len(begun))
        watch(replace(event, step=done + event.step, total_steps=total), key)

    lab = Lab(
        folder,
        data_dir=Path(data_dir) if data_dir else None,
        watch=over_all,
        should_stop=should_stop,
        shrink=shrink,
    )
    result = experiment.conclude(lab, budget)
    content = write_result(lab, experiment, budget, result)
    return Reproduced(experiment, result, content["seconds"], folder / name)


def standing(out: str | Path = "reproduced", budget: Budget = "quick") -> list[Standing]:
    """How far each experiment has come in a folder; nothing is run."""
    lab = Lab(Path(out) / budget)
    found = []
    for experiment in EXPERIMENTS.values():
        trials = experiment.trials(budget)
        file = lab.folder / experiment.name / "result.json"
        told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        found.append(
            Standing(
                experiment.name,
                experiment.claim,
                len(trials),
                sum(map(lab.finished, trials)),
                told.get("seconds"),
                told.get("seen", {}),
                tuple(told.get("findings", ())),
            )
        )
    return found


def find(name: str) -> Experiment:
    """The experiment of that name. ValueError names the nearest."""
    if name not in EXPERIMENTS:
        near = difflib.get_close_matches(name, EXPERIMENTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(EXPERIMENTS)}"
        raise ValueError(f"unknown experiment {name!r}; {hint}")
    return EXPERIMENTS[name]

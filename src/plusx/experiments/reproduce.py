"""`plusx reproduce EXPERIMENT`: which experiments there are, how far each has come, and how to run one."""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from plusx.analysis.trace import trace_evaluation
from plusx.engine.events import DivergedError, Event, StoppedError
from plusx.experiments.accounting import ACCOUNTING
from plusx.experiments.cifar10_table import CIFAR10_TABLE
from plusx.experiments.degradation import DEGRADATION
from plusx.experiments.ensemble import ENSEMBLE
from plusx.experiments.gates import GATES
from plusx.experiments.gradients import GRADIENTS
from plusx.experiments.imagenet_table import IMAGENET_TABLE
from plusx.experiments.ingredients import INGREDIENTS
from plusx.experiments.lab import Budget, Experiment, Lab, Progress, Result, Trial, verdict, write_result
from plusx.experiments.lesions import LESIONS
from plusx.experiments.responses import RESPONSES
from plusx.experiments.shortcuts import SHORTCUTS
from plusx.experiments.stochastic_depth import STOCHASTIC_DEPTH
from plusx.experiments.worked_example import WORKED_EXAMPLE
from plusx.nets import build, entry
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
TRAINING_IMAGES = {"cifar10": 50_000, "digits": 1_437, "imagenet": 1_281_167}


@dataclass(frozen=True)
class Reproduced:
    """An experiment that was run."""

    experiment: Experiment
    result: Result
    seconds: float
    """Of all its trainings, also those that were there before."""
    folder: Path
    """Has result.json, report.html and the figures."""

    def __repr__(self) -> str:
        return f"<Reproduced {self.experiment.name} in {self.folder}: {self.result!r}>"


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
    minutes: int | None
    """What they took on the machine of results/; None where they were not made there, and for the paper's budget."""
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
    watch: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    shrink: Callable[[Recipe], Recipe] | None = None,
) -> Reproduced:
    """Run an experiment, or resume it: trainings that are done are used, the one that was stopped is resumed.

    Args:
        name: Of the experiment.
        out: Folder of all experiments of a budget, which share trainings.
        budget: quick, the paper's recipe in fewer steps, or paper.
        data_dir: Where CIFAR lies; for imagenet-table, the folder of ImageNet.
        watch: Called with progress over all trainings that are still to be made.
        should_stop: As for `train`.
        shrink: Changes every recipe; for trying an experiment out.

    Raises:
        ValueError: The experiment is unknown, or what it needs is not there.
        StoppedError: It was stopped; the same call resumes it.

    Example:
        >>> found = reproduce("worked-example", out="reproduced")
        >>> round(found.result.numbers["ratio"])
        40
    """
    experiment, folder = find(name), Path(out) / budget
    lab = Lab(
        folder,
        data_dir=Path(data_dir) if data_dir else None,
        watch=None,
        should_stop=should_stop,
        shrink=shrink,
    )
    if watch:
        lab.watch = _over_all(lab, experiment.trials(budget), watch)
    try:
        result = experiment.conclude(lab, budget)
    except StoppedError as stopped:
        if isinstance(stopped, DivergedError):
            raise
        raise StoppedError(stopped.where, f"resume with: plusx reproduce {name}") from None
    content = write_result(lab, experiment, budget, result)
    return Reproduced(experiment, result, content["seconds"], folder / name)


def _over_all(lab: Lab, trials: Sequence[Trial], watch: Callable[[Progress], None]) -> Callable[[Event, str], None]:
    """From the events of each training to the progress of all that are missing now."""
    work = {trial.key: _work(lab.recipe(trial), trial.data) for trial in trials if not lab.finished(trial)}
    before, begun = len(trials) - len(work), list[str]()

    def over_all(event: Event, key: str) -> None:
        if key not in begun:
            begun.append(key)
        earlier = sum(work.get(other, 0.0) for other in begun[:-1])
        done = earlier + work.get(key, 0.0) * event.step / max(1, event.total_steps)
        watch(Progress(key, before + len(begun), len(trials), event, done, sum(work.values())))

    return over_all


def _work(recipe: Recipe, data: str) -> float:
    """Multiply-adds of a training's forward passes, about: options may change the size of images."""
    macs = _macs(recipe.net.name, json.dumps(dict(recipe.net.options)))
    return macs * recipe.batch_size * float(recipe.total_steps(TRAINING_IMAGES[data]))


@cache
def _macs(net: str, options: str) -> int:
    with torch.device("meta"):
        built = build(net, **json.loads(options))
    return sum(call.macs for call in trace_evaluation(built, entry(net).input_shape))


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
                experiment.minutes if budget == "quick" else None,
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

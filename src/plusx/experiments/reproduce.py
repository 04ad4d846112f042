"""`plusx reproduce EXPERIMENT`: run an experiment or resume it; list the experiments and how far each has come."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from plusx.analysis.trace import trace_evaluation
from plusx.engine.events import DivergedError, Event, Progress, StoppedError
from plusx.experiments.lab import Budget, Experiment, Lab, Result, Trial, verdict, write_result
from plusx.experiments.story import EXPERIMENTS, find_experiment
from plusx.nets import build, entry
from plusx.progress import shown
from plusx.recipes import Recipe

TRAINING_IMAGES = {"cifar10": 50_000, "digits": 1_437, "imagenet": 1_281_167}


@dataclass(frozen=True)
class Reproduced:
    """The result of `reproduce`."""

    experiment: Experiment
    result: Result
    seconds: float
    """How long all its trainings took, including those that were there before."""
    folder: Path
    """Holds result.json, report.html and the figures."""

    def __repr__(self) -> str:
        return f"<Reproduced {self.experiment.name} in {self.folder}: {self.result!r}>"


@dataclass(frozen=True)
class ExperimentStatus:
    """How far an experiment has come in a folder."""

    name: str
    claim: str
    trials: int
    """How many trainings it needs."""
    trained: int
    """How many of them are finished."""
    seconds: float | None
    """How long its trainings took; None before it has a result."""
    minutes: int | None
    """How long they took on the machine of results/; None if they were not made there, and for the paper's budget."""
    seen: Mapping[str, bool]
    """The parts of its claim, and whether each was seen; empty before it has a result."""
    findings: tuple[str, ...]
    """What its numbers say; empty before it has a result."""

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
    progress: bool | Callable[[Progress], None] = True,
    should_stop: Callable[[], bool] | None = None,
    shrink: Callable[[Recipe], Recipe] | None = None,
) -> Reproduced:
    """Run an experiment, or resume it: finished trainings are used, and one that was stopped is resumed.

    Args:
        name: Name of the experiment; `list_experiments` has them.
        out: Folder of all experiments of a budget, which share trainings.
        budget: quick, the paper's recipe in fewer steps, or paper.
        data_dir: Folder that CIFAR is in; for imagenet-table, the folder of ImageNet.
        progress: True shows a bar in a terminal or a notebook; a callable is called with a
            `plusx.experiments.lab.Progress` over all trainings that are still to be made.
        should_stop: As for `train`.
        shrink: Changes every recipe, to try an experiment out.

    Raises:
        ValueError: The experiment is unknown, or what it needs is not there.
        StoppedError: It was stopped; the same call resumes it.

    Example:
        >>> done = reproduce("worked-example", out="reproduced")
        >>> round(done.result.numbers["ratio"])
        40
    """
    experiment, folder = find_experiment(name), Path(out) / budget
    lab = Lab(folder, data_dir=Path(data_dir) if data_dir else None, should_stop=should_stop, shrink=shrink)
    try:
        with shown(progress, name) as report:
            lab.progress = _over_all(lab, experiment.trials(budget), report)
            result = experiment.conclude(lab, budget)
    except StoppedError as stopped:
        if isinstance(stopped, DivergedError):
            raise
        raise StoppedError(stopped.where, f"resume with: plusx reproduce {name}") from None
    content = write_result(lab, experiment, budget, result)
    return Reproduced(experiment, result, content["seconds"], folder / name)


def _over_all(lab: Lab, trials: Sequence[Trial], report: Callable[[Progress], None]) -> Callable[[Event, str], None]:
    """Turns the events of each training into the progress of all trainings that are missing now."""
    work = {trial.key: _work(lab.recipe(trial), trial.data) for trial in trials if not lab.finished(trial)}
    before, begun = len(trials) - len(work), list[str]()

    def over_all(event: Event, key: str) -> None:
        if key not in begun:
            begun.append(key)
        earlier = sum(work.get(other, 0.0) for other in begun[:-1])
        done = earlier + work.get(key, 0.0) * event.step / max(1, event.total_steps)
        report(Progress(key, before + len(begun), len(trials), event, done, sum(work.values())))

    return over_all


def _work(recipe: Recipe, data: str) -> float:
    """Approximate multiply-adds of a training's forward passes: options may change the size of images."""
    macs = _macs(recipe.net.name, json.dumps(dict(recipe.net.options)))
    return macs * recipe.batch_size * float(recipe.total_steps(TRAINING_IMAGES[data]))


@cache
def _macs(net: str, options: str) -> int:
    with torch.device("meta"):
        built = build(net, **json.loads(options))
    return sum(call.macs for call in trace_evaluation(built, entry(net).input_shape))


def list_experiments(out: str | Path = "reproduced", budget: Budget = "quick") -> list[ExperimentStatus]:
    """All experiments, and how far each has come in a folder; nothing is run.

    Args:
        out: As for `reproduce`.
        budget: As for `reproduce`.

    Example:
        >>> [each.name for each in list_experiments() if each.trials == 0]
        ['accounting', 'worked-example', 'imagenet-table']
    """
    lab = Lab(Path(out) / budget)
    statuses = []
    for experiment in EXPERIMENTS.values():
        trials = experiment.trials(budget)
        file = lab.folder / experiment.name / "result.json"
        stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        statuses.append(
            ExperimentStatus(
                experiment.name,
                experiment.claim,
                len(trials),
                sum(map(lab.finished, trials)),
                stored.get("seconds"),
                experiment.minutes if budget == "quick" else None,
                stored.get("seen", {}),
                tuple(stored.get("findings", ())),
            )
        )
    return statuses

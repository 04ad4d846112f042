"""What every experiment stands on: trainings that are made once and shared, and a result that carries its evidence.

A folder holds the trainings of all experiments under runs/, each in a run directory named after it. A training that is
finished is used, one that was stopped is resumed, and one that is missing is made. So an experiment can be killed at
any instant and called again, and two experiments that need the same net train it once.
"""

import dataclasses
import datetime
import json
import shutil
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from plusx.data.views import Views
from plusx.engine.evaluation import evaluate
from plusx.engine.events import DivergedError, Event
from plusx.engine.training import Trained, resume, train
from plusx.placement.machine import describe
from plusx.recipes import Recipe
from plusx.report.figure import standalone
from plusx.report.page import heading, illustration, page, paragraph, table
from plusx.runs.card import Card, checkout, installed_versions
from plusx.runs.files import replace_file
from plusx.runs.metrics import read_metrics
from plusx.runs.store import read_card

Budget = Literal["quick", "paper"]
"""quick: the paper's own recipe with fewer steps, to fit an evening. paper: the recipe as it stands."""


@dataclass(frozen=True)
class Trial:
    """One training of an experiment."""

    label: str
    """Names it for people and, followed by its seed, names its folder."""
    recipe: Recipe
    data: str = "cifar10"
    """cifar10, digits, or imagenet, which stands for the folder that the lab's `data_dir` names."""

    @property
    def key(self) -> str:
        return f"{self.label}-seed{self.recipe.seed}"


@dataclass(frozen=True)
class Table:
    """Numbers as they are shown."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A figure as SVG in the page's colours."""

    name: str
    svg: str
    caption: str

    def __repr__(self) -> str:
        return f"<Figure {self.name}: {self.caption}>"


@dataclass(frozen=True)
class Result:
    """The outcome of an experiment."""

    findings: tuple[str, ...]
    """Sentences that the numbers say, whether or not they are the paper's."""
    seen: Mapping[str, bool]
    """The parts of the paper's claim, and whether each was seen; empty where nothing is claimed."""
    tables: tuple[Table, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What the tables were made of and the figures are drawn from, as JSON has it."""

    def __repr__(self) -> str:
        return f"<Result, claim seen: {verdict(self.seen)}: {self.findings[0] if self.findings else ''}>"


def no_trials(budget: Budget) -> Sequence[Trial]:
    """For an experiment that trains nothing."""
    return ()


def no_figures(numbers: Mapping[str, Any]) -> Sequence[Figure]:
    """For an experiment that draws nothing."""
    return ()


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper."""

    name: str
    claim: str
    """What the paper says, in a sentence, and where."""
    conclude: Callable[["Lab", Budget], Result]
    """Draws the conclusions from the trainings; each is made when it is first needed."""
    trials: Callable[[Budget], Sequence[Trial]] = no_trials
    """All its trainings, in the order in which they are made."""
    figures: Callable[[Mapping[str, Any]], Sequence[Figure]] = no_figures
    """Draws the figures from a result's numbers alone, so that a stored result can be drawn again."""
    minutes: int | None = None
    """What the trainings of the quick budget took on the machine of results/; None if they were not made there."""


class Lab:
    """Where the trainings of experiments are made and kept.

    Args:
        folder: Folder of all experiments; runs/ in it has the trainings.
        data_dir: Folder that CIFAR is in.
        progress: Called with the events of a training, and the training's key.
        should_stop: As for `train`.
        shrink: Changes every recipe, to try an experiment out.
    """

    def __init__(
        self,
        folder: Path,
        *,
        data_dir: Path | None = None,
        progress: Callable[[Event, str], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        shrink: Callable[[Recipe], Recipe] | None = None,
    ) -> None:
        self.folder, self.data_dir, self._shrink = folder, data_dir, shrink
        self.progress, self._should_stop = progress, should_stop

    def path(self, trial: Trial) -> Path:
        """Where a training is, or will be."""
        return self.folder / "runs" / trial.key

    def recipe(self, trial: Trial) -> Recipe:
        """The recipe that a training is made with."""
        return self._shrink(trial.recipe) if self._shrink else trial.recipe

    def run(self, trial: Trial) -> Path:
        """The directory of a finished training, which is made or resumed if need be.

        Raises:
            ValueError: The directory is there with another recipe, or the data is not there.
            StoppedError: It was asked to stop.
            DivergedError: The loss became infinite.
        """
        path, recipe = self.path(trial), self.recipe(trial)

        def report(event: object) -> None:
            if self.progress and isinstance(event, Event):
                self.progress(event, trial.key)

        how: dict[str, Any] = {"data_dir": self.data_dir, "should_stop": self._should_stop, "progress": report}
        data = str(self.data_dir) if trial.data == "imagenet" else trial.data
        return made_or_resumed(path, data, recipe, **how).run

    def outcome(self, trial: Trial, name: str) -> float | None:
        """One measured number of a training; None where the loss became infinite."""
        try:
            value: float = self.card(trial).results[name]
        except DivergedError:
            return None
        return value

    def card(self, trial: Trial) -> Card:
        """What a training measured."""
        return read_card(self.run(trial))

    def results(self, trials: Iterable[Trial], name: str) -> list[float]:
        """One measured number of each training."""
        return [self.card(trial).results[name] for trial in trials]

    def curve(self, trial: Trial, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of a measurement over a training."""
        points = [(r["step"], r["value"]) for r in read_metrics(self.run(trial)) if r["name"] == name]
        steps, values = zip(*points, strict=True)
        return list(steps), list(values)

    def evaluated(
        self, runs: Sequence[Path], out: Path, *, data: Path | None = None, views: Views | None = None
    ) -> dict[str, Any]:
        """evaluation.json of runs, alone or as an ensemble. It is made once, and again if that was interrupted."""
        if not (out / "evaluation.html").is_file():  # the last file that is written
            shutil.rmtree(out, ignore_errors=True)
            evaluate(runs, data, views=views, out=out, data_dir=self.data_dir, progress=False)
        found: dict[str, Any] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
        return found

    def finished(self, trial: Trial) -> bool:
        """Whether a training is finished; none is started."""
        path = self.path(trial)
        return (path / "card.json").is_file() and read_card(path).status == "finished"


def made_or_resumed(run: Path, data: str, recipe: Recipe, **how: Any) -> Trained:
    """A finished training, which is made or resumed if need be.

    Args:
        run: Its run directory, which need not exist.
        data: As for `train`.
        recipe: The recipe that it is made with.
        how: Arguments that `train` and `resume` share.

    Raises:
        ValueError: The directory is there with another recipe, or the data is not there.
        StoppedError: As for `train`.
    """
    if not (run / "card.json").is_file():
        return train(data, recipe=recipe, out=run, **how)
    card = read_card(run)
    if card.recipe != recipe:
        raise ValueError(f"{run} was trained with another recipe; choose another --out")
    return Trained(run, card) if card.status == "finished" else resume(run, **how)


def verdict(seen: Mapping[str, bool]) -> str:
    """`yes`, `in part` or `no`: how much of a claim was seen; `–` where nothing is claimed."""
    return "–" if not seen else "yes" if all(seen.values()) else "in part" if any(seen.values()) else "no"


def mean_std(shares: Sequence[float]) -> str:
    """Shares in per cent, `12.34 ± 0.56 (n = 3)`; one share has no deviation, and none is `not measured`."""
    if not shares:
        return "not measured"
    mean = f"{100 * statistics.mean(shares):.2f}"
    return f"{mean} ± {100 * statistics.stdev(shares):.2f} (n = {len(shares)})" if shares[1:] else f"{mean} (n = 1)"


def write_result(lab: Lab, experiment: Experiment, budget: Budget, result: Result) -> dict[str, Any]:
    """Write result.json, the figures and report.html into the experiment's folder; returns result.json's content."""
    folder = lab.folder / experiment.name
    folder.mkdir(parents=True, exist_ok=True)
    runs = [
        _evidence(trial.key, read_card(lab.path(trial))) for trial in experiment.trials(budget) if lab.finished(trial)
    ]
    numbers = json.loads(json.dumps(result.numbers))
    figures = experiment.figures(numbers)
    for figure in figures:
        replace_file(folder / f"{figure.name}.svg", standalone(figure.svg).encode())
    content: dict[str, Any] = {
        "experiment": experiment.name,
        "claim": experiment.claim,
        "budget": budget,
        "seen": dict(result.seen),
        "findings": list(result.findings),
        "tables": [dataclasses.asdict(each) for each in result.tables],
        "figures": [{"file": f"{figure.name}.svg", "caption": figure.caption} for figure in figures],
        "numbers": numbers,
        "seconds": round(sum(run["seconds"] for run in runs), 1),
        "date": datetime.date.today().isoformat(),
        "commit": checkout(Path(__file__).parents[1]),
        "machine": describe(),
        "versions": installed_versions(),
        "runs": runs,
    }
    replace_file(folder / "result.json", (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    body = [
        paragraph(experiment.claim),
        *map(paragraph, result.findings),
        *(heading(each.title) + table(each.head, each.rows) for each in result.tables),
        *(illustration(figure.svg, figure.caption) for figure in figures),
        paragraph(evidence_in_words(content)),
    ]
    replace_file(folder / "report.html", page(experiment.name.replace("-", " ").capitalize(), body))
    return content


def evidence_in_words(content: Mapping[str, Any]) -> str:
    """How much was trained, on which machine and with which versions."""
    runs, machine = content["runs"], content["machine"]
    trained = f"{len(runs)} trainings, {content['seconds'] / 60:,.0f} minutes in total" if runs else "No training"
    cores = "1 core" if machine["cpus"] == 1 else f"{machine['cpus']} cores"
    where = f"{machine['cpu']}, {cores}, bf16: {machine['bf16']}"
    commit = f", commit {content['commit']}" if content["commit"] else ""
    return f"{trained}; {where}; torch {content['versions']['torch']}{commit}; {content['date']}."


def _evidence(key: str, card: Card) -> dict[str, Any]:
    results = card.results
    kept = ("net", "params", "seed", "steps", "images_per_s", "seconds", "peak_memory_bytes")
    errors = {name: value for name, value in results.items() if name.endswith(("_error", "_loss"))}
    return {"run": key, **{name: results[name] for name in kept}, **errors, "batch_size": card.recipe.batch_size}

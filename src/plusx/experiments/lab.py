"""What every experiment stands on: trainings that are made once and shared, and a result that carries its evidence.

A folder holds the trainings of all experiments under runs/, each in a run directory named for what it is. One that is
there is used, one that was stopped goes on, and one that is missing is made; so an experiment can be killed at any
instant and called again, and two experiments that need the same net train it once.
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
"""The paper's own recipe cut in steps to fit an evening, or as it stands."""


@dataclass(frozen=True)
class Trial:
    """A training."""

    label: str
    """What it is, for people and for the name of its folder; a seed follows."""
    recipe: Recipe
    data: str = "cifar10"
    """cifar10, digits, or imagenet, which is the folder that the lab's `data_dir` names."""

    @property
    def key(self) -> str:
        return f"{self.label}-seed{self.recipe.seed}"


@dataclass(frozen=True)
class Progress:
    """How far a series of trainings has come."""

    training: str
    """What is trained now."""
    number: int
    """Of this training, from 1."""
    trainings: int
    event: Event
    """Of this training."""
    done: float
    """Work of all trainings, in multiply-adds."""
    total: float


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
    """What an experiment found."""

    findings: tuple[str, ...]
    """Sentences that the numbers say, whether or not they are the paper's."""
    seen: Mapping[str, bool]
    """The parts of the paper's claim, and whether each was seen; empty where nothing is claimed."""
    tables: tuple[Table, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What the tables were made of and the figures are drawn from, as JSON has it."""

    def __repr__(self) -> str:
        return f"<Result, claim seen: {verdict(self.seen)}: {self.findings[0] if self.findings else ''}>"


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper."""

    name: str
    claim: str
    """What the paper says, in a sentence, and where."""
    conclude: Callable[["Lab", Budget], Result]
    """Looks at the trainings; each is made when it is first asked for."""
    trials: Callable[[Budget], Sequence[Trial]] = lambda budget: ()
    """All of the trainings, in the order in which they are made."""
    figures: Callable[[Mapping[str, Any]], Sequence[Figure]] = lambda numbers: ()
    """Drawn from a result's numbers alone, so that a stored result can be drawn again."""
    minutes: int | None = None
    """What the trainings of the quick budget took on the machine of results/; None where they were not made there."""


class Lab:
    """Where trainings are made and found.

    Args:
        folder: Of all experiments; runs/ in it has the trainings.
        data_dir: Where CIFAR lies.
        watch: Called with progress, and the training's key.
        should_stop: As for `train`.
        shrink: Changes every recipe; for trying an experiment out.
    """

    def __init__(
        self,
        folder: Path,
        *,
        data_dir: Path | None = None,
        watch: Callable[[Event, str], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        shrink: Callable[[Recipe], Recipe] | None = None,
    ) -> None:
        self.folder, self.data_dir, self._shrink = folder, data_dir, shrink
        self.watch, self._should_stop = watch, should_stop

    def path(self, trial: Trial) -> Path:
        """Where a training is, or will be."""
        return self.folder / "runs" / trial.key

    def recipe(self, trial: Trial) -> Recipe:
        """What a training is made with."""
        return self._shrink(trial.recipe) if self._shrink else trial.recipe

    def run(self, trial: Trial) -> Path:
        """The directory of a finished training, which is made or resumed if need be.

        Raises:
            ValueError: The directory is there with another recipe, or the data is not there.
            StoppedError: It was asked to stop.
            DivergedError: The loss became infinite.
        """
        path, recipe = self.path(trial), self.recipe(trial)
        how: dict[str, Any] = {"data_dir": self.data_dir, "should_stop": self._should_stop, "progress": False}
        if watch := self.watch:
            how["progress"] = lambda event: watch(event, trial.key) if isinstance(event, Event) else None
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
        """evaluation.json of runs, alone or as an ensemble; it is made once, and anew where that was interrupted."""
        if not (out / "evaluation.html").is_file():  # the last file that is written
            shutil.rmtree(out, ignore_errors=True)
            evaluate(runs, data, views=views, out=out, data_dir=self.data_dir)
        found: dict[str, Any] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
        return found

    def finished(self, trial: Trial) -> bool:
        """Whether a training is done; none is begun."""
        path = self.path(trial)
        return (path / "card.json").is_file() and read_card(path).status == "finished"


def made_or_resumed(run: Path, data: str, recipe: Recipe, **how: Any) -> Trained:
    """A finished training, which is made or resumed if need be.

    Args:
        run: Where it is, or will be.
        data: As for `train`.
        recipe: What it is made with.
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
    """Per cent, as `12.34 ± 0.56 (n = 3)`; without the deviation for a single share, `not measured` for none."""
    if not shares:
        return "not measured"
    mean = f"{100 * statistics.mean(shares):.2f}"
    return f"{mean} ± {100 * statistics.stdev(shares):.2f} (n = {len(shares)})" if shares[1:] else f"{mean} (n = 1)"


def write_result(lab: Lab, experiment: Experiment, budget: Budget, result: Result) -> dict[str, Any]:
    """result.json, the figures and report.html, in the experiment's folder. Returns the first's content."""
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
    """How much was trained, where and with what."""
    runs, machine = content["runs"], content["machine"]
    trained = f"{len(runs)} trainings, {content['seconds'] / 60:,.0f} minutes in all" if runs else "No training"
    cores = "1 core" if machine["cpus"] == 1 else f"{machine['cpus']} cores"
    where = f"{machine['cpu']}, {cores}, bf16: {machine['bf16']}"
    commit = f", commit {content['commit']}" if content["commit"] else ""
    return f"{trained}; {where}; torch {content['versions']['torch']}{commit}; {content['date']}."


def _evidence(key: str, card: Card) -> dict[str, Any]:
    results = card.results
    kept = ("net", "params", "seed", "steps", "images_per_s", "seconds", "peak_memory_bytes")
    errors = {name: value for name, value in results.items() if name.endswith(("_error", "_loss"))}
    return {"run": key, **{name: results[name] for name in kept}, **errors, "batch_size": card.recipe.batch_size}

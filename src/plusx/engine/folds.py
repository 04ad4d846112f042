"""Cross-validation: a run for each fold of the images, and the predictions of every image by the run without it."""

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from plusx.data.folds import folds_of, pool
from plusx.data.sources import NAMES, load_source
from plusx.engine.evaluation import evaluate
from plusx.engine.events import DivergedError, Event, Progress, Reading, StoppedError
from plusx.engine.plan import asked_for
from plusx.engine.training import resume, train
from plusx.nets.own import is_own
from plusx.progress import shown
from plusx.recipes import Recipe
from plusx.recipes.codec import to_dict
from plusx.report.evaluation import write_evaluation
from plusx.runs.files import replace_file, require_writable
from plusx.runs.images import seen_by
from plusx.runs.predictions import Predictions, Score, score
from plusx.runs.store import read_card, require_free

FILE = "folds.json"


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """What `cross_validate` measured."""

    out: Path
    """Where predictions.csv, evaluation.json, evaluation.html and the runs are."""
    runs: tuple[Path, ...]
    """One for each fold."""
    scores: tuple[Score, ...]
    """Of each run, on the fold that it did not see."""
    score: Score
    """Of all images, each predicted by the run that did not see it."""
    notes: tuple[str, ...] = ()
    """What is not used of the data, and how many groups there are, a sentence each."""

    @property
    def mean(self) -> float:
        """The mean of the folds' errors, each in [0, 1]."""
        return statistics.fmean(each.error for each in self.scores)

    @property
    def std(self) -> float:
        """Their standard deviation, with n - 1 in the denominator."""
        return statistics.stdev(each.error for each in self.scores)

    def __repr__(self) -> str:
        return f"<CrossValidated {self.out}: error {100 * self.mean:.2f} ± {100 * self.std:.2f} %>"


def cross_validate(
    data: str | Path,
    *,
    folds: int = 5,
    out: str | Path,
    recipe: str | Recipe | None = None,
    seed: int | None = None,
    weights: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    progress: bool | Callable[..., None] = True,
    should_stop: Callable[[], bool] | None = None,
) -> CrossValidated:
    """Train a run for each fold of the images, and measure it on that fold, of which it has seen nothing.

    The folds are of the images for training and validation; test images are left aside. Which fold an image is in
    depends on the content of the images and on their groups alone. If it is interrupted, the same call goes on where it
    was. The arguments that are not listed are those of `train`.

    Args:
        data: As for `train`.
        folds: How many, 2 or more.
        out: New or empty directory, or that of the call that was interrupted.
        recipe: As for `train`.
        seed: As for `train`, the same for every fold.
        weights: As for `train`.
        overrides: As for `train`.
        data_dir: As for `train`.
        download: As for `train`.
        progress: As for `train`; a function is called with a `Progress` in place of each `Event`.
        should_stop: As for `train`.

    Raises:
        ValueError: As for `train`; or a class has fewer images than there are folds, or `out` holds other folds.
        StoppedError: As for `train`.

    Example:
        >>> from plusx.recipes import digits
        >>> short = {"steps": 2, "batch_size": 16}
        >>> done = cross_validate("digits", folds=2, out="runs/folds", recipe=digits(), overrides=short, progress=False)
        >>> done.score.images, [run.name for run in done.runs]
        (1437, ['fold-1', 'fold-2'])
    """
    root = Path(out)
    if folds < 2:
        raise ValueError(f"folds is {folds}; cross-validation takes 2 or more")
    asked, _ = asked_for(data, recipe, overrides, seed, weights)
    for key, value, other in (
        ("fold", asked.data.fold, None),
        ("limit", asked.data.limit, None),
        ("test", asked.data.test, "test"),
    ):
        if value not in (None, other):
            raise ValueError(
                f"data.{key} is {value!r}, which does not go with folds, whose images are all tested on once"
            )
    trust = is_own(asked.net.name)  # it was named for this call, and the folds' copies are compared with it
    with shown(progress, str(data), stopping=should_stop) as show:
        source = load_source(
            str(data),
            data_dir=Path(data_dir) if data_dir is not None else None,
            download=download,
            undecodable=asked.data.undecodable,
            group=asked.data.group,
            progress=lambda done, total: show(Reading(done, total)),
        )
        images = pool(source.splits)
        if known := len(seen_by(asked.net.weights) & set(images.digests or ())):
            raise ValueError(
                f"{asked.net.weights} was trained on {known:,} of the {len(images):,} images, and no fold could "
                "measure those; start from weights that have not seen them"
            )
        fold_N = folds_of(images, folds)
        _begin(root, {"folds": folds, "data": source.name, "fingerprint": source.fingerprint, "recipe": to_dict(asked)})
        runs, parts = [], []
        for number in range(1, folds + 1):
            run = root / f"fold-{number}"

            def report(event: object, number: int = number) -> None:
                if isinstance(event, Event):
                    done = number - 1 + event.step / max(1, event.total_steps)
                    event = Progress(f"fold {number}", number, folds, event, done, folds)
                show(event)

            try:
                if not (run / "card.json").is_file():
                    changes = {**(overrides or {}), "data.fold": f"{number}/{folds}", "data.test": "test"}
                    how: dict[str, Any] = {"recipe": recipe, "seed": seed, "weights": weights, "overrides": changes}
                    where: dict[str, Any] = {"data_dir": data_dir, "download": download, "out": run}
                    train(data, **how, **where, progress=report, should_stop=should_stop)
                elif read_card(run).status != "finished":
                    resume(run, data_dir=data_dir, trust_code=trust, progress=report, should_stop=should_stop)
            except DivergedError:
                raise
            except StoppedError as stopped:
                where_it_was = f"fold {number} of {folds}, {stopped.where}"
                raise StoppedError(where_it_was, "the same command goes on from there") from stopped
            if read_card(run).source["fingerprint"] != source.fingerprint:
                raise ValueError(f"{run} was trained on other images than there are now; choose another --out")
            runs.append(run)
            measured = evaluate(run, split="test", data_dir=data_dir, trust_code=trust, progress=False)
            parts.append((measured.predictions, [place for place, fold in enumerate(fold_N) if fold == number - 1]))
    scores = tuple(score(predictions) for predictions, _ in parts)
    whole = _in_order(parts, images.class_names, source.name in NAMES)
    scored = score(whole)
    lost = (f"{len(source.left_out):,} files left out",) if source.left_out else ()
    done = CrossValidated(root, tuple(runs), scores, scored, (*lost, *source.notes))
    views = f"{folds} folds, with an error of {100 * done.mean:.2f} ± {100 * done.std:.2f} %"
    write_evaluation(root, runs, source.title, views, whole, scored, image=images.image, of_folds=True)
    return done


def _begin(root: Path, asked: Mapping[str, Any]) -> None:
    """Write down what was asked for, or see that it is what was asked for before.

    Raises:
        ValueError: The directory is of something else.
    """
    asked = json.loads(json.dumps(asked))
    if not (root / FILE).is_file():
        require_free(root)
        require_writable(root)
        root.mkdir(parents=True, exist_ok=True)
        replace_file(root / FILE, (json.dumps(asked, indent=1, ensure_ascii=False) + "\n").encode())
        return
    before = json.loads((root / FILE).read_text(encoding="utf-8"))
    for key, (then, now) in _differences(before, asked).items():
        raise ValueError(
            f"{root} holds folds of something else: {key} was {then!r} and is {now!r}; choose another --out"
        )


def _differences(before: Any, now: Any, key: str = "") -> dict[str, tuple[Any, Any]]:
    """Where two JSON values differ, by the path of each difference."""
    if isinstance(before, dict) and isinstance(now, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for name in (*now, *(before.keys() - now.keys())):
            found |= _differences(before.get(name), now.get(name), f"{key}.{name}".removeprefix(".recipe").lstrip("."))
        return found
    return {} if before == now else {key: (before, now)}


def _in_order(parts: list[tuple[Predictions, list[int]]], class_names: tuple[str, ...], in_memory: bool) -> Predictions:
    """The predictions of all folds as one table, in the order of the images; each image is there once."""
    places = [place for _, its in parts for place in its]
    order = sorted(range(len(places)), key=places.__getitem__)
    assert [places[n] for n in order] == list(range(len(places))), "every image is out of one fold"
    assert all(each.class_names == class_names and len(each) == len(its) for each, its in parts)
    names = [name for each, _ in parts for name in each.images]
    images = [f"train/{place}" for place in range(len(places))] if in_memory else [names[n] for n in order]

    def joined(column: Callable[[Predictions], torch.Tensor]) -> torch.Tensor:
        return torch.cat([column(each) for each, _ in parts])[order]

    return replace(
        parts[0][0],
        images=tuple(images),
        labels_N=joined(lambda its: its.labels_N),
        top_NT=joined(lambda its: its.top_NT),
        probabilities_NT=joined(lambda its: its.probabilities_NT),
        losses_N=joined(lambda its: its.losses_N),
    )

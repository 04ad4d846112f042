"""Measuring nets on labelled images, alone or as an ensemble. Every image counts once.

Shapes: N images, B images in a batch, C channels, H height, W width, K classes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from plusx.data.images import ImageSet
from plusx.data.sources import NAMES
from plusx.data.views import Views
from plusx.engine.probabilities import log_probabilities
from plusx.placement.place import placement_after
from plusx.progress import shown
from plusx.recipes import Recipe
from plusx.report.evaluation import write_evaluation
from plusx.runs.card import Card
from plusx.runs.files import free_path, require_writable
from plusx.runs.images import RunImages, images_of, without_trained
from plusx.runs.predictions import Predictions, Score, score
from plusx.runs.store import load_run, require_free, unfinished


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What `evaluate` measured."""

    runs: tuple[Path, ...]
    """One run, or those whose softmaxes were averaged."""
    split: str
    """The split of the runs' data, or the folder, that was measured on."""
    predictions: Predictions
    score: Score
    out: Path | None
    """Where predictions.csv, evaluation.json and evaluation.html are; None where they could not be written."""
    notes: tuple[str, ...] = ()
    """What a reader of the score must know: images left out, data that changed, a run that is not finished."""

    def __repr__(self) -> str:
        runs = " + ".join(map(str, self.runs))
        return f"<Evaluated {runs} on {self.split}: {self.score!r}>"


def evaluate(
    runs: str | Path | Sequence[str | Path],
    data: str | Path | None = None,
    *,
    split: str | None = None,
    views: Views | None = None,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    trust_code: bool = False,
    net: nn.Module | None = None,
    progress: bool | Callable[[int, int], None] = True,
) -> Evaluated:
    """Measure a run, or several as an ensemble, whose softmaxes are averaged.

    Images that a run was trained on are left out, and the notes say how many, unless `split` asks for them. The classes
    of the images are matched by name. predictions.csv, evaluation.json and evaluation.html are written; every number of
    the last two follows from the first. On a CPU the net computes as in `predict`, so that the two agree: in fp32 to
    some 1e-6 of a logit, and as closely with what training measured; in bf16 to the rounding of its three digits.

    Args:
        runs: Run directory, or several with equal classes; depth, input and preprocessing may differ.
        data: The runs' own data, a folder of class folders or a table; the first run's own if not given.
        split: train, val or test; if not given, the test images, or else the validation images, and all images of a
            folder with neither.
        views: Which crops and scales of each image are averaged; if not given, what each run's recipe says.
        out: Directory for the files; one run's own if not given, and a free name under runs/ for several.
        data_dir: Where the runs' own data lies, if not where it lay in training.
        device: auto, cpu, cuda or mps; it may differ from the device of training.
        trust_code: As for `load`.
        net: As for `load`.
        progress: True shows a bar in a terminal or a notebook; a callable is called with the files of a folder read
            and the files in all, then with the images measured and the images in all.

    Raises:
        ValueError: A run or the data cannot be used, classes differ, or a net does not take the views.

    Example:
        >>> from plusx.engine.training import train
        >>> from plusx.recipes.digits import digits
        >>> run = train("digits", recipe=digits().smoke(), out="runs/digits").run
        >>> evaluate([run, run]).score.error == evaluate(run).score.error
        True
    """
    paths = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    with shown(progress, "evaluating", unit="images") as report:
        where = Path(data_dir) if data_dir else None
        loaded = [load_run(path, trust_code=trust_code, net=net) for path in paths]
        target = Path(out) if out is not None else None
        return _evaluate(paths, loaded, data, split, views, target, where, device, report)


def _evaluate(
    paths: Sequence[Path],
    loaded: Sequence[tuple[nn.Module, Card]],
    data: str | Path | None,
    split: str | None,
    views: Views | None,
    out: Path | None,
    data_dir: Path | None,
    device: str,
    report: Callable[[int, int], None],
) -> Evaluated:
    cards = [card for _, card in loaded]
    _require_equal_classes(paths, cards)
    folder = _writable(paths, out)
    measured = _images(paths, cards, data, split, data_dir, report)
    images = measured.images
    logs_NK = torch.tensor(-torch.inf)
    for number, (net, card) in enumerate(loaded):

        def count(done: int, total: int, before: int = number * len(images)) -> None:
            report(before + done, len(paths) * total)

        order = [card.class_names.index(name) for name in cards[0].class_names]
        logs_NK = torch.logaddexp(logs_NK, _log_probabilities(net, card, images, views, device, count)[:, order])
    logs_NK -= math.log(len(paths))
    predictions = Predictions.of(images.class_names, measured.names, images.labels_N, logs_NK)
    scored = score(predictions)
    notes = [note for path, card in zip(paths, cards, strict=True) if (note := unfinished(path, card))]
    notes += measured.notes
    try:
        folder.mkdir(parents=True, exist_ok=True)
        views_in_words = _in_words(views, cards)
        write_evaluation(folder, paths, measured.split, views_in_words, predictions, scored, image=images.image)
    except OSError as fault:  # measuring may have taken hours: the score is worth more than its page
        notes.append(f"predictions.csv and the report were not written, {folder}: {fault.strerror or fault}; see --out")
        return Evaluated(tuple(paths), measured.split, predictions, scored, None, tuple(notes))
    return Evaluated(tuple(paths), measured.split, predictions, scored, folder, tuple(notes))


def _writable(runs: Sequence[Path], out: Path | None) -> Path:
    """The folder that the files go to.

    Raises:
        ValueError: A folder was asked for that is taken, or that cannot be written to.
    """
    if out is None:
        return runs[0] if len(runs) == 1 else free_path(Path("runs") / "ensemble")
    if out not in runs:
        require_free(out)
    require_writable(out)
    return out


def _log_probabilities(
    net: nn.Module,
    card: Card,
    images: ImageSet,
    views: Views | None,
    device: str,
    progress: Callable[[int, int], None],
) -> Tensor:
    """The logarithms of a run's probabilities, N x K."""
    recipe = card.recipe
    batches = log_probabilities(
        net,
        images,
        card.preprocess,
        views or Views(flip=recipe.evaluation.flip),
        placement_after(recipe.placement, device),
        batch_size=recipe.evaluation.batch_size,
        workers=recipe.data.workers,
        progress=progress,
    )
    return torch.cat(list(batches))


def _require_equal_classes(runs: Sequence[Path], cards: Sequence[Card]) -> None:
    if not runs:
        raise ValueError("name a run directory")
    for run, card in zip(runs, cards, strict=True):
        if differing := set(card.class_names) ^ set(cards[0].class_names):
            raise ValueError(f"{run} and {runs[0]} have different classes: {min(differing)!r} is of one alone")


def _images(
    runs: Sequence[Path],
    cards: Sequence[Card],
    data: str | Path | None,
    split: str | None,
    data_dir: Path | None,
    progress: Callable[[int, int], None],
) -> RunImages:
    """The images to measure on, with the classes of the first run; no run was trained on any of them."""
    measured = images_of(runs[0], cards[0], data, split=split, data_dir=data_dir, progress=progress)
    for run, card in zip(runs[1:], cards[1:], strict=True):
        if measured.of_run:
            known = {c.source["fingerprint"] for c in (cards[0], card)} - {None}  # a converted run has none
            if len(known) > 1 or (card.source["name"] in NAMES and card.source["name"] != cards[0].source["name"]):
                raise ValueError(
                    f"{run} and {runs[0]} were trained on different data; name a folder to measure both on"
                )
            if _held_back(card.recipe) != _held_back(cards[0].recipe):
                raise ValueError(f"{run} and {runs[0]} hold different images back; name a folder to measure both on")
        if split != "train":
            measured = without_trained(run, measured)
    return measured


def _held_back(recipe: Recipe) -> tuple[str | int | None, ...]:
    data = recipe.data
    return data.test or data.val, data.limit, data.fold, data.group


def _in_words(views: Views | None, cards: Sequence[Card]) -> str:
    """The views of each image, in words."""
    if views is None:
        mirrored = {card.recipe.evaluation.flip for card in cards}
        return (
            "one view" if mirrored == {False} else "with mirror images" if mirrored == {True} else "as each recipe says"
        )
    where = f" at shorter sides of {', '.join(map(str, views.scales))}" if views.scales else ""
    what = "the whole image" if views.dense else "ten crops" if views.crops == 10 else "one view"
    return what + where + (", with mirror images" if views.flip and views.crops == 1 else "")

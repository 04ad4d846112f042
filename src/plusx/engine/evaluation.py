"""Measuring nets on labelled images, alone or as an ensemble. Every image counts once.

Shapes: N images, B images in a batch, C channels, H height, W width, K classes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from plusx.analysis.attention import explain_pixels
from plusx.data.images import ImageSet
from plusx.data.outsiders import load_outsiders
from plusx.data.sources import NAMES
from plusx.data.tree import printable
from plusx.data.views import Views
from plusx.engine.probabilities import log_probabilities_of_run
from plusx.nets.net import Net
from plusx.progress import shown
from plusx.recipes import Recipe
from plusx.report.evaluation import MISTAKES, write_evaluation
from plusx.report.explanation import overlay
from plusx.runs.calibration import calibrated
from plusx.runs.card import Card
from plusx.runs.files import free_path, require_writable
from plusx.runs.images import RunImages, images_of, trained_on, without_trained
from plusx.runs.predictions import Predictions, Score, score, worst
from plusx.runs.store import load_run, require_free, unfinished
from plusx.runs.trust import Answered, Outsiders, Reliability, Trust


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
    reliability: Reliability = Reliability()
    """What the probabilities are worth."""

    def __repr__(self) -> str:
        runs = " + ".join(map(str, self.runs))
        return f"<Evaluated {runs} on {self.split}: {self.score!r}>"


def evaluate(
    runs: str | Path | Sequence[str | Path],
    data: str | Path | None = None,
    *,
    split: str | None = None,
    views: Views | None = None,
    outsiders: str | Path | None = None,
    explain: bool = False,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    trust_code: bool = False,
    net: nn.Module | None = None,
    progress: bool | Callable[[int, int], None] = True,
) -> Evaluated:
    """Measure a run, or several as an ensemble, whose softmaxes are averaged.

    Images that a run was trained on are left out, and the notes say how many, unless `split` asks for them. The classes
    of the images are matched by name. Probabilities are those of the run's calibration, if it has one; several runs
    together have none. predictions.csv, evaluation.json and evaluation.html are written; every number of the score
    follows from the first. On a CPU the net computes as in `predict`, so that the two agree: in fp32 to some 1e-6 of a
    logit, and as closely with what training measured; in bf16 to the rounding of its three digits.

    Args:
        runs: Run directory, or several with equal classes; depth, input and preprocessing may differ.
        data: The runs' own data, a folder of class folders or a table; the first run's own if not given.
        split: train, val or test; if not given, the test images, or else the validation images, and all images of a
            folder with neither.
        views: Which crops and scales of each image are averaged; if not given, what each run's recipe says.
        outsiders: Folder of images of none of the classes, in any order of folders: how well the net tells them apart.
        explain: Show beside each of one run's worst mistakes which places speak for the class that it named, by
            Grad-CAM.
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
        others, folder = (Path(each) if each is not None else None for each in (outsiders, out))
        return _evaluate(paths, loaded, data, split, views, others, explain, folder, where, device, report)


def _evaluate(
    paths: Sequence[Path],
    loaded: Sequence[tuple[nn.Module, Card]],
    data: str | Path | None,
    split: str | None,
    views: Views | None,
    outsiders: Path | None,
    explain: bool,
    out: Path | None,
    data_dir: Path | None,
    device: str,
    report: Callable[[int, int], None],
) -> Evaluated:
    cards = [card for _, card in loaded]
    _require_equal_classes(paths, cards)
    if explain:
        _require_explicable(loaded)
    folder = _writable(paths, out)
    measured = _images(paths, cards, data, split, data_dir, report)
    others, left_out = _outsiders(paths, cards, outsiders, report)
    images, calibration = measured.images, cards[0].calibration if len(cards) == 1 else None
    raw_NK = _mean_logs(loaded, images, views, device, report)
    before, predictions = (
        Predictions.of(images.class_names, measured.names, images.labels_N, calibrated(raw_NK, each))
        for each in (None, calibration)
    )
    rejection = calibration.rejection if calibration else None
    scored = score(predictions)
    reliability = Reliability(
        calibration,
        Trust.of(before) if calibration else None,
        Answered.of(predictions, rejection) if rejection else None,
    )
    if others is not None:
        names = tuple(map(printable, others.files or ()))
        logs_NK = calibrated(_mean_logs(loaded, others, views, device, report), calibration)
        outside = Predictions.of(others.class_names, names, others.labels_N, logs_NK)
        reliability = replace(reliability, outsiders=Outsiders.of(predictions, outside, rejection))
    notes = [note for path, card in zip(paths, cards, strict=True) if (note := unfinished(path, card))]
    notes += [*measured.notes, *left_out, *_calibration_notes(measured, cards)]
    overlays, unexplained = _overlays(*loaded[0], images, predictions) if explain else ({}, ())
    notes += unexplained
    written: Path | None = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_evaluation(
            folder,
            paths,
            measured.split,
            _in_words(views, cards),
            predictions,
            scored,
            reliability,
            image=images.image,
            outsider=others.image if others else None,
            overlays=overlays,
        )
    except OSError as fault:  # measuring may have taken hours: the score is worth more than its page
        notes.append(f"predictions.csv and the report were not written, {folder}: {fault.strerror or fault}; see --out")
        written = None
    return Evaluated(tuple(paths), measured.split, predictions, scored, written, tuple(notes), reliability)


def _require_explicable(loaded: Sequence[tuple[nn.Module, Card]]) -> None:
    """Raises ValueError where no map can be made, before anything is measured."""
    if len(loaded) > 1:
        raise ValueError("maps explain one net; evaluate the runs one by one to see them")
    net = loaded[0][0]
    if isinstance(net, Net) and net.last_maps is None:
        raise ValueError("this net has no maps that could explain its mistakes; evaluate it without them")


def _overlays(
    net: nn.Module, card: Card, images: ImageSet, predictions: Predictions
) -> tuple[dict[int, Image.Image], tuple[str, ...]]:
    """The worst mistakes with what speaks for the class that was named, by position; or a note that says why not."""
    drawn = {}
    for position in worst(predictions, MISTAKES):
        named, in_memory = int(predictions.top_NT[position, 0]), images.pixels_NCHW
        try:
            pixels_CHW = card.preprocess.pixels(images.source(position)) if in_memory is None else in_memory[position]
            found = explain_pixels(net, card.preprocess.normalise(pixels_CHW[None]), named)
        except ValueError as fault:  # a net of one's own may have none
            return {}, (f"the mistakes are not explained: {fault}",)
        drawn[position] = overlay(pixels_CHW, found.strength_HW)
    return drawn, ()


def _mean_logs(
    loaded: Sequence[tuple[nn.Module, Card]],
    images: ImageSet,
    views: Views | None,
    device: str,
    report: Callable[[int, int], None],
) -> Tensor:
    """The logarithms of the mean of the nets' probabilities, N x K, in the order of the first one's classes."""
    logs_NK, class_names = torch.tensor(-torch.inf), loaded[0][1].class_names
    for number, (net, card) in enumerate(loaded):

        def count(done: int, total: int, before: int = number * len(images)) -> None:
            report(before + done, len(loaded) * total)

        order = [card.class_names.index(name) for name in class_names]
        of_one_NK = log_probabilities_of_run(net, card, images, views, device=device, progress=count)
        logs_NK = torch.logaddexp(logs_NK, of_one_NK[:, order])
    return logs_NK - math.log(len(loaded))


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


def _outsiders(
    runs: Sequence[Path], cards: Sequence[Card], folder: Path | None, progress: Callable[[int, int], None]
) -> tuple[ImageSet | None, tuple[str, ...]]:
    """The images of none of the classes, of which no run was trained on any, and what was left out."""
    if folder is None:
        return None, ()
    trained = frozenset[str]().union(*(trained_on(run) or () for run in runs))
    scale = cards[0].preprocess.full_scale
    return load_outsiders(folder, cards[0].class_names, scale, without=trained, progress=progress)


def _calibration_notes(measured: RunImages, cards: Sequence[Card]) -> list[str]:
    found = [card.calibration for card in cards if card.calibration]
    if len(cards) > 1:
        return ["the mean of several nets is not calibrated: a temperature belongs to one net"] if found else []
    if found and found[0].data == measured.split:
        return ["the run was calibrated on these very images, so that what is said after calibration flatters it"]
    return []


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

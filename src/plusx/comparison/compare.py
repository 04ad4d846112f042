"""Runs beside each other: what they cost, what they reached, how they were set, and on which images they disagree.

Shapes: N images, K classes.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from plusx.analysis.cost import summarise
from plusx.data.images import ImageSet, relabel
from plusx.engine.probabilities import log_probabilities_of_run
from plusx.progress import shown
from plusx.recipes import settings
from plusx.report.comparison import Column, Pair, results_table, write_comparison
from plusx.runs.calibration import calibrated
from plusx.runs.card import Card
from plusx.runs.disagreements import Disagreements
from plusx.runs.files import require_writable, write_folder
from plusx.runs.images import images_of, trained_on
from plusx.runs.metrics import SPLITS, name_of
from plusx.runs.predictions import Predictions
from plusx.runs.store import load_run, require_free, unfinished

TOLD = ("name", "net.name")
"""Fields of a recipe that say nothing that others do not."""


@dataclass(frozen=True, eq=False)
class ComparedRuns:
    """What `compare_runs` found."""

    columns: tuple[Column, ...]
    """A run each, in the order in which they were named."""
    differing: Mapping[str, tuple[str, ...]]
    """Setting to its value in each run, where they are not all equal."""
    pairs: tuple[Pair, ...]
    """The first run and each other one on the images that both held out; those without any are in the notes."""
    notes: tuple[str, ...]
    """What could not be compared, and why, a sentence each."""
    out: Path | None = None
    """Where report.html and disagreements.csv are, if they were asked for."""

    def table(self) -> list[list[str]]:
        """A head, and a row for each result."""
        return results_table(self.columns)

    def __repr__(self) -> str:
        return f"<ComparedRuns {', '.join(column.name for column in self.columns)}>"


@dataclass(frozen=True, eq=False)
class _Images:
    """What a run held out."""

    images: ImageSet
    names: Sequence[str]
    places: Mapping[str, int]
    """Content hash to the position of an image."""

    def label(self, content: str) -> str:
        """The class of an image by name."""
        return self.images.class_names[self.images.labels_N[self.places[content]]]


_NOTHING = _Images(ImageSet(torch.zeros(0, dtype=torch.int64), (), files=()), (), {})


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A run that takes part."""

    path: Path
    net: nn.Module
    card: Card
    held_out: _Images | None
    """None for converted weights, for which whatever another run held out will do."""
    trained: frozenset[str]
    """The content of what it was trained on."""


def compare_runs(
    runs: Sequence[str | Path],
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    trust_code: bool = False,
    progress: bool | Callable[[int, int], None] = True,
) -> ComparedRuns:
    """Compare trained runs: results, costs, settings, and the images that one gets right and another wrong.

    The images are those that both runs held out, known by their content, and never one that either was trained on: of
    each run the test images, else the validation images. Every other run is compared with the first.

    Args:
        runs: Two run directories or more.
        data: Folder of class folders to take the images from, in place of the runs' own.
        out: New or empty folder for report.html and disagreements.csv.
        data_dir: Where the runs' own data lies, if not where it lay in training.
        device: auto, cpu, cuda or mps; it may differ from the device of training.
        trust_code: As for `load`.
        progress: True shows a bar in a terminal or a notebook; a callable is called with the images done and the images
            in all, run by run.

    Raises:
        ValueError: A run cannot be used, there are fewer than two, one is named twice, or `out` is taken.

    Example:
        >>> import plusx
        >>> one, other = (
        ...     plusx.train("digits", overrides={"steps": 2}, seed=seed, progress=False).run for seed in (0, 1)
        ... )
        >>> compared = compare_runs([one, other], progress=False)
        >>> list(compared.differing), compared.pairs[0].disagreements.images
        (['seed'], 360)
    """
    paths, folder = [Path(run) for run in runs], None if out is None else Path(out)
    if len(paths) < 2:
        raise ValueError("name two run directories or more")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError("a run is named twice")
    if folder is not None:
        require_free(folder)
        require_writable(folder)
    with shown(progress, "comparing", unit="images") as report:
        where = Path(data_dir) if data_dir else None
        loaded, notes = [], []
        for path in paths:
            net, card = load_run(path, trust_code=trust_code)
            one, said = _loaded(path, net, card, data, where)
            loaded.append(one)
            notes += said
        pairs = []
        for other in loaded[1:]:
            pair, said = _pair(loaded[0], other, device, report)
            pairs += [pair] if pair else []
            notes += said
    columns = tuple(_column(one, paths) for one in loaded)
    compared = ComparedRuns(columns, _differing([one.card for one in loaded]), tuple(pairs), tuple(notes))
    if folder is None:
        return compared
    page = write_comparison(columns, compared.differing, pairs, notes, folder)
    write_folder(folder, {"report.html": page, "disagreements.csv": _csv(pairs)})
    return replace(compared, out=folder)


def _loaded(
    path: Path, net: nn.Module, card: Card, data: str | Path | None, data_dir: Path | None
) -> tuple[_Loaded, list[str]]:
    """A run with what it held out and what it was trained on, and what a reader must know of that."""
    notes = [note] if (note := unfinished(path, card)) else []
    if data is None and card.source["name"] is None:
        notes.append(f"{path} was converted from weights: it may have been trained on images that others held out")
        return _Loaded(path, net, card, None, frozenset()), notes
    try:
        measured = images_of(path, card, data, data_dir=data_dir)
        trained = trained_on(path)
        if trained is None and measured.of_run:
            trained = frozenset(images_of(path, card, data, split="train", data_dir=data_dir).images.contents())
    except ValueError as fault:
        return _Loaded(path, net, card, _NOTHING, frozenset()), [*notes, f"no image is compared of {path}: {fault}"]
    found = _Images(measured.images, measured.names, {c: place for place, c in enumerate(measured.images.contents())})
    return _Loaded(path, net, card, found, trained or frozenset()), [*notes, *measured.notes]


def _pair(
    first: _Loaded, other: _Loaded, device: str, report: Callable[[int, int], None]
) -> tuple[Pair | None, list[str]]:
    """What two runs say of the images that both held out; or why there is nothing to say."""
    names, who = first.card.class_names, f"{first.path} and {other.path}"
    if set(names) != set(other.card.class_names):
        return None, [f"{who} have different classes, so they are not compared image by image"]
    mine, theirs = first.held_out or other.held_out, other.held_out or first.held_out
    if mine is None or theirs is None:
        return None, [f"{who} name no images of their own; name a folder to compare them on"]
    trained, notes = first.trained | other.trained, []
    shared = [content for content in mine.places if content in theirs.places and content not in trained]
    alike = [content for content in shared if mine.label(content) == theirs.label(content)]
    if len(alike) < len(shared):
        notes.append(
            f"{len(shared) - len(alike):,} images have one class for {first.path} and another for {other.path}"
        )
    if not alike:
        return None, [*notes, f"{who} held out no image in common, so they are not compared image by image"]
    places = [mine.places[content] for content in alike]
    images = relabel(mine.images.take(places), names)
    shown_as = [mine.names[place] for place in places]
    both = []
    for run in (first, other):
        logs_NK = log_probabilities_of_run(run.net, run.card, images, device=device, progress=report)
        order = [run.card.class_names.index(name) for name in names]
        logs_NK = calibrated(logs_NK, run.card.calibration)[:, order]
        both.append(Predictions.of(names, shown_as, images.labels_N, logs_NK))
    return Pair(first.path, other.path, both[0], both[1], Disagreements.of(*both), images.image), notes


def _column(run: _Loaded, every: Sequence[Path]) -> Column:
    card, results = run.card, run.card.results
    names = [path.name for path in every]
    errors = {key: results[key] for split in SPLITS if (key := name_of(split, "error")) in results}
    _, cost = summarise(run.path)
    shown = {
        "run": str(run.path),
        "net": card.recipe.net.name,
        "params": cost.params,
        "macs": cost.macs,
        "seed": card.recipe.seed,
        "steps": results.get("steps"),
        **errors,
        "seconds": results.get("seconds"),
        "images_per_s": results.get("images_per_s"),
        "peak_memory_bytes": results.get("peak_memory_bytes"),
    }
    return Column(run.path.name if names.count(run.path.name) == 1 else str(run.path), run.path, shown)


def _differing(cards: Sequence[Card]) -> dict[str, tuple[str, ...]]:
    """Every setting that is not the same in all runs."""
    each = [_settings(card) for card in cards]
    keys = list(dict.fromkeys(key for settings in each for key in settings))
    values = {key: tuple(settings.get(key, "–") for settings in each) for key in keys}
    return {key: its for key, its in values.items() if len(set(its)) > 1}


def _settings(card: Card) -> dict[str, str]:
    """What can make two runs differ: the recipe, and what data and machine decided."""
    options = {f"net.options.{key}": str(value) for key, value in card.net_options.items()}
    recipe = {s.key: s.text for s in settings(card.recipe) if s.key not in TOLD and not s.key.startswith("net.options")}
    return {
        "data": str(card.source["name"] or "weights alone"),
        "images": ", ".join(f"{count:,} {split}" for split, count in card.source["images"].items()),
        **recipe,
        **options,
        "input": " x ".join(map(str, (card.preprocess.channels, *card.preprocess.size))),
        **{key: str(value) for key, value in card.placement.items() if key != "reasons"},
        **{f"version of {key}": value for key, value in card.versions.items()},
        "machine": str(card.results.get("machine", {}).get("cpu", "–")),
    }


def _csv(pairs: Sequence[Pair]) -> bytes:
    """A row for each image that one run gets right and the other wrong."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["image", "class", "first", "said", "probability", "other", "said", "probability"])
    for pair in pairs:
        for place in (*pair.disagreements.only_first, *pair.disagreements.only_other):
            truth = pair.first.class_names[pair.first.labels_N[place]]
            said = (cell for who, of in pair.each for cell in (str(who), *of.said(place)))
            rows.writerow([pair.first.images[place], truth, *said])
    return text.getvalue().encode()

"""Measuring nets on labelled images, alone or as an ensemble. Every image counts once.

Shapes: N images, B images in a batch, C channels, H height, W width, K classes.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plusx.data.batches import Batch
from plusx.data.folder import load_labelled
from plusx.data.images import ImageSet, require_every_class, select, spread
from plusx.data.sources import NAMES, load_source
from plusx.engine.views import Views, answers, mean_softmax
from plusx.placement.place import Placement, choose_placement
from plusx.recipes import Recipe
from plusx.runs.card import Card
from plusx.runs.evaluation_report import write_evaluation
from plusx.runs.predictions import Predictions, Score, score
from plusx.runs.store import Measurement, free_path, load_run, require_free


def measure(
    net: nn.Module, batches: Iterable[Batch], placement: Placement, *, part: str, flip: bool = False
) -> Iterator[Measurement]:
    """Error and mean cross entropy of a net; the net is left in the mode it was in.

    Args:
        net: Placed already.
        batches: Every image once; the last batch may be short.
        placement: Of the net.
        part: What the numbers' names begin with, such as "val".
        flip: Take the mean of what the softmax gives for an image and its mirror image.
    """
    wrong, nats, images, was_training = 0, 0.0, 0, net.training
    net.eval()
    with torch.no_grad():
        for x_BCHW, labels_B in batches:
            views = (x_BCHW, x_BCHW.flip(-1)) if flip else (x_BCHW,)
            with placement.autocast():
                logs_BK = mean_softmax([net(placement.place_images(view)).float().cpu() for view in views])
            wrong += int((logs_BK.argmax(1) != labels_B).sum())
            nats += float(F.nll_loss(logs_BK, labels_B, reduction="sum"))
            images += len(labels_B)
    net.train(was_training)
    yield Measurement(f"{part}_error", wrong / images, "1")
    yield Measurement(f"{part}_loss", nats / images, "nats")


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What `evaluate` found."""

    runs: tuple[Path, ...]
    """One, or those whose answers were averaged."""
    part: str
    """The part of the runs' data, or the folder, that was measured on."""
    predictions: Predictions
    score: Score
    out: Path
    """Where predictions.csv, evaluation.json and evaluation.html are."""


def evaluate(
    runs: str | Path | Sequence[str | Path],
    data: str | Path | None = None,
    *,
    views: Views | None = None,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    on_scan: Callable[[int, int], None] | None = None,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluated:
    """Measure a finished run, or several as an ensemble, whose softmaxes are averaged.

    predictions.csv, evaluation.json and evaluation.html are written; every number of the two follows from the first.

    Args:
        runs: Run directory, or several of equal classes; depth, input and preprocessing may differ.
        data: A folder of class folders; if not given, the first run's test images, or else its validation images.
        views: What of each picture is seen; if not given, what each run's recipe says.
        out: Directory for the files; one run's own if not given, and a free name under runs/ for several.
        data_dir: Where CIFAR lies, if not where it lay in training.
        on_scan: Told how far reading a folder has come.
        watch: Told how many images have been answered.

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
    loaded = [load_run(path) for path in paths]
    cards = [card for _, card in loaded]
    _require_equal_classes(paths, cards)
    part, images = _images(paths, cards, data, Path(data_dir) if data_dir else None, on_scan)
    if out is None and len(paths) > 1:
        out = free_path(Path("runs") / "ensemble")
    elif out is not None and Path(out) not in paths:
        require_free(Path(out))
    logs_NK = torch.tensor(-torch.inf)
    for number, (net, card) in enumerate(loaded):

        def count(done: int, total: int, before: int = number * len(images)) -> None:
            watch(before + done, len(paths) * total)

        found_NK = _answered(net, card, images, views, count)
        order = [card.class_names.index(name) for name in cards[0].class_names]
        logs_NK = torch.logaddexp(logs_NK, found_NK[:, order])
    logs_NK -= math.log(len(paths))
    predictions = Predictions.of(images.class_names, _names(part, images), images.labels_N, logs_NK)
    folder = Path(out) if out else paths[0]
    found = Evaluated(tuple(paths), part, predictions, score(predictions), folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_evaluation(folder, paths, part, _in_words(views, cards), predictions, found.score, picture=images.picture)
    return found


def _answered(
    net: nn.Module, card: Card, images: ImageSet, views: Views | None, watch: Callable[[int, int], None]
) -> Tensor:
    """Logarithms of probabilities, N x K."""
    recipe = card.recipe
    placement = placement_of(recipe)
    placed = placement.place(net).eval()

    @torch.no_grad()
    def run(forward: Callable[[Tensor], Tensor], x_BCHW: Tensor) -> Tensor:
        with placement.autocast():
            return forward(placement.place_images(x_BCHW)).float().cpu()

    batches = answers(
        placed,
        images,
        card.preprocess,
        views or Views(flip=recipe.evaluation.flip),
        run,
        batch_size=recipe.evaluation.batch_size,
        workers=recipe.data.workers,
        readers=1 if recipe.data.workers else placement.threads,
        watch=watch,
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
    data_dir: Path | None,
    on_scan: Callable[[int, int], None] | None,
) -> tuple[str, ImageSet]:
    """The images to measure on, with the classes of the first run, and what they are called."""
    run, card = runs[0], cards[0]
    own = card.source["name"]
    if data is not None and str(data) != own:
        if str(data) in NAMES:
            was = (
                f"trained on {own}; it can be measured on that or on"
                if own
                else "made of weights alone; it is measured on"
            )
            raise ValueError(f"{run} was {was} a folder, not {data}")
        return str(data), load_labelled(Path(data), card.class_names, on_progress=on_scan)
    if own is None:
        raise ValueError(
            f"{run} was made of weights alone; name a folder to measure it on: plusx evaluate {run} FOLDER"
        )
    for other, its in zip(runs[1:], cards[1:], strict=True):
        known = {c.source["fingerprint"] for c in (card, its)} - {None}  # that of a converted run is unknown
        if its.source["name"] != own or len(known) > 1:
            raise ValueError(f"{other} and {run} were trained on different data; name a folder to measure both on")
        if _held_back(its.recipe) != _held_back(card.recipe):
            raise ValueError(f"{other} and {run} hold different images back; name a folder to measure both on")
    return own_images(card, data_dir, on_scan)


def _held_back(recipe: Recipe) -> tuple[str | None, int | None]:
    return recipe.data.test or recipe.data.val, recipe.data.limit


def _names(part: str, images: ImageSet) -> list[str]:
    if images.files is not None:
        return [str(file) for file in images.files]
    return [f"{part}/{place}" for place in range(len(images))]


def _in_words(views: Views | None, cards: Sequence[Card]) -> str:
    """What was seen of each picture, in words."""
    if views is None:
        mirrored = {card.recipe.evaluation.flip for card in cards}
        return (
            "one view" if mirrored == {False} else "with mirror images" if mirrored == {True} else "as each recipe says"
        )
    where = f" at shorter sides of {', '.join(map(str, views.scales))}" if views.scales else ""
    what = "the whole picture" if views.dense else "ten crops" if views.crops == 10 else "one view"
    return what + where + (", with mirror images" if views.flip and views.crops == 1 else "")


def placement_of(recipe: Recipe) -> Placement:
    """The placement that a recipe asks for, on this machine."""
    asked = dataclasses.asdict(recipe.placement)
    del asked["choose"]  # what is measured is a training step
    return choose_placement(**asked)


def parts_of(recipe: Recipe, splits: Any) -> dict[str, ImageSet]:
    """The images of train, val and test; a part that the data lacks is left out.

    Raises:
        ValueError: There is no training image, or a split that the recipe names is unknown.
    """
    spec, parts = recipe.data, {}
    for part, expression in (("train", spec.train), ("val", spec.val), ("test", spec.test)):
        images = select(splits, expression)
        if images is not None:
            parts[part] = spread(images, spec.limit) if spec.limit else images
    if "train" not in parts:
        raise ValueError(f"data.train is {spec.train!r}, which holds no image")
    require_every_class(parts["train"], spec.train)
    return parts


def own_images(
    card: Card, data_dir: Path | None = None, on_scan: Callable[[int, int], None] | None = None
) -> tuple[str, ImageSet]:
    """The images that a run holds back, test or else validation, or those that it trained on; and which these are.

    Raises:
        ValueError: They are not there.
    """
    source = load_source(
        card.source["name"],
        data_dir=data_dir or (Path(card.source["data_dir"]) if card.source["data_dir"] else None),
        undecodable=card.recipe.data.undecodable,
        on_progress=on_scan,
    )
    parts = parts_of(card.recipe, source.splits)
    part = next((p for p in ("test", "val") if p in parts), "train")
    return part, parts[part]

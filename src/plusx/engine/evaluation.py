"""Measuring a net on labelled images. Every image counts once.

Shapes: B images in a batch, K classes.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from plusx.data.batches import Batch, EvalBatches
from plusx.data.folder import load_labelled
from plusx.data.images import ImageSet, select, spread
from plusx.data.sources import NAMES, load_source
from plusx.placement.place import Placement, choose_placement
from plusx.recipes import Recipe
from plusx.runs.card import Card
from plusx.runs.store import Measurement, load_run


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
                found = [net(placement.place_images(view)).float().cpu() for view in views]
            logs_BK = torch.stack(found).log_softmax(-1).logsumexp(0) - math.log(len(views))
            wrong += int((logs_BK.argmax(1) != labels_B).sum())
            nats += float(F.nll_loss(logs_BK, labels_B, reduction="sum"))
            images += len(labels_B)
    net.train(was_training)
    yield Measurement(f"{part}_error", wrong / images, "1")
    yield Measurement(f"{part}_loss", nats / images, "nats")


@dataclass(frozen=True)
class Evaluated:
    """What `evaluate` found."""

    run: Path
    part: str
    """The part of the run's data, or the folder, that was measured on."""
    images: int
    error: float
    loss: float
    """Mean cross entropy in nats."""
    class_names: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        return 1 - self.error


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    on_scan: Callable[[int, int], None] | None = None,
) -> Evaluated:
    """Measure a finished run.

    Args:
        run: Run directory.
        data: A folder of class folders; if not given, the run's test images, or else its validation images.
        data_dir: Where CIFAR lies, if not where it lay in training.
        on_scan: Told how far reading a folder has come.

    Raises:
        ValueError: The run or the data cannot be used, or a class is unknown to the run.
    """
    net, card = load_run(Path(run))
    recipe = card.recipe
    if data is None and card.source["name"] is None:
        raise ValueError(
            f"{run} was made of weights alone; name a folder to measure it on: plusx evaluate {run} FOLDER"
        )
    if data is None or str(data) == card.source["name"]:
        part, images = _own_images(card, Path(data_dir) if data_dir else None, on_scan)
    elif str(data) in NAMES:
        own = card.source["name"]
        was = (
            f"trained on {own}; it can be measured on that or on" if own else "made of weights alone; it is measured on"
        )
        raise ValueError(f"{run} was {was} a folder, not {data}")
    else:
        part, images = str(data), load_labelled(Path(data), card.class_names, on_progress=on_scan)
    placement = placement_of(recipe)
    readers = 1 if recipe.data.workers else placement.threads
    batches = EvalBatches(images, card.preprocess, recipe.evaluation.batch_size, recipe.data.workers, readers)
    flip = recipe.evaluation.flip
    error, loss = (m.value for m in measure(placement.place(net), batches, placement, part=part, flip=flip))
    return Evaluated(Path(run), part, len(images), error, loss, card.class_names)


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
    return parts


def _own_images(card: Card, data_dir: Path | None, on_scan: Callable[[int, int], None] | None) -> tuple[str, ImageSet]:
    source = load_source(
        card.source["name"],
        data_dir=data_dir or (Path(card.source["data_dir"]) if card.source["data_dir"] else None),
        undecodable=card.recipe.data.undecodable,
        on_progress=on_scan,
    )
    parts = parts_of(card.recipe, source.splits)
    part = next((p for p in ("test", "val") if p in parts), "train")
    return part, parts[part]

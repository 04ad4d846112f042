"""Weights to begin with: a net by name with somebody's weights, and those that a training starts from."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from plusx.data.preprocess import Preprocess
from plusx.nets import build as build_fresh
from plusx.runs.card import told_apart
from plusx.weights.find import find_weights
from plusx.weights.identify import identify
from plusx.weights.layouts import Padding
from plusx.weights.translate import Translation, with_classes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Weights that a training starts from."""

    translation: Translation
    """The tensors, the options of the net that they fit, and notes of what was assumed or left out."""
    preprocess: Preprocess | None
    """What the weights' own images went through; None where nothing tells, or where they have other channels."""
    class_names: tuple[str, ...] | None
    """What the weights call their classes, in the order of their last layer; None where nothing names them."""


def build(name: str, weights: str | Path | None = None, *, download: bool = False, **options: Any) -> nn.Module:
    """A net by name, with fresh weights or with somebody's.

    Args:
        name: Catalog name.
        weights: A file, a run directory or published weights, as for `convert`; None draws fresh ones from torch's
            global generator.
        download: Fetch published weights that the cache lacks.
        options: Keyword arguments of the builder, and `entry`, `prefix` and `padding` as for `convert`. A
            `num_classes` other than the weights' gives a fresh last layer, 0 gives none.

    Raises:
        ValueError: The name or an option is unknown, or the weights are not that net's or cannot be read safely.

    Example:
        >>> sum(p.numel() for p in build("resnet20", shortcut="B").parameters())
        272474
    """
    if weights is None:
        return build_fresh(name, **options)
    return filled(name, starting_weights(weights, name, download=download, **options).translation)


def filled(name: str, translation: Translation) -> nn.Module:
    """A net with the tensors of a translation; what these lack keeps its fresh value.

    Args:
        name: Catalog name.
        translation: Of somebody's weights to that net.
    """
    net = build_fresh(name, **translation.options)
    net.load_state_dict(translation.tensors, strict=False)
    return net


def starting_weights(
    weights: str | Path,
    net: str,
    *,
    class_names: Sequence[str] | None = None,
    download: bool = False,
    entry: str | None = None,
    prefix: str | None = None,
    padding: Padding | None = None,
    **options: Any,
) -> Start:
    """The tensors of a file, a run directory or published weights, under the names of a net of ours.

    Rows of the last layer go to classes by their names. Where the weights name other classes, or none, the last layer
    is left out and a new one begins; what was assumed or left out is logged, and is in the notes of the translation.
    With the tensors comes the preprocessing that they were trained with, as far as it is known.

    Args:
        weights: As for `convert`.
        net: Catalog name.
        class_names: Of the classes that the net will tell apart; None keeps the last layer as it is.
        download: Fetch published weights that the cache lacks.
        entry: As for `convert`.
        prefix: As for `convert`.
        padding: As for `convert`.
        options: Builder options; a number of classes other than the weights' leaves their last layer out.

    Raises:
        ValueError: The weights are not that net's, or cannot be read safely.

    Example:
        >>> import torch, torchvision
        >>> torch.save(torchvision.models.resnet18().state_dict(), "theirs.pth")
        >>> start = starting_weights("theirs.pth", "resnet18", num_classes=5)
        >>> start.translation.missing, start.preprocess.size
        (('head.linear.weight', 'head.linear.bias'), (224, 224))
    """
    theirs = identify(
        find_weights(str(weights), net, download=download), options, entry=entry, prefix=prefix, padding=padding
    )
    translation = theirs.translation
    if class_names is not None:
        translation = _by_name(translation, theirs.class_names, class_names)
    elif "num_classes" not in options and set(translation.last_layers) - set(translation.tensors):
        translation = _noted(translation, "there is no last layer, so a new one begins")
    for note in translation.notes:
        log.warning("%s: %s", weights, note)
    return Start(translation, theirs.preprocess if theirs.normalisation_is_known else None, theirs.class_names)


def _by_name(translation: Translation, theirs: Sequence[str] | None, ours: Sequence[str]) -> Translation:
    """A translation whose last layer has our classes in our order, or none where the weights do not name them."""
    if set(translation.last_layers) - set(translation.tensors):
        return translation  # it has another number of classes, or there is none: a new one begins
    wanted = told_apart(ours)
    if theirs is None:
        keep = "to keep theirs, convert the file with --classes FILE and start from that run"
        note = f"nothing names its {len(wanted)} classes, so a new last layer begins; {keep}"
        return _noted(with_classes(translation, None), note)
    rows = {name: row for row, name in enumerate(told_apart(theirs))}
    if rows.keys() == set(wanted):
        return with_classes(translation, [rows[name] for name in wanted])
    others = next(name for name in wanted if name not in rows)
    note = f"its {len(wanted)} classes are others ({others!r} is none of them), so a new last layer begins"
    return _noted(with_classes(translation, None), note)


def _noted(translation: Translation, note: str) -> Translation:
    return replace(translation, notes=(*translation.notes, note))

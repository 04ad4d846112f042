"""Folds of cross-validation: every image is held out by one of them, whatever order the images come in.

The content of an image decides its fold, or that of its group. Folds are stratified: of a class, each holds as many
images as the others, or one more; where groups must stay whole, as nearly as many as that allows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from plusx.data.images import ImageSet
from plusx.data.split import held_back, together


def fold_splits(splits: Mapping[str, ImageSet], fold: str) -> dict[str, ImageSet]:
    """The splits with one fold of the images for testing; the others are to train on, and to validate by.

    The images are those of train and val. Where there is a val, another one is held back from what is left, as from a
    folder without one, so that the fold itself decides nothing. A test split is left aside.

    Args:
        splits: Of a data source.
        fold: Which of how many: 2/5 is the second of five.

    Raises:
        ValueError: A class has too few images for that many folds.
    """
    number, folds = map(int, fold.split("/"))
    images = pool(splits)
    outside = [place for place, its in enumerate(folds_of(images, folds)) if its == number - 1]
    rest = images.take(sorted(set(range(len(images))) - set(outside)))
    parts = {"train": rest, "test": images.take(outside)}
    if "val" in splits:
        keys, classes = _keys(rest), [rest.class_names[label] for label in rest.labels_N.tolist()]
        chosen = held_back(classes, keys, grouped=rest.groups is not None)
        for split in ("train", "val"):
            parts[split] = rest.take([n for n, key in enumerate(keys) if (key in chosen) == (split == "val")])
    return parts


def pool(splits: Mapping[str, ImageSet]) -> ImageSet:
    """The images that are shared out among the folds: those of train and val, in an order that no split decides."""
    train, val = splits["train"], splits.get("val")
    if val is None or not len(val):
        return train
    assert train.files is not None and val.files is not None, "images in memory have no split val"
    assert train.digests is not None and val.digests is not None
    grouped = train.groups is not None or val.groups is not None
    nobody = (None,) * max(len(train), len(val))
    whole = replace(
        train,
        labels_N=torch.cat([train.labels_N, val.labels_N]),
        files=train.files + val.files,
        digests=train.digests + val.digests,
        groups=(train.groups or nobody[: len(train)]) + (val.groups or nobody[: len(val)]) if grouped else None,
    )
    files: Sequence[Path] = whole.files or ()
    return whole.take(sorted(range(len(whole)), key=lambda place: (int(whole.labels_N[place]), files[place])))


def folds_of(images: ImageSet, folds: int) -> list[int]:
    """The fold of each image, from 0.

    Args:
        images: With or without groups.
        folds: How many there are, 2 or more.

    Raises:
        ValueError: A class has fewer images, or fewer groups of them, than there are folds.

    Example:
        >>> from plusx.data.sources import load_digits
        >>> [folds_of(load_digits()["train"], 5).count(fold) for fold in range(5)]
        [288, 288, 287, 287, 287]
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # a second, needed here alone

    keys, labels = _keys(images), images.labels_N.tolist()
    of_class: dict[int, set[str]] = {label: set() for label in range(len(images.class_names))}
    for key, label in zip(keys, labels, strict=True):
        of_class[label].add(key)
    what = "groups of images" if images.groups else "images" if len({*keys}) == len(keys) else "different images"
    for label, its in of_class.items():
        if len(its) < folds:
            raise ValueError(
                f"class {images.class_names[label]!r} has {len(its)} {what}, fewer than {folds} folds; take fewer "
                "folds, or more images"
            )
    order = sorted(range(len(keys)), key=lambda place: keys[place])  # by content: no name and no place decides
    alone = len(set(keys)) == len(keys)
    fold_N, y, groups = [0] * len(keys), [labels[place] for place in order], [keys[place] for place in order]
    parts = StratifiedKFold(folds).split(order, y) if alone else StratifiedGroupKFold(folds).split(order, y, groups)
    for number, (_, outside) in enumerate(parts):
        for place in outside:
            fold_N[order[place]] = number
    for label, name in enumerate(images.class_names):
        if len({fold for fold, its in zip(fold_N, labels, strict=True) if its == label}) < 2:
            raise ValueError(f"the groups of class {name!r} are too unequal for {folds} folds; take fewer folds")
    return fold_N


def _keys(images: ImageSet) -> list[str]:
    return together(images.contents(), images.groups)

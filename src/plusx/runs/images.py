"""A run's own images: which it trained on, which it held back, and where they are now; and others to measure it on.

images.csv in the run directory says of every file of a folder what became of it: its class, its split, the hash of its
content. With it a trained net is never measured on what it was trained on, wherever the files lie by then.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from plusx.data.folds import fold_splits
from plusx.data.images import ImageSet, relabel, select, spread
from plusx.data.sources import NAMES, Source, load_source
from plusx.recipes import Recipe
from plusx.runs.card import Card
from plusx.runs.files import replace_file
from plusx.runs.metrics import SPLITS

FILE = "images.csv"
HEAD = ("image", "class", "split", "digest", "reason")
GROUP = "group"
"""One more column, where the images have groups."""
LEFT_OUT, UNUSED = "left out", "unused"
BEFORE = "trained before"
"""The split of images that a run was not trained on itself, but the weights that it began with."""


@dataclass(frozen=True, eq=False)
class RunImages:
    """Images that a run is measured on."""

    split: str
    """Which they are: a split of the run's own data, or the folder that was named."""
    of_run: bool
    """Whether they are of the data that the run was trained on."""
    images: ImageSet
    """With the run's class indices."""
    names: tuple[str, ...]
    """The path of each image inside the data folder, or its place in the split."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers must know, in sentences."""


def splits_of(recipe: Recipe, splits: Mapping[str, ImageSet]) -> dict[str, ImageSet]:
    """The images of train, val and test; a split that the data lacks is left out.

    Raises:
        ValueError: There is no training image, or a split that the recipe names is unknown.
    """
    spec, chosen = recipe.data, {}
    if spec.fold is not None:
        splits = fold_splits(splits, spec.fold)
    for split, expression in (("train", spec.train), ("val", spec.val), ("test", spec.test)):
        images = select(splits, expression)
        if images is not None:
            chosen[split] = spread(images, spec.limit) if spec.limit else images
    if "train" not in chosen:
        raise ValueError(f"data.train is {spec.train!r}, which holds no image")
    return chosen


def seen_by(weights: str | None) -> frozenset[str]:
    """The content hashes of the images that weights were trained on, as far as they are of a run that records them."""
    if weights is None:
        return frozenset()
    path = Path(weights).expanduser()
    run = path.parent if path.name == "weights.safetensors" else path
    return trained_on(run) or frozenset() if (run / "card.json").is_file() else frozenset()


def seen_before(run: Path) -> frozenset[str] | None:
    """The same of the weights that a run began with; None where the run has no images.csv."""
    rows = _read(run)
    return None if rows is None else frozenset(row["digest"] for row in rows if row["split"] == BEFORE)


def unseen(splits: Mapping[str, ImageSet], before: frozenset[str]) -> tuple[dict[str, ImageSet], tuple[str, ...]]:
    """The splits without held out images that the first weights were trained on, and notes of how many they are.

    Raises:
        ValueError: They were trained on all images of a split.
    """
    kept, notes = dict(splits), []
    for split in ("val", "test"):
        if split not in kept or not (digests := kept[split].digests):
            continue
        new = [place for place, digest in enumerate(digests) if digest not in before]
        if not new:
            raise ValueError(
                f"the weights to start from were trained on all {len(digests):,} {split} images, which could not be "
                f"measured then; name others, or set data.{split}=none"
            )
        if len(new) < len(digests):
            kept[split] = kept[split].take(new)
            notes.append(f"{len(digests) - len(new):,} {split} images left out: the first weights were trained on them")
    return kept, tuple(notes)


def write_images(
    run: Path, source: Source, splits: Mapping[str, ImageSet], before: frozenset[str] = frozenset()
) -> None:
    """Write images.csv, if the images are files.

    Args:
        run: Run directory.
        source: The data.
        splits: What the run uses of it.
        before: Content hashes of what the weights that it begins with were trained on.
    """
    if splits["train"].files is None:
        return
    # What is trained on is recorded as that, though a recipe may measure it as well.
    used = {file: split for split in reversed(tuple(splits)) for file in splits[split].files or ()}
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    grouped = any(images.groups for images in source.splits.values())
    rows.writerow([*HEAD, *([GROUP] if grouped else [])])
    for images in source.splits.values():
        names, groups = _names(source, "", images), images.groups or [None] * len(images)
        for file, name, label, digest, group in zip(
            images.files or (), names, images.labels_N.tolist(), images.digests or (), groups, strict=True
        ):
            row = [name, images.class_names[label], used.get(file, UNUSED), digest, ""]
            rows.writerow([*row, *([group or ""] if grouped else [])])
    for each in source.left_out:
        rows.writerow([each.path, "", LEFT_OUT, "", each.reason, *([""] if grouped else [])])
    for digest in sorted(before):
        rows.writerow(["", "", BEFORE, digest, "", *([""] if grouped else [])])
    replace_file(run / FILE, text.getvalue().encode())


def images_of(
    run: Path,
    card: Card,
    data: str | Path | None = None,
    *,
    split: str | None = None,
    data_dir: Path | None = None,
    prefer: Sequence[str] = ("test", "val"),
    or_train: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> RunImages:
    """The images to measure a run on; none of them was trained on, unless `split` is train or `or_train` is set.

    Args:
        run: Run directory.
        card: The run's.
        data: The run's own data, a folder of class folders or a table, written in any way; the run's own if not
            given.
        split: train, val or test; if not given, the first of `prefer` that is there, and of a folder without them all
            images.
        data_dir: Where the run's own data lies now, if not where it lay.
        prefer: Splits of held out images, by default the test images, else the validation images.
        or_train: Whether the training images will do where the run holds no others back.
        progress: Called with how many files were read, and how many there are.

    Raises:
        ValueError: The images are not there, their classes are not the run's, or none is left.
    """
    own = card.source["name"]
    if data is not None and str(data) in NAMES and str(data) != own:
        known = f"trained on {own}; it can be measured on that or on" if own else "converted; it is measured on"
        raise ValueError(f"{run} was {known} a folder, not {data}")
    if data is None and own is None:
        raise ValueError(f"{run} was converted from weights alone; name a folder: plusx evaluate {run} FOLDER")
    if own in NAMES and data in (None, own):
        source = load_source(str(own), data_dir=data_dir or last_data_dir(card), progress=progress)
        return _own(run, card, source, split, prefer, or_train)
    root = Path(data) if data is not None else data_dir or Path(str(own))
    if data is None and not root.exists():
        raise ValueError(
            f"the images of {run} were in {root}, which is gone; say where they are now: plusx evaluate {run} FOLDER, "
            f"or --data-dir FOLDER"
        )
    group = card.recipe.data.group
    source = load_source(str(root), undecodable="skip", group=group, to_train=False, progress=progress)
    if source.name == own or source.fingerprint == card.source["fingerprint"]:
        measured = _own(run, card, source, split, prefer, or_train)
    else:
        measured = _foreign(card, source, str(root), split, prefer)
    if faults := [each for each in source.left_out if each.fault]:
        others = f" and {len(faults) - 1:,} more; `plusx data check {root}` names all" if faults[1:] else ""
        measured = replace(measured, notes=(*measured.notes, f"left out: {faults[0].path}: {faults[0].reason}{others}"))
    return measured if split == "train" or or_train else without_trained(run, measured)


def last_data_dir(card: Card) -> Path | None:
    """Where a run's CIFAR lay, if that folder is still there."""
    before = card.source["data_dir"]
    return Path(before) if before and Path(before).is_dir() else None


def trained_on(run: Path) -> frozenset[str] | None:
    """The content hashes of a run's training images, and of those of the weights that it began with.

    None where the run does not record them.
    """
    rows = _read(run)
    return None if rows is None else frozenset(row["digest"] for row in rows if row["split"] in ("train", BEFORE))


def without_trained(run: Path, measured: RunImages) -> RunImages:
    """The images less those that a run was trained on, with a note that says how many.

    Of the run's own data, images that are new in a group that was trained on are left out as well.

    Raises:
        ValueError: It was trained on all of them.
    """
    digests, trained = measured.images.digests, trained_on(run)
    groups = measured.images.groups if measured.of_run else None
    if digests is None:
        return measured
    if trained is None:
        if measured.of_run:
            return measured
        note = f"{run} does not record which images it was trained on; some may be among these"
        return replace(measured, notes=(*measured.notes, note))
    new = [place for place, digest in enumerate(digests) if digest not in trained]
    what = f"{run} was trained on them" + (", or its first weights were" if seen_before(run) else "")
    if groups is not None and (of_groups := _trained_groups(run)):
        new = [place for place in new if groups[place] not in of_groups]
        what += ", or on others of their groups"
    if len(new) == len(digests):
        return measured
    if not new:
        raise ValueError(
            f"{run} was trained on all {len(digests):,} images of {measured.split}; --split train has those"
        )
    note = f"{len(digests) - len(new):,} of {len(digests):,} images are left out: {what}"
    names = tuple(measured.names[place] for place in new)
    return replace(measured, images=measured.images.take(new), names=names, notes=(*measured.notes, note))


def _trained_groups(run: Path) -> frozenset[str]:
    """The groups of a run's training images."""
    rows = _read(run) or []
    return frozenset(row[GROUP] for row in rows if row["split"] == "train" and row.get(GROUP))


def _own(run: Path, card: Card, source: Source, split: str | None, prefer: Sequence[str], or_train: bool) -> RunImages:
    """Images of the data that a run was trained on, split as its recipe says."""
    splits = splits_of(card.recipe, source.splits)
    held_back = next((name for name in prefer if name in splits), None)
    chosen = split or held_back or ("train" if or_train else None)
    if chosen is None:
        raise ValueError(
            f"{run} held no images back; name a folder to measure it on, or --split train for those it was trained on"
        )
    if chosen not in splits:
        raise ValueError(f"{run} has no {chosen} images; its data has {', '.join(splits)}")
    images = relabel(splits[chosen], card.class_names)
    return RunImages(chosen, True, images, _names(source, chosen, images), _changes(run, card, source))


def _foreign(card: Card, source: Source, title: str, split: str | None, prefer: Sequence[str]) -> RunImages:
    """Images of another folder: those of the first split that is preferred and there, else all."""
    folders = source.as_found
    chosen = split or next(name for name in (*prefer, "", *SPLITS) if name in folders)
    if chosen not in folders:
        there = ", ".join(f"{name}/" for name in folders if name) or "class folders alone"
        raise ValueError(f"{title} has no {chosen}/; it has {there}")
    images = relabel(folders[chosen], card.class_names)
    return RunImages(title, False, images, _names(source, title, images))


def _changes(run: Path, card: Card, source: Source) -> tuple[str, ...]:
    """What has happened to the data since training, in a sentence, if anything has."""
    before = card.source["fingerprint"]
    if before is None or source.fingerprint == before:
        return ()
    sentence = f"the images of {source.name} are not those that {run} was trained with"
    rows = _read(run)
    if rows is None:
        return (sentence,)
    then = {row["digest"] for row in rows if row["digest"] and row["split"] != BEFORE}
    now = {digest for images in source.splits.values() for digest in images.digests or ()}
    return (f"{sentence}: {len(now - then):,} new, {len(then - now):,} gone",)


def _read(run: Path) -> list[dict[str, str]] | None:
    try:
        with (run / FILE).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise ValueError(f"cannot read {run / FILE}: {fault}") from None
    if rows and set(rows[0]) - {GROUP} != set(HEAD):
        raise ValueError(f"{run / FILE} is not a list of a run's images")
    return rows


def _names(source: Source, title: str, images: ImageSet) -> tuple[str, ...]:
    if images.files is None:
        return tuple(f"{title}/{place}" for place in range(len(images)))
    return tuple(map(source.name_of, images.files))

"""A table of labelled image files as image sets: the columns path and label, and perhaps split and group.

It is read as a folder of class folders is: its images are found, read once and hashed, and split by content where no
column says how. The order of its rows changes nothing.
"""

import difflib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from plusx.data.folder import Loaded, image_sets
from plusx.data.images import listed, normal_name
from plusx.data.scan import SPLIT_NAMES, Folder, LabelledFile, LeftOut, Progress, examine
from plusx.data.table import Line, Table, read_table, why_not_tried
from plusx.data.tree import printable

_SPLITS = {name: split for split, names in SPLIT_NAMES.items() for name in names}


def load_table(
    file: Path, *, undecodable: str = "refuse", to_train: bool = True, progress: Progress | None = None
) -> tuple[Loaded, Table]:
    """The images that a table names, its fingerprint, and what was left out and why; and the table itself.

    Args:
        file: The table; paths in it are relative to its folder.
        undecodable: "refuse" raises on images that are missing or cannot be read; "skip" leaves exactly those out.
        to_train: Whether it must be one that can be trained on; a trained net is measured on any.
        progress: Called with how many files were read, and how many there are.

    Raises:
        ValueError: It cannot be read or trained on, or a row of it contradicts another one.
    """
    table, where = read_table(file), printable(file)
    _require_labels(where, table)
    _require_one_spelling(where, "label", {line.number: line.label for line in table.lines})
    _require_one_spelling(where, "group", {line.number: line.group for line in table.lines})
    _require_each_once(where, table)
    splits = _splits(where, table)
    if to_train:
        _require_classes(where, table, splits)
    by_path = {line.path: line for line in table.lines}
    candidates, faults = [], []
    for line in table.lines:
        if reason := why_not_tried(file.parent / line.path):
            faults.append(LeftOut(line.path, reason, True, splits[line.number]))
        else:
            candidates.append(((line.path,), splits[line.number], _name(line.label)))
    read, unread, scale = examine(file.parent, candidates, progress)
    if faults := sorted(faults + unread, key=lambda each: by_path[each.path].number):
        said = [f"line {by_path[each.path].number} ({each.path}: {each.reason})" for each in faults]
        if undecodable == "refuse":
            raise ValueError(
                f"{where}: {len(faults):,} of {len(table.lines):,} images cannot be read: {listed(said)}; correct it, "
                "or train without: --set data.undecodable=skip"
            )
        if not read:
            raise ValueError(f"{where} names no image that can be read: {listed(said)}")
    images = [image._replace(group=_name(by_path[image.parts[0]].group) or None) for image in read]
    images.sort(key=lambda image: (_RANKS[image.split], image.class_name, image.parts))
    classes: dict[str, dict[str, tuple[str, ...]]] = {split: {} for split in _RANKS if split in splits.values()}
    for line in table.lines:
        classes[splits[line.number]][_name(line.label)] = ()
    folder = Folder(file.parent, tuple(images), tuple(sorted(faults)), classes, (), scale)
    held = {image.class_name for image in images if image.split in ("train", "")}
    if to_train and (lost := [name for name in folder.class_names() if name not in held]):
        raise ValueError(f"{where}: label {lost[0]!r} has no training image that can be read")
    return image_sets(folder, to_train=to_train)._replace(fingerprint=_fingerprint(images)), table


_RANKS = {split: rank for rank, split in enumerate(("", *SPLIT_NAMES))}


def _require_labels(where: str, table: Table) -> None:
    """Raises ValueError when there is no column of labels, or a row without one."""
    if "label" not in table.columns:
        others = f"; it has {listed(map(repr, ('path', *table.unused)))}" if table.unused else ""
        raise ValueError(f"{where} has no column 'label', which says what each image is{others}")
    if without := [line.number for line in table.lines if not _name(line.label).strip()]:
        raise ValueError(f"{where}: {_rows(without)} no label; write one, or take the row away")


def _require_one_spelling(where: str, column: str, cells: Mapping[int, str | None]) -> None:
    """Raises ValueError when two cells differ only in capitals or spaces: one of them would be a class of its own."""
    first: dict[str, tuple[int, str]] = {}
    for number, cell in cells.items():
        name = _name(cell)
        line, other = first.setdefault(" ".join(name.casefold().split()), (number, name))
        if other != name:
            raise ValueError(
                f"{where}: {column}s {other!r} (line {line}) and {name!r} (line {number}) differ only in capitals or "
                "spaces; write them alike"
            )


def _require_each_once(where: str, table: Table) -> None:
    """Raises ValueError when two rows name one file."""
    first: dict[str, Line] = {}
    for line in table.lines:
        key = os.path.abspath(table.file.parent / line.path)  # noqa: PTH100 (Path.absolute keeps "..")
        if (other := first.setdefault(key, line)) is line:
            continue
        same = f"{where}: lines {other.number} and {line.number} name the same file, {line.path}"
        if _name(other.label) != _name(line.label):
            raise ValueError(f"{same}, with the labels {other.label!r} and {line.label!r}; an image has one label here")
        raise ValueError(f"{same}; keep one")


def _splits(where: str, table: Table) -> dict[int, str]:
    """The split of each line; "" where no row names one.

    Raises:
        ValueError: A name is none of a split, or some rows have none.
    """
    if all(line.split is None for line in table.lines):
        return {line.number: "" for line in table.lines}
    if without := [line.number for line in table.lines if line.split is None]:
        raise ValueError(f"{where}: {_rows(without)} no split, which the others have; name one in every row or in none")
    for line in table.lines:
        if _plain(line) not in _SPLITS:
            near = difflib.get_close_matches(_plain(line), _SPLITS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"write {', '.join(SPLIT_NAMES)}"
            raise ValueError(f"{where}, line {line.number}: no split is called {line.split!r}; {hint}")
    return {line.number: _SPLITS[_plain(line)] for line in table.lines}


def _require_classes(where: str, table: Table, splits: Mapping[int, str]) -> None:
    """Raises ValueError when no row is to be trained on, a label is of none of those, or there are fewer than two."""
    trained = {_name(line.label) for line in table.lines if splits[line.number] in ("train", "")}
    if not trained:
        raise ValueError(f"{where} has no row of the split train")
    if unknown := [line for line in table.lines if _name(line.label) not in trained]:
        name, number = unknown[0].label, unknown[0].number
        raise ValueError(
            f"{where}, line {number}: label {name!r} is of no training image; those have {listed(sorted(trained))}"
        )
    if len(trained) < 2:
        raise ValueError(f"{where} has one label only, {min(trained)!r}; a classifier needs two classes")


def _rows(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"line {numbers[0]} has"
    return f"lines {listed(map(str, numbers))} have"


def _plain(line: Line) -> str:
    return (line.split or "").strip().casefold()


def _name(cell: str | None) -> str:
    return normal_name(cell or "")


def _fingerprint(images: Sequence[LabelledFile]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for image in sorted(images, key=lambda image: image.parts):
        cells = (normal_name(image.parts[0]), image.class_name, image.split, image.group or "", image.digest)
        digest.update(("\0".join(cells) + "\n").encode())
    return digest.hexdigest()

"""What a table of labelled images holds, row by row: images as those of a folder, and every row that is none, and why.

Where training refuses a table at its first fault, all of them are collected here.
"""

import difflib
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plusx.data.images import listed, normal_name
from plusx.data.look import Look
from plusx.data.scan import SPLIT_NAMES, Folder, LeftOut, Progress, examine
from plusx.data.table import Line, read_table, why_not_tried
from plusx.data.tree import Parts, printable

_SPLITS = {name: split for split, names in SPLIT_NAMES.items() for name in names}


@dataclass(frozen=True)
class Rows:
    """The rows of a table."""

    folder: Folder
    """Its images, as if they lay in class folders; and every row that gives none."""
    mistakes: tuple[LeftOut, ...]
    """Those of the rows that give none which say too little, or name a file again: training refuses them always."""
    spellings: tuple[str, ...]
    """Labels, and groups, that differ in capitals or spaces alone, a sentence each; training refuses them, too."""
    unused: tuple[str, ...]
    """Columns that nothing reads."""
    problem: str | None
    """Why it cannot be trained on even without the rows that give no image, or None."""


def scan_table(file: Path, *, progress: Progress | None = None, looks: dict[Parts, Look] | None = None) -> Rows:
    """Read a table, and every image that it names once.

    Args:
        file: The table; paths in it are relative to its folder.
        progress: Called with how many files were read, and how many there are.
        looks: As for `examine`.

    Raises:
        ValueError: There is no such table, or it has no column of labels.
    """
    table, where = read_table(file), printable(file)
    if "label" not in table.columns:
        raise ValueError(f"{where} has no column 'label', which says what each image is")
    has_splits = any(line.split for line in table.lines)  # a column without a single one is none
    mistakes = {line.number: said for line in table.lines if (said := _mistake(line, has_splits))}
    mistakes |= _named_again(file.parent, [line for line in table.lines if line.number not in mistakes])
    refused, lost, candidates = [], [], []
    groups: dict[Parts, str | None] = {}
    for line in table.lines:
        split, path, where_in = _SPLITS.get(_plain(line.split), ""), printable(line.path), f" (line {line.number})"
        if line.number in mistakes:
            refused.append(LeftOut(path, mistakes[line.number] + where_in, True, split))
        elif reason := why_not_tried(file.parent / line.path):
            lost.append(LeftOut(path, reason + where_in, True, split))
        else:
            candidates.append(((line.path,), split, normal_name(line.label or "")))
            groups[(line.path,)] = normal_name(line.group or "") or None
    read, unread, scale = examine(file.parent, candidates, progress, looks)
    images = [image._replace(group=groups[image.parts]) for image in read]
    classes: dict[str, dict[str, tuple[str, ...]]] = {split: {} for split in _RANKS}
    for _, split, name in candidates:
        classes[split][name] = ()
    folder = Folder(
        file.parent,
        images=tuple(sorted(images, key=lambda image: (_RANKS[image.split], image.class_name, image.parts))),
        left_out=tuple(sorted([*refused, *lost, *unread], key=lambda each: each.path)),
        classes={split: its for split, its in classes.items() if its},
        unused=(),
        full_scale=scale,
    )
    spellings = (*_spellings("label", table.lines), *_spellings("group", table.lines))
    return Rows(folder, tuple(refused), spellings, table.unused, _problem(where, folder))


_RANKS = {split: rank for rank, split in enumerate(("", *SPLIT_NAMES))}


def _mistake(line: Line, has_splits: bool) -> str | None:
    """What is wrong with a row by itself."""
    if not (line.label or "").strip():
        return "no label"
    if has_splits and not _plain(line.split):
        return "no split"
    if has_splits and _plain(line.split) not in _SPLITS:
        near = difflib.get_close_matches(_plain(line.split), _SPLITS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"write {', '.join(SPLIT_NAMES)}"
        return f"no split is called {line.split!r}; {hint}"
    return None


def _named_again(root: Path, lines: list[Line]) -> dict[int, str]:
    """Rows that name the file of an earlier one, by their numbers."""
    first: dict[str, Line] = {}
    again = {}
    for line in lines:
        key = os.path.abspath(root / line.path)  # noqa: PTH100 (Path.absolute keeps "..", by which a file has two names)
        if (other := first.setdefault(key, line)) is not line:
            same = normal_name(other.label or "") == normal_name(line.label or "")
            labels = "" if same else f", there with the label {other.label!r} and here with {line.label!r}"
            again[line.number] = f"the file of line {other.number} again{labels}"
    return again


def _spellings(column: str, lines: tuple[Line, ...]) -> Iterator[str]:
    """Values of a column that differ in capitals or spaces alone, each with its first line."""
    spelled: dict[str, dict[str, int]] = defaultdict(dict)
    for line in lines:
        value = normal_name(getattr(line, column) or "")
        spelled[" ".join(value.casefold().split())].setdefault(value, line.number)
    for values in spelled.values():
        if len(values) > 1:
            each = " and ".join(f"{value!r} (line {number})" for value, number in values.items())
            yield f"{column}s {each} differ only in capitals or spaces"


def _problem(where: str, folder: Folder) -> str | None:
    """Why the table cannot be trained on, whichever of its files can be read."""
    trained = folder.class_names()
    if not trained:
        return f"{where} has no row of the split train"
    for split, classes in folder.classes.items():
        if unknown := sorted({*classes} - {*trained}):
            return f"{where}: label {unknown[0]!r} of {split} is of no training image; those have {listed(trained)}"
    if len(trained) < 2:
        return f"{where} has one label only, {trained[0]!r}; a classifier needs two classes"
    held = {image.class_name for image in folder.images if image.split in ("train", "")}
    if lost := [name for name in trained if name not in held]:
        return f"{where}: label {lost[0]!r} has no training image that can be read"
    return None


def _plain(cell: str | None) -> str:
    return (cell or "").strip().casefold()

"""What the rows of a table of labelled images say: which are images of which class and split, which are none, and why.

Everything that is wrong is collected. Training refuses a table at the first of it, and a check shows all.
"""

import difflib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plusx.data.appearance import Appearance
from plusx.data.images import listed, normal_name
from plusx.data.scan import SPLIT_NAMES, Folder, LeftOut, Progress, examine
from plusx.data.table import Line, Table, read_table, why_not_tried
from plusx.data.tree import Parts, printable

_SPLITS = {name: split for split, names in SPLIT_NAMES.items() for name in names}
_RANKS = {split: rank for rank, split in enumerate(("", *SPLIT_NAMES))}


@dataclass(frozen=True)
class Rows:
    """The rows of a table, of whose files none is read yet."""

    table: Table
    where: str
    """The table in a sentence."""
    images: Mapping[Parts, Line]
    """The rows that name a file to read, by its path."""
    splits: Mapping[int, str]
    """Of each row that is no mistake, by its number; "" where no row names one."""
    missing: tuple[LeftOut, ...]
    """Rows of which there is no file to read."""
    mistakes: tuple[LeftOut, ...]
    """Rows that say too little, or name a file again."""
    spellings: tuple[str, ...]
    """Labels, and groups, that differ in capitals or spaces alone, a sentence each: each would be one of its own."""
    problem: str | None
    """Why it cannot be trained on, whatever its files hold, or None."""


def rows_of(file: Path) -> Rows:
    """Read a table, but none of the images that it names.

    Args:
        file: The table; paths in it are relative to its folder.

    Raises:
        ValueError: There is no such table, or it has no column of labels.
    """
    table, where = read_table(file), printable(file)
    if "label" not in table.columns:
        others = f"; it has {listed(map(repr, ('path', *table.unused)))}" if table.unused else ""
        raise ValueError(f"{where} has no column 'label', which says what each image is{others}")
    has_splits = any(line.split for line in table.lines)  # a column without a single one is none
    mistakes = {line.number: said for line in table.lines if (said := _mistake(line, has_splits))}
    mistakes |= _named_again(file.parent, [line for line in table.lines if line.number not in mistakes])
    splits = {
        line.number: _SPLITS[_plain(line.split)] if has_splits else ""
        for line in table.lines
        if line.number not in mistakes
    }
    refused, missing = [], []
    images: dict[Parts, Line] = {}
    for line in table.lines:
        path, split = printable(line.path), splits.get(line.number, "")
        if said := mistakes.get(line.number):
            refused.append(LeftOut(path, f"{said} (line {line.number})", True, split))
        elif reason := why_not_tried(file.parent / line.path):
            missing.append(LeftOut(path, f"{reason} (line {line.number})", True, split))
        else:
            images[(line.path,)] = line
    return Rows(
        table,
        where,
        images,
        splits,
        tuple(missing),
        tuple(refused),
        (*_spellings("label", table.lines), *_spellings("group", table.lines)),
        _problem(where, [line for line in table.lines if line.number in splits], splits),
    )


def read_rows(
    rows: Rows, *, progress: Progress | None = None, appearances: dict[Parts, Appearance] | None = None
) -> Folder:
    """Read every image that a table names once: what a folder would be that holds them.

    Args:
        rows: What `rows_of` gives.
        progress: Called with how many files were read, and how many there are.
        appearances: As for `examine`.
    """
    root = rows.table.file.parent
    candidates = [(parts, rows.splits[line.number], _name(line.label)) for parts, line in rows.images.items()]
    read, unread, scale = examine(root, candidates, progress, appearances)
    images = [image._replace(group=_name(rows.images[image.parts].group) or None) for image in read]
    numbers = {"/".join(parts): line.number for parts, line in rows.images.items()}
    lost = [each._replace(reason=f"{each.reason} (line {numbers[each.path]})") for each in unread]
    classes: dict[str, dict[str, tuple[str, ...]]] = {split: {} for split in _RANKS}
    for line in rows.table.lines:
        if line.number in rows.splits:
            classes[rows.splits[line.number]][_name(line.label)] = ()
    return Folder(
        root,
        images=tuple(sorted(images, key=lambda image: (_RANKS[image.split], image.class_name, image.parts))),
        left_out=tuple(sorted([*rows.mistakes, *rows.missing, *lost], key=lambda each: each.path)),
        classes={split: its for split, its in classes.items() if its},
        unused=(),
        full_scale=scale,
    )


def problem_of(rows: Rows, folder: Folder) -> str | None:
    """Why a table cannot be trained on even without the rows that give no image, or None."""
    held = {image.class_name for image in folder.images if image.split in ("train", "")}
    lost = [name for name in folder.class_names() if name not in held]
    return rows.problem or (f"{rows.where}: label {lost[0]!r} has no training image that can be read" if lost else None)


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


def _named_again(root: Path, lines: Sequence[Line]) -> dict[int, str]:
    """Rows that name the file of an earlier one, by their numbers."""
    first: dict[str, Line] = {}
    again = {}
    for line in lines:
        key = os.path.abspath(root / line.path)  # noqa: PTH100 (Path.absolute keeps "..", by which a file has two names)
        if (other := first.setdefault(key, line)) is not line:
            same = _name(other.label) == _name(line.label)
            labels = "" if same else f", there with the label {other.label!r} and here with {line.label!r}"
            again[line.number] = f"the file of line {other.number} again{labels}"
    return again


def _spellings(column: str, lines: Sequence[Line]) -> Iterator[str]:
    """Values of a column that differ in capitals or spaces alone, each with its first line."""
    spelled: dict[str, dict[str, int]] = defaultdict(dict)
    for line in lines:
        value = _name(getattr(line, column))
        spelled[" ".join(value.casefold().split())].setdefault(value, line.number)
    for values in spelled.values():
        if len(values) > 1:
            each = " and ".join(f"{value!r} (line {number})" for value, number in values.items())
            yield f"{column}s {each} differ only in capitals or spaces"


def _problem(where: str, lines: Sequence[Line], splits: Mapping[int, str]) -> str | None:
    """Why a table cannot be trained on, by what its rows say."""
    trained = sorted({_name(line.label) for line in lines if splits[line.number] in ("train", "")})
    if not trained:
        return f"{where} has no row of the split train"
    if unknown := [line for line in lines if _name(line.label) not in trained]:
        label, number = unknown[0].label, unknown[0].number
        return f"{where}, line {number}: label {label!r} is of no training image; those have {listed(trained)}"
    if len(trained) < 2:
        return f"{where} has one label only, {trained[0]!r}; a classifier needs two classes"
    return None


def _plain(cell: str | None) -> str:
    return (cell or "").strip().casefold()


def _name(cell: str | None) -> str:
    return normal_name(cell or "")

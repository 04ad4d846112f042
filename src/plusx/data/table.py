"""A CSV table of image files, and of their labels, splits and groups where it has them."""

import csv
import difflib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from plusx.data.decode import NOT_READ, is_image_name, not_read
from plusx.data.images import listed
from plusx.data.tree import printable

COLUMNS = ("path", "label", "split", "group")
SEPARATORS = (",", ";", "\t")


class Row(NamedTuple):
    """One image of a table."""

    file: Path
    """As the table has it, from the table's own folder if it is relative."""
    label: str | None
    """The name of its class; None where the table has none."""


class Line(NamedTuple):
    """One row of a table, as it is written."""

    number: int
    """Of its last line in the file, from 1."""
    path: str
    label: str | None = None
    """None, as split and group, where the table has no such column or the cell is empty."""
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Table:
    """A table of images."""

    file: Path
    columns: tuple[str, ...]
    """Those of `COLUMNS` that it has."""
    lines: tuple[Line, ...]
    unused: tuple[str, ...]
    """Titles of further columns, which nothing reads."""

    @property
    def rows(self) -> list[Row]:
        """The images and their labels."""
        return [Row(self.file.parent / line.path, line.label) for line in self.lines]

    @property
    def notes(self) -> tuple[str, ...]:
        """That it has columns which are not used, in a sentence."""
        if not self.unused:
            return ()
        what, verb = ("column", "is") if len(self.unused) == 1 else ("columns", "are")
        return (f"the {what} {_quoted(self.unused)} of {printable(self.file.name)} {verb} not used",)


def is_table(path: Path) -> bool:
    """Whether a path is that of a table, by its name."""
    return path.suffix.lower() in (".csv", ".tsv")


def read_table(file: Path) -> Table:
    """A table with a column `path`, or with one column only, and perhaps the columns label, split and group.

    A column whose name is nearly one of these is refused: it may be a `label` that was mistyped, or a `split` whose
    training images would be counted as right. A table of one column needs no head: where its first line names an image,
    it is one.

    Args:
        file: UTF-8, with or without a byte order mark, separated by commas, semicolons or tabs, with any line ends.

    Raises:
        ValueError: There is no such file, or it is no such table.

    Example:
        >>> Path("list.csv").write_text("path;label;split\\n1.jpg;cat;val\\n")
        31
        >>> read_table(Path("list.csv")).lines
        (Line(number=2, path='1.jpg', label='cat', split='val', group=None),)
    """
    where = printable(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            text = opened.read()
    except FileNotFoundError:
        raise ValueError(f"no such file: {where}") from None
    except OSError as fault:
        raise ValueError(f"cannot read {where}: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{where} is not UTF-8; save it as CSV in UTF-8") from None
    # strict: an open quote would swallow the lines after it
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
    try:
        numbered = [(lines.line_num, cells) for cells in lines if any(cells)]
    except csv.Error as fault:
        raise ValueError(f"{where}, line {lines.line_num}: {fault}") from None
    if not numbered:
        raise ValueError(f"{where} is empty")
    (_, head), *rows = numbered
    names = _columns(where, head)
    if names is None:
        names, rows = ["path"], numbered
    if not rows:
        raise ValueError(f"{where} names no image")
    return Table(
        file,
        columns=tuple(name for name in COLUMNS if name in names),
        lines=tuple(_line(where, names, number, cells) for number, cells in rows),
        unused=tuple(title for title, name in zip(head, names, strict=False) if name not in COLUMNS),
    )


def _separator(text: str) -> str:
    """What separates the cells: by which the first line has a column `path`, or else the most columns."""

    def columns(separator: str) -> tuple[bool, int]:
        try:
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
            head: list[str] = next(filter(None, lines), [])
        except csv.Error:
            head = []
        return len(head) > 1 and "path" in map(_plain, head), len(head)

    if is_image_name(next(iter(text.splitlines()), "")):  # a lone column without a head
        return ","
    return max(SEPARATORS, key=columns)


def _columns(where: str, head: list[str]) -> list[str] | None:
    """The columns' names; None where there is one and its first cell is an image already.

    Raises:
        ValueError: A column is there twice, has nearly the name of another one, or there is no `path`.
    """
    names = [_plain(name) for name in head]
    if len(head) == 1 and names != ["path"]:
        return None if is_image_name(head[0]) else ["path"]
    for title, name in zip(head, names, strict=True):
        if names.count(name) > 1:
            raise ValueError(f"{where} has two columns {name!r}; keep one")
        free = [column for column in COLUMNS if column not in names]
        if name not in COLUMNS and (near := difflib.get_close_matches(name, free, 1, cutoff=0.7)):
            raise ValueError(f"{where} has a column {title!r}, which is not used; did you mean {near[0]!r}?")
    if "path" not in names:
        raise ValueError(f"{where} has the columns {_quoted(head)}; name the one of the image files 'path'")
    return names


def _line(where: str, names: list[str], number: int, cells: list[str]) -> Line:
    if len(cells) != len(names):
        raise ValueError(f"{where}, line {number} has {len(cells)} cells where there are {len(names)} columns")
    row = dict(zip(names, cells, strict=True))
    if not row["path"]:
        raise ValueError(f"{where}, line {number} has no path")
    return Line(number, row["path"], *(row.get(name) or None for name in COLUMNS[1:]))


def _plain(title: str) -> str:
    return title.strip().lower()


def why_not_tried(file: Path) -> str | None:
    """Why the file of a row is not read; None for one that is to be tried."""
    if not os.path.lexists(file):
        return "missing"
    if file.is_dir():
        return "a folder"
    suffix = file.suffix.lower()
    return not_read(NOT_READ[suffix]) if suffix in NOT_READ else None


def _quoted(titles: Sequence[str]) -> str:
    return listed(map(repr, titles))

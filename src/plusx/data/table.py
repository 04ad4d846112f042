"""A CSV table of image files, and of their labels where it has them."""

import csv
import difflib
import io
from pathlib import Path
from typing import NamedTuple

from plusx.data.decode import is_image_name
from plusx.data.tree import printable

COLUMNS = ("path", "label")


class Row(NamedTuple):
    """One image of a table."""

    file: Path
    """As the table has it, from the table's own folder if it is relative."""
    label: str | None
    """The name of its class; None where the table has none."""


def read_table(file: Path) -> list[Row]:
    """The rows of a table with a column `path`, or with one column only, and perhaps a column `label`.

    A column of another name is refused: it may be a `label` that was mistyped, or a `split` whose training images would
    be counted as right. A table of one column needs no head: where its first line names an image, it is one.

    Args:
        file: UTF-8, with or without a byte order mark, separated by commas, with any line ends.

    Raises:
        ValueError: There is no such file, or it is no such table.

    Example:
        >>> Path("list.csv").write_text("path,label\\ncats/1.jpg,cat\\n2.jpg,\\n")
        33
        >>> for row in read_table(Path("list.csv")):
        ...     print(row.file.as_posix(), row.label)
        cats/1.jpg cat
        2.jpg None
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
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)  # else an open quote swallows the lines after it
    try:
        numbered = [(lines.line_num, cells) for cells in lines if cells]
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
    return [_row(file, names, number, cells) for number, cells in rows]


def _columns(where: str, head: list[str]) -> list[str] | None:
    """What the columns are, of `COLUMNS`; None where there is one and its first cell is an image already.

    Raises:
        ValueError: There is another column, one twice, or no `path`.
    """
    names = [name.strip().lower() for name in head]
    if len(head) == 1 and names != ["path"]:
        if is_image_name(head[0]):
            return None
        if other := next((name for name in (";", "\t") if name in head[0]), None):
            raise ValueError(f"{where} is separated by {other!r}; separate it by commas")
        return ["path"]
    if "path" not in names:
        shown = ", ".join(map(repr, head))
        raise ValueError(f"{where} has the columns {shown}; name the one of the image files 'path'")
    for title, name in zip(head, names, strict=True):
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, 1)
            hint = f"did you mean {near[0]!r}?" if near else "remove all but 'path' and 'label'"
            raise ValueError(f"{where} has a column {title!r}, which is not used; {hint}")
        if names.count(name) > 1:
            raise ValueError(f"{where} has two columns {name!r}; keep one")
    return names


def _row(table: Path, names: list[str], number: int, cells: list[str]) -> Row:
    where = f"{printable(table)}, line {number}"
    if len(cells) != len(names):
        raise ValueError(f"{where} has {len(cells)} cells where there are {len(names)} columns")
    row = dict(zip(names, cells, strict=True))
    if not row["path"]:
        raise ValueError(f"{where} has no path")
    return Row(table.parent / row["path"], row.get("label") or None)

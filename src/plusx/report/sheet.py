"""report.html of files that were predicted: a contact sheet, the most doubtful first."""

import html
from collections.abc import Callable, Sequence
from typing import NamedTuple

from PIL import Image

from plusx.data.decode import UndecodableError
from plusx.report.page import files, heading, page, paragraph, table, thumbnail

MOST = 200
"""Images on a sheet, which then has some megabytes."""
CLASSES, FILES = 12, 5  # shown above the images, which would be far down otherwise; more open at a click


class Cell(NamedTuple):
    """One image of the sheet."""

    file: str
    classes: Sequence[str]
    """The likeliest first; two at least, if the net has two."""
    probabilities: Sequence[float]
    label: str | None
    image: Callable[[], Image.Image]
    """Reads it, which is done for those that are shown."""
    unknown: bool = False
    """Whether the answer is `unknown`, and the likeliest class no more than a guess."""

    @property
    def margin(self) -> float:
        """By how much the likeliest class is likelier than the next: the smaller, the more doubtful."""
        first, second, *_ = (*self.probabilities, 0.0)
        return first - second


def sheet(
    title: str,
    findings: Sequence[str],
    cells: Sequence[Cell],
    counts: Sequence[Sequence[str]],
    *,
    unread: Sequence[tuple[str, str]],
    left_out: Sequence[tuple[str, str]],
) -> bytes:
    """The whole page.

    Args:
        title: Its heading.
        findings: Sentences under the heading.
        cells: Every predicted image.
        counts: A head, and a row for each predicted class.
        unread: Files that cannot be read, each with the reason.
        left_out: Files that were not tried, each with the reason.
    """
    doubtful = sorted(cells, key=lambda cell: cell.margin)[:MOST]
    body = [*map(paragraph, findings)]
    if cells:
        head, *rows = counts
        body += [heading("Predicted classes"), table(head, rows[:CLASSES])]
        if more := rows[CLASSES:]:
            body.append(f"<details><summary>{len(more):,} more classes</summary>{table(head, more)}</details>")
    body += _files("Files that cannot be read", unread)
    if cells:
        body += [heading("The most doubtful first"), paragraph(_which(len(doubtful), len(cells)))]
        body.append(f'<div class="sheet">{"".join(map(_figure, doubtful))}</div>')
    body += _files("Files that were left out", left_out)
    return page(title, body)


def _which(shown: int, total: int) -> str:
    order = "Doubt is how close the second class comes to the first"
    if shown == total:
        return f"{order}. {f'All {total:,} images are' if total > 1 else 'The one image is'} shown."
    return f"{order}. The {shown:,} most doubtful images are shown; {total - shown:,} more are in predictions.csv."


def _files(title: str, named: Sequence[tuple[str, str]]) -> list[str]:
    if not named:
        return []
    more = named[FILES:]
    others = f"<details><summary>{len(more):,} more</summary>{files(more)}</details>" if more else ""
    return [heading(f"{title} ({len(named):,})"), files(named[:FILES]) + others]


def _figure(cell: Cell) -> str:
    name = cell.file.rpartition("/")[2]
    first, *others = (
        f"{f'<b>{html.escape(each)}</b>' if rank == 0 else html.escape(each)} {100 * share:.1f} %"
        for rank, (each, share) in enumerate(zip(cell.classes, cell.probabilities, strict=True))
    )
    lines = [*(['<b class="wrong">unknown</b>, perhaps'] if cell.unknown else []), first, *others[:1]]
    if cell.label is not None:
        is_right = cell.label == cell.classes[0]
        lines.append("right" if is_right else f'is <b class="wrong">{html.escape(cell.label)}</b>')
    try:
        shown = thumbnail(cell.image(), name)
    except UndecodableError as fault:  # it could be read a moment ago
        shown = paragraph(fault.reason)
    lines.append(f'<span title="{html.escape(cell.file)}">{html.escape(name)}</span>')
    return f"<figure>{shown}<figcaption>{'<br>'.join(lines)}</figcaption></figure>"

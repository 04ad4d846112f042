"""A page of what was found in data of one's own: each finding with its images, their paths, and what to do."""

import html
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from plusx.data.check import Check
from plusx.data.decode import UndecodableError, decode
from plusx.data.findings import Finding, Item, plural, visible
from plusx.data.tree import printable
from plusx.report.page import SIDE, page, paragraph, table, thumbnail
from plusx.runs.files import replace_file

NAME = "check.html"
MOST, TOGETHER = 24, 8
"""Items of a finding that are shown, and images of a group; all paths are listed."""
CLASSES = 12  # shown above the findings; more open at a click


def write_check(check: Check, out: str | Path) -> Path:
    """Write what `check_data` found as one page that needs no network, with small images of what is meant.

    Args:
        check: The result of `check_data`.
        out: The page, if it ends in .html, else a folder for check.html; an older page is replaced.

    Returns:
        The page.

    Raises:
        ValueError: It cannot be written.

    Example:
        >>> import plusx
        >>> from PIL import Image
        >>> for name in ("ant", "bee"):
        ...     Path("photos", name).mkdir(parents=True)
        ...     for number in range(8):
        ...         Image.effect_noise((40, 40), 30 + number).save(f"photos/{name}/{number}.png")
        >>> write_check(plusx.check_data("photos"), "found.html").name
        'found.html'
    """
    path = Path(out)
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        path /= NAME
    content = page(f"{printable(check.source.name or check.source)}: what was found", _body(check))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as fault:
        raise ValueError(f"cannot write {printable(path)}: {fault.strerror or fault}; choose another --out") from None
    return path


def _body(check: Check) -> Iterator[str]:
    yield from map(paragraph, (check.verdict, *check.facts))
    if check.findings:
        rows = (
            f'<li><a href="#finding{number}">{_text(finding.title)}</a> {_level(finding)}</li>'
            for number, finding in enumerate(check.findings)
        )
        yield f'<ul class="files">{"".join(rows)}</ul>'
    head = ["class", *check.counts]
    classes = sorted({name for tally in check.counts.values() for name in tally})
    counts = [[visible(name), *(f"{tally.get(name, 0):,}" for tally in check.counts.values())] for name in classes]
    yield table(head, counts[:CLASSES])
    if more := counts[CLASSES:]:
        yield f"<details><summary>{len(more):,} more classes</summary>{table(head, more)}</details>"
    for number, finding in enumerate(check.findings):
        yield f'<h2 id="finding{number}">{_text(finding.title)} {_level(finding)}</h2>'
        if finding.advice:
            yield paragraph(finding.advice)
        yield from _items(check, finding)


def _level(finding: Finding) -> str:
    return f'<span class="level {finding.level}">{finding.level}</span>'


def _items(check: Check, finding: Finding) -> Iterator[str]:
    """The items of a finding: with images where they are images, else as a list."""
    groups = [item for item in finding.items if len(item.files) > 1]
    alone = [item for item in finding.items if len(item.files) == 1 and item.files[0] in check.places]
    others = [item for item in finding.items if len(item.files) < 2 and item not in {*alone}]
    yield from (f'<div class="sheet found">{_figures(check, item)}</div>' for item in groups[:MOST])
    if alone:
        yield f'<div class="sheet">{"".join(_figures(check, item) for item in alone[:MOST])}</div>'
    if others:
        each = (f"<li>{''.join(map(_path, item.files))} <span>{_text(item.said)}</span></li>" for item in others[:MOST])
        yield f'<ul class="files">{"".join(each)}</ul>'
    shown = sum(min(MOST, len(items)) for items in (groups, alone, others))
    if (more := len(finding.items) - shown) > 0:
        yield paragraph(f"{more:,} more {'is' if more == 1 else 'are'} not shown; all paths are listed below.")
    which, paths = _to_copy(check, finding)
    if paths:
        listing = "\n".join(html.escape(shlex.quote(path)) for path in paths)
        yield f"<details><summary>{which}, to copy: {plural(len(paths), 'path')}, quoted for a shell</summary>"
        yield f'<pre class="paths" tabindex="0">{listing}</pre></details>'


def _figures(check: Check, item: Item) -> str:
    figures = "".join(_figure(check, file, item.said if len(item.files) == 1 else "") for file in item.files[:TOGETHER])
    more = len(item.files) - TOGETHER
    said = [f"and {more:,} more"] * (more > 0) + [_text(item.said)] * (len(item.files) > 1 and bool(item.said))
    return figures + "".join(f"<p>{each}</p>" for each in said)


def _figure(check: Check, file: str, said: str) -> str:
    place = check.places[file]
    try:
        shown = thumbnail(decode(place.file, at_least=SIDE, full_scale=check.full_scale), visible(file))
    except UndecodableError as fault:  # it could be read a moment ago
        shown = paragraph(fault.reason)
    lines = [f"<b>{_text(place.class_name)}</b> · {place.split}", _path(file), *([_text(said)] if said else [])]
    return f"<figure>{shown}<figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _to_copy(check: Check, finding: Finding) -> tuple[str, list[str]]:
    """Which files one would remove or move, and their paths as far as they are there."""
    which, files = "All files", [file for item in finding.items for file in item.files]
    if finding.kind == "copies":
        which, files = "All but the first of each", [file for item in finding.items for file in item.files[1:]]
    elif finding.kind in ("leaks", "near leaks"):
        which, files = "Those of val and test", [file for file in files if check.places[file].split != "train"]
    root = check.source if check.source.is_dir() else check.source.parent
    places = (check.places[file].file if file in check.places else root / file for file in files)
    return which, [str(place.absolute()) for place in dict.fromkeys(places) if _is_there(place)]


def _is_there(path: Path) -> bool:
    """Whether a path leads to a file; one that is shown with escapes does not."""
    return os.path.lexists(path) and printable(path) == str(path)


def _text(text: str) -> str:
    return html.escape(visible(text))


def _path(file: str) -> str:
    """A path that a click selects as a whole."""
    return f"<code>{_text(file)}</code>"

"""report.html of runs that are compared: results, curves, settings that differ, and images on which they disagree."""

import html
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from plusx.report.figure import panels, svg
from plusx.report.page import heading, illustration, page, paragraph, table, thumbnail
from plusx.report.palette import SERIES
from plusx.report.run import SPLIT_WORDS, read_run
from plusx.runs.disagreements import Disagreements
from plusx.runs.metrics import SPLITS, name_of
from plusx.runs.predictions import Predictions

SHOWN = 24
"""Images of one kind of disagreement on a page; disagreements.csv has all."""
LIKELY = 0.05
"""A p-value below this, shared among the comparisons, is more than chance."""
STYLES = ("-", "--", ":")


@dataclass(frozen=True)
class Column:
    """A run in a comparison."""

    name: str
    """Its folder, or its path where two folders have one name."""
    path: Path
    results: Mapping[str, Any]
    """What it cost and reached, by the keys of --json; None where it was not measured."""

    def cells(self) -> dict[str, str]:
        """The same as it is read."""
        r = self.results
        shown = {
            "net": r["net"],
            "parameters": f"{r['params']:,}",
            "MACs": f"{r['macs']:,}",
            "steps": _number(r["steps"]),
        }
        for split in SPLITS:
            if (key := name_of(split, "error")) in r:
                shown[f"{SPLIT_WORDS[split]} error"] = f"{100 * r[key]:.2f} %"
        return shown | {"seconds": _number(r["seconds"]), "images/s": _number(r["images_per_s"])}


@dataclass(frozen=True, eq=False)
class Pair:
    """Two runs on the images that both held out."""

    first_run: Path
    other_run: Path
    first: Predictions
    other: Predictions
    disagreements: Disagreements
    image: Callable[[int], Image.Image]
    """The image at a position."""

    @property
    def each(self) -> tuple[tuple[Path, Predictions], tuple[Path, Predictions]]:
        """Both runs with their predictions."""
        return (self.first_run, self.first), (self.other_run, self.other)

    def in_words(self, comparisons: int) -> str:
        """How many images only one gets right, and whether that is more than chance.

        Args:
            comparisons: How many are made; each alone may be chance more easily.
        """
        found = self.disagreements
        verdict = "more than chance" if found.p < LIKELY / comparisons else "no more than chance"
        return (
            f"Of {found.images:,} images that both held out, only {self.first_run} gets {len(found.only_first):,} "
            f"right, only {self.other_run} {len(found.only_other):,}, neither {found.neither:,}: {verdict} "
            f"(p = {found.p:.2g}, exact McNemar test)."
        )


def results_table(columns: Sequence[Column]) -> list[list[str]]:
    """A head, and a row for each result, a run a column."""
    cells = [column.cells() for column in columns]
    known = {row for each in cells for row in each}
    errors = [name for split in SPLITS if (name := f"{SPLIT_WORDS[split]} error") in known]
    order = ["net", "parameters", "MACs", "steps", *errors, "seconds", "images/s"]
    return [
        ["", *(column.name for column in columns)],
        *([row, *(each.get(row, "–") for each in cells)] for row in order),
    ]


def write_comparison(
    columns: Sequence[Column],
    differing: Mapping[str, Sequence[str]],
    pairs: Sequence[Pair],
    notes: Sequence[str],
    folder: Path,
) -> bytes:
    """The whole page.

    Args:
        columns: The runs.
        differing: Settings that differ, with the value of each run.
        pairs: The first run with others.
        notes: What could not be compared.
        folder: Where the page will be, from which its links lead.
    """
    head, *rows = results_table(columns)
    links = [
        f'<a href="{html.escape(Path(os.path.relpath(column.path / "report.html", folder)).as_posix())}">'
        f"{html.escape(column.name)}</a>"
        for column in columns
        if (column.path / "report.html").is_file()
    ]
    body = [
        *(paragraph(pair.in_words(len(pairs))) for pair in pairs),
        *map(paragraph, notes),
        table(head, rows),
        *([f"<p>Reports of their own: {', '.join(links)}</p>"] if links else []),
        *_curves(columns),
        heading("Settings that differ"),
        table(["", *head[1:]], [[key, *values] for key, values in differing.items()])
        if differing
        else paragraph("None."),
    ]
    for pair in pairs:
        for (right, _), (wrong, _), places in (
            (pair.each[0], pair.each[1], pair.disagreements.only_first),
            (pair.each[1], pair.each[0], pair.disagreements.only_other),
        ):
            body += _sheet(pair, f"{right} is right, {wrong} is wrong ({len(places):,})", places)
    return page(", ".join(column.name for column in columns), body)


def _curves(columns: Sequence[Column]) -> list[str]:
    """The errors of all runs, a panel for each split that was measured on the way."""
    runs = [read_run(column.path) for column in columns if (column.path / "metrics.jsonl").is_file()]
    names = [column.name for column in columns if (column.path / "metrics.jsonl").is_file()]
    drawn = []
    for split in SPLITS:
        if not any(name_of(split, "error") in run.curves for run in runs):
            continue
        [panel] = panels(f"{SPLIT_WORDS[split].capitalize()} error")
        for number, (run, name) in enumerate(zip(runs, names, strict=True)):
            if name_of(split, "error") in run.curves:
                steps, errors = run.curves[name_of(split, "error")]
                colour, style = SERIES[number % len(SERIES)], STYLES[number // len(SERIES) % len(STYLES)]
                panel.line(
                    run.epochs(steps), [100 * error for error in errors], colour, name=name, style=style, marker="o"
                )
        panel.axis.set(xlabel="epoch", ylabel="error (%)")
        panel.axis.set_ylim(bottom=0)
        drawn.append(panel)
    caption = (
        "Errors during training, in evaluation mode, each line with its last; the table has those of kept weights."
    )
    return [illustration(svg(drawn), caption)] if drawn else []


def _sheet(pair: Pair, title: str, places: Sequence[int]) -> list[str]:
    """Images on which two runs disagree, those first of which the wrong one is surest."""
    if not places:
        return []

    def wrong(place: int) -> float:
        return max(of.said(place)[1] for _, of in pair.each if not of.correct_N[place])

    most = sorted(places, key=wrong, reverse=True)[:SHOWN]
    cells = []
    for place in most:
        file = Path(pair.first.images[place]).name
        truth = pair.first.class_names[pair.first.labels_N[place]]
        said = "<br>".join(
            f"{html.escape(run.name)}: <b{'' if of.correct_N[place] else ' class=wrong'}>{html.escape(name)}</b> "
            f"{100 * share:.0f} %"
            for run, of in pair.each
            for name, share in [of.said(place)]
        )
        shown = thumbnail(pair.image(place), file)
        cells.append(
            f"<figure>{shown}<figcaption>is <b>{html.escape(truth)}</b><br>{said}<br>{html.escape(file)}</figcaption>"
            "</figure>"
        )
    more = f" The {SHOWN} of which the wrong one is surest are shown." if len(places) > SHOWN else ""
    return [heading(title), *([paragraph(more.strip())] if more else []), f'<div class="sheet">{"".join(cells)}</div>']


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"

"""report.html of a run that is being trained: a page that an open browser reads again by itself."""

import time
from dataclasses import replace
from pathlib import Path

from plusx.report.figure import panels, svg
from plusx.report.page import heading, illustration, page, paragraph
from plusx.report.palette import SOFT
from plusx.report.run import curves_of, read_run, what_was_run
from plusx.runs.files import replace_file

REFRESH_SECONDS = 10


def load_figures() -> None:
    """Import and read all that a figure needs, which takes seconds once and is needed for the report in any case."""
    [panel] = panels("")
    panel.line([0, 1], [0, 1], SOFT, name="error")
    svg([panel])


def write_live(run: Path, step: int, total: int, *, goes_on: bool) -> None:
    """Write what is known of a run so far.

    Args:
        run: Run directory.
        step: The step that it has come to.
        total: Its last step; 0 where nobody knows it yet.
        goes_on: Whether the page is to be read again and again.
    """
    known = read_run(run)
    known = replace(known, card=replace(known.card, results={"steps": total, "kept_step": total}))
    how = "Training" if goes_on else "Stopped"
    of = f" of {total:,}" if total else ""
    said = f"{how}: step {step:,}{of}. Written at {time.strftime('%H:%M:%S')}"
    body = [
        paragraph(f"{said}; this page follows by itself." if goes_on else f"{said}; plusx train --resume goes on."),
        *(illustration(*figure) for figure in curves_of(known)),
        heading("What is run"),
        what_was_run(known, several=True),
    ]
    title = f"{known.name} on {Path(known.card.source['name']).name}"
    replace_file(run / "report.html", page(title, body, refresh=REFRESH_SECONDS if goes_on else None))

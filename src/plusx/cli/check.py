"""`plusx data check`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import plusx
from plusx.cli.options import Json, Quiet
from plusx.cli.tables import filled, print_json, print_table
from plusx.progress import watching

if TYPE_CHECKING:
    from plusx.data.check import Check

SHOWN, CLASSES = 10, 20  # of a list, and of the classes; --json has them whole


def data_check(
    data: Annotated[
        Path, typer.Argument(help="Folder of class folders, or table (.csv) with columns path, label, split, group.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Page (.html) to write that shows what was found, or a folder for it.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find what is wrong with images before training.

    That is files that cannot be read, the same image in two classes or two splits, odd files, and uneven classes.
    Nothing is changed. The exit code is 2 if training would refuse the data.

    \b
    Examples:
      plusx data check ./photos
      plusx data check photos.csv --out found.html
    """
    with watching("checking", quiet=quiet, unit="files") as bar:
        check = plusx.check_data(data, progress=bar)
    found = [finding for finding in check.findings if finding.level == "fault"]
    faults = [each.title if each.kind == "problem" else f"{data}: {each.title}" for each in found]
    page = None
    try:
        page = plusx.write_check(check, out) if out else None
    except ValueError as fault:  # reading may have taken long: what was found is shown all the same
        faults.append(str(fault))
    if as_json:
        print_json(_as_json(check) | {"report": str(page) if page else None})
    else:
        _print(check)
        if page:
            print(f"report: {page}")
    if faults:
        raise ValueError("; ".join(faults))


def _print(check: "Check") -> None:
    print(filled(check.verdict))
    print("\n".join(map(filled, check.facts)))
    classes = sorted({name for tally in check.counts.values() for name in tally})
    rows = [[name, *(f"{tally.get(name, 0):,}" for tally in check.counts.values())] for name in classes]
    print_table(["class", *check.counts], rows[:CLASSES])
    if (more := len(rows) - CLASSES) > 0:
        print(f"and {more:,} more classes\n")
    for line in check.lines(SHOWN):
        print(line if line.startswith("  ") and not line.startswith("  ->") else filled(line, 5))


def _as_json(check: "Check") -> dict[str, Any]:
    return {
        "folder": str(check.source),
        "verdict": check.verdict,
        "total": check.files,
        "images": check.images,
        "splits": check.counts,
        "assigned": check.assigned,
        "sizes": check.sizes and check.sizes._asdict(),
        "cropped_away": check.cropped_away,
        "files": [{"file": each.path, "error": each.reason} for each in check.faults],
        "left_out": [{"file": each.path, "reason": each.reason} for each in check.left_out],
        "reasons": {reason: len(its) for reason, its in check.by_reason.items()},
        "copies": check.copies._asdict(),
        "near": check.near and check.near._asdict(),
        "odd": check.odd,
        "unused": check.unused,
        "notes": check.notes,
        "problem": check.problem,
        "findings": [
            finding._asdict() | {"items": [item._asdict() for item in finding.items]} for finding in check.findings
        ],
    }

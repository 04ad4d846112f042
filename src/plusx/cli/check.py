"""`plusx data check`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import plusx
from plusx.cli.options import Json, Quiet
from plusx.cli.tables import print_json, print_table
from plusx.progress import watching

if TYPE_CHECKING:
    from plusx.data.check import Check


def data_check(
    folder: Annotated[Path, typer.Argument(help="Folder of class folders.")],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check every image of a folder. The report says what is left out and why. The exit code is 2 if an image cannot be
    read.

    \b
    Example:
      plusx data check ./photos
    """
    with watching("checking", quiet=quiet, unit="files") as bar:
        check = plusx.check_data(folder, progress=bar)
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "total": check.files,
                "images": check.images,
                "splits": check.counts,
                "assigned": check.assigned,
                "files": [{"file": each.path, "error": each.reason} for each in check.faults],
                "left_out": [{"file": each.path, "reason": each.reason} for each in check.left_out],
                "reasons": {reason: len(its) for reason, its in check.by_reason.items()},
                "copies": {"classes": check.same_image_in_classes, "splits": check.same_image_in_splits},
                "unused": check.unused,
                "notes": check.notes,
                "problem": check.problem,
            }
        )
    else:
        classes = sorted({name for tally in check.counts.values() for name in tally})
        rows = [[name, *(f"{tally.get(name, 0):,}" for tally in check.counts.values())] for name in classes]
        print_table(["class", *check.counts], rows)
        print("\n".join(_lines(check)))
    if check.problem:
        raise ValueError(check.problem)
    if check.faults:
        raise ValueError(
            f"{len(check.faults):,} of {check.files:,} files in {folder} cannot be read; repair or remove them, or "
            "train without them: --set data.undecodable=skip"
        )


def _lines(check: "Check") -> Iterator[str]:
    """What is printed below the table; long lists are cut, and --json has them whole."""
    shown = 10
    for reason, its in check.by_reason.items():
        yield f"{len(its):,} left out, {reason}:"
        yield from (f"  {each.path}{each.reason.removeprefix(reason)}" for each in its[:shown])
        yield from [f"  ... and {len(its) - shown:,} more"] * (len(its) > shown)
    for where, groups in (
        ("several classes, so at most one label of each is right", check.same_image_in_classes),
        ("several splits", check.same_image_in_splits),
    ):
        if groups:
            yield f"{len(groups):,} of equal content in {where}:"
            yield from (f"  {', '.join(paths[:shown])}" for paths in groups[:shown])
            yield from [f"  ... and {len(groups) - shown:,} more"] * (len(groups) > shown)
    if check.unused:
        yield f"not used: {', '.join(f'{name}/' for name in check.unused)}"
    yield from check.notes
    purposes = {"train": "to train on", "val": "for validation", "test": "for test"}
    yield f"{check.files:,} files: {check.images:,} images, {len(check.left_out):,} left out"
    if not check.problem:
        yield ", ".join(f"{count:,} {purposes[split]}" for split, count in check.assigned.items() if count)
    if not check.problem and not check.faults:
        yield f"all {check.images:,} images can be read"

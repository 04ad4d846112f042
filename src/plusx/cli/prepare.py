"""`plusx data prepare`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import plusx
from plusx.cli.options import Json, Quiet
from plusx.cli.tables import print_json
from plusx.progress import watching


class Undecodable(StrEnum):
    """What `--undecodable` takes."""

    REFUSE = "refuse"
    SKIP = "skip"


def data_prepare(
    folder: Annotated[Path, typer.Argument(help="Folder of class folders; it stays as it is.")],
    out: Annotated[Path, typer.Option(help="New folder, or one that an interrupted call left.")],
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels of the shorter side, 256 if not given; smaller images keep theirs."),
    ] = None,
    shards: Annotated[
        bool,
        typer.Option("--shards", help="Write the files as they are into tar archives, as webdataset reads them."),
    ] = False,
    undecodable: Annotated[
        Undecodable, typer.Option(help="refuse or skip files that cannot be decoded.")
    ] = Undecodable.REFUSE,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Decode the images of a folder once and store them smaller, so that training reads them fast.

    What is written is trained on like the folder itself, with its classes and its splits. An interrupted call goes on
    where it stopped.

    \b
    Example:
      plusx data prepare ./photos --out ./photos-256
      plusx train ./photos-256
    """
    with watching("preparing", quiet=quiet, unit="files") as bar:
        made = plusx.prepare_data(folder, out, size=size, shards=shards, undecodable=str(undecodable), progress=bar)
    if as_json:
        print_json({"folder": str(made.folder), "images": made.images, "bytes": made.size_bytes, "kept": made.kept})
        return
    there = f", {made.kept:,} of them there already" if made.kept else ""
    print(f"{made.images:,} images{there}, {made.size_bytes / 1e6:,.1f} MB in {made.folder}")
    print(f"next: plusx train {made.folder}")

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
    folder: Annotated[Path, typer.Argument(help="Folder of class folders, which stays as it is; or imagenet.")],
    out: Annotated[Path, typer.Option(help="New folder, or one that an interrupted call left.")],
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels of the shorter side, 256 if not given; smaller images keep theirs."),
    ] = None,
    shards: Annotated[
        bool,
        typer.Option("--shards", help="Write the files as they are into tar archives, as webdataset reads them."),
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="For imagenet: the folder of the official archives, or of what was unpacked."),
    ] = None,
    undecodable: Annotated[
        Undecodable, typer.Option(help="refuse or skip files that cannot be decoded.")
    ] = Undecodable.REFUSE,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Store images for fast reading.

    The images of a folder are decoded once and stored with the shorter side at most --size. What is written is
    trained on like the folder itself, with its classes and its splits. An interrupted call goes on where it stopped.
    `imagenet` lays out the archives of ILSVRC 2012 as class folders; no connection is opened.

    \b
    Examples:
      plusx data prepare ./photos --out ./photos-256
      plusx train ./photos-256
      plusx data prepare imagenet --from ./archives --out ./imagenet
    """
    if source is not None:
        _imagenet(folder, source, out, size is not None or shards, quiet=quiet, as_json=as_json)
        return
    if str(folder) == "imagenet" and not folder.exists():
        raise ValueError("name the folder of ImageNet's archives: plusx data prepare imagenet --from DIR --out DIR")
    with watching("preparing", quiet=quiet, unit="files") as bar:
        made = plusx.prepare_data(folder, out, size=size, shards=shards, undecodable=str(undecodable), progress=bar)
    if as_json:
        print_json({"folder": str(made.folder), "images": made.images, "bytes": made.size_bytes, "kept": made.kept})
        return
    there = f", {made.kept:,} of them there already" if made.kept else ""
    print(f"{made.images:,} images{there}, {made.size_bytes / 1e6:,.1f} MB in {made.folder}")
    print(f"next: plusx train {made.folder}")


def _imagenet(folder: Path, source: Path, out: Path, is_changed: bool, *, quiet: bool, as_json: bool) -> None:
    if str(folder) != "imagenet":
        raise ValueError(f"--from goes with imagenet, not with {folder}: plusx data prepare {folder} --out DIR")
    if is_changed:
        raise ValueError("--size and --shards go with a folder: prepare imagenet first, then the folder that it makes")
    with watching("imagenet", quiet=quiet, unit="classes") as bar:
        made = plusx.prepare_imagenet(source, out, progress=bar)
    counts = {"classes": made.classes, "train": made.train_images, "val": made.val_images}
    if as_json:
        print_json({"folder": str(made.folder), **counts})
        return
    print("{classes:,} classes, {train:,} images to train on, {val:,} for validation".format(**counts))
    print(f"next: plusx train {made.folder} --recipe imagenet")

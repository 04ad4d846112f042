"""A table of labelled image files as image sets: the columns path and label, and perhaps split and group.

It is read as a folder of class folders is: its images are found, read once and hashed, and split by content where no
column says how. The order of its rows changes nothing.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from plusx.data.folder import Loaded, image_sets
from plusx.data.images import listed, normal_name
from plusx.data.rows import problem_of, read_rows, rows_of
from plusx.data.scan import LabelledFile, LeftOut, Progress
from plusx.data.table import Table


def load_table(
    file: Path, *, undecodable: str = "refuse", to_train: bool = True, progress: Progress | None = None
) -> tuple[Loaded, Table]:
    """The images that a table names, its fingerprint, and what was left out and why; and the table itself.

    Args:
        file: The table; paths in it are relative to its folder.
        undecodable: "refuse" raises on images that are missing or cannot be read; "skip" leaves exactly those out.
        to_train: Whether it must be one that can be trained on; a trained net is measured on any.
        progress: Called with how many files were read, and how many there are.

    Raises:
        ValueError: It cannot be read or trained on, or a row of it contradicts another one.
    """
    rows = rows_of(file)
    if rows.mistakes:
        raise ValueError(f"{rows.where}: {_named(rows.mistakes)}; correct the table, or take such rows away")
    if rows.spellings:
        raise ValueError(f"{rows.where}: {rows.spellings[0]}; write them alike")
    if to_train and rows.problem:  # before any image is read
        raise ValueError(rows.problem)
    folder = read_rows(rows, progress=progress)
    if folder.faults and undecodable == "refuse":
        raise ValueError(
            f"{rows.where}: {len(folder.faults):,} of {len(rows.table.lines):,} images cannot be read: "
            f"{_named(folder.faults)}; correct it, or train without: --set data.undecodable=skip"
        )
    if not folder.images:
        raise ValueError(f"{rows.where} names no image that can be read: {_named(folder.faults)}")
    if to_train and (problem := problem_of(rows, folder)):
        raise ValueError(problem)
    return image_sets(folder, to_train=to_train)._replace(fingerprint=_fingerprint(folder.images)), rows.table


def _named(rows: Iterable[LeftOut]) -> str:
    return listed(f"{each.path}: {each.reason}" for each in rows)


def _fingerprint(images: Sequence[LabelledFile]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for image in sorted(images, key=lambda image: image.parts):
        cells = (normal_name(image.parts[0]), image.class_name, image.split, image.group or "", image.digest)
        digest.update(("\0".join(cells) + "\n").encode())
    return digest.hexdigest()

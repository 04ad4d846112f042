"""Images that `plusx data prepare` made smaller once and for all: uint8 in one file, read by memory map.

Each is stored upright, in RGB, whole, with the shorter side at most `size` pixels: the boxes of training and evaluation
are shares of an image, so both are cut out of it as out of its file. What was not larger is stored as it is, and gives
the same tensors to the bit. What was larger is scaled about its centre: evaluation at the scale that was prepared for,
such as 224 pixels that cover 0.875 of 256, resizes nothing a second time and is the same to a grey level; at a smaller
scale it is nearly the same. A training crop of a small part has less detail than its file would give.
"""

import json
import zlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from plusx.data.decode import FullScale, is_image_name
from plusx.data.scan import Folder, LabelledFile, LeftOut, digest
from plusx.data.shards import ShardPlace, Shards
from plusx.data.tree import printable, walk

INDEX, UNFINISHED, PIXELS = "prepared.json", "unfinished.json", "pixels.bin"
FORMAT, VERSION = "plusx prepared images", 1
CHECKED = 16  # images whose content is compared with the index when a folder is opened


class Place(NamedTuple):
    """Where an image lies, and what its file was."""

    offset: int
    height: int
    width: int
    check: int
    """CRC-32 of its pixels."""
    file_bytes: int
    file_changed: int
    """When its file was last changed, in nanoseconds."""

    @property
    def stop(self) -> int:
        """Where the next one begins."""
        return self.offset + 3 * self.height * self.width


@dataclass(frozen=True)
class Prepared:
    """The pixels of a prepared folder."""

    root: Path
    size: int
    """The shorter side of what was made smaller, in pixels."""
    places: dict[Path, Place] = field(repr=False)
    """By the path that an image would have below the root."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.root,)  # a worker process maps the file itself

    def __call__(self, file: Path) -> np.ndarray:
        """An image as uint8, H x W x 3, which may not be written to."""
        place = self.places[file]
        return self._bytes[place.offset : place.stop].reshape(place.height, place.width, 3)

    def require_serves(self, size: tuple[int, int], crop_fraction: float) -> None:
        """Raises ValueError when an input has more detail than was kept.

        Args:
            size: Of the input, in pixels.
            crop_fraction: Share of the shorter side that it covers.
        """
        needed = round(max(size) / crop_fraction)
        if needed > self.size:
            raise ValueError(
                f"{self.root} was prepared with --size {self.size}; an input of {max(size)} pixels needs {needed}: "
                f"prepare the images again with --size {needed}"
            )

    @cached_property
    def _bytes(self) -> np.ndarray:
        return np.memmap(self.root / PIXELS, dtype=np.uint8, mode="r")


def is_prepared(root: Path) -> bool:
    """Whether a folder is one that `plusx data prepare` wrote, or began to."""
    return (root / INDEX).is_file() or (root / UNFINISHED).is_file()


def open_prepared(root: Path) -> tuple[Prepared | Shards, Folder]:
    """A prepared folder: its images, and what the folder that it was made of held.

    Raises:
        ValueError: It is unfinished, damaged, of another version, or its images have changed since.
    """
    if not (root / INDEX).exists():
        raise ValueError(f"{root} is not finished; resume it with: plusx data prepare FOLDER --out {root}")
    index = read_index(root / INDEX)
    folder = folder_from(index, root)
    stored = _shards(root, index) if index["shards"] else _prepared(root, index)
    for name, whole in index["sizes"].items():
        there = (root / name).stat().st_size if (root / name).exists() else 0
        if there != whole:
            raise ValueError(f"{root / name} has {there:,} bytes of {whole:,}; {_again(index, root)}")
    every = list(zip(stored.places, folder.images, strict=True))
    for number in np.linspace(0, len(every) - 1, min(CHECKED, len(every))).round().astype(int):
        file, image = every[number]
        if isinstance(stored, Shards):
            same = digest(stored(file)) == image.digest
        else:
            same = zlib.crc32(stored(file).data) == stored.places[file].check
        if not same:
            raise ValueError(f"{root} does not hold the images of its index; {_again(index, root)}")
    _require_fresh(root, index, stored)
    return stored, folder


def read_index(file: Path) -> dict[str, Any]:
    """An index, or the head of one that is unfinished.

    Raises:
        ValueError: It is none of ours, or of another version.
    """
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        index = None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ValueError(f"{file} is not an index of prepared images")
    if index.get("version") != VERSION:
        raise ValueError(
            f"{file.parent} was prepared by another version of plusx (format {index.get('version')}, not {VERSION}); "
            f"{_again(index, file.parent)}"
        )
    return index


def folder_as_json(folder: Folder) -> dict[str, Any]:
    """What a folder held; the inverse of `folder_from`."""
    return {
        "images": [list(image) for image in folder.images],
        "left_out": [list(each) for each in folder.left_out],
        "classes": {split: dict(classes) for split, classes in folder.classes.items()},
        "unused": list(folder.unused),
        "full_scale": asdict(folder.full_scale),
    }


def folder_from(index: dict[str, Any], root: Path) -> Folder:
    """What the folder of an index held, as if it lay at `root`."""
    held = index["folder"]
    return Folder(
        root,
        tuple(LabelledFile(tuple(parts), *rest) for parts, *rest in held["images"]),
        tuple(LeftOut(*each) for each in held["left_out"]),
        {split: {name: tuple(its) for name, its in classes.items()} for split, classes in held["classes"].items()},
        tuple(held["unused"]),
        FullScale(**held["full_scale"]),
    )


def _prepared(root: Path, index: dict[str, Any]) -> Prepared:
    files = (root.joinpath(*parts) for parts, *_ in index["folder"]["images"])
    return Prepared(root, index["size"], dict(zip(files, (Place(*row) for row in index["places"]), strict=True)))


def _shards(root: Path, index: dict[str, Any]) -> Shards:
    files = (root.joinpath(*parts) for parts, *_ in index["folder"]["images"])
    return Shards(root, dict(zip(files, (ShardPlace(*row) for row in index["places"]), strict=True)))


def _reopened(root: Path) -> Prepared:
    return _prepared(root, read_index(root / INDEX))


def _require_fresh(root: Path, index: dict[str, Any], stored: Prepared | Shards) -> None:
    """Raises ValueError when the folder that it was made of is there, and no longer what it was."""
    source = Path(index["source"])
    if not source.is_dir():  # moved, or on another machine: what is prepared stands for itself
        return
    files = [(place.file_bytes, place.file_changed) for place in stored.places.values()]
    known = {"/".join(image[0]): (image[3], *its) for image, its in zip(index["folder"]["images"], files, strict=True)}
    left_out = {path for path, *_ in index["folder"]["left_out"]}
    faults: list[str] = []
    there = {"/".join(e.parts) for e in walk(source) if not e.is_folder and e.reason is None}
    faults += [f"{printable(name)} is new" for name in sorted(there - known.keys()) if _is_new(name, left_out)]
    faults += [f"{name} is gone" for name in sorted(known.keys() - there)]
    for name in sorted(known.keys() & there):
        known_as, size_bytes, changed = known[name]
        now = (source / name).stat()
        if now.st_size != size_bytes or (
            now.st_mtime_ns != changed and digest((source / name).read_bytes()) != known_as
        ):
            faults.append(f"{name} has changed")
    if faults:
        more = f", and {len(faults) - 1:,} more" if faults[1:] else ""
        raise ValueError(f"{root} was made of {source}, where {faults[0]} since{more}; {_again(index, root)}")


def _is_new(name: str, left_out: set[str]) -> bool:
    return is_image_name(Path(name).name) and printable(name) not in left_out


def _again(index: dict[str, Any], root: Path) -> str:
    how = " --shards" if index.get("shards") else ""
    return f"remove it and prepare it again: plusx data prepare {index.get('source', 'FOLDER')} --out {root}{how}"

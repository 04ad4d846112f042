"""The files of a class folder in a few tar archives, as the webdataset package reads them, with an index of offsets.

Every image is a sample of three members: NUMBER.SUFFIX, its file as it is; NUMBER.cls, the index of its class; and
NUMBER.json, its path, its class and the hash of its content. A split has archives of its own, and the samples of one
are in the order of their hashes, which mixes the classes. plusx itself reads a sample by its offset: the batch of every
step is the one that the folder gives, to the bit, and resume needs no shuffle buffer.

The layout follows from the sizes of the files alone, so that an archive that is there in its full length is done.
"""

import json
import os
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from plusx.data.scan import Folder, LabelledFile

SHARD_BYTES = 256 * 2**20
"""Of an archive, at most, unless a single image is larger."""
BLOCK = 512
END = 2 * BLOCK
"""Of zeros, after the last member."""


class ShardPlace(NamedTuple):
    """Where the file of an image lies, and what it was."""

    shard: str
    offset: int
    file_bytes: int
    file_changed: int
    """When it was last changed, in nanoseconds."""


@dataclass(frozen=True)
class Shards:
    """The files of a folder inside archives."""

    root: Path
    places: dict[Path, ShardPlace] = field(repr=False)
    """By the path that an image would have below the root."""

    def __call__(self, file: Path) -> bytes:
        """The content of an image's file."""
        place = self.places[file]
        with (self.root / place.shard).open("rb") as shard:
            shard.seek(place.offset)
            return shard.read(place.file_bytes)

    def require_serves(self, size: tuple[int, int], crop_fraction: float) -> None:
        """Nothing is lost: every input is served."""


@dataclass(frozen=True)
class Planned:
    """An archive before it is written."""

    name: str
    size_bytes: int
    members: tuple[tuple[int, LabelledFile, ShardPlace], ...]
    """Number, image and place of each sample."""


def plan_shards(root: Path, folder: Folder) -> list[Planned]:
    """Which image goes where."""
    labels = {name: place for place, name in enumerate(folder.class_names())}
    by_split: dict[str, list[LabelledFile]] = defaultdict(list)
    for image in folder.images:
        by_split[image.split or "all"].append(image)
    planned: list[Planned] = []
    for split, images in by_split.items():
        members: list[tuple[int, LabelledFile, ShardPlace]] = []
        part, stop = 0, 0
        for number, image in enumerate(sorted(images, key=lambda image: (image.digest, image.parts))):
            status = root.joinpath(*image.parts).stat()
            beside = sum(_padded(len(content)) for _, content in _beside(number, image, labels))
            length = _padded(status.st_size) + beside
            if members and stop + length + END > SHARD_BYTES:
                planned.append(Planned(_name(split, part), stop + END, tuple(members)))
                members, part, stop = [], part + 1, 0
            place = ShardPlace(_name(split, part), stop + BLOCK, status.st_size, status.st_mtime_ns)
            members.append((number, image, place))
            stop += length
        planned.append(Planned(_name(split, part), stop + END, tuple(members)))
    return planned


def write_shard(planned: Planned, root: Path, out: Path, class_names: Sequence[str]) -> None:
    """Write an archive aside, flush it to the disk and rename it."""
    labels = {name: place for place, name in enumerate(class_names)}
    aside = out / f".{planned.name}.partial"
    with aside.open("wb") as file:
        for number, image, place in planned.members:
            source = root.joinpath(*image.parts)
            content = source.read_bytes()
            if len(content) != place.file_bytes:
                raise ValueError(f"{source} has changed while it was read; run the same again")
            suffix = source.suffix.lower().removeprefix(".")
            for name, data in ((f"{number:08}.{suffix}", content), *_beside(number, image, labels)):
                file.write(_header(name, len(data)))
                file.write(data)
                file.write(bytes(-len(data) % BLOCK))
        file.write(bytes(END))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(out / planned.name)


def _beside(number: int, image: LabelledFile, labels: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """The members that say what an image is; one whose class is in no training folder has none."""
    if image.class_name in labels:
        yield f"{number:08}.cls", str(labels[image.class_name]).encode()
    about = {"path": "/".join(image.parts), "class": image.class_name, "digest": image.digest}
    yield f"{number:08}.json", json.dumps(about).encode()


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def _padded(size: int) -> int:
    """Bytes of a member with its head."""
    return BLOCK + -(-size // BLOCK) * BLOCK


def _name(split: str, part: int) -> str:
    return f"{split}-{part:06}.tar"

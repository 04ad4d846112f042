"""`plusx data prepare`: the images of a class folder, decoded and made smaller once, so that training reads them fast.

What is written is in prepared.py. An interruption at any instant loses at most the images of the last group: pixels are
on the disk before the line that names them, and the index comes last, whole.
"""

import errno
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from plusx.data.decode import FullScale, decode, image_size
from plusx.data.folder import fingerprint, require_readable
from plusx.data.prepared import (
    FORMAT,
    INDEX,
    PIXELS,
    UNFINISHED,
    VERSION,
    Place,
    folder_as_json,
    is_prepared,
    open_prepared,
    read_index,
)
from plusx.data.scan import Folder, LabelledFile, digest, scan, usable_processors
from plusx.data.shards import ShardPlace, plan_shards, write_shard
from plusx.progress import shown

DONE = "done.jsonl"
GROUP = 64
"""Images between two waits for the disk."""
SPARE = 64 * 2**20
"""Bytes of a disk that are left free."""


@dataclass(frozen=True)
class PreparedFolder:
    """What `prepare_data` left."""

    folder: Path
    images: int
    size_bytes: int
    """Of the pixels."""
    kept: int
    """Images that an earlier call had written."""

    def __repr__(self) -> str:
        return f"<PreparedFolder {self.folder} of {self.images:,} images, {self.size_bytes / 1e6:,.1f} MB>"


def prepare_data(
    root: str | Path,
    out: str | Path,
    *,
    size: int | None = None,
    shards: bool = False,
    undecodable: str = "refuse",
    progress: bool | Callable[[int, int], None] = True,
) -> PreparedFolder:
    """Decode the images of a class folder once and store them smaller, for training to read by memory map.

    Args:
        root: The folder; it stays as it is.
        out: New folder, or one that an interrupted call left, which is gone on with. It is trained on like any folder.
        size: Pixels of the shorter side, 256 if not given; smaller images keep theirs. An input of 224 that covers
            0.875 of it needs 256.
        shards: Write the files as they are into tar archives, which the webdataset package reads as well.
        undecodable: "refuse" or "skip" files that cannot be decoded.
        progress: True shows a bar in a terminal or a notebook; a callable is called with what is done and to be done.

    Raises:
        ValueError: There is no such folder, an image cannot be read, `out` holds something else, or the disk is full.

    Example:
        >>> from PIL import Image
        >>> for name in ("ant", "bee"):
        ...     for number in range(8):
        ...         file = Path("photos") / name / f"{number}.png"
        ...         file.parent.mkdir(parents=True, exist_ok=True)
        ...         Image.new("RGB", (64, 48), (number, 0, len(name))).save(file)
        >>> prepare_data("photos", "small", size=32).size_bytes == 16 * 3 * 32 * 42
        True
    """
    root, out = Path(root).expanduser().resolve(), Path(out).expanduser().resolve()
    if shards and size is not None:
        raise ValueError(f"--size is {size}, but --shards stores the files as they are; leave one of them out")
    size = 256 if size is None else size
    if size < 1:
        raise ValueError(f"--size is {size}; it is a number of pixels, 1 or more")
    if is_prepared(root):
        raise ValueError(f"{root} is prepared already; name the folder that it was made of")
    if out.is_relative_to(root) or root.is_relative_to(out):
        raise ValueError(f"--out {out} and {root} lie in one another; choose another --out")
    _require_ours(out)
    with shown(progress, "preparing", unit="files") as report:
        folder = scan(root, progress=lambda done, total: report(done, 2 * total))
        require_readable(folder, undecodable, skip="--undecodable skip")
        if not folder.images:
            raise ValueError(f"{root} holds no image that can be read")
        head = {
            "format": FORMAT,
            "version": VERSION,
            "source": str(root),
            "shards": shards,
            "size": None if shards else size,
            "fingerprint": fingerprint(folder.images),
        }
        if (out / INDEX).exists():
            if read_index(out / INDEX) | head != read_index(out / INDEX):
                raise ValueError(
                    f"{out} was prepared of other images or at another size; remove it, or choose another --out"
                )
            open_prepared(out)
            _clear(out)
            size_bytes = sum(read_index(out / INDEX)["sizes"].values())
            return PreparedFolder(out, len(folder.images), size_bytes, len(folder.images))
        if shards:
            return _into_shards(out, head, root, folder, report)
        places = _begun(out, head, folder.images)
        kept = len(places)
        require_room(out, _needed(root, folder.images[kept:], size), "choose another --out or a smaller --size")
        out.mkdir(parents=True, exist_ok=True)
        _write(out / UNFINISHED, json.dumps(head))
        try:
            for group in _grouped(folder.images[kept:], root, size, folder.full_scale):
                _append(out, places, group)
                report(len(folder.images) + len(places), 2 * len(folder.images))
        except OSError as fault:
            raise _cut_short(out, fault, len(places), len(folder.images)) from None
        _finish(out, head, folder, places, {PIXELS: places[-1].stop})
    return PreparedFolder(out, len(places), places[-1].stop, kept)


def smaller(image: Image.Image, size: int) -> Image.Image:
    """An image with a shorter side of at most `size`, both sides scaled alike, about its centre."""
    width, height = smaller_sides(*image.size, size)
    if (width, height) == image.size:
        return image
    scale = min(image.size) / size
    left, upper = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    box = (left, upper, image.width - left, image.height - upper)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def smaller_sides(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height with a shorter side of at most `size`.

    The longer side is what is left of it in whole pixels, an even number more than the shorter one: so less than two
    pixels are lost, and the centre stays where it was.

    Example:
        >>> smaller_sides(500, 375, 256), smaller_sides(375, 500, 256), smaller_sides(200, 100, 256)
        ((340, 256), (256, 340), (200, 100))
    """
    shorter, longer = min(width, height), max(width, height)
    if shorter <= size:
        return width, height
    long = size + (longer * size // shorter - size) // 2 * 2
    return (long, size) if width > height else (size, long)


def _into_shards(
    out: Path, head: dict[str, Any], root: Path, folder: Folder, report: Callable[[int, int], object]
) -> PreparedFolder:
    if (out / UNFINISHED).exists():
        _require_same(out, head)
    planned = plan_shards(root, folder)
    there = [p for p in planned if (out / p.name).exists() and (out / p.name).stat().st_size == p.size_bytes]
    kept = done = sum(len(each.members) for each in there)
    require_room(out, sum(each.size_bytes for each in planned if each not in there))
    out.mkdir(parents=True, exist_ok=True)
    _write(out / UNFINISHED, json.dumps(head))
    try:
        for each in planned:
            if each not in there:
                write_shard(each, root, out, folder.class_names())
                done += len(each.members)
            report(len(folder.images) + done, 2 * len(folder.images))
    except OSError as fault:
        raise _cut_short(out, fault, done, len(folder.images)) from None
    places = {image: place for each in planned for _, image, place in each.members}
    sizes = {each.name: each.size_bytes for each in planned}
    _finish(out, head, folder, [places[image] for image in folder.images], sizes)
    return PreparedFolder(out, len(folder.images), sum(sizes.values()), kept)


def _finish(
    out: Path, head: dict[str, Any], folder: Folder, places: Sequence[Place | ShardPlace], sizes: dict[str, int]
) -> None:
    """Write the index, which makes it whole."""
    index = {"folder": folder_as_json(folder), "places": [list(place) for place in places], "sizes": sizes}
    _write(out / INDEX, json.dumps(head | index))
    _clear(out)


def _cut_short(out: Path, fault: OSError, done: int, total: int) -> ValueError:
    first = "make room and " if fault.errno == errno.ENOSPC else ""
    return ValueError(
        f"preparing {out} stopped after {done:,} of {total:,} images: {fault.strerror or fault}; {first}run the same "
        "again, which goes on from there"
    )


def _clear(out: Path) -> None:
    for name in (UNFINISHED, DONE):
        (out / name).unlink(missing_ok=True)


def _require_ours(out: Path) -> None:
    """Raises ValueError when the folder holds what is not ours."""
    if out.exists() and not is_prepared(out):
        if not out.is_dir():
            raise ValueError(f"--out {out} is a file; name a folder")
        if any(path.name != f".{UNFINISHED}.partial" for path in out.iterdir()):
            raise ValueError(f"--out {out} is not empty; choose another")


def _begun(out: Path, head: dict[str, Any], images: Sequence[LabelledFile]) -> list[Place]:
    """The images that an interrupted call has written, of which the file of pixels holds no more afterwards.

    Raises:
        ValueError: It was called for other images or another size.
    """
    if not (out / UNFINISHED).exists():
        return []
    _require_same(out, head)
    places: list[Place] = []
    there = (out / PIXELS).stat().st_size if (out / PIXELS).exists() else 0
    lines = (out / DONE).read_text(encoding="ascii", errors="replace").split("\n") if (out / DONE).exists() else [""]
    for line in lines[:-1]:  # what follows the last line break was being written
        place = _place(line)
        if place is None or place.offset != (places[-1].stop if places else 0) or place.stop > there:
            break
        places.append(place)
    places = places[: len(images)]
    with (out / PIXELS).open("ab") as file:
        file.truncate(places[-1].stop if places else 0)
    _write(out / DONE, "".join(f"{json.dumps(place)}\n" for place in places))
    return places


def _require_same(out: Path, head: dict[str, Any]) -> None:
    if read_index(out / UNFINISHED) != head:
        raise ValueError(
            f"{out} was begun for other images or another size, or these have changed since; remove it, or choose "
            "another --out"
        )


def _place(line: str) -> Place | None:
    try:
        return Place(*json.loads(line))
    except (TypeError, ValueError):
        return None


def _needed(root: Path, images: Sequence[LabelledFile], size: int) -> int:
    """Bytes of the pixels of images."""
    sides = (smaller_sides(*image_size(root.joinpath(*image.parts)), size) for image in images)
    return sum(3 * width * height for width, height in sides)


def require_room(out: Path, needed: int, way: str = "choose another --out") -> None:
    """Raises ValueError when a folder cannot be written, or its disk has no room.

    Args:
        out: The folder, there or not.
        needed: Bytes that are still to be written.
        way: What to do then.
    """
    there = next(folder for folder in (out, *out.parents) if folder.exists())
    if not os.access(there, os.W_OK):
        raise ValueError(f"cannot write to {there}; choose another --out")
    if (free := shutil.disk_usage(there).free) < needed + SPARE:
        raise ValueError(
            f"{there} has {free / 1e9:.2f} GB free, and the images need {(needed + SPARE) / 1e9:.2f} GB; {way}"
        )


Made = tuple[np.ndarray, int, int]
"""The pixels of a file, its size in bytes, and when it was changed."""


def _grouped(images: Sequence[LabelledFile], root: Path, size: int, full_scale: FullScale) -> Iterator[list[Made]]:
    def made(image: LabelledFile) -> Made:
        file = root.joinpath(*image.parts)
        changed, raw = file.stat().st_mtime_ns, file.read_bytes()
        if digest(raw) != image.digest:
            raise ValueError(f"{file} has changed while it was read; run the same again")
        return np.asarray(smaller(decode(raw, full_scale=full_scale), size)), len(raw), changed

    with ThreadPoolExecutor(usable_processors()) as pool:  # decoding and resizing release the interpreter's lock
        for start in range(0, len(images), GROUP):
            yield list(pool.map(made, images[start : start + GROUP]))


def _append(out: Path, places: list[Place], group: Sequence[Made]) -> None:
    """Pixels first, and on the disk, then the lines that name them."""
    new: list[Place] = []
    stop = places[-1].stop if places else 0
    with (out / PIXELS).open("ab") as file:
        for pixels_HWC, size_bytes, changed in group:
            height, width, _ = pixels_HWC.shape
            new.append(Place(stop, height, width, zlib.crc32(pixels_HWC.data), size_bytes, changed))
            file.write(pixels_HWC.data)
            stop = new[-1].stop
        file.flush()
        os.fsync(file.fileno())
    with (out / DONE).open("a", encoding="ascii") as file_of_lines:
        file_of_lines.writelines(f"{json.dumps(place)}\n" for place in new)
        file_of_lines.flush()
        os.fsync(file_of_lines.fileno())
    places += new


def _write(file: Path, text: str) -> None:
    """Write a file aside, flush it to the disk and rename it."""
    aside = file.with_name(f".{file.name}.partial")
    with aside.open("w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    aside.replace(file)

"""Images of none of the classes: files in any order of folders, without labels."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from plusx.data.decode import FullScale
from plusx.data.found import find_images
from plusx.data.images import ImageSet
from plusx.data.scan import read_file, usable_processors


def load_outsiders(
    folder: Path,
    class_names: Sequence[str],
    full_scale: FullScale,
    *,
    without: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ImageSet, tuple[str, ...]]:
    """The images below a folder, whose labels mean nothing, and what was left out, in sentences.

    Args:
        folder: Searched with all folders in it.
        class_names: A net's.
        full_scale: What is white in files whose format does not say so.
        without: Hashes of files that are not to be taken.
        progress: Called with how many files were read, and how many there are.

    Raises:
        ValueError: There is no such folder, or no image in it that can be read and taken.
    """
    if not folder.is_dir():
        raise ValueError(f"no such folder of outsiders: {folder}")
    files = find_images(folder).files
    unread: list[str] = []
    taken: list[tuple[Path, str]] = []
    with ThreadPoolExecutor(usable_processors()) as pool:  # decoders and hashes release the interpreter's lock
        for done, (file, read) in enumerate(zip(files, pool.map(read_file, files), strict=True), start=1):
            if isinstance(read, str):
                unread.append(f"{file.relative_to(folder)}: {read}")
            elif read.digest not in without:
                taken.append((file, read.digest))
            if progress:
                progress(done, len(files))
    notes = []
    if unread:
        more = f" and {len(unread) - 1:,} more" if unread[1:] else ""
        notes.append(f"outsiders left out: {unread[0]}{more}")
    if trained := len(files) - len(unread) - len(taken):
        notes.append(f"{trained:,} outsiders are left out: the net was trained on them")
    if not taken:
        raise ValueError(f"no image of {folder} can be measured: {'; '.join(notes)}")
    paths, digests = zip(*taken, strict=True)
    labels_N = torch.zeros(len(paths), dtype=torch.int64)
    return ImageSet(labels_N, tuple(class_names), files=paths, digests=digests, full_scale=full_scale), tuple(notes)

"""A data source by name: `digits`, `cifar10`, `cifar100`, a folder of class folders, or a table of image files."""

import difflib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from plusx.data.cifar import default_folder, load_cifar
from plusx.data.folder import load_folder
from plusx.data.images import ImageSet
from plusx.data.labelled import load_table
from plusx.data.scan import LeftOut, Progress
from plusx.data.table import is_table


@dataclass(frozen=True)
class Source:
    """The images of a data source."""

    name: str
    """Its name, or the absolute path of a folder or of a table."""
    splits: Mapping[str, ImageSet]
    fingerprint: str
    """Hash of all images and labels: a resumed run must see the same."""
    data_dir: Path | None = None
    """Where CIFAR lies."""
    left_out: tuple[LeftOut, ...] = ()
    """Every file of a folder that is no image of a split, with the reason."""
    as_found: Mapping[str, ImageSet] = field(default_factory=dict)
    """The images of a folder by the split folders that they are in, before any is held back for validation; those of a
    flat folder are under ""."""
    notes: tuple[str, ...] = ()
    """What is not used of a table, and how many images have no group, a sentence each."""

    @property
    def title(self) -> str:
        """Its name without the folders that it is in; of a table without its ending."""
        path = Path(self.name)
        return path.stem if is_table(path) else path.name

    def name_of(self, file: Path) -> str:
        """The path of an image below the folder that holds them, or the table; its whole path where it is elsewhere."""
        root = Path(self.name).parent if is_table(Path(self.name)) else Path(self.name)
        return (file.relative_to(root) if file.is_relative_to(root) else file).as_posix()


def load_source(
    name: str,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    undecodable: str = "refuse",
    group: str | None = None,
    to_train: bool = True,
    progress: Progress | None = None,
) -> Source:
    """The images of a source. Opens no connection unless `download` is set.

    Args:
        name: digits, cifar10, cifar100, or the path of a folder or of a table.
        data_dir: Where CIFAR lies; PLUSX_DATA or ~/.cache/plusx if not given.
        download: Fetch CIFAR into `data_dir` when it is not there.
        undecodable: "refuse" or "skip" files that cannot be decoded.
        group: As for `load_folder`; a table has its own.
        to_train: Whether a folder or a table must be one that can be trained on.
        progress: Called with how far reading a folder, or a download, has come.

    Raises:
        ValueError: There is no such source, or it cannot be trained on.

    Example:
        >>> {split: len(images) for split, images in load_source("digits").splits.items()}
        {'train': 1437, 'test': 360}
    """
    if name in _LOADERS:
        if group is not None:
            raise ValueError(f"data.group is {group!r}, which matches paths of files; {name} has none")
        return _LOADERS[name](data_dir, download, progress)
    root = Path(name).expanduser()
    near = difflib.get_close_matches(name, NAMES, n=1)
    if near and not root.exists():
        raise ValueError(f"no data source, folder or table {name!r}; did you mean {near[0]!r}?")
    path, notes = root.resolve(), tuple[str, ...]()
    if is_table(path) and not path.is_dir():
        if group is not None and to_train:
            raise ValueError(f"data.group is {group!r}, but the groups of a table stand in its column 'group'")
        loaded, table = load_table(path, undecodable=undecodable, to_train=to_train, progress=progress)
        notes = table.notes
    else:
        loaded = load_folder(path, undecodable=undecodable, group=group, to_train=to_train, progress=progress)
    splits, found = loaded.splits, loaded.as_found
    notes += _groups_in_words(splits.values())
    return Source(str(path), splits, loaded.fingerprint, left_out=loaded.left_out, as_found=found, notes=notes)


def _groups_in_words(splits: Iterable[ImageSet]) -> tuple[str, ...]:
    """How many groups the images are in, and how many are in none."""
    groups = [group for images in splits for group in images.groups or ()]
    if not groups:
        return ()
    alone = f"; {count:,} of {len(groups):,} images are in none" if (count := groups.count(None)) else ""
    return (f"{len({*groups} - {None}):,} groups, each in one split{alone}",)


def _digits(data_dir: Path | None, download: bool, progress: Progress | None) -> Source:
    splits = load_digits()
    return Source("digits", splits, _fingerprint(splits))


def _cifar(name: str, data_dir: Path | None, download: bool, progress: Progress | None) -> Source:
    folder = (data_dir or default_folder()).expanduser().resolve()
    splits = load_cifar(name, folder, download=download, progress=progress)
    return Source(name, splits, _fingerprint(splits), data_dir=folder)


_LOADERS: Mapping[str, Callable[[Path | None, bool, Progress | None], Source]] = {
    "digits": _digits,
    "cifar10": partial(_cifar, "cifar10"),
    "cifar100": partial(_cifar, "cifar100"),
}
"""Name -> loader of (data_dir, download, progress); whatever is none of these names is a folder or a table."""
NAMES = tuple(_LOADERS)


def load_digits() -> dict[str, ImageSet]:
    """The 1,797 handwritten digits inside scikit-learn (Alpaydin and Kaynak 1998), 8 x 8 pixels of 0..16.

    One fixed stratified split of 80 and 20 per cent: the files name no writers and no split.
    """
    from sklearn.datasets import load_digits as bundled
    from sklearn.model_selection import train_test_split

    digits = bundled()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    train, test = train_test_split(np.arange(len(pixels)), test_size=360, random_state=0, stratify=digits.target)
    whole = ImageSet(
        torch.from_numpy(digits.target.astype(np.int64)),
        tuple(str(n) for n in digits.target_names),
        pixels_NCHW=torch.from_numpy(pixels),
    )
    return {"train": whole.take(np.sort(train).tolist()), "test": whole.take(np.sort(test).tolist())}


def _fingerprint(splits: Mapping[str, ImageSet]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, images in splits.items():
        assert images.pixels_NCHW is not None
        digest.update(name.encode())
        digest.update(images.labels_N.numpy().tobytes())
        digest.update(images.pixels_NCHW.numpy().data)
    return digest.hexdigest()

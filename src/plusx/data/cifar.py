"""CIFAR-10 and CIFAR-100 in both official layouts, https://www.cs.toronto.edu/~kriz/cifar.html (Krizhevsky 2009).

Binary: per image one label byte (CIFAR-100: a coarse and a fine one), then 1,024 red, green and blue bytes. Python:
pickles of a dictionary with the same bytes as an array; they are read by an unpickler that knows three names of numpy
and nothing else.
"""

import hashlib
import io
import os
import pickle
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plusx.data.images import ImageSet

ADDRESS = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class Layout:
    """Where one of the two data sets keeps what."""

    binary: str
    """Folder of the binary layout."""
    python: str
    """Folder of the python layout."""
    train: tuple[str, ...]
    """Training files, without the binary layout's suffix."""
    test: str
    """Test file, without the binary layout's suffix."""
    names_file: tuple[str, str]
    """Files of the class names: binary layout, python layout."""
    names_key: str
    """Key of the class names in the python layout."""
    labels_key: str
    """Key of the labels in the python layout."""
    label_bytes: int
    """Label bytes of a binary record; the last is the class."""
    num_classes: int
    archive: str
    """The official archive, of the python layout."""
    md5: str
    """Its MD5, as the official page prints it."""


LAYOUTS = {
    "cifar10": Layout(
        "cifar-10-batches-bin",
        "cifar-10-batches-py",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test_batch",
        ("batches.meta.txt", "batches.meta"),
        "label_names",
        "labels",
        1,
        10,
        "cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
    ),
    "cifar100": Layout(
        "cifar-100-binary",
        "cifar-100-python",
        ("train",),
        "test",
        ("fine_label_names.txt", "meta"),
        "fine_label_names",
        "fine_labels",
        2,
        100,
        "cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
    ),
}

_FINE = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
CLASS_NAMES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "cifar100": tuple(_FINE.split()),
}
"""The official names in the order of the labels, for when the data is not at hand."""


def default_folder() -> Path:
    """Where CIFAR lies unless a folder is named: PLUSX_DATA, or else ~/.cache/plusx."""
    return Path(os.environ.get("PLUSX_DATA") or "~/.cache/plusx").expanduser()


def load_cifar(
    name: str, data_dir: Path, *, download: bool = False, progress: Callable[[int, int], None] | None = None
) -> dict[str, ImageSet]:
    """The splits "train" and "test".

    Args:
        name: cifar10 or cifar100.
        data_dir: Folder that holds the official folder, or is it.
        download: Fetch the official archive into `data_dir` when it holds neither layout.
        progress: Called with the bytes of the download so far and in all.

    Raises:
        ValueError: The data is not there, or a file is not what it should be.
    """
    layout = LAYOUTS[name]
    folder = _find(layout, data_dir)
    if folder is None and download:
        fetch_archive(ADDRESS + layout.archive, layout.md5, data_dir, progress=progress)
        folder = _find(layout, data_dir)
    if folder is None:
        raise ValueError(
            f"{name} not found (not in {data_dir}); give --data-dir DIR with {layout.binary}/ in it, or --download"
        )
    read = _read_binary if (folder / f"{layout.test}.bin").exists() else _read_python
    names = _class_names(layout, folder)
    return {
        "train": _concatenate([read(layout, folder, file) for file in layout.train], names),
        "test": _concatenate([read(layout, folder, layout.test)], names),
    }


def _find(layout: Layout, data_dir: Path) -> Path | None:
    for folder in (data_dir / layout.binary, data_dir / layout.python, data_dir):
        if (folder / f"{layout.test}.bin").is_file() or (folder / layout.names_file[1]).is_file():
            return folder
    return None


def _read_binary(layout: Layout, folder: Path, file: str) -> tuple[np.ndarray, np.ndarray]:
    path = folder / f"{file}.bin"
    record = layout.label_bytes + 3072
    raw = np.frombuffer(_bytes_of(path), dtype=np.uint8)
    if len(raw) == 0 or len(raw) % record:
        raise ValueError(f"{path} is {len(raw):,} bytes, not a whole number of {record}-byte records; fetch it anew")
    records = raw.reshape(-1, record)
    return records[:, layout.label_bytes :], _checked_labels(layout, path, records[:, layout.label_bytes - 1])


def _read_python(layout: Layout, folder: Path, file: str) -> tuple[np.ndarray, np.ndarray]:
    path = folder / file
    batch = unpickle(_bytes_of(path), path)
    pixels, labels = batch.get("data"), batch.get(layout.labels_key)
    if not (
        isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 2 and pixels.shape[1] == 3072
    ):
        raise ValueError(f"{path} holds no array of 3,072 bytes per image under 'data'")
    if not isinstance(labels, list) or len(labels) != len(pixels):
        raise ValueError(f"{path} holds no label per image under {layout.labels_key!r}")
    return pixels, _checked_labels(layout, path, np.asarray(labels))


def _checked_labels(layout: Layout, path: Path, labels: np.ndarray) -> np.ndarray:
    if labels.min() < 0 or labels.max() >= layout.num_classes:
        raise ValueError(f"{path} has a label outside 0..{layout.num_classes - 1}; it is damaged or another data set")
    return labels.astype(np.int64)


def _class_names(layout: Layout, folder: Path) -> tuple[str, ...]:
    text, pickled = folder / layout.names_file[0], folder / layout.names_file[1]
    if text.is_file():
        names = text.read_text().split()
    else:
        names = [str(n) for n in unpickle(_bytes_of(pickled), pickled).get(layout.names_key, [])]
    if len(names) != layout.num_classes:
        raise ValueError(f"{folder} names {len(names)} classes, not {layout.num_classes}")
    return tuple(names)


def _concatenate(parts: list[tuple[np.ndarray, np.ndarray]], names: tuple[str, ...]) -> ImageSet:
    pixels = torch.from_numpy(np.concatenate([p for p, _ in parts]).reshape(-1, 3, 32, 32))
    return ImageSet(torch.from_numpy(np.concatenate([n for _, n in parts])), names, pixels_NCHW=pixels)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise ValueError(f"cannot read {path}: {fault.strerror}") from None


class _ArrayUnpickler(pickle.Unpickler):
    """Admits dictionaries, lists, numbers, text and numpy arrays: what the official files hold."""

    ADMITTED = frozenset((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")) | {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class("numpy._core.multiarray" if name == "_reconstruct" else module, name)


def unpickle(raw: bytes, path: Path) -> dict[str, Any]:
    """The dictionary in an official python file.

    Raises:
        ValueError: The pickle is damaged, or asks for anything but numpy arrays; nothing in it has then been run.
    """
    try:
        content = _ArrayUnpickler(io.BytesIO(raw), encoding="latin1").load()
    except Exception as fault:  # a damaged pickle can raise nearly anything
        raise ValueError(f"{path} is not an official CIFAR file and was not loaded: {fault}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not an official CIFAR file: it holds a {type(content).__name__}")
    return {k.decode("latin1") if isinstance(k, bytes) else str(k): v for k, v in content.items()}


def fetch_archive(address: str, md5: str, folder: Path, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Download an archive, go on where an earlier attempt stopped, check it and unpack it.

    Args:
        address: The archive's.
        md5: That the whole archive must have.
        folder: Where the archive's content goes.
        progress: Called with bytes so far and in all.

    Raises:
        ValueError: The connection failed (what came is kept for the next attempt) or the hash is wrong (it is not).
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (address.rsplit("/", 1)[-1] + ".partial")
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            if answer.status != 206:  # the server sends the whole file
                have = 0
            total = have + int(answer.headers.get("Content-Length", 0))
            with partial.open("ab" if have else "wb") as file:
                while chunk := answer.read(1 << 20):
                    file.write(chunk)
                    have += len(chunk)
                    if progress:
                        progress(have, total)
        if have < total:
            raise OSError("the connection ended early")
    except urllib.error.HTTPError as fault:
        if fault.code != 416:  # 416: there was nothing left to send
            raise ValueError(f"cannot download {address}: {fault}") from None
    except (OSError, urllib.error.URLError) as fault:
        raise ValueError(f"cannot download {address}: {fault}; call again to go on from {have:,} bytes") from None
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        partial.unlink()
        raise ValueError(f"{address} has MD5 {found}, not {md5}; the file was deleted")
    with tarfile.open(partial) as archive:
        archive.extractall(folder, filter="data")
    partial.unlink()

"""A folder of class folders: which files, which classes, which split; and what is wrong with it.

    FOLDER/train/CLASS/...  with  val|valid|validation/  and  test/,  either or none
    FOLDER/CLASS/...        flat

Where there is no validation folder, an image is a validation image if the hash of its content says so: adding images
moves none, and copies of one picture stay on one side.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from plusx.data.decode import SUFFIXES, UndecodableError, decode
from plusx.data.images import ImageSet, relabel

VAL_NAMES = ("val", "valid", "validation")
VAL_SHARE = 0.2

Progress = Callable[[int, int], None]
"""Called with files done and files in all."""


@dataclass(frozen=True)
class Picture:
    """One file of a class folder, as found and read."""

    path: Path
    split: str
    """train, val, test, or "" in a flat folder."""
    class_name: str
    digest: str
    """Hash of the file's content."""
    fault: str | None
    """Why it cannot be decoded, or None."""


@dataclass(frozen=True)
class Folder:
    """Everything that was found in a class folder."""

    root: Path
    pictures: tuple[Picture, ...]
    ignored: tuple[Path, ...]
    """Files in class folders that are not images by their name."""

    @property
    def faulty(self) -> tuple[Picture, ...]:
        return tuple(p for p in self.pictures if p.fault is not None)

    def splits(self) -> set[str]:
        return {p.split for p in self.pictures}

    def class_names(self) -> tuple[str, ...]:
        """Classes in the order of their indices: those of the training images, sorted by name."""
        return tuple(sorted({p.class_name for p in self.pictures if p.split in ("train", "")}))


def scan(root: Path, *, on_progress: Progress | None = None) -> Folder:
    """Find every picture of a class folder, and read each once: hash and decode.

    Raises:
        ValueError: There is no such folder, or no class folder in it.
    """
    if not root.exists():
        raise ValueError(f"no such file or folder: {root}")
    if not root.is_dir():
        raise ValueError(f"{root} is a file; a folder of class folders is needed")
    found, ignored = [], []
    folders = _split_folders(root)
    for split, folder in folders.items():
        for class_folder in sorted(_folders(folder)):
            for path in sorted(class_folder.rglob("*")):
                if not path.is_file() or any(part.startswith(".") for part in path.relative_to(folder).parts):
                    continue
                if path.suffix.lower() in SUFFIXES:
                    found.append((path, split, class_folder.name))
                else:
                    ignored.append(path)
    if not found:
        raise ValueError(f"no class folder with images in {' or '.join(map(str, folders.values()))}")
    with ThreadPoolExecutor(2) as pool:  # decoders and hashes release the interpreter's lock
        pictures = []
        for picture in pool.map(_examine, *zip(*found, strict=True)):
            pictures.append(picture)
            if on_progress:
                on_progress(len(pictures), len(found))
    return Folder(root, tuple(pictures), tuple(ignored))


def load_folder(
    root: Path, *, undecodable: str = "refuse", on_progress: Progress | None = None
) -> tuple[dict[str, ImageSet], str, tuple[str, ...]]:
    """The splits "train", "val" and "test" (which may be empty), a fingerprint, and what was left out and why.

    Args:
        root: The folder.
        undecodable: "refuse" raises on files that cannot be decoded; "skip" leaves exactly those out.
        on_progress: Told how far reading has come.

    Raises:
        ValueError: The folder cannot be trained on.
    """
    folder = scan(root, on_progress=on_progress)
    names = folder.class_names()
    check_classes(folder, names)
    if folder.faulty and undecodable == "refuse":
        first, more = folder.faulty[0], len(folder.faulty) - 1
        others = f" (and {more} more; `plusx data check {root}` names all)" if more else ""
        raise ValueError(
            f"{first.path}: {first.fault}{others}; repair or remove it, or train without: --set data.undecodable=skip"
        )
    good = [p for p in folder.pictures if p.fault is None]
    parts = _assign(good, names)
    for name in names:
        if not any(p.class_name == name for p in parts["train"]):
            raise ValueError(f"class {name!r} has no readable training image")
    left_out = tuple(f"{p.path}: {p.fault}" for p in folder.faulty)
    return {split: _image_set(pictures, names) for split, pictures in parts.items()}, _fingerprint(root, good), left_out


def load_labelled(root: Path, class_names: Sequence[str], *, on_progress: Progress | None = None) -> ImageSet:
    """The pictures of a class folder with the class indices of a trained net: test/, else val/, else all.

    Raises:
        ValueError: A class is not among the net's, or a file cannot be decoded.
    """
    folder = scan(root, on_progress=on_progress)
    split = next((s for s in ("test", "val", "") if s in folder.splits()), "train")
    pictures = [p for p in folder.pictures if p.split == split]
    for picture in pictures:
        if picture.fault:
            raise ValueError(f"{picture.path}: {picture.fault}")
    return relabel(_image_set(pictures, tuple(sorted({p.class_name for p in pictures}))), class_names)


def check_classes(folder: Folder, names: Sequence[str]) -> None:
    """Raises ValueError when no picture is there to train on, train/ lacks a class, or there are fewer than two."""
    if not names:
        others = " and ".join(f"{split}/" for split in sorted(folder.splits()))
        raise ValueError(f"{folder.root} has pictures in {others} but none in train/")
    for picture in folder.pictures:
        if picture.class_name not in names:
            where = picture.path.relative_to(folder.root)
            raise ValueError(f"class {picture.class_name!r} ({where}) is not in train/, which has {', '.join(names)}")
    if len(names) < 2:
        raise ValueError(f"{folder.root} has one class only, {names[0]!r}; a classifier needs two classes")


@dataclass(frozen=True)
class Check:
    """What `check` found."""

    images: int
    counts: dict[str, dict[str, int]]
    """Pictures by split ("all" in a flat folder) and class."""
    faults: tuple[tuple[str, str], ...]
    """Files that cannot be decoded, each with the reason."""
    ignored: tuple[str, ...]
    """Files that are not images by their name."""
    problem: str | None
    """Why the folder cannot be trained on even without the faulty files, or None."""


def check(root: str | Path, *, on_progress: Progress | None = None) -> Check:
    """Read every picture of a class folder once.

    Args:
        root: The folder.
        on_progress: Told how far reading has come.

    Raises:
        ValueError: There is no such folder, or no class folder in it.
    """
    folder = scan(Path(root), on_progress=on_progress)
    tally = Counter((p.split or "all", p.class_name) for p in folder.pictures)
    counts: dict[str, dict[str, int]] = {}
    for (split, name), number in sorted(tally.items()):
        counts.setdefault(split, {})[name] = number
    problem = None
    try:
        check_classes(folder, folder.class_names())
    except ValueError as fault:
        problem = str(fault)
    return Check(
        images=len(folder.pictures),
        counts=counts,
        faults=tuple((str(p.path), p.fault) for p in folder.pictures if p.fault is not None),
        ignored=tuple(map(str, folder.ignored)),
        problem=problem,
    )


def _split_folders(root: Path) -> dict[str, Path]:
    inside = {folder.name: folder for folder in _folders(root)}
    reserved = {"train": ("train",), "val": VAL_NAMES, "test": ("test",)}
    present = {split: [inside[n] for n in names if n in inside] for split, names in reserved.items()}
    if len(present["val"]) > 1:
        raise ValueError(f"{root} has both {present['val'][0].name}/ and {present['val'][1].name}/; keep one")
    return {split: folders[0] for split, folders in present.items() if folders} or {"": root}


def _folders(folder: Path) -> list[Path]:
    try:
        return [f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")]
    except OSError as fault:
        raise ValueError(f"cannot read {folder}: {fault.strerror}") from None


def _examine(path: Path, split: str, class_name: str) -> Picture:
    try:
        raw = path.read_bytes()
    except OSError as fault:
        return Picture(path, split, class_name, "", f"cannot be read ({fault.strerror})")
    try:
        decode(raw, at_least=1)  # an eighth of a JPEG's size still reads its every byte
        fault_reason = None
    except UndecodableError as fault:
        fault_reason = fault.reason
    return Picture(path, split, class_name, hashlib.blake2b(raw, digest_size=16).hexdigest(), fault_reason)


def _assign(pictures: Sequence[Picture], names: Sequence[str]) -> Mapping[str, list[Picture]]:
    parts: dict[str, list[Picture]] = {"train": [], "val": [], "test": [p for p in pictures if p.split == "test"]}
    given = [p for p in pictures if p.split == "val"]
    for name in names:
        mine = [p for p in pictures if p.class_name == name and p.split in ("train", "")]
        chosen = set() if given else _validation_digests(mine)
        parts["val"] += [p for p in mine if p.digest in chosen]
        parts["train"] += [p for p in mine if p.digest not in chosen]
    parts["val"] += given
    return parts


def _validation_digests(pictures: Sequence[Picture]) -> set[str]:
    """Of one class, the contents whose hash falls into the validation share.

    A class so small that chance leaves it without a validation or a training image gives one all the same.
    """
    digests = sorted({p.digest for p in pictures})
    chosen = {d for d in digests if int(d[:16], 16) < VAL_SHARE * 2**64}
    if len(digests) >= 2 and not chosen:
        chosen = {digests[0]}
    if len(digests) >= 2 and len(chosen) == len(digests):
        chosen.discard(digests[-1])
    return chosen if len(digests) >= 2 else set()


def _image_set(pictures: Sequence[Picture], names: tuple[str, ...]) -> ImageSet:
    labels = torch.tensor([names.index(p.class_name) for p in pictures], dtype=torch.int64)
    return ImageSet(labels, names, files=tuple(p.path for p in pictures))


def _fingerprint(root: Path, pictures: Sequence[Picture]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for picture in pictures:
        digest.update(f"{picture.path.relative_to(root).as_posix()}\0{picture.digest}\n".encode())
    return digest.hexdigest()

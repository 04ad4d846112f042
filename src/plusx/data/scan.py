"""What is in a folder of class folders: which files, which classes, which split; and what is left out, and why.

    FOLDER/train/CLASS/...  with  val/  and  test/,  either or none
    FOLDER/CLASS/...        flat

Names of splits are taken in capitals as well, and training/, valid/, validation/, dev/ and testing/ as what they mean.
Every file that is not hidden is an image of a class or left out with a reason.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

from plusx.data.appearance import Appearance, appearance_of
from plusx.data.decode import (
    NOT_READ,
    FullScale,
    Kind,
    Range,
    UndecodableError,
    fits_none,
    is_image_name,
    not_read,
    value_range,
)
from plusx.data.images import listed, normal_name
from plusx.data.tree import Entry, Parts, printable, walk

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}

Progress = Callable[[int, int], None]
"""Called with files done and files in all."""


class LabelledFile(NamedTuple):
    """An image of a class folder that can be read."""

    parts: Parts
    """Its path below the folder, as the system has it."""
    split: str
    """train, val, test, or "" in a flat folder."""
    class_name: str
    digest: str
    """Hash of the file's content."""
    group: str | None = None
    """What it stays together with; None where nothing says."""


class LeftOut(NamedTuple):
    """A file, a link or a folder that gives no image."""

    path: str
    """Below the folder, printable."""
    reason: str
    fault: bool
    """Whether an image or a whole folder is lost, which training refuses; other files are only named."""
    split: str | None
    """The split that it would belong to; None where it has no place in one."""


@dataclass(frozen=True)
class Folder:
    """The content of a folder of class folders."""

    root: Path
    images: tuple[LabelledFile, ...]
    """Sorted by split, class and path."""
    left_out: tuple[LeftOut, ...]
    """Every other file, sorted by path."""
    classes: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Split to class name to the folders of that class, which may be empty."""
    unused: tuple[str, ...]
    """Folders beside those of the splits."""
    full_scale: FullScale

    @property
    def faults(self) -> tuple[LeftOut, ...]:
        return tuple(each for each in self.left_out if each.fault)

    def class_names(self) -> tuple[str, ...]:
        """Classes in the order of their indices: those of the training images, sorted by name."""
        return tuple(sorted({*self.classes.get("train", ()), *self.classes.get("", ())}))


def scan(root: Path, *, progress: Progress | None = None, appearances: dict[Parts, Appearance] | None = None) -> Folder:
    """Find everything in a folder of class folders, and read every image once: hash and decode.

    Args:
        root: The folder.
        progress: Called with how many files were read, and how many there are.
        appearances: As for `examine`.

    Raises:
        ValueError: There is no such folder, no class folder in it, or it does not show which folders are the classes.
    """
    if not root.exists():
        raise ValueError(f"no such file or folder: {printable(root)}")
    if not root.is_dir():
        raise ValueError(f"{printable(root)} is a file; a folder of class folders is needed")
    if printable(root) != str(root):
        raise ValueError(f"the path of {printable(root)} is not UTF-8, so that no run can name it; rename it")
    try:
        entries = sorted(walk(root), key=lambda entry: entry.parts)
    except OSError as fault:
        raise ValueError(f"cannot read {root}: {fault.strerror}") from None
    splits = _split_folders(root, entries)
    if not splits:
        _refuse_hidden_splits(root, entries)
    classes = _classes(entries, splits)
    _refuse_loose_splits(root, entries, splits, classes)
    left_out, candidates = [], []
    for entry in entries:
        place = _place(entry.parts, splits)
        if (refusal := _refusal(entry, place, splits)) is not None:
            left_out.append(refusal)
        elif not entry.is_folder:
            candidates.append((entry.parts, *place))
    if not candidates and not (classes and any(each.fault for each in left_out)):
        raise ValueError(_no_images(root, splits or ("",)))
    images, faults, scale = examine(root, candidates, progress, appearances)
    return Folder(
        root,
        images=tuple(sorted(images, key=lambda image: (_RANKS[image.split], image.class_name, image.parts))),
        left_out=tuple(sorted([*left_out, *faults], key=lambda each: each.path)),
        classes=classes,
        unused=tuple(printable(e.parts[0]) for e in entries if _is_unused(e, splits) and len(e.parts) == 1),
        full_scale=scale,
    )


_RANKS = {split: rank for rank, split in enumerate(("", "train", "val", "test"))}


def _split_folders(root: Path, entries: Sequence[Entry]) -> dict[str, str]:
    """The folders of the root that hold splits, each with its split; none if it is flat.

    Raises:
        ValueError: Two hold one split, or one cannot be read.
    """
    by_name = {name: split for split, names in SPLIT_NAMES.items() for name in names}
    splits: dict[str, str] = {}
    for entry in entries:
        split = by_name.get(normal_name(entry.parts[0]).strip().casefold())
        if len(entry.parts) > 1 or split is None or not (entry.is_folder or entry.fault):
            continue
        if entry.fault:
            raise ValueError(f"{root / entry.parts[0]}: {entry.reason}")
        if split in splits.values():
            other = next(name for name, its in splits.items() if its == split)
            raise ValueError(f"{root} has both {other}/ and {entry.parts[0]}/, which are one split, {split}; keep one")
        splits[entry.parts[0]] = split
    return splits


def _refuse_hidden_splits(root: Path, entries: Sequence[Entry]) -> None:
    """Raises ValueError when all top folders hold the same folders of images: these may be the classes, not those.

    Two years, folds or machines, each with a folder for every class, would be learnt as classes otherwise.
    """
    inside: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if _is_image(entry) and len(entry.parts) > 1:
            inside[entry.parts[0]].add(normal_name(entry.parts[1]) if len(entry.parts) > 2 else "")
    most = max(inside.values(), key=len, default=set())
    if len(inside) > 1 and len(most) > 1 and "" not in most and all(its <= most for its in inside.values()):
        top = listed(map(printable, inside))
        same = listed(map(printable, sorted(most)))
        raise ValueError(
            f"the folders of {root} ({top}) hold the same folders ({same}), so it does not show which of them are "
            f"classes; lay them out as train/CLASS/..., val/CLASS/... and test/CLASS/..., or as CLASS/... alone; if "
            f"{top} are the classes, put them into a folder train/"
        )


def _refuse_loose_splits(
    root: Path, entries: Sequence[Entry], splits: Mapping[str, str], classes: Mapping[str, object]
) -> None:
    """Raises ValueError when the folder of a split has images but no class folders, as where it is a class itself."""
    for name, split in splits.items():
        loose = sum(e.parts[0] == name and len(e.parts) == 2 and _is_image(e) for e in entries)
        if loose and split not in classes:
            raise ValueError(
                f"{_no_images(root, [name])}; {name}/ itself holds {loose:,} images: if it is a class, put all class "
                "folders into a folder train/"
            )


def _is_image(entry: Entry) -> bool:
    return not entry.is_folder and is_image_name(entry.parts[-1])


def _is_unused(entry: Entry, splits: Mapping[str, str]) -> bool:
    """Whether it is a folder beside those of the splits, or in one."""
    return bool(splits) and entry.parts[0] not in splits and (entry.is_folder or len(entry.parts) > 1)


def _place(parts: Parts, splits: Mapping[str, str]) -> tuple[str, str]:
    """The split and the class of a path, or of what is in it; "" where it has none."""
    split = splits.get(parts[0], "")
    inner = parts[1:] if splits else parts
    inside = len(inner) > 1 and (not splits or parts[0] in splits)
    return split, normal_name(printable(inner[0])) if inside else ""


def _classes(entries: Sequence[Entry], splits: Mapping[str, str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Split to class name to the folders of that class: several where their names differ in Unicode's forms alone.

    A link that leads nowhere is such a folder unless its name is that of a file.
    """
    classes: dict[str, dict[str, tuple[str, ...]]] = {split: {} for split in splits.values() or ("",)}
    for entry in entries:
        is_folder = entry.is_folder or (entry.fault and not Path(entry.parts[-1]).suffix)
        if is_folder and len(entry.parts) == (2 if splits else 1) and (not splits or entry.parts[0] in splits):
            split, name = splits.get(entry.parts[0], ""), normal_name(printable(entry.parts[-1]))
            classes[split][name] = (*classes[split].get(name, ()), printable("/".join(entry.parts)))
    return {split: classes[split] for split in _RANKS if classes.get(split)}


def _refusal(entry: Entry, place: tuple[str, str], splits: Mapping[str, str]) -> LeftOut | None:
    """Why an entry is left out before it is read; None for a folder that was entered and for an image to read."""
    split, class_name = place
    top, path, unused = entry.parts[0], printable("/".join(entry.parts)), _is_unused(entry, splits)
    where = None if splits and top not in splits else split
    suffix = Path(entry.parts[-1]).suffix.lower()
    if entry.reason is not None:
        return LeftOut(path, entry.reason, entry.fault and not unused, where)
    if entry.is_folder:
        return None
    if not _is_image(entry):
        return LeftOut(path, "not an image by its name", False, where)
    if unused:
        used = " and ".join(f"{name}/" for name in sorted(splits, key=lambda name: _RANKS[splits[name]]))
        return LeftOut(path, f"in {printable(top)}/, which is not used beside {used}", False, where)
    if not class_name:
        return LeftOut(path, "in no class folder", False, where)
    if suffix in NOT_READ:
        return LeftOut(path, not_read(NOT_READ[suffix]), True, where)
    if path != "/".join(entry.parts):
        return LeftOut(path, "its path is not UTF-8, so that nothing can name it; rename it", True, where)
    return None


def _no_images(root: Path, splits: Iterable[str]) -> str:
    return (
        f"no class folder with images in {' or '.join(str(root / name) for name in splits)}; lay them out "
        f"as {root}/CLASS/IMAGE, or as {root}/train/CLASS/IMAGE with val/ and test/, either or none"
    )


def examine(
    root: Path,
    candidates: Sequence[tuple[Parts, str, str]],
    progress: Progress | None,
    appearances: dict[Parts, Appearance] | None = None,
) -> tuple[list[LabelledFile], list[LeftOut], FullScale]:
    """Read every image once; and find the one scale of those whose format does not say what is white.

    Args:
        root: What the paths are below.
        candidates: The path, the split and the class of each.
        progress: Called with how many files were read, and how many there are.
        appearances: Filled with what every image looks like; without, JPEG files are decoded at an eighth of their
            size, which is faster.
    """
    images: list[LabelledFile] = []
    faults: list[LeftOut] = []
    ranges: dict[Kind, dict[LabelledFile, Range]] = {kind: {} for kind in get_args(Kind)}
    with ThreadPoolExecutor(usable_processors()) as pool:  # decoders and hashes release the interpreter's lock
        paths = (root.joinpath(*parts) for parts, _, _ in candidates)
        read_each = pool.map(partial(read_file, closely=appearances is not None), paths)
        for done, (read, (parts, split, class_name)) in enumerate(zip(read_each, candidates, strict=True)):
            if isinstance(read, str):
                faults.append(LeftOut("/".join(parts), read, True, split))
            else:
                images.append(LabelledFile(parts, split, class_name, read.digest))
                if read.values is not None:
                    ranges[read.values.kind][images[-1]] = read.values
                if appearances is not None and read.appearance is not None:
                    appearances[parts] = read.appearance
            if progress:
                progress(done + 1, len(candidates))
    scale = FullScale()
    for kind, its in ranges.items():
        if its:
            of_all = Range(kind, min(r.low for r in its.values()), max(r.high for r in its.values()))
            if (white := of_all.white()) is not None:
                scale = replace(scale, **{kind: white})
            else:
                reason = f"{fits_none(of_all)}" + (f" (the range is of {len(its):,} files)" if len(its) > 1 else "")
                faults += [LeftOut("/".join(image.parts), reason, True, image.split) for image in its]
                images = [image for image in images if image not in its]
    if appearances is not None:  # what is white in these is known only now
        for image in {image for its in ranges.values() for image in its}.intersection(images):
            appearances[image.parts] = appearance_of(root.joinpath(*image.parts).read_bytes(), scale)[0]
    return images, faults, scale


def usable_processors() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Read(NamedTuple):
    """What was read of a file."""

    digest: str
    values: Range | None
    appearance: Appearance | None


def read_file(path: Path, *, closely: bool = False) -> Read | str:
    """The hash of a file, the range of its values where it matters, and what it looks like if that is asked.

    Why it cannot be read, where it cannot.
    """
    try:
        raw = path.read_bytes()
        if not closely:
            return Read(digest(raw), value_range(raw), None)
        seen, values = appearance_of(raw)
        return Read(digest(raw), values, seen)
    except OSError as fault:
        return f"cannot be read ({fault.strerror})"
    except UndecodableError as fault:
        return fault.reason


def digest_of(file: Path) -> str:
    """The hash of a file's content, by which images are told apart; empty where it cannot be read."""
    try:
        return digest(file.read_bytes())
    except OSError:
        return ""


def digest(raw: bytes) -> str:
    """The hash of a file's content."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()

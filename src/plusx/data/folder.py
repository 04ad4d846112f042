"""A folder of class folders: which files, which classes, which split; and what is left out, and why.

    FOLDER/train/CLASS/...  with  val/  and  test/,  either or none
    FOLDER/CLASS/...        flat

Names of splits are taken in capitals as well, and training/, valid/, validation/, dev/ and testing/ as what they mean.
Every file that is not hidden is an image of a class or left out with a reason.

Where there is no validation folder, an image is a validation image if the hash of its content says so: adding images
moves none, and copies of one image stay on one side, whichever class folders they lie in.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, get_args

import torch

from plusx.data.decode import (
    NOT_READ,
    SUFFIXES,
    FullScale,
    Kind,
    Range,
    UndecodableError,
    fits_none,
    not_read,
    value_range,
)
from plusx.data.images import ImageSet, listed, normal_name
from plusx.data.tree import Entry, Parts, printable, walk

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
VAL_SHARE = 0.2

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
    """Everything that was found in a folder of class folders."""

    root: Path
    images: tuple[LabelledFile, ...]
    """Sorted by split, class and path."""
    left_out: tuple[LeftOut, ...]
    """Every other file, sorted by path."""
    classes: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Of each split, the classes by name, each with its folders, which may be empty."""
    unused: tuple[str, ...]
    """Folders beside those of the splits."""
    full_scale: FullScale

    @property
    def faults(self) -> tuple[LeftOut, ...]:
        return tuple(each for each in self.left_out if each.fault)

    def class_names(self) -> tuple[str, ...]:
        """Classes in the order of their indices: those of the training images, sorted by name."""
        return tuple(sorted({*self.classes.get("train", ()), *self.classes.get("", ())}))


def scan(root: Path, *, progress: Progress | None = None) -> Folder:
    """Find everything in a folder of class folders, and read every image once: hash and decode.

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
        found = sorted(walk(root), key=lambda entry: entry.parts)
    except OSError as fault:
        raise ValueError(f"cannot read {root}: {fault.strerror}") from None
    splits = _split_folders(root, found)
    if not splits:
        _refuse_hidden_splits(root, found)
    classes = _classes(found, splits)
    _refuse_loose_splits(root, found, splits, classes)
    left_out, candidates = [], []
    for entry in found:
        place = _place(entry.parts, splits)
        if (refusal := _refusal(entry, place, splits)) is not None:
            left_out.append(refusal)
        elif not entry.is_folder:
            candidates.append((entry.parts, *place))
    if not candidates and not (classes and any(each.fault for each in left_out)):
        raise ValueError(_no_images(root, splits or ("",)))
    images, faults, scale = _examined(root, candidates, progress)
    return Folder(
        root,
        images=tuple(sorted(images, key=lambda image: (_RANKS[image.split], image.class_name, image.parts))),
        left_out=tuple(sorted([*left_out, *faults], key=lambda each: each.path)),
        classes=classes,
        unused=tuple(printable(e.parts[0]) for e in found if _is_unused(e, splits) and len(e.parts) == 1),
        full_scale=scale,
    )


class Loaded(NamedTuple):
    """A folder of class folders as image sets."""

    splits: dict[str, ImageSet]
    """train, val and test, which may be empty."""
    as_found: dict[str, ImageSet]
    """The images by the folders that they are in: train, val, test, or "" where there are no such folders."""
    fingerprint: str
    left_out: tuple[LeftOut, ...]


def load_folder(
    root: Path, *, undecodable: str = "refuse", to_train: bool = True, progress: Progress | None = None
) -> Loaded:
    """The images of a folder, its fingerprint, and what was left out and why.

    Args:
        root: The folder.
        undecodable: "refuse" raises on images that cannot be read; "skip" leaves exactly those out.
        to_train: Whether the folder must be one that can be trained on; a trained net is measured on any.
        progress: Called with how many files were read, and how many there are.

    Raises:
        ValueError: The folder cannot be trained on, or holds no image.
    """
    folder = scan(root, progress=progress)
    if to_train:
        check_classes(folder)
    if folder.faults and undecodable == "refuse":
        first, more = folder.faults[0], len(folder.faults) - 1
        others = f" (and {more} more; `plusx data check {root}` names all)" if more else ""
        raise ValueError(
            f"{root}/{first.path}: {first.reason}{others}; repair or remove it, or train without: "
            "--set data.undecodable=skip"
        )
    if to_train:
        check_images(folder)
    names = folder.class_names() if to_train else tuple(sorted({image.class_name for image in folder.images}))
    assigned, copies = assign(folder.images)
    found = {split: [i for i in folder.images if i.split == split] for split in folder.classes}
    return Loaded(
        {split: _image_set(folder, images, names) for split, images in assigned.items()},
        {split: _image_set(folder, images, names) for split, images in found.items() if images},
        _fingerprint(folder.images),
        tuple(sorted([*folder.left_out, *copies])),
    )


def check_classes(folder: Folder) -> None:
    """Raises ValueError when no class is there to train on, train/ lacks a class, or there are fewer than two."""
    root, names = folder.root, folder.class_names()
    if not names:
        others = " and ".join(f"{split}/" for split in folder.classes)
        raise ValueError(f"{root} has images in {others} but none in train/")
    for image in folder.images:
        if image.class_name not in names:
            where = "/".join(image.parts)
            raise ValueError(f"class {image.class_name!r} ({where}) is not in train/, which has {listed(names)}")
    if len(names) < 2:
        inside = sorted({i.parts[1] for i in folder.images if i.split == "" and len(i.parts) > 2})
        hint = f"; if its folders {listed(inside)} are the classes, name {root / names[0]}" if len(inside) > 1 else ""
        raise ValueError(f"{root} has one class only, {names[0]!r}; a classifier needs two classes{hint}")


def check_images(folder: Folder) -> None:
    """Raises ValueError when a class has no image to train on."""
    held = {image.class_name for image in folder.images if image.split in ("train", "")}
    if empty := [name for name in folder.class_names() if name not in held]:
        split = "train" if "train" in folder.classes else ""
        where = f"{folder.root}/{folder.classes[split][empty[0]][0]}"
        more = f", nor have {listed(map(repr, empty[1:]))}" if len(empty) > 1 else ""
        raise ValueError(f"class {empty[0]!r} has no readable training image ({where}){more}")


def assign(images: Iterable[LabelledFile]) -> tuple[dict[str, list[LabelledFile]], list[LeftOut]]:
    """The images of train, val and test, and those that cannot be: copies of what is trained on.

    Where no validation folder is, val is taken from train by content.

    Raises:
        ValueError: All images of a split folder are copies of training images.
    """
    splits: dict[str, list[LabelledFile]] = {"train": [], "val": [], "test": []}
    for image in images:
        splits[image.split or "train"].append(image)
    if not splits["val"]:
        chosen = _validation_digests(splits["train"])
        splits["val"] = [image for image in splits["train"] if image.digest in chosen]
        splits["train"] = [image for image in splits["train"] if image.digest not in chosen]
    trained = {image.digest: "/".join(image.parts) for image in splits["train"]}
    copies = []
    for split in ("val", "test"):
        mine = splits[split]
        splits[split] = [image for image in mine if image.digest not in trained]
        if mine and not splits[split]:
            raise ValueError(f"every image of {mine[0].parts[0]}/ is in {trained[mine[0].digest].split('/')[0]}/, too")
        for image in mine:
            if image.digest in trained:
                reason = f"a copy of an image that is trained on ({trained[image.digest]})"
                copies.append(LeftOut("/".join(image.parts), reason, False, split))
    return splits, copies


def _validation_digests(images: Iterable[LabelledFile]) -> set[str]:
    """The contents whose hash falls into the validation share.

    A class so small that chance leaves it without a validation or a training image gives one all the same, that of the
    lowest or the highest hash. Copies in other classes go with it, so it is none that another class trains on alone.
    """
    by_class: dict[str, set[str]] = defaultdict(set)
    for image in images:
        by_class[image.class_name].add(image.digest)
    # In an order that no name decides: where classes share images, what one of them gives changes the others.
    classes = sorted(sorted(digests) for digests in by_class.values())
    holders: dict[str, list[list[str]]] = defaultdict(list)
    for digests in classes:
        for digest in digests:
            holders[digest].append(digests)
    chosen = {digest for digest in holders if int(digest[:16], 16) < VAL_SHARE * 2**64}
    chosen -= {digests[-1] for digests in classes if chosen.issuperset(digests)}
    for digests in classes:
        if chosen.isdisjoint(digests):
            spare = (d for d in digests if all(set(holder) - chosen - {d} for holder in holders[d]))
            chosen.update(islice(spare, 1))
    return chosen


_RANKS = {split: rank for rank, split in enumerate(("", "train", "val", "test"))}


def _split_folders(root: Path, found: Sequence[Entry]) -> dict[str, str]:
    """The folders of the root that hold splits, each with its split; none if it is flat.

    Raises:
        ValueError: Two hold one split, or one cannot be read.
    """
    by_name = {name: split for split, names in SPLIT_NAMES.items() for name in names}
    splits: dict[str, str] = {}
    for entry in found:
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


def _refuse_hidden_splits(root: Path, found: Sequence[Entry]) -> None:
    """Raises ValueError when all top folders hold the same folders of images: these may be the classes, not those.

    Two years, folds or machines, each with a folder for every class, would be learnt as classes otherwise.
    """
    inside: dict[str, set[str]] = defaultdict(set)
    for entry in found:
        if _is_image(entry) and len(entry.parts) > 1:
            inside[entry.parts[0]].add(normal_name(entry.parts[1]) if len(entry.parts) > 2 else "")
    most = max(inside.values(), key=len, default=set())
    if len(inside) > 1 and len(most) > 1 and "" not in most and all(its <= most for its in inside.values()):
        top = listed(map(printable, inside))
        raise ValueError(
            f"the folders of {root} ({top}) hold the same folders ({listed(map(printable, sorted(most)))}), so that it "
            f"does not show which of them are classes; wanted is train/CLASS/..., val/CLASS/... and test/CLASS/..., or "
            f"CLASS/... alone; if {top} are the classes, put them into a folder train/"
        )


def _refuse_loose_splits(
    root: Path, found: Sequence[Entry], splits: Mapping[str, str], classes: Mapping[str, object]
) -> None:
    """Raises ValueError when the folder of a split has images but no class folders, as where it is a class itself."""
    for name, split in splits.items():
        loose = sum(e.parts[0] == name and len(e.parts) == 2 and _is_image(e) for e in found)
        if loose and split not in classes:
            raise ValueError(
                f"{_no_images(root, [name])}; {name}/ itself holds {loose:,} images: if it is a class, put all class "
                "folders into a folder train/"
            )


def _is_image(entry: Entry) -> bool:
    """By its name."""
    suffix = Path(entry.parts[-1]).suffix.lower()
    return not entry.is_folder and (suffix in SUFFIXES or suffix in NOT_READ)


def _is_unused(entry: Entry, splits: Mapping[str, str]) -> bool:
    """Whether it is a folder beside those of the splits, or in one."""
    return bool(splits) and entry.parts[0] not in splits and (entry.is_folder or len(entry.parts) > 1)


def _place(parts: Parts, splits: Mapping[str, str]) -> tuple[str, str]:
    """The split and the class of a path, or of what is in it; "" where it has none."""
    split = splits.get(parts[0], "")
    inner = parts[1:] if splits else parts
    inside = len(inner) > 1 and (not splits or parts[0] in splits)
    return split, normal_name(printable(inner[0])) if inside else ""


def _classes(found: Sequence[Entry], splits: Mapping[str, str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Of each split, its classes, each with its folders: several where their names differ in Unicode's forms alone.

    A link that leads nowhere is such a folder unless its name is that of a file.
    """
    classes: dict[str, dict[str, tuple[str, ...]]] = {split: {} for split in splits.values() or ("",)}
    for entry in found:
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
        f"no class folder with images in {' or '.join(str(root / name) for name in splits)}; wanted is "
        f"{root}/CLASS/IMAGE, or {root}/train/CLASS/IMAGE with val/ and test/, either or none"
    )


def _examined(
    root: Path, candidates: Sequence[tuple[Parts, str, str]], progress: Progress | None
) -> tuple[list[LabelledFile], list[LeftOut], FullScale]:
    """Read every image once; and find the one scale of those whose format does not say what is white."""
    images: list[LabelledFile] = []
    faults: list[LeftOut] = []
    ranges: dict[Kind, dict[LabelledFile, Range]] = {kind: {} for kind in get_args(Kind)}
    with ThreadPoolExecutor(2) as pool:  # decoders and hashes release the interpreter's lock
        paths = (root.joinpath(*parts) for parts, _, _ in candidates)
        for done, (read, (parts, split, class_name)) in enumerate(
            zip(pool.map(_examine, paths), candidates, strict=True)
        ):
            if isinstance(read, str):
                faults.append(LeftOut("/".join(parts), read, True, split))
            else:
                images.append(LabelledFile(parts, split, class_name, read[0]))
                if read[1] is not None:
                    ranges[read[1].kind][images[-1]] = read[1]
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
    return images, faults, scale


def _examine(path: Path) -> tuple[str, Range | None] | str:
    """The hash of a file and the range of its values where it matters; or why it cannot be read."""
    try:
        raw = path.read_bytes()
        return hashlib.blake2b(raw, digest_size=16).hexdigest(), value_range(raw)
    except OSError as fault:
        return f"cannot be read ({fault.strerror})"
    except UndecodableError as fault:
        return fault.reason


def _image_set(folder: Folder, images: Sequence[LabelledFile], names: tuple[str, ...]) -> ImageSet:
    places = {name: place for place, name in enumerate(names)}
    labels = torch.tensor([places[image.class_name] for image in images], dtype=torch.int64)
    return ImageSet(
        labels,
        names,
        files=tuple(folder.root.joinpath(*image.parts) for image in images),
        digests=tuple(image.digest for image in images),
        full_scale=folder.full_scale,
    )


def _fingerprint(images: Iterable[LabelledFile]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for image in images:
        digest.update(f"{normal_name('/'.join(image.parts))}\0{image.digest}\n".encode())
    return digest.hexdigest()

"""A folder of class folders as image sets, split into train, val and test.

Where there is no validation folder, an image is a validation image if the hash of its content says so: adding images
moves none, and copies of one image stay on one side, whichever class folders they lie in.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from plusx.data.images import ImageSet, Stored, listed, normal_name
from plusx.data.scan import Folder, LabelledFile, LeftOut, Progress, scan
from plusx.data.split import group_of, held_back, together


class Loaded(NamedTuple):
    """A folder of class folders as image sets."""

    splits: dict[str, ImageSet]
    """train, val and test, which may be empty."""
    as_found: dict[str, ImageSet]
    """The images by the folders that they are in: train, val, test, or "" where there are no such folders."""
    fingerprint: str
    left_out: tuple[LeftOut, ...]


def load_folder(
    root: Path,
    *,
    undecodable: str = "refuse",
    group: str | None = None,
    to_train: bool = True,
    progress: Progress | None = None,
) -> Loaded:
    """The images of a folder, its fingerprint, and what was left out and why.

    Args:
        root: The folder.
        undecodable: "refuse" raises on images that cannot be read; "skip" leaves exactly those out.
        group: A regular expression whose first brackets match the group of an image in its path below the folder.
        to_train: Whether the folder must be one that can be trained on; a trained net is measured on any.
        progress: Called with how many files were read, and how many there are.

    Raises:
        ValueError: The folder cannot be trained on, or holds no image.
    """
    folder = scan(root, progress=progress)
    if to_train:
        check_classes(folder)
    require_readable(folder, undecodable)
    if to_train:
        check_images(folder)
    if group is not None:
        folder = grouped(folder, group, to_train=to_train)
    return image_sets(folder, to_train=to_train)


def image_sets(folder: Folder, *, to_train: bool = True, stored: Stored | None = None) -> Loaded:
    """The images of a folder that was scanned, or of a table that was read as one.

    Args:
        folder: Its images are listed and checked.
        to_train: As for `load_folder`.
        stored: What holds the images, if they are no files of their own.

    Raises:
        ValueError: All images of a split are copies of training images, or a group is in two splits.
    """
    names = folder.class_names() if to_train else tuple(sorted({image.class_name for image in folder.images}))
    assigned, copies = assign(folder.images)
    if to_train:
        _require_whole_groups(assigned)
    found = {split: [i for i in folder.images if i.split == split] for split in folder.classes}
    return Loaded(
        {split: _image_set(folder, images, names, stored) for split, images in assigned.items()},
        {split: _image_set(folder, images, names, stored) for split, images in found.items() if images},
        fingerprint(folder.images),
        tuple(sorted([*folder.left_out, *copies])),
    )


def require_readable(folder: Folder, undecodable: str, *, skip: str = "--set data.undecodable=skip") -> None:
    """Raises ValueError when an image cannot be read and is not to be left out, which `skip` would ask for."""
    if folder.faults and undecodable == "refuse":
        first, more = folder.faults[0], len(folder.faults) - 1
        others = f" (and {more} more; `plusx data check {folder.root}` names all)" if more else ""
        verb = "train" if "=" in skip else "prepare"
        raise ValueError(
            f"{folder.root}/{first.path}: {first.reason}{others}; repair or remove it, or {verb} without: {skip}"
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
        splits["train"], splits["val"] = _held_back(splits["train"])
    of_content = {image.digest: image for image in splits["train"]}
    trained = {digest: "/".join(image.parts) for digest, image in of_content.items()}
    copies = []
    for split in ("val", "test"):
        mine = splits[split]
        splits[split] = [image for image in mine if image.digest not in trained]
        if mine and not splits[split]:
            raise ValueError(f"every image of {_place(mine[0])} is in {_place(of_content[mine[0].digest])}, too")
        for image in mine:
            if image.digest in trained:
                reason = f"a copy of an image that is trained on ({trained[image.digest]})"
                copies.append(LeftOut("/".join(image.parts), reason, False, split))
    return splits, copies


def _place(image: LabelledFile) -> str:
    """The folder of a split, or the split that a table names."""
    return f"{image.parts[0]}/" if len(image.parts) > 1 else image.split or "train"


def _held_back(images: Sequence[LabelledFile]) -> tuple[list[LabelledFile], list[LabelledFile]]:
    """The images to train on, and those to validate by."""
    groups = [image.group for image in images] if any(image.group for image in images) else None
    keys = together([image.digest for image in images], groups)
    chosen = held_back([image.class_name for image in images], keys, grouped=groups is not None)
    sides: tuple[list[LabelledFile], list[LabelledFile]] = ([], [])
    for image, key in zip(images, keys, strict=True):
        sides[key in chosen].append(image)
    return sides


def grouped(folder: Folder, pattern: str, *, to_train: bool) -> Folder:
    """The folder with the group of each image.

    Raises:
        ValueError: It is to be trained on, and no image has a group.
    """
    images = [image._replace(group=group_of(pattern, normal_name("/".join(image.parts)))) for image in folder.images]
    if to_train and images and not any(image.group for image in images):
        raise ValueError(
            f"data.group is {pattern!r}, which gives no image of {folder.root} a group: it matches nothing in a path "
            f"such as {'/'.join(images[0].parts)}"
        )
    return replace(folder, images=tuple(images))


def _require_whole_groups(splits: Mapping[str, Iterable[LabelledFile]]) -> None:
    """Raises ValueError when images of one group were put into two splits by hand."""
    met: dict[str, tuple[str, LabelledFile]] = {}
    for split, images in splits.items():
        for image in images:
            other, first = met.setdefault(image.group, (split, image)) if image.group else (split, image)
            if other != split:
                raise ValueError(
                    f"group {image.group!r} is in two splits, {other} ({'/'.join(first.parts)}) and {split} "
                    f"({'/'.join(image.parts)}); keep its images in one"
                )


def _image_set(
    folder: Folder, images: Sequence[LabelledFile], names: tuple[str, ...], stored: Stored | None
) -> ImageSet:
    places = {name: place for place, name in enumerate(names)}
    labels = torch.tensor([places[image.class_name] for image in images], dtype=torch.int64)
    return ImageSet(
        labels,
        names,
        files=tuple(folder.root.joinpath(*image.parts) for image in images),
        digests=tuple(image.digest for image in images),
        groups=tuple(image.group for image in images) if any(image.group for image in folder.images) else None,
        full_scale=folder.full_scale,
        stored=stored,
    )


def fingerprint(images: Iterable[LabelledFile]) -> str:
    """The hash of the names and contents of images, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for image in images:
        digest.update(f"{normal_name('/'.join(image.parts))}\0{image.digest}\n".encode())
    return digest.hexdigest()

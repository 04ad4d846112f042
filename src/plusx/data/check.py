"""What a class folder holds before it is trained on: images by class, what is left out, and what looks wrong."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from plusx.data.folder import assign, check_classes, check_images
from plusx.data.scan import Folder, LeftOut, scan
from plusx.progress import shown


@dataclass(frozen=True)
class Check:
    """The result of `check_data`. All paths are below the folder."""

    counts: dict[str, dict[str, int]]
    """Images that are used, by split ("all" in a flat folder) and class."""
    assigned: dict[str, int]
    """How many of them training would use for train, val and test."""
    left_out: tuple[LeftOut, ...]
    """Every other file that is not hidden, broken link and folder that cannot be read, each with the reason."""
    same_image_in_classes: tuple[tuple[str, ...], ...]
    """Files of equal content in several classes: at most one of their labels is right."""
    same_image_in_splits: tuple[tuple[str, ...], ...]
    """Files of equal content in several split folders; copies of training images are left out of the other splits."""
    unused: tuple[str, ...]
    """Folders beside those of the splits, which are not used."""
    notes: tuple[str, ...]
    """What is allowed but may not be intended, one sentence each."""
    problem: str | None
    """Why the folder cannot be trained on even without the faulty files, or None."""

    def __repr__(self) -> str:
        classes = len({name for tally in self.counts.values() for name in tally})
        return f"<Check of {self.images:,} images in {classes:,} classes, {len(self.left_out):,} files left out>"

    @property
    def images(self) -> int:
        """How many images are used."""
        return sum(sum(classes.values()) for classes in self.counts.values())

    @property
    def files(self) -> int:
        """How many files there are: images, and what is left out."""
        return self.images + len(self.left_out)

    @property
    def faults(self) -> tuple[LeftOut, ...]:
        """What is left out and should not be: images and folders that cannot be read."""
        return tuple(each for each in self.left_out if each.fault)

    @property
    def by_reason(self) -> dict[str, list[LeftOut]]:
        """What is left out, by reason, the most frequent first; what a reason says in brackets of one file is cut."""
        grouped = defaultdict(list)
        for each in self.left_out:
            grouped[each.reason.split(" (")[0]].append(each)
        return dict(sorted(grouped.items(), key=lambda pair: -len(pair[1])))


def check_data(root: str | Path, *, progress: bool | Callable[[int, int], None] = True) -> Check:
    """Read every image of a class folder once.

    Args:
        root: The folder.
        progress: True shows a bar in a terminal or a notebook; a callable is called with the files read and the files
            in all.

    Raises:
        ValueError: There is no such folder, or no class folder in it.

    Example:
        >>> from PIL import Image
        >>> for name in ("ant", "bee"):
        ...     for number in range(8):
        ...         file = Path("photos") / name / f"{number}.png"
        ...         file.parent.mkdir(parents=True, exist_ok=True)
        ...         Image.new("RGB", (32, 32), (number, 0, len(name))).save(file)
        >>> check_data("photos").images
        16
    """
    with shown(progress, "checking", unit="files") as report:
        folder = scan(Path(root), progress=report)
    problem, assigned, left_out = None, {}, folder.left_out
    try:
        check_classes(folder)
        check_images(folder)
    except ValueError as fault:
        problem = str(fault)
    try:
        splits, leaks = assign(folder.images)
        assigned = {split: len(images) for split, images in splits.items()}
        left_out = tuple(sorted([*left_out, *leaks]))
    except ValueError as fault:
        problem = problem or str(fault)  # the one that training would name
    counts = {split or "all": dict.fromkeys(sorted(classes), 0) for split, classes in folder.classes.items()}
    unread = {each.path for each in left_out}
    for image in folder.images:
        counts[image.split or "all"][image.class_name] += "/".join(image.parts) not in unread
    copies = _copies(folder)
    return Check(
        counts=counts,
        assigned=assigned,
        left_out=left_out,
        same_image_in_classes=tuple(paths for paths, classes, _ in copies if classes > 1),
        same_image_in_splits=tuple(paths for paths, _, splits in copies if splits > 1),
        unused=folder.unused,
        notes=tuple(_notes(folder)),
        problem=problem,
    )


def _copies(folder: Folder) -> list[tuple[tuple[str, ...], int, int]]:
    """Groups of files of equal content, each with the number of classes and of splits that they are in."""
    by_digest = defaultdict(list)
    for image in folder.images:
        by_digest[image.digest].append(image)
    return [
        (tuple("/".join(i.parts) for i in same), len({i.class_name for i in same}), len({i.split for i in same}))
        for same in by_digest.values()
        if len(same) > 1
    ]


def _notes(folder: Folder) -> Iterator[str]:
    held = {(image.split, image.class_name) for image in folder.images}
    by_spelling: dict[str, set[str]] = defaultdict(set)
    for split, classes in folder.classes.items():
        for name, folders in classes.items():
            by_spelling[" ".join(name.casefold().split())].add(name)
            if len(folders) > 1:
                yield f"{' and '.join(folders)} are one class, {name!r}: their names differ only in their Unicode form"
            if split in ("val", "test") and (split, name) not in held:
                yield f"{folders[0]} holds no image that can be read"
    for names in by_spelling.values():
        if len(names) > 1:
            yield f"classes {' and '.join(map(repr, sorted(names)))} differ only in capitals or spaces"
    if "val" in folder.classes and not any(image.split == "val" for image in folder.images):
        yield "the validation folder holds no image that can be read; validation images are taken from train/"

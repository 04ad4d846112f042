"""What data of one's own holds before it is trained on: images by class, what is left out, and what looks wrong."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import fmean, median_low
from typing import NamedTuple

import numpy as np

from plusx.data.alike import near_pairs
from plusx.data.appearance import Appearance
from plusx.data.decode import FullScale
from plusx.data.findings import Alike, Finding, facts, find, lines, verdict
from plusx.data.folder import assign, check_classes, check_images
from plusx.data.preprocess import cropped_away
from plusx.data.rows import Rows, problem_of, read_rows, rows_of
from plusx.data.scan import Folder, LabelledFile, LeftOut, scan
from plusx.data.table import is_table
from plusx.data.tree import Parts
from plusx.progress import shown
from plusx.recipes.folder import folder as default_recipe

LONG = 4.0  # times as long as wide, or more: a square crop keeps a quarter
TINY = 32  # pixels of the shorter side, of which an input of 128 is four times as large


class Sizes(NamedTuple):
    """Width and height in pixels, of upright images."""

    smallest: tuple[int, int]
    """The image of the fewest pixels."""
    median: tuple[int, int]
    """The median width and the median height."""
    largest: tuple[int, int]


class Place(NamedTuple):
    """Where an image belongs."""

    file: Path
    split: str
    """Of train, val and test, the one that training would put it into."""
    class_name: str


@dataclass(frozen=True)
class Check:
    """The result of `check_data`. All paths are below the folder, or as the table has them."""

    source: Path
    """The folder or the table."""
    counts: dict[str, dict[str, int]]
    """Images that are used, by split ("all" where none is named) and class."""
    assigned: dict[str, int]
    """How many of them training would use for train, val and test."""
    left_out: tuple[LeftOut, ...]
    """Every other file that is not hidden, broken link, row, and folder that cannot be read, each with the reason."""
    copies: Alike
    """Files of equal pixels, in groups, each in one group only."""
    near: Alike | None
    """Pairs of nearly equal pixels, and `within` a class and a split in groups; None where so many images of the set
    look alike that it says nothing."""
    odd: dict[str, tuple[str, ...]]
    """Files that are not upright RGB of 8 bits and of ordinary shape, by what they are."""
    sizes: Sizes | None
    """None where there is no image."""
    cropped_away: float
    """The mean share of an image's pixels that the default preprocessing crops away."""
    unused: tuple[str, ...]
    """Folders beside those of the splits, and columns, which are not used."""
    notes: tuple[str, ...]
    """What is allowed but may not be intended, one sentence each."""
    problem: str | None
    """Why the data cannot be trained on even without the faulty files, or None."""
    mistakes: tuple[LeftOut, ...] = ()
    """Rows of a table that say too little, or name a file again; they are left out and should be corrected."""
    spellings: tuple[str, ...] = ()
    """Labels and groups of a table that differ in capitals or spaces alone."""
    parted: tuple[tuple[str, ...], ...] = ()
    """For each group of a table that is in two splits: its name, and an image of either."""
    findings: tuple[Finding, ...] = ()
    """All of this that asks for something to be done, the most serious first."""
    places: Mapping[str, Place] = field(default_factory=dict, repr=False)
    """Each image that can be read, by its path."""
    full_scale: FullScale = field(default_factory=FullScale, repr=False)

    @property
    def verdict(self) -> str:
        """Whether the data can be trained on, and how much there is to see."""
        return verdict(self)

    @property
    def facts(self) -> tuple[str, ...]:
        """How much there is, what it would be used for, and of which size, a sentence each."""
        return facts(self)

    def lines(self, most: int = 10) -> tuple[str, ...]:
        """The findings as text, with at most so many files of each."""
        return tuple(lines(self, most))

    @property
    def unit(self) -> str:
        """What is counted: files of a folder, rows of a table."""
        return "row" if is_table(self.source) and not self.source.is_dir() else "file"

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
        """What is left out and should not be: images, rows and folders that cannot be read."""
        return tuple(each for each in self.left_out if each.fault)

    @property
    def by_reason(self) -> dict[str, list[LeftOut]]:
        """What is left out, by reason, the most frequent first; what a reason says in brackets of one file is cut."""
        grouped = defaultdict(list)
        for each in self.left_out:
            grouped[each.reason.split(" (")[0]].append(each)
        return dict(sorted(grouped.items(), key=lambda pair: -len(pair[1])))


def check_data(root: str | Path, *, progress: bool | Callable[[int, int], None] = True) -> Check:
    """Read every image of a class folder, or of a CSV table of labelled images, once, and find what is wrong.

    Nothing is changed. `write_check` shows the result as a page.

    Args:
        root: The folder, or the table with the columns path and label, and perhaps split and group.
        progress: True shows a bar in a terminal or a notebook; a callable is called with the files read and the files
            in all.

    Raises:
        ValueError: There is no such folder, or no class folder in it; or it is no such table.

    Example:
        >>> from PIL import Image
        >>> for name in ("ant", "bee"):
        ...     for number in range(8):
        ...         file = Path("photos") / name / f"{number}.png"
        ...         file.parent.mkdir(parents=True, exist_ok=True)
        ...         Image.effect_noise((40, 40), 30 + number).save(file)
        >>> check_data("photos").images
        16
    """
    source, appearances = Path(root), dict[Parts, Appearance]()
    rows: Rows | None = None
    with shown(progress, "checking", unit="files") as report:
        if is_table(source) and not source.is_dir():
            rows = rows_of(source)
            folder = read_rows(rows, progress=report, appearances=appearances)
        else:
            folder = scan(source, progress=report, appearances=appearances)
    problem, assigned, left_out = problem_of(rows, folder) if rows else _problem(folder), {}, folder.left_out
    split_of = {image.parts: image.split or "train" for image in folder.images}
    try:
        splits, leaks = assign(folder.images)
        assigned = {split: len(images) for split, images in splits.items()}
        split_of |= {image.parts: split for split, images in splits.items() for image in images}
        left_out = tuple(sorted([*left_out, *leaks]))
    except ValueError as fault:
        problem = problem or str(fault)  # the one that training would name
    counts = {split or "all": dict.fromkeys(sorted(classes), 0) for split, classes in folder.classes.items()}
    not_used = {each.path for each in left_out}
    for image in folder.images:
        counts[image.split or "all"][image.class_name] += _path(image) not in not_used
    placed = [_Placed(_path(image), image, split_of[image.parts], appearances[image.parts]) for image in folder.images]
    copies, near = _alike(placed)
    seen = [each.appearance for each in placed]
    check = Check(
        source,
        counts=counts,
        assigned=assigned,
        left_out=left_out,
        copies=copies,
        near=near,
        odd=_odd(placed),
        sizes=_sizes(seen) if seen else None,
        cropped_away=_cropped_away(seen),
        unused=rows.table.unused if rows else folder.unused,
        notes=() if rows else tuple(_notes(folder)),
        problem=problem,
        mistakes=rows.mistakes if rows else (),
        spellings=rows.spellings if rows else (),
        parted=tuple(_parted([each for each in placed if each.path not in not_used])),
        places={
            each.path: Place(folder.root.joinpath(*each.image.parts), each.split, each.image.class_name)
            for each in placed
        },
        full_scale=folder.full_scale,
    )
    return replace(check, findings=find(check))


class _Placed(NamedTuple):
    """An image that can be read, with what it looks like."""

    path: str
    image: LabelledFile
    split: str
    """Of train, val and test, the one that training would put it into."""
    appearance: Appearance


def _path(image: LabelledFile) -> str:
    return "/".join(image.parts)


def _problem(folder: Folder) -> str | None:
    """Why a folder cannot be trained on, whichever of its files can be read."""
    try:
        check_classes(folder)
        check_images(folder)
    except ValueError as fault:
        return str(fault)
    return None


def _alike(placed: Sequence[_Placed]) -> tuple[Alike, Alike | None]:
    """The same images, and nearly the same ones."""
    by_pixels: dict[str, list[_Placed]] = defaultdict(list)
    for each in placed:
        by_pixels[each.appearance.pixels].append(each)
    unlike = list(by_pixels.values())
    groups = [tuple(each.path for each in same) for same in unlike if len(same) > 1]
    in_classes = [len({each.image.class_name for each in same}) > 1 for same in unlike if len(same) > 1]
    in_splits = [len({each.split for each in same}) > 1 for same in unlike if len(same) > 1]
    copies = Alike(
        tuple(group for group, several in zip(groups, in_classes, strict=True) if several),
        tuple(group for group, several in zip(groups, in_splits, strict=True) if several),
        tuple(g for g, *several in zip(groups, in_classes, in_splits, strict=True) if not any(several)),
    )
    if not unlike:
        return copies, Alike((), (), ())
    pairs = near_pairs(np.stack([same[0].appearance.thumb_HW3 for same in unlike]))
    return copies, None if pairs is None else _sorted_out(unlike, pairs.tolist())


def _sorted_out(unlike: Sequence[Sequence[_Placed]], pairs: Sequence[tuple[int, int]]) -> Alike:
    """Pairs of nearly the same images by where they lie; each image may have several files.

    A pair is named by two files of different classes where it has them, and by two of different splits where it has
    those. The other pairs are joined to groups, each image by its first file.
    """
    classes, splits, others = [], [], []
    for first, second in pairs:
        files = list(product(unlike[first], unlike[second]))
        by_class = next(((a, b) for a, b in files if a.image.class_name != b.image.class_name), None)
        by_split = next(((a, b) for a, b in files if a.split != b.split), None)
        classes += [(by_class[0].path, by_class[1].path)] if by_class else []
        splits += [(by_split[0].path, by_split[1].path)] if by_split else []
        others += [] if by_class or by_split else [(first, second)]
    return Alike(tuple(classes), tuple(splits), tuple(tuple(unlike[i][0].path for i in g) for g in _joined(others)))


def _joined(pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Groups of what pairs join, one with another.

    Example:
        >>> _joined([(0, 3), (1, 4), (3, 5)])
        [[0, 3, 5], [1, 4]]
    """
    above: dict[int, int] = {}

    def lowest(place: int) -> int:
        while above.setdefault(place, place) != place:
            above[place] = place = above[above[place]]
        return place

    for first, second in pairs:
        low, high = sorted((lowest(first), lowest(second)))
        above[high] = low
    groups: dict[int, list[int]] = defaultdict(list)
    for place in sorted(above):
        groups[lowest(place)].append(place)
    return list(groups.values())


def _odd(placed: Sequence[_Placed]) -> dict[str, tuple[str, ...]]:
    """The files of each oddity; a file may have several."""
    found: dict[str, list[str]] = defaultdict(list)
    for each in placed:
        shorter, longer = sorted((each.appearance.width, each.appearance.height))
        shapes = (["long"] if longer >= LONG * shorter else []) + (["tiny"] if shorter < TINY else [])
        for trait in [*sorted(each.appearance.traits), *shapes]:
            found[trait].append(each.path)
    return {trait: tuple(paths) for trait, paths in sorted(found.items())}


def _sizes(seen: Sequence[Appearance]) -> Sizes:
    sizes = sorted(((each.width, each.height) for each in seen), key=lambda size: (size[0] * size[1], size))
    median = median_low(each.width for each in seen), median_low(each.height for each in seen)
    return Sizes(sizes[0], median, sizes[-1])


def _cropped_away(seen: Sequence[Appearance]) -> float:
    spec = default_recipe().preprocess
    return fmean(cropped_away(each.width, each.height, spec) for each in seen) if seen else 0.0


def _parted(placed: Sequence[_Placed]) -> Iterator[tuple[str, ...]]:
    first: dict[str, _Placed] = {}
    named = set()
    for each in placed:
        if each.image.group:
            other = first.setdefault(each.image.group, each)
            if other.split != each.split and each.image.group not in named:
                named.add(each.image.group)
                yield each.image.group, other.path, each.path


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

"""What a check of data found that asks for something to be done, in words: the same on the screen, as JSON, on a page.

A fault is what training refuses. A warning is what it accepts, though a result would be worse or say less than it
seems. A note is what is good to know.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from plusx.data.images import listed
from plusx.recipes.folder import folder as default_recipe

if TYPE_CHECKING:
    from plusx.data.check import Check

IS_COPY, IS_UNUSED = "a copy of an image that is trained on", ", which is not used beside "
"""Of reasons for leaving files out."""
Files = tuple[str, ...]
Level = Literal["fault", "warning", "note"]
LEVELS: tuple[Level, ...] = ("fault", "warning", "note")
MOST_CROPPED = 0.15  # of the pixels, on average, before it is said
MOST_UNEVEN = 10  # times as many training images in the largest class as in the smallest
ODD = {
    "turned": ("turned by an EXIF orientation", "They are turned upright before anything else is done."),
    "CMYK": ("in CMYK, the colours of printing", "They are converted to RGB without a colour profile."),
    "16 bits": ("of 16 bits a channel", "They are scaled to 8 bits: white stays white."),
    "32 bits": (
        "of 32 bits a pixel",
        "They are scaled to 8 bits by the range of all such files together: 0 to 1, 255 or 65,535.",
    ),
    "transparent": ("with transparent parts", "What is transparent becomes white."),
    "several frames": ("of several frames or pages", "The first one is used."),
    "long": (
        "at least four times as long as wide",
        "A square crop keeps a quarter of them or less; --fit pad keeps all of them, on black.",
    ),
    "tiny": (
        "of less than 32 pixels on the shorter side",
        "They are enlarged to the size of the input; a smaller preprocess.size is faster and loses nothing.",
    ),
}
"""What is odd about files, and what becomes of them."""
BETWEEN = dict.fromkeys(("labels", "leaks", "copies"), " = ") | dict.fromkeys(
    ("near labels", "near leaks", "near copies"), " ~ "
)
"""What stands between the files of a group: they are equal, or nearly so."""


class Alike(NamedTuple):
    """Groups of files that show the same, or nearly the same; each file by its path below the folder."""

    classes: tuple[Files, ...]
    """In several classes: at most one of their labels is right."""
    splits: tuple[Files, ...]
    """In several of train, val and test."""
    within: tuple[Files, ...]
    """In one class and one split."""


class Item(NamedTuple):
    """One thing of a finding."""

    files: Files
    """Those that are in it, which belong together; none where it is no matter of files."""
    said: str = ""
    """What is to be said of it besides."""


class Finding(NamedTuple):
    """One kind of thing that was found."""

    kind: str
    """A word by which programs may know it."""
    level: Level
    title: str
    """What was found, in one sentence without a full stop."""
    advice: str
    """What to do, or what becomes of it, in sentences."""
    items: tuple[Item, ...]


def find(check: "Check") -> tuple[Finding, ...]:
    """Everything that a check found, the faults first."""
    every = (finding._replace(title=visible(finding.title)) for finding in _every(check))
    return tuple(sorted(every, key=lambda finding: LEVELS.index(finding.level)))


def verdict(check: "Check") -> str:
    """Whether the data can be trained on, and how much there is to see, in one sentence."""
    count = {level: sum(finding.level == level for finding in check.findings) for level in LEVELS}
    said = ", ".join(plural(number, level) for level, number in count.items() if number)
    able = "cannot be trained on as it is" if count["fault"] else "can be trained on"
    return f"{check.source.name or check.source} {able}: {said or 'nothing was found that is wrong'}."


def facts(check: "Check") -> tuple[str, ...]:
    """How many files and images there are, for what they would be used, and how large they are, a sentence each."""
    purposes = {"train": "to train on", "val": "for validation", "test": "for test"}
    used = ", ".join(f"{count:,} {purposes[split]}" for split, count in check.assigned.items() if count)
    said = [f"{plural(check.files, check.unit)}: {plural(check.images, 'image')}, {len(check.left_out):,} left out."]
    said += [f"Images that training would use: {used}."] if used and not check.problem else []
    if check.sizes:
        smallest, median, largest = (f"{width:,} x {height:,}" for width, height in check.sizes)
        sizes = (
            f"All have {median}" if smallest == largest else f"From {smallest} to {largest}, with a median of {median}"
        )
        said.append(f"{sizes} pixels; the default crop loses {100 * check.cropped_away:.0f} % of them on average.")
    return tuple(said)


def lines(check: "Check", most: int) -> Iterator[str]:
    """A paragraph for each finding, its files indented.

    Args:
        check: With its findings.
        most: How many files, pairs and groups of each finding are named; and of each group, how many files.
    """
    for finding in check.findings:
        yield ""
        yield f"{finding.level}: {finding.title}"
        for item in finding.items[:most]:
            others = len(item.files) - most
            named = [*map(visible, item.files[:most]), *([f"{others:,} more"] if others > 0 else [])]
            files = BETWEEN.get(finding.kind, ", ").join(named)
            yield f"  {': '.join(part for part in (files, visible(item.said)) if part)}"
        if (others := len(finding.items) - most) > 0:
            yield f"  ... and {others:,} more"
        if finding.advice:
            yield f"  -> {finding.advice}"


def visible(text: str) -> str:
    r"""Text in which nothing moves the cursor, ends the line or turns the direction of reading: \x1b and the like.

    Example:
        >>> print(visible("a\nb\u202egnp.exe"), visible("강아지 1.png"))
        a\x0ab\u202egnp.exe 강아지 1.png
    """
    return "".join(each if each.isprintable() or each in JOINERS else _escaped(ord(each)) for each in text)


JOINERS = "\u200c\u200d"  # which belong to words and to emoji


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _every(check: "Check") -> Iterator[Finding]:
    yield from _refused(check)
    yield from _wrong(check)
    yield from _doubtful(check)
    yield from _shapes(check)
    yield from _known(check)


def _refused(check: "Check") -> Iterator[Finding]:
    """What training refuses."""
    if check.problem:
        yield Finding("problem", "fault", check.problem, "", ())
    mistaken = {*check.mistakes}
    if lost := [each for each in check.faults if each not in mistaken]:
        them = "repair or remove it" if len(lost) == 1 else "repair or remove them"
        yield Finding(
            "unreadable",
            "fault",
            f"{len(lost):,} of {check.files:,} files cannot be read",
            f"{them.capitalize()}, or train without: --set data.undecodable=skip.",
            tuple(Item((each.path,), each.reason) for each in lost),
        )
    if check.mistakes:
        yield Finding(
            "rows",
            "fault",
            f"{plural(len(check.mistakes), 'row')} of the table cannot be used",
            "Correct the table, or take the rows away.",
            tuple(Item((each.path,), each.reason) for each in check.mistakes),
        )
    if check.spellings:
        yield Finding(
            "spellings",
            "fault",
            "the table spells a name in several ways",
            "Write them alike: each spelling would be a class or a group of its own.",
            tuple(Item((), said) for said in check.spellings),
        )
    if check.parted:
        yield Finding(
            "groups",
            "fault",
            f"{plural(len(check.parted), 'group')} of the table in two splits",
            "Keep the images of a group in one split.",
            tuple(Item(files, f"group {group!r}") for group, *both in check.parted if (files := tuple(both))),
        )


def _wrong(check: "Check") -> Iterator[Finding]:
    """Equal images where there should be none. What lies in two classes and in two splits is named once."""
    spared = {each.path for each in check.left_out if IS_COPY in each.reason}
    copies, near = check.copies, check.near or Alike((), (), ())
    if copies.classes:
        yield Finding(
            "labels",
            "warning",
            f"{plural(len(copies.classes), 'image')} in several classes",
            "At most one label of each is right: keep the file of the right class, and remove the others.",
            tuple(Item(group, _splits(check, group, spared)) for group in copies.classes),
        )
    if leaks := _without(copies.splits, copies.classes):
        yield Finding(
            "leaks",
            "warning",
            f"{plural(len(leaks), 'image')} in several of train, val and test",
            "A net knows what it was trained on, so results on these images say nothing. Training leaves out of val "
            "and test what is, byte by byte, in train as well; remove the other copies.",
            tuple(Item(group, _splits(check, group, spared)) for group in leaks),
        )
    if near.classes:
        yield Finding(
            "near labels",
            "warning",
            f"{plural(len(near.classes), 'pair')} of nearly equal images in different classes",
            "Look at each: one image saved twice has one right label at most; two views of a scene may have two.",
            tuple(Item(pair, _splits(check, pair, spared)) for pair in near.classes),
        )
    if near_leaks := _without(near.splits, near.classes):
        yield Finding(
            "near leaks",
            "warning",
            f"{plural(len(near_leaks), 'pair')} of nearly equal images in different splits",
            "Results on them are better than on new images. Keep both in one split, or remove one.",
            tuple(Item(pair, _splits(check, pair, spared)) for pair in near_leaks),
        )


def _without(groups: Iterable[Files], named: Iterable[Files]) -> list[Files]:
    already = {*named}
    return [group for group in groups if group not in already]


def _splits(check: "Check", files: Files, spared: set[str]) -> str:
    """The splits that files would be used in, in their order, and what of them training leaves out by itself."""
    splits = list(dict.fromkeys(check.places[file].split for file in files))
    if len(splits) == 1:
        return ""
    its = listed(sorted(spared.intersection(files)))
    return f"in {' and '.join(splits)}" + (f"; left out by training: {its}" if its else "")


def _doubtful(check: "Check") -> Iterator[Finding]:
    if check.notes:
        items = tuple(Item((), said) for said in check.notes)
        yield Finding("names", "warning", "names that may not be what was meant", "Rename what should be one.", items)
    inside = [each for each in check.left_out if IS_UNUSED in each.reason]
    if check.unused and check.unit == "row":
        named = f"{'column' if len(check.unused) == 1 else 'columns'} {listed(map(repr, check.unused))}"
        advice = "Only path, label, split and group are read."
        yield Finding("columns", "note", f"{named} of the table not used", advice, ())
    elif check.unused:
        several = len(check.unused) > 1
        named = f"the {'folders' if several else 'folder'} {listed(f'{name}/' for name in check.unused)}"
        yield Finding(
            "unused",
            "warning",
            f"{named} {'are' if several else 'is'} not used beside those of the splits",
            "Where there is a folder train, only the folders of train, val and test are used.",
            tuple(Item((each.path,)) for each in inside),
        )
    tally = check.counts.get("train") or check.counts.get("all") or {}
    held = {name: count for name, count in tally.items() if count}
    if held and max(held.values()) >= MOST_UNEVEN * min(held.values()):
        most, least = max(held, key=lambda name: held[name]), min(held, key=lambda name: held[name])
        yield Finding(
            "imbalance",
            "warning",
            f"class {most!r} has {held[most]:,} images and {least!r} has {held[least]:,}, "
            f"{held[most] / held[least]:.0f} times fewer",
            "A net may do well on average without the small classes; look at the balanced accuracy of plusx evaluate.",
            (),
        )


def _shapes(check: "Check") -> Iterator[Finding]:
    size = default_recipe().preprocess.size
    if check.cropped_away > MOST_CROPPED:
        yield Finding(
            "crop",
            "warning",
            f"the default crop to a square of {size} loses {100 * check.cropped_away:.0f} % of an image on average",
            "Train with --fit pad, which keeps everything, or with --fit squash.",
            (),
        )
    for trait, files in check.odd.items():
        what, becomes = ODD[trait]
        title = f"{plural(len(files), 'image')} {what}"
        yield Finding(trait, "note", title, becomes, tuple(Item((file,)) for file in files))


def _known(check: "Check") -> Iterator[Finding]:
    if check.copies.within:
        yield Finding(
            "copies",
            "note",
            f"{plural(len(check.copies.within), 'image')} more than once in one class and split",
            "Each copy counts as an image of its own. Keep one of each.",
            tuple(Item(group) for group in check.copies.within),
        )
    if check.near is None:
        yield Finding(
            "all alike",
            "note",
            "so many images look alike that near duplicates are not told apart",
            "Only exact copies are listed.",
            (),
        )
    elif check.near.within:
        yield Finding(
            "near copies",
            "note",
            f"{plural(len(check.near.within), 'group')} of nearly equal images in one class and split",
            "They count as images of their own, but teach little that is new.",
            tuple(Item(group) for group in check.near.within),
        )
    said = (IS_COPY, IS_UNUSED)  # in findings of their own
    others = [each for each in check.left_out if not each.fault and not any(part in each.reason for part in said)]
    if others:
        yield Finding(
            "left out",
            "note",
            f"{plural(len(others), 'other file')} left out",
            "",
            tuple(Item((each.path,), each.reason) for each in others),
        )


def plural(count: int, what: str) -> str:
    """A number and what is counted.

    Example:
        >>> plural(1, "image"), plural(1200, "image")
        ('1 image', '1,200 images')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"

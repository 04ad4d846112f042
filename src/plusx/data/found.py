"""Which image files are meant: by files, by folders with all that is in them, by patterns and by CSV tables.

Files are only listed, none is opened: which of them can be read shows when they are.
"""

import fnmatch
import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plusx.data.decode import is_image_name
from plusx.data.images import listed, normal_name
from plusx.data.scan import LeftOut
from plusx.data.table import Row, is_table, read_table
from plusx.data.tree import Entry, printable, walk


@dataclass(frozen=True, eq=False)
class Found:
    """What `find_images` found. Every file that was met is in `files` or in `left_out`."""

    files: tuple[Path, ...]
    """In the order of the sources, each once; those of a folder or of a pattern are sorted."""
    labels: Mapping[Path, str]
    """The label of each file for which a table has one, in Unicode's form NFC."""
    left_out: tuple[LeftOut, ...]
    """What is no image, is hidden, or cannot be opened."""
    repeated: tuple[Path, ...]
    """Files that a later source names again."""
    notes: tuple[str, ...] = ()
    """Columns of tables that are not used, a sentence each table."""

    def __repr__(self) -> str:
        return f"<Found {len(self.files):,} images, {len(self.left_out):,} files left out>"


def find_images(sources: str | Path | Iterable[str | Path]) -> Found:
    """The image files that sources name.

    A folder gives the images below it, by their names; of what is hidden, nothing. A pattern such as photos/**/*.jpg
    stands for the files and folders that match it, and is needed where no shell has expanded it. The files of a table
    are taken from its own folder. A file that is named by itself is an image whatever its name.

    Args:
        sources: Files, folders, patterns and tables (.csv, .tsv), or a single one.

    Raises:
        ValueError: A folder or a pattern gives no image, or a table cannot be used; or two labels are given for one
            file.

    Example:
        >>> from PIL import Image
        >>> for name in ("2.png", "10.png", "1.jpg"):
        ...     Image.new("RGB", (8, 8)).save(name)
        >>> [file.name for file in find_images(["2.png", "*.png", "."]).files]
        ['2.png', '10.png', '1.jpg']
    """
    first: dict[str, Path] = {}
    labels: dict[Path, str] = {}
    left_out: list[LeftOut] = []
    repeated: dict[Path, None] = {}
    notes: list[str] = []
    for source in [sources] if isinstance(sources, str | Path) else sources:
        rows, others, said = _named_by(source)
        left_out += others
        notes += said
        for row in rows:
            key = os.path.abspath(row.file)  # noqa: PTH100 (Path.absolute keeps "..", by which a file has two names)
            if key in first:
                repeated[first[key]] = None
            file = first.setdefault(key, row.file)
            if row.label is not None:
                label = normal_name(row.label)
                if labels.setdefault(file, label) != label:
                    raise ValueError(f"{printable(file)} is labelled both {labels[file]!r} and {label!r}")
    return Found(tuple(first.values()), labels, tuple(left_out), tuple(repeated), tuple(notes))


def reasons(left_out: Iterable[LeftOut]) -> str:
    """How many are left out for which reason, the most frequent first; what a reason says in brackets is cut.

    Example:
        >>> reasons([LeftOut(".a", "hidden", False, None)] * 1200 + [LeftOut("b", "a link (to c)", False, None)])
        '1,200 hidden, 1 a link'
    """
    counts = Counter(each.reason.split(" (")[0] for each in left_out)
    return listed(f"{count:,} {reason}" for reason, count in counts.most_common())


def _named_by(source: str | Path) -> tuple[Sequence[Row], list[LeftOut], tuple[str, ...]]:
    """The images that one source names, what it leaves out, and what there is to say."""
    if not str(source):
        raise ValueError("a source is empty; name a file, a folder, a pattern or a table")
    path, text = Path(source), printable(source)
    if _is_folder(path):
        files, left_out = _sorted_out(_below(path))
        none = f"no image in {text}"
    elif glob.escape(str(source)) != str(source) and not os.path.lexists(path):
        files, left_out = _sorted_out(_matching(path))
        none = f"no image matches {text!r}" if left_out else f"no file matches {text!r}"
    elif is_table(path):
        table = read_table(path)
        return table.rows, [], table.notes
    else:
        return [Row(path, None)], [], ()
    if not files and not any(each.fault for each in left_out):
        raise ValueError(none + (f"; left out: {reasons(left_out)}" if left_out else ""))
    return [Row(file, None) for file in files], left_out, ()


def _sorted_out(entries: Iterable[tuple[Path, Entry]]) -> tuple[list[Path], list[LeftOut]]:
    """Files that are images by their names, and what else was met, both sorted."""
    files, left_out = set(), set()
    for path, entry in entries:
        if entry.reason is not None:
            left_out.add((path.parts, LeftOut(printable(path), entry.reason, entry.fault, None)))
        elif entry.is_folder:
            continue
        elif is_image_name(entry.parts[-1]):
            files.add((path.parts, path))
        else:
            left_out.add((path.parts, LeftOut(printable(path), "not an image by its name", False, None)))
    return [path for _, path in sorted(files)], [each for _, each in sorted(left_out)]


def _is_folder(path: Path) -> bool:
    """Whether it is one that can be seen; what cannot be is named when it is read, and stops no others."""
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir raises, as in a folder that may not be entered)


def _below(folder: Path) -> Iterator[tuple[Path, Entry]]:
    try:
        for entry in walk(folder, name_hidden=True):
            yield folder.joinpath(*entry.parts), entry
    except OSError as fault:
        raise ValueError(f"cannot read {printable(folder)}: {fault.strerror}") from None


def _matching(pattern: Path) -> Iterator[tuple[Path, Entry]]:
    """What matches a pattern, and what is below the folders that do.

    `**` is walked, where glob would follow circles of links until the names are too long.
    """
    parts = pattern.parts
    start = parts.index("**") if "**" in parts else len(parts)
    for name in glob.glob(str(Path(*parts[:start]))):  # noqa: PTH207 (it may be absolute)
        path = Path(name)
        if start == len(parts):
            yield from _below(path) if _is_folder(path) else [(path, Entry((path.name,), False))]
        elif _is_folder(path):
            for entry in walk(path):
                here = path.joinpath(*entry.parts)
                if fits := _fits(entry.parts, parts[start:]) or (entry.is_folder and entry.fault):
                    yield here, entry
                if fits and entry.is_folder and entry.reason is None and parts[-1] != "**":
                    yield from _below(here)


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path matches a pattern part by part; `**` stands for any number of folders, and for none.

    Example:
        >>> [_fits(path.split("/"), ("**", "*.png")) for path in ("1.png", "a/b/1.png", "a/1.jpg")]
        [True, True, False]
    """
    if not pattern:
        return not parts
    first, *rest = pattern
    if first == "**":
        return any(_fits(parts[start:], rest) for start in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatch(parts[0], first) and _fits(parts[1:], rest)

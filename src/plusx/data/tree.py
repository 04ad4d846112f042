"""Every file below a folder, met once: links are followed but not in circles, and what cannot be entered is named."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

Parts = tuple[str, ...]
"""A path below the folder, part by part, as the system has them."""


class Entry(NamedTuple):
    """A file, a folder, or what was to be one."""

    parts: Parts
    is_folder: bool
    reason: str | None = None
    """Why it cannot be opened, or is not followed; None for what can be."""
    fault: bool = False
    """Whether the reason is one that its owner would mend."""


def walk(root: Path, *, name_hidden: bool = False) -> Iterator[Entry]:
    """Everything below a folder but what is hidden: files, folders, and links that lead nowhere or back.

    A folder comes before what is in it; the order is no other. A link to a folder is entered unless the way to it leads
    through that folder already: two links to one folder give its files twice, and a circle ends.

    Args:
        root: The folder.
        name_hidden: Whether a hidden file or folder is an entry, with that as its reason; none is entered.

    Raises:
        OSError: The folder itself cannot be read.
    """
    ahead: list[tuple[str, Parts, tuple[Path, ...]]] = [(str(root), (), (root.resolve(),))]
    while ahead:
        folder, parts, way = ahead.pop()  # the way holds the real paths of the folder and of those above it
        try:
            with os.scandir(folder) as inside:
                entries = [entry for entry in inside if name_hidden or not entry.name.startswith(".")]
        except OSError as fault:
            if not parts:
                raise
            yield Entry(parts, True, f"cannot be read ({fault.strerror})", True)
            continue
        if parts:
            yield Entry(parts, True)
        for entry in entries:
            here = (*parts, entry.name)
            if entry.name.startswith("."):
                yield Entry(here, False, "hidden")
                continue
            try:
                if not entry.is_dir():
                    yield Entry(here, False, *_refusal(entry))
                    continue
            except OSError as fault:
                yield Entry(here, False, f"cannot be read ({fault.strerror})", True)
                continue
            real = Path(entry.path).resolve() if entry.is_symlink() else way[-1] / entry.name
            if entry.is_symlink() and any(above.is_relative_to(real) for above in way):
                yield Entry(here, False, f"a link that leads back (to {printable(real)})")
            else:
                ahead.append((entry.path, here, (*way, real)))


def printable(path: str | Path) -> str:
    r"""A path as text that can be written anywhere: bytes that are not UTF-8 become \xe9 and the like.

    Example:
        >>> print(printable("caf\udce9.jpg"))
        caf\xe9.jpg
    """
    return os.fsencode(path).decode(errors="backslashreplace")


def _refusal(entry: "os.DirEntry[str]") -> tuple[str | None, bool]:
    """Why an entry that is no folder is not a file that can be opened, and whether that is a fault."""
    if entry.is_file():
        return None, False
    try:
        entry.stat()
    except FileNotFoundError:
        return f"a broken link (to {printable(Path(entry.path).readlink())})", True
    return "neither a file nor a folder", False

"""Files written so that no instant of a crash leaves half of one."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

PARTIAL = ".partial"
"""A folder that `write_folder` leaves where it is killed, and that its next call removes."""


def free_path(path: Path) -> Path:
    """The path, or, where it is taken, the path with the lowest free number from 2 on."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def replace_file(path: Path, content: bytes) -> None:
    """Write a file aside, flush it to the disk and rename it: a reader sees the old one or the new one, whole."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        write_synced(aside, content)
        aside.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a folder that is new or empty, all of them or none.

    A new folder is renamed into its place. An empty one stays, as it may be a mount or where somebody's shell is: each
    file is renamed into it, whole, and only a kill between two renames leaves the first without the second.
    """
    is_new = not path.exists()
    aside = path.with_name(f".{path.name}.partial") if is_new else path / PARTIAL
    shutil.rmtree(aside, ignore_errors=True)
    placed: list[Path] = []
    try:
        aside.mkdir(parents=True)
        for name, content in files.items():
            write_synced(aside / name, content)
        _sync_folder(aside)
        if is_new:
            aside.rename(path)
        else:
            for name in files:
                placed.append((aside / name).replace(path / name))
            aside.rmdir()
        _sync_folder(path.parent if is_new else path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        for file in placed:
            file.unlink(missing_ok=True)
        raise


def move_files(aside: Path, files: Sequence[Path]) -> None:
    """Put files that were written aside into their place, in this order, all of them or none.

    Args:
        aside: Folder in the same file system, which has them under their names.
        files: Where they go; none is there yet.
    """
    placed: list[Path] = []
    try:
        for file in files:
            with (aside / file.name).open("rb") as written:
                os.fsync(written.fileno())
        for file in files:
            placed.append((aside / file.name).rename(file))
        _sync_folder(files[-1].parent)
    except BaseException:
        for file in placed:
            file.unlink(missing_ok=True)
        raise


def require_writable(path: Path) -> None:
    """Raises ValueError when a folder cannot be written to, or cannot be made."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK):
        raise ValueError(f"cannot write to {there}; choose another --out")


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened, and a rename is durable by itself
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

"""Files written so that no instant of a crash leaves half of one."""

import os
from pathlib import Path


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

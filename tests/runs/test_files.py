"""Files that are written whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plusx.runs.files import write_folder
from plusx.runs.store import require_free


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("after", [0, 1])
def test_a_kill_while_it_writes_leaves_no_file_and_the_next_call_writes_them(
    tmp_path: Path, there: bool, after: int
) -> None:
    out = tmp_path / "out"
    if there:
        out.mkdir()
    code = (
        "import os, pathlib, sys\n"
        "from plusx.runs import files\n"
        "done, write = [], files.write_synced\n"
        "def killed(path, content):\n"
        f"    if len(done) == {after}: path.write_bytes(b'half'); os.kill(os.getpid(), 9)\n"
        "    done.append(write(path, content))\n"
        "files.write_synced = killed\n"
        f"files.write_folder(pathlib.Path({str(out)!r}), {{'a': b'1', 'b': b'2'}})\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert not (out / "a").exists() and not (out / "b").exists()
    require_free(out)
    write_folder(out, {"a": b"1", "b": b"2"})
    assert {file.name: file.read_bytes() for file in out.iterdir()} == {"a": b"1", "b": b"2"}
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("fault", [OSError, KeyboardInterrupt])
def test_a_folder_whose_last_rename_fails_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, fault: type[BaseException]
) -> None:
    out = tmp_path / "out"
    if there:
        out.mkdir()
    replace = Path.replace

    def failing(path: Path, target: Path) -> Path:
        if path.name in ("b", ".out.partial"):
            raise fault
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(fault):
        write_folder(out, {"a": b"1", "b": b"2"})
    assert list(tmp_path.rglob("*")) == [out] * there


def test_an_empty_folder_stays_the_same_folder(tmp_path: Path) -> None:
    before = tmp_path.stat().st_ino
    write_folder(tmp_path, {"a": b"1"})
    assert tmp_path.stat().st_ino == before and [file.name for file in tmp_path.iterdir()] == ["a"]


def test_folders_above_a_new_one_are_made(tmp_path: Path) -> None:
    write_folder(tmp_path / "x" / "y", {"a": b"1"})
    assert (tmp_path / "x" / "y" / "a").read_bytes() == b"1"

"""`plusx data prepare`."""

from collections.abc import Callable
from pathlib import Path

from tests.cli.commands import SMALL, plusx, refused, result


def test_a_folder_is_prepared_and_trained_on(class_folder: Callable[..., Path], tmp_path: Path) -> None:
    root, out = class_folder([], {"ant": 20, "bee": 20}), tmp_path / "small"
    done = plusx("data", "prepare", root, "--out", out, "--size", "24")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"40 images, 0.1 MB in {out}\nnext: plusx train {out}\n"
    again = result("data", "prepare", root, "--out", out, "--size", "24")
    assert again == {"folder": str(out), "images": 40, "bytes": 40 * 3 * 24 * 32, "kept": 40}
    small = [*SMALL, "--set", "preprocess.size=16", "--set", "net.name=resnet20"]
    assert result("train", out, "--out", tmp_path / "run", *small)["steps"] == 4
    assert "--size 24; an input of 128 pixels needs 128" in refused("train", out, *SMALL)


def test_what_cannot_be_prepared_is_one_sentence(class_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = class_folder([], {"ant": 4, "bee": 4})
    assert "no such file or folder" in refused("data", "prepare", tmp_path / "gone", "--out", tmp_path / "out")
    assert "lie in one another; choose" in refused("data", "prepare", root, "--out", root.parent)

"""`plusx data check`."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.cli.commands import SMALL, plusx, process, refused, result
from tests.conftest import save_image
from tests.data.spoiled import spoiled_folder


def test_undecodable_images(tmp_path: Path, class_folder: Callable[..., Path]) -> None:
    root = class_folder(["train", "val"], {"ant": 4, "bee": 4})
    assert "photos can be trained on" in plusx("data", "check", root).stdout
    whole = save_image(tmp_path / "whole.jpg", size=(100, 100)).read_bytes()
    (root / "train" / "ant" / "cut.jpg").write_bytes(whole[:1000])
    (root / "train" / "bee" / "zero.jpg").touch()
    (root / "val" / "bee" / "page.jpg").write_text("<html>")
    assert "cut.jpg: damaged" in refused("train", root, cwd=tmp_path)
    done = plusx("data", "check", root, "--json")
    assert done.returncode == 2 and "3 of 19 files" in done.stderr
    faults = {Path(f["file"]).name: f["error"] for f in json.loads(done.stdout)["files"]}
    assert set(faults) == {"cut.jpg", "zero.jpg", "page.jpg"} and faults["zero.jpg"] == "the file is empty"
    tiny = [*SMALL, "--set", "net.name=resnet20", "--set", "preprocess.size=16", "--set", "data.undecodable=skip"]
    assert result("train", root, *tiny, "--out", tmp_path / "run")["steps"] == 4
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert len(card["source"]["left_out"]) == 2 + 1 and card["source"]["images"] == {"train": 8, "val": 8}


def test_a_checked_folder_is_accounted_for_in_text_and_json_alike(class_folder: Callable[..., Path]) -> None:
    root = class_folder(["train", "Testing", "extra"], {"ant": 10, "bee": 10})
    (root / "train" / "ant" / os.fsdecode(b"caf\xe9.png")).write_bytes((root / "train" / "ant" / "0.png").read_bytes())
    (root / "train" / "bee" / "copy.png").write_bytes((root / "train" / "ant" / "1.png").read_bytes())
    (root / "notes.txt").touch()
    shown = process("data", "check", root)  # in the encoding of a real stream
    assert shown.returncode == 2 and "1 of 63 files" in shown.stderr
    assert "63 files: 41 images, 22 left out" in shown.stdout and "extra/bee/9.png" not in shown.stdout
    assert "the folder extra/ is not used beside those of the splits" in shown.stdout
    assert "... and 10 more" in shown.stdout and "caf\\xe9.png" in shown.stdout
    assert "1 image in several classes\n  train/ant/1.png = train/bee/copy.png" in shown.stdout
    found = json.loads(plusx("data", "check", root, "--json").stdout)
    assert found["total"] == 63 == found["images"] + len(found["left_out"]) == 41 + sum(found["reasons"].values())
    assert found["splits"]["train"] == {"ant": 10, "bee": 11} and sum(found["assigned"].values()) == 41
    assert found["copies"] == {"classes": [["train/ant/1.png", "train/bee/copy.png"]], "splits": [], "within": []}
    assert found["unused"] == ["extra"] and [f["file"] for f in found["files"]] == ["train/ant/caf\\xe9.png"]


def test_the_exit_code_is_2_exactly_if_training_would_refuse_the_data(tmp_path: Path) -> None:
    root = spoiled_folder(tmp_path / "photos")
    assert plusx("data", "check", root).returncode == 2 and "bee/page.jpg" not in refused(
        "data", "check", tmp_path / "no"
    )
    for fault in json.loads(plusx("data", "check", root, "--json").stdout)["files"]:
        (root / fault["file"]).unlink()
    done = plusx("data", "check", root)
    assert done.returncode == 0 and "can be trained on: 7 warnings" in done.stdout
    assert (
        result("train", root, *SMALL, "--set", "net.name=mlp", "--set", "preprocess.size=8", cwd=tmp_path)["steps"] == 4
    )


def test_the_json_has_what_the_screen_cuts(tmp_path: Path, class_folder: Callable[..., Path]) -> None:
    root = class_folder([], {f"class {number:02}": 1 for number in range(25)})
    for number in range(15):
        (root / "class 00" / f"notes {number}.txt").touch()
    shown, found = plusx("data", "check", root).stdout, json.loads(plusx("data", "check", root, "--json").stdout)
    assert "and 5 more classes" in shown and "... and 5 more" in shown and "notes 9.txt" not in shown
    assert len(found["splits"]["all"]) == 25 and len(found["findings"][-1]["items"]) == 15


def test_a_page_that_cannot_be_written_hides_no_finding(tmp_path: Path, class_folder: Callable[..., Path]) -> None:
    (tmp_path / "file").touch()
    done = plusx("data", "check", class_folder([], {"ant": 4, "bee": 4}), "--out", tmp_path / "file" / "page.html")
    assert done.returncode == 2 and "can be trained on" in done.stdout
    assert "cannot write" in done.stderr and "choose another --out" in done.stderr


def test_names_of_files_cannot_move_the_cursor(class_folder: Callable[..., Path]) -> None:
    root = class_folder([], {"ant": 4, "bee": 4})
    for name in ("\x1b[2J.txt", "two\nlines.txt", "\u202egnp.txt"):
        (root / name).touch()
    shown = plusx("data", "check", root).stdout
    assert "\x1b" not in shown and "\u202e" not in shown and "two\\x0alines.txt" in shown
    named = {each["file"] for each in json.loads(plusx("data", "check", root, "--json").stdout)["left_out"]}
    assert named == {"\x1b[2J.txt", "two\nlines.txt", "\u202egnp.txt"}

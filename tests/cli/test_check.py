"""`plusx data check`."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.cli.commands import SMALL, plusx, process, refused, result
from tests.conftest import save_image


def test_undecodable_images(tmp_path: Path, class_folder: Callable[..., Path]) -> None:
    root = class_folder(["train", "val"], {"ant": 4, "bee": 4})
    assert "all 16 images can be read" in plusx("data", "check", root).stdout
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
    assert "20 left out, in extra/, which is not used beside train/ and Testing/:" in shown.stdout
    assert "1 of equal content in several classes" in shown.stdout and "caf\\xe9.png" in shown.stdout
    found = json.loads(plusx("data", "check", root, "--json").stdout)
    assert found["total"] == 63 == found["images"] + len(found["left_out"]) == 41 + sum(found["reasons"].values())
    assert found["splits"]["train"] == {"ant": 10, "bee": 11} and sum(found["assigned"].values()) == 41
    assert found["copies"] == {"classes": [["train/ant/1.png", "train/bee/copy.png"]], "splits": []}
    assert found["unused"] == ["extra"] and [f["file"] for f in found["files"]] == ["train/ant/caf\\xe9.png"]

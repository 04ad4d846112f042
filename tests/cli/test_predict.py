"""`plusx predict`."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.commands import plusx, process, refused, result
from tests.conftest import save_image


@pytest.fixture
def photos(digits_files: Path, tmp_path: Path) -> Path:
    """Two folders of test digits, with a file that is no image and one that is hidden."""
    for name in ("1", "7"):
        shutil.copytree(digits_files / name, tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").touch()
    (tmp_path / "photos" / ".hidden.png").touch()
    return tmp_path / "photos"


def test_one_bad_image_does_not_silence_the_others(digits_run: Path, tmp_path: Path) -> None:
    good = save_image(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"")
    done = plusx("predict", digits_run, tmp_path / "bad.png", good)
    assert done.returncode == 2 and done.stdout.startswith(f"{good}: ") and "bad.png: the file is empty" in done.stderr
    assert done.stdout.count("\n") == 1


def test_a_folder_is_a_line_for_each_image_and_a_note_about_the_rest(digits_run: Path, photos: Path) -> None:
    done = plusx("predict", digits_run, "photos", "--top", "1", cwd=photos.parent)
    files = [line.rpartition(": ")[0] for line in done.stdout.splitlines()]
    assert done.returncode == 0 and files == [
        str(file.relative_to(photos.parent)) for file in sorted(photos.glob("*/*.png"))
    ]
    assert all(re.fullmatch(r"\S+: \d [\d.]+ %", line) for line in done.stdout.splitlines())
    assert "note: 2 left out: 1 hidden, 1 not an image by its name." in done.stderr
    for pattern in ("photos/*/*.png", "photos/**/*.png"):
        assert plusx("predict", digits_run, pattern, "--top", "1", cwd=photos.parent).stdout == done.stdout
    assert "plusx: photos: a folder, not an image" not in done.stderr


def test_the_screen_the_table_and_json_agree(digits_run: Path, photos: Path) -> None:
    home = photos.parent
    rows = [f"photos/7/{file.name},7\r\n" for file in sorted((photos / "7").iterdir())]
    (home / "l.csv").write_bytes(("\ufeffpath,label\r\n" + "".join(rows)).encode())
    shown = plusx("predict", digits_run, "photos", "l.csv", "--out", "new", cwd=home)
    assert shown.returncode == 0 and "report: new/report.html" in shown.stdout
    with (home / "new" / "predictions.csv").open(newline="") as lines:
        table = list(csv.DictReader(lines))
    counts, right = Counter(row["class1"] for row in table), sum(row["right"] == "yes" for row in table)
    on_screen = dict(re.findall(r"^ (\d) +(\d+) +\d+ +\d+ *$", shown.stdout, re.MULTILINE))
    assert {name: int(count) for name, count in on_screen.items()} == counts
    assert f"{len(table)} images predicted.\n{right} right of {len(rows)} images with a label" in shown.stdout
    said = result("predict", digits_run, "photos", "l.csv", "--out", "other", "--top", "2", cwd=home)
    assert said["counts"] == counts and (said["right"], said["labelled"]) == (right, len(rows))
    assert [each["file"] for each in said["files"]] == [row["path"] for row in table]
    assert all(len(each["classes"]) == 2 == len(each["probabilities"]) for each in said["files"])
    assert [each["label"] for each in said["files"] if "label" in each] == ["7"] * len(rows)
    assert said["report"] == "other/report.html" and len(said["repeated"]) == len(rows)
    assert {Path(each["file"]).name: each["reason"] for each in said["left_out"]} == {
        ".hidden.png": "hidden", "notes.txt": "not an image by its name",
    }  # fmt: skip
    assert (home / "other" / "predictions.csv").read_bytes() == (home / "new" / "predictions.csv").read_bytes()


def test_many_bad_files_are_counted_and_named_in_json(digits_run: Path, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.png").touch()
    done = plusx("predict", digits_run, tmp_path, "--json")
    said = json.loads(done.stdout.splitlines()[-1])
    assert [each["error"] for each in said["files"]] == ["the file is empty"] * 30
    assert done.returncode == 2 and "09.png: the file is empty; and 20 more" in done.stderr


def test_a_mistake_in_a_source_is_one_sentence(digits_run: Path, photos: Path) -> None:
    home = photos.parent
    (home / "empty").mkdir()
    (home / "l.csv").write_text("path,label\nphotos/1/1.png,seven\n")
    (home / "x.csv").write_text("path,lable\nphotos/1/1.png,7\n")
    for source, sentence in {
        "empty": "no image in empty",
        "photos/**/*.jpg": "no file matches 'photos/**/*.jpg'",
        "l.csv": "label 'seven' of photos/1/1.png is none of the run's classes",
        "x.csv": "x.csv has a column 'lable', which is not used; did you mean 'label'?",
        "no.csv": "no such file: no.csv",
    }.items():
        assert sentence in refused("predict", digits_run, source, "--out", "new", cwd=home)
    assert "photos exists; choose another --out" in refused(
        "predict", digits_run, "photos", "--out", "photos", cwd=home
    )


def test_a_name_that_is_not_utf_8_is_printed_whatever_the_terminal_takes(digits_run: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    save_image(tmp_path / "p" / "a.png").rename(tmp_path / "p" / name)
    done = process("predict", digits_run, "p", "--out", "new", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "1 image predicted" in done.stdout, done.stderr
    done = process("predict", digits_run, "p", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "caf" in done.stdout, done.stderr
    (only,) = result("predict", digits_run, "p", cwd=tmp_path)["files"]
    assert only["file"] == f"p/{name}"  # by which a program can open it


def test_a_full_disk_does_not_lose_what_was_predicted(
    digits_run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("plusx.deploy.predicted.write_folder", full)
    done = plusx("predict", digits_run, photos, "--out", photos.parent / "new")
    assert done.returncode == 2 and "images predicted" in done.stdout and "report:" not in done.stdout
    assert done.stderr.splitlines()[-1].endswith("new: No space left on device; choose another --out")


def test_a_prediction_loads_no_compiler_and_no_library_of_figures(digits_run: Path, tmp_path: Path) -> None:
    """Each takes longer to load than plusx."""
    save_image(tmp_path / "digit.png")
    code = f"""
import sys
from plusx.cli.app import main
sys.argv = ["plusx", "predict", {str(digits_run)!r}, {str(tmp_path / "digit.png")!r}]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.count("%") > 1, done.stderr
    assert {"torch._dynamo", "sklearn", "scipy", "matplotlib", "sympy", "openvino"}.isdisjoint(done.stderr.split())

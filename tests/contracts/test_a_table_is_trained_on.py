"""A run that was trained on a table: every verb takes it as it takes a run of a folder."""

import csv
import json
import shutil
from pathlib import Path

import pytest

import plusx
from plusx.runs.store import read_card
from tests.cli.commands import plusx as command
from tests.cli.commands import refused, result
from tests.conftest import save_image

SETS = [
    part for key in ("net.name=resnet20", "preprocess.size=32", "steps=3", "batch_size=8") for part in ("--set", key)
]
HEAD = "Path;Label;Group;Camera\n"


def rows(root: Path, clips: range, frames: range) -> str:
    """Rows of the table for some frames of some clips, which are made."""
    lines = []
    for clip in clips:
        for frame in frames:
            name = f"img/{clip}_{frame}.png"
            save_image(root / name, seed=100 * clip + frame, hue=clip % 2, size=(60 + clip, 40))
            lines.append(f"{name};{('ant', 'bee')[clip % 2]};clip {clip};leica\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("table")
    (root / "photos.csv").write_text("\ufeff" + HEAD + rows(root, range(12), range(3)), encoding="utf-8")
    answer = result("train", "photos.csv", *SETS, "--fit", "pad", "--quiet", cwd=root)
    assert answer["run"] == "runs/photos-resnet20-seed0"
    return root / "photos.csv", root / answer["run"]


def used(run: Path) -> dict[str, dict[str, str]]:
    with (run / "images.csv").open(encoding="utf-8") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_the_card_says_how_the_table_was_read(trained: tuple[Path, Path]) -> None:
    table, run = trained
    card = read_card(run)
    assert card.source["name"] == str(table.resolve()) and card.preprocess.fit == card.recipe.preprocess.fit == "pad"
    assert card.source["notes"] == [
        "the column 'Camera' of photos.csv is not used",
        "12 groups, each in one split",
    ]
    groups = {
        split: {row["group"] for row in used(run).values() if row["split"] == split} for split in ("train", "val")
    }
    assert groups["train"] and groups["val"] and not groups["train"] & groups["val"]
    assert (run / "report.html").stat().st_size


def test_evaluate_measures_what_was_held_out_and_predict_says_what_was_not(trained: tuple[Path, Path]) -> None:
    table, run = trained
    held = {name for name, row in used(run).items() if row["split"] == "val"}
    for data in ((), (table,)):
        assert result("evaluate", run, *data, "--quiet")["images"] == len(held)
        with (run / "predictions.csv").open(encoding="utf-8") as file:
            assert {row["image"] for row in csv.DictReader(file)} == held
    answer = result("predict", run, table, "--quiet")
    assert answer["labelled"] == 36 and answer["right"] == sum(each["right"] for each in answer["files"])
    right = sum(
        each["right"] for each in answer["files"] if Path(each["file"]).relative_to(table.parent).as_posix() in held
    )
    said = f"of the images with a label, {run} was trained on {36 - len(held)}; of the {len(held)} others, {right} are"
    assert answer["notes"] == ["the column 'Camera' of photos.csv is not used", f"{said} right"]
    assert command("analyse", run, "responses", "--quiet").returncode == 0


def test_a_table_that_has_moved_is_found_and_one_that_has_changed_is_said(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    table, run = trained
    moved = tmp_path / "elsewhere"
    shutil.copytree(table.parent / "img", moved / "img")
    (moved / "named anew.csv").write_bytes(table.read_bytes())
    before = plusx.evaluate(run, progress=False)
    after = plusx.evaluate(run, data_dir=moved / "named anew.csv", out=tmp_path / "out", progress=False)
    assert (after.score, after.notes) == (before.score, before.notes)


def test_new_frames_of_a_group_that_was_trained_on_are_not_measured(trained: tuple[Path, Path], tmp_path: Path) -> None:
    _, run = trained
    root = tmp_path / "more"
    root.mkdir()
    (root / "photos.csv").write_text(HEAD + rows(root, range(14), range(9)))
    content = json.loads((run / "card.json").read_text())
    content["source"]["name"] = str(root / "photos.csv")
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "card.json").write_text(json.dumps(content))
    measured = plusx.evaluate(copy, progress=False)
    groups = {row["group"] for row in used(copy).values() if row["split"] == "train"}
    clips = {f"clip {Path(name).name.split('_')[0]}" for name in measured.predictions.images}
    assert clips and not clips & groups and any("are not those that" in note for note in measured.notes)


def test_flags_of_groups_and_fit(trained: tuple[Path, Path], tmp_path: Path) -> None:
    table, _ = trained
    for number in range(8):
        save_image(tmp_path / "folder" / "ab"[number % 2] / f"c{number // 4}{number % 2}_{number}.png", seed=number)
    run = tmp_path / "run"
    flags = ["--group", r"(c\d+)_", "--fit", "squash", "--out", run, "--quiet"]
    assert command("train", tmp_path / "folder", *SETS, *flags).returncode == 0
    card = read_card(run)
    assert (card.recipe.data.group, card.preprocess.fit) == (r"(c\d+)_", "squash")
    empty = tmp_path / "empty"
    empty.mkdir()
    for data, arguments, complaint in (
        (table, ["--group", "(x)"], "the groups of a table stand in its column 'group'"),
        (tmp_path / "folder", ["--group", "x"], "a regular expression with brackets round the group"),
        (tmp_path / "folder", ["--group", "(x"], "which is no regular expression"),
        ("digits", ["--group", "(x)"], "which matches paths of files; digits has none"),
        ("nowhere.csv", [], "no such file"),
    ):
        assert complaint in refused("train", data, *SETS, *arguments, "--quiet", cwd=empty)

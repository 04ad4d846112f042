"""Cross-validation as a user runs it: cut at any moment, the same call goes on."""

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import pytest

import plusx
from plusx.engine.folds import CrossValidated, cross_validate
from plusx.runs.predictions import Predictions
from plusx.runs.store import read_card
from tests.cli.commands import plusx as command
from tests.cli.commands import refused
from tests.conftest import save_image

SHORT = {"net.name": "resnet20", "preprocess.size": 32, "steps": 3, "batch_size": 8, "data.group": r"(c\d+)_"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folds") / "photos"
    for clip in range(8):
        for frame in range(1 + clip % 3):
            save_image(root / "ab"[clip % 2] / f"c{clip}_{frame}.png", seed=10 * clip + frame, hue=clip % 2)
    return root


def run(photos: Path, out: Path, **how: Any) -> CrossValidated:
    return cross_validate(photos, folds=3, out=out, overrides=SHORT, progress=False, **how)


def test_every_image_is_out_of_one_fold_and_its_number_is_that_of_the_run_without_it(
    photos: Path, tmp_path: Path
) -> None:
    done = run(photos, tmp_path / "out")
    files = sorted(file.relative_to(photos).as_posix() for file in photos.rglob("*.png"))
    with (tmp_path / "out" / "predictions.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    assert sorted(row["image"] for row in rows) == files and [row["label"] for row in rows] == [
        row["image"].split("/")[0] for row in rows
    ]
    by_image = {row["image"]: row for row in rows}
    for fold in done.runs:
        card = read_card(fold)
        own = Predictions.read(fold / "predictions.csv", card.class_names)
        with (fold / "images.csv").open() as opened:
            used = {row["image"]: row for row in csv.DictReader(opened)}
        assert {name for name, row in used.items() if row["split"] == "test"} == set(own.images)
        trained = {row["group"] for row in used.values() if row["split"] != "test"}
        for name, label, top in zip(own.images, own.labels_N.tolist(), own.probabilities_NT.tolist(), strict=True):
            assert by_image[name]["label"] == card.class_names[label]
            assert float(by_image[name]["probability1"]) == top[0]
            assert used[name]["group"] not in trained
    errors = [each.error for each in done.scores]
    assert done.mean == statistics.fmean(errors) and done.std == statistics.stdev(errors)
    assert done.score.images == len(files)
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "For each image, the net that was trained without it is wrong on" in page and "out on photos" in page


@pytest.mark.parametrize("stop_at", [*(pytest.param(at, marks=pytest.mark.more) for at in (1, 5)), 2])
def test_an_interrupted_call_goes_on_with_the_fold_that_was_cut(photos: Path, tmp_path: Path, stop_at: int) -> None:
    whole = run(photos, tmp_path / "whole")
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == stop_at

    with pytest.raises(plusx.StoppedError, match="fold . of 3, .*the same command goes on from there"):
        run(photos, tmp_path / "cut", should_stop=stop)
    assert not (tmp_path / "cut" / "predictions.csv").exists()
    run(photos, tmp_path / "cut")
    one, other = ((tmp_path / name / "predictions.csv").read_bytes() for name in ("whole", "cut"))
    assert one == other and whole.runs[0].name == "fold-1"
    with pytest.raises(ValueError, match="holds folds of something else: seed was 0 and is 1; choose another --out"):
        run(photos, tmp_path / "cut", seed=1)


def test_as_a_command(photos: Path, tmp_path: Path) -> None:
    sets = [part for key, value in SHORT.items() for part in ("--set", f"{key}={value}")]
    done = command("train", photos, "--folds", "2", "--out", tmp_path / "out", *sets, "--quiet")
    assert done.returncode == 0 and "(mean ± standard deviation of 2 folds)" in done.stdout, done
    again = command("train", photos, "--folds", "2", "--out", tmp_path / "out", *sets, "--json", "--quiet")
    answer = json.loads(again.stdout.splitlines()[-1])
    assert answer["images"] == 15 and len(answer["runs"]) == 2 and 0 <= answer["test_error"] <= 1
    assert command("evaluate", tmp_path / "out" / "fold-1", "--quiet").stdout.startswith("test: error")
    (tmp_path / "empty").mkdir()
    for arguments, complaint in (
        (("--folds", "2"), "--folds needs --out DIR"),
        (("--folds", "1", "--out", "x"), "folds is 1; cross-validation takes 2 or more"),
        (("--folds", "9", "--out", "x"), "class 'a' has 4 groups of images, fewer than 9 folds"),
        (("--folds", "2", "--out", "x", "--set", "data.limit=3"), "data.limit is 3, which does not go with folds"),
        (("--folds", "2", "--out", tmp_path / "out", "--set", "optim.lr=9"), "optim.lr was 0.05 and is 9.0"),
    ):
        assert complaint in refused("train", photos, *arguments, *sets, "--quiet", cwd=tmp_path / "empty")

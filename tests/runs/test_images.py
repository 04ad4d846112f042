"""A run is measured on images that it was not trained on, by the names of their classes, wherever they lie."""

import csv
import dataclasses
import hashlib
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plusx
from plusx.engine.events import StoppedError
from plusx.runs.images import images_of, trained_on
from plusx.runs.store import read_card, write_card
from tests.conftest import save_image

QUICK = {"steps": "3", "batch_size": "4", "preprocess.size": "32", "net.name": "resnet20", "placement.threads": "1"}


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder without splits, and a run that was trained on it."""
    root = tmp_path_factory.mktemp("flat") / "photos"
    for place, name in enumerate(("ant", "bee", "wasp")):
        for number in range(12):
            save_image(root / name / f"{number}.png", seed=100 * place + number, hue=place)
    return root, plusx.train(root, overrides=QUICK, out=root.parent / "run").run


def copied(flat: tuple[Path, Path], to: Path) -> tuple[Path, Path]:
    root, run = flat
    return shutil.copytree(root, to / "photos"), shutil.copytree(run, to / "run")


def trained_in(run: Path, root: Path) -> None:
    """Have the run's card say that its images were there."""
    card = read_card(run)
    write_card(run, dataclasses.replace(card, source={**card.source, "name": str(root.resolve())}))


def table(run: Path) -> str:
    return (run / "predictions.csv").read_text()


def test_every_way_to_write_the_data_measures_the_same_images(
    flat: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, run = flat
    monkeypatch.chdir(root.parent)
    link = tmp_path / "link"
    link.symlink_to(root)
    moved = shutil.copytree(root, tmp_path / "elsewhere" / "other name")
    expected = plusx.evaluate(run)
    assert 0 < expected.score.images < 12 and expected.split == "val"
    held_out = table(run)
    for written in ("photos", "./photos/", str(root), f"{root}/", "photos/../photos", link, moved):
        found = plusx.evaluate(run, written)
        assert (found.split, found.score) == ("val", expected.score), written
        assert table(run) == held_out


def test_data_that_has_moved_is_found_by_its_content(flat: tuple[Path, Path], tmp_path: Path) -> None:
    root, run = copied(flat, tmp_path)
    here = root.rename(tmp_path / "moved")
    trained_in(run, root)
    with pytest.raises(ValueError, match="is gone; say where they are now: plusx evaluate"):
        plusx.evaluate(run)
    expected = plusx.evaluate(flat[1]).score
    assert plusx.evaluate(run, data_dir=here).score == plusx.evaluate(run, here).score == expected


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["new", "copy", "gone"]), min_size=1, max_size=12), st.booleans())
def test_no_image_that_was_trained_on_is_ever_measured(
    flat: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory, changes: list[str], split: bool
) -> None:
    """Whatever becomes of the folder: images are added, copied under other names, taken away, put into test/."""
    root, run = copied(flat, tmp_path_factory.mktemp("changed"))
    files = sorted(root.rglob("*.png"))
    for number, change in enumerate(changes):
        name, old = ("ant", "bee", "wasp")[number % 3], files[7 * number % len(files)]
        if change == "new":
            save_image(root / name / f"new{number}.png", seed=5000 + number)
        elif change == "copy" and old.exists():
            shutil.copy(old, root / name / f"copy{number}.png")
        elif old.exists():
            old.unlink()
    if split:
        root = root.rename(root.parent / "test").parent / "test"
        (root.parent / "split").mkdir()
        root = root.rename(root.parent / "split" / "test").parent
    trained = trained_on(run)
    try:
        measured = images_of(run, read_card(run), root)
    except ValueError as fault:
        assert "trained on all" in str(fault) or "no class folder" in str(fault)
        return
    content = [hashlib.blake2b((root / name).read_bytes(), digest_size=16).hexdigest() for name in measured.names]
    assert trained and content and trained.isdisjoint(content)


def test_images_that_were_trained_on_are_measured_when_asked_for(flat: tuple[Path, Path], tmp_path: Path) -> None:
    root, run = copied(flat, tmp_path)
    assert plusx.evaluate(run, root, split="train").score.images == len(trained_on(run) or ())


def test_data_that_has_changed_since_training_is_named(flat: tuple[Path, Path], tmp_path: Path) -> None:
    root, run = copied(flat, tmp_path)
    trained_in(run, root)
    for number in range(9):
        save_image(root / "ant" / f"new{number}.png", seed=9000 + number)
    (root / "bee" / "3.png").unlink()
    found = plusx.evaluate(run)
    assert any("are not those that" in note and "9 new, 1 gone" in note for note in found.notes), found.notes


def test_a_folder_of_other_images_is_measured_whole(flat: tuple[Path, Path], tmp_path: Path) -> None:
    _, run = copied(flat, tmp_path)
    for number in range(5):
        save_image(tmp_path / "others" / "bee" / f"{number}.png", seed=700 + number)
    shutil.copy(next((tmp_path / "photos" / "bee").iterdir()), tmp_path / "others" / "bee" / "known.png")
    found = plusx.evaluate(run, tmp_path / "others")
    assert found.score.images + sum("are left out" in note for note in found.notes) == 6
    assert found.score.images >= 5


def test_a_renamed_class_is_refused_and_a_class_less_moves_no_label(flat: tuple[Path, Path], tmp_path: Path) -> None:
    root, run = copied(flat, tmp_path)
    before = plusx.evaluate(run, root).predictions
    shutil.rmtree(root / "bee")
    after = plusx.evaluate(run, root).predictions
    assert {before.class_names[label] for label in after.labels_N.tolist()} == {"ant", "wasp"}
    assert (
        dict(zip(after.images, after.labels_N.tolist(), strict=True)).items()
        <= dict(zip(before.images, before.labels_N.tolist(), strict=True)).items()
    )
    (root / "wasp").rename(root / "hornet")
    with pytest.raises(ValueError, match="class 'hornet' is none of the net's: ant, bee, wasp"):
        plusx.evaluate(run, root)


def test_images_csv_says_of_every_file_what_became_of_it(flat: tuple[Path, Path], tmp_path: Path) -> None:
    root, _ = copied(flat, tmp_path)
    (root / "ant" / "notes.txt").write_text("of the ants")
    (root / "bee" / "broken.png").write_bytes(b"not a picture")
    run = plusx.train(root, overrides={**QUICK, "data.undecodable": "skip"}, out=tmp_path / "new").run
    with (run / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["image"] for row in rows) == sorted(
        str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()
    )
    counts = read_card(run).source["images"]
    assert {split: sum(row["split"] == split for row in rows) for split in counts} == counts
    assert {row["image"] for row in rows if row["split"] == "left out"} == {"ant/notes.txt", "bee/broken.png"}


def test_a_run_that_holds_nothing_back_is_measured_on_training_images_only_when_asked(tmp_path: Path) -> None:
    run = plusx.train(
        "digits", overrides={"steps": "2", "data.test": "none", "evaluation.splits": "train"}, out=tmp_path / "r"
    ).run
    with pytest.raises(ValueError, match="held no images back; name a folder to measure it on, or --split train"):
        plusx.evaluate(run)
    assert plusx.evaluate(run, split="train").score.images == 1437


def test_a_stopped_run_is_used_with_its_best_weights_and_says_so(tmp_path: Path) -> None:
    steps = iter(range(1, 100))
    keep = {
        "steps": "8",
        "batch_size": "32",
        "data.val": "train[80%:]",
        "data.train": "train[:80%]",
        "evaluation.keep": "best",
    }
    keep |= {"evaluation.splits": "val", "evaluation.count": "4", "optim.lr": "1.5"}
    with pytest.raises(StoppedError):
        plusx.train("digits", overrides=keep, out=tmp_path / "run", should_stop=lambda: next(steps) == 7)
    found = plusx.evaluate(tmp_path / "run", split="val")
    best = min(plusx.runs.metrics.read_metrics(tmp_path / "run"), key=lambda r: (r["name"] != "val_error", r["value"]))
    assert found.score.error == pytest.approx(best["value"])
    assert any("is not finished: these weights are" in note and f"step {best['step']}" in note for note in found.notes)
    image = save_image(tmp_path / "a.png")
    predictor = plusx.Predictor(tmp_path / "run")
    assert predictor.predict(image).classes and "is not finished" in str(predictor.note)

"""Calibration is fitted on what the net was not trained on, kept in the card, and the same wherever it is used."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import plusx
from plusx.data.images import ImageSet
from plusx.engine import calibration as module
from plusx.engine.calibration import calibrate, not_in
from plusx.runs.calibration import Calibration
from plusx.runs.store import read_card, write_card
from tests.conftest import save_image
from tests.runs.test_version_0_1 import MADE

HELD = {"epochs": 3, "data.train": "train[:75%]", "data.val": "train[75%:]"}


@pytest.fixture(scope="module")
def held_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet-20 on three quarters of the training digits; the others are its validation images."""
    return plusx.train("digits", overrides=HELD, out=tmp_path_factory.mktemp("held") / "run").run


@pytest.fixture
def run(held_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(held_run, tmp_path / "run")


def test_training_calibrates_on_its_validation_images(held_run: Path) -> None:
    found = read_card(held_run).calibration
    assert found is not None and (found.images, found.data) == (359, "val") and found.temperature != 1.0
    before, after = (plusx.evaluate(each, split="val").score for each in (uncalibrated(held_run), held_run))
    assert after.loss < before.loss and after.error == before.error
    assert plusx.evaluate(held_run, split="val").reliability.uncalibrated.loss == before.loss  # type: ignore[union-attr]


def uncalibrated(run: Path) -> Path:
    copy = shutil.copytree(run, run.parent / f"{run.name}-uncalibrated", dirs_exist_ok=True)
    write_card(copy, dataclasses.replace(read_card(copy), calibration=None))
    return copy


def test_the_verb_finds_what_training_found(run: Path) -> None:
    trained = read_card(run).calibration
    done = calibrate(run)
    assert done.calibration == read_card(run).calibration == trained
    measured = plusx.evaluate(run, split="val")
    assert (done.after.loss, done.after.calibration_error) == (measured.score.loss, measured.score.calibration_error)
    assert done.before == measured.reliability.uncalibrated


def test_a_training_without_validation_images_is_not_calibrated(digits_run: Path) -> None:
    assert read_card(digits_run).calibration is None
    found = plusx.evaluate(digits_run).reliability
    assert found.calibration is None and found.uncalibrated is None and found.answered is None
    with pytest.raises(ValueError, match="held no validation images back; name a folder of others: plusx calibrate"):
        calibrate(digits_run)
    with pytest.raises(ValueError, match="the training images cannot calibrate a net"):
        calibrate(digits_run, split="train")


def test_a_run_of_version_0_1_stays_as_it_is(tmp_path: Path) -> None:
    old = shutil.copytree(MADE / "digits", tmp_path / "old")
    card = (old / "card.json").read_bytes()
    loss = plusx.evaluate(old).score.loss
    assert read_card(old).calibration is None and (old / "card.json").read_bytes() == card
    assert loss == pytest.approx(read_card(old).results["test_loss"], rel=1e-5)
    done = calibrate(old)  # unless it is asked for
    assert done.after.loss < done.before.loss and plusx.evaluate(old).reliability.calibration == done.calibration


def test_a_stopped_run_is_not_calibrated(tmp_path: Path) -> None:
    old = shutil.copytree(MADE / "digits-stopped", tmp_path / "old")
    with pytest.raises(ValueError, match="is not finished"):
        calibrate(old)


def test_nothing_is_fitted_on_what_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    fit = module.fit_temperature
    monkeypatch.setattr(module, "fit_temperature", lambda logs, labels: seen.append(len(labels)) or fit(logs, labels))
    overlap = {"steps": 2, "data.train": "train[:1000]", "data.val": "train[900:1200]"}
    run = plusx.train("digits", overrides=overlap, out=tmp_path / "run").run
    copies = 200 - seen[0]  # of the 200 that are not trained on, some may be of equal pixels
    assert 0 <= copies < 5
    done = calibrate(run)
    assert seen[1] == seen[0]
    assert done.calibration.images == seen[1]
    within = {"steps": 2, "data.train": "train[:1000]", "data.val": "train[:300]"}
    run = plusx.train("digits", overrides=within, out=tmp_path / "within").run
    assert len(seen) == 2 and read_card(run).calibration is None
    with pytest.raises(ValueError, match="was trained on all of its val images"):
        calibrate(run)


def test_validation_files_that_are_trained_on_are_told_apart_by_content(tmp_path: Path) -> None:
    for number in range(40):
        save_image(tmp_path / "photos" / ("ant", "bee")[number % 2] / f"{number}.png", seed=number, hue=number % 2)
    small = {"net.name": "resnet20", "preprocess.size": "16", "steps": 2, "batch_size": 8}
    both = {"data.train": "train", "data.val": "train[:50%]", "data.test": "none"}
    run = plusx.train(tmp_path / "photos", overrides=small | both, out=tmp_path / "run").run
    assert read_card(run).calibration is None
    with pytest.raises(ValueError, match="was trained on all"):
        plusx.evaluate(run)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 9), max_size=20), st.lists(st.integers(0, 9), max_size=20))
def test_not_in_leaves_out_exactly_the_copies(mine: list[int], theirs: list[int]) -> None:
    def of(values: list[int]) -> ImageSet:
        pixels = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
        return ImageSet(torch.zeros(len(values), dtype=torch.int64), ("a",), pixels)

    left = not_in(of(mine), of(theirs)).pixels_NCHW
    assert left is not None and left[:, 0, 0, 0].tolist() == [value for value in mine if value not in theirs]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predict_and_evaluate_decide_alike(run: Path, digits_files: Path, tmp_path: Path, precision: str) -> None:
    card = read_card(run)
    placement = dataclasses.replace(card.recipe.placement, precision=precision)  # type: ignore[arg-type]
    write_card(run, dataclasses.replace(card, recipe=dataclasses.replace(card.recipe, placement=placement)))
    done = calibrate(run, reject_at=90)
    rejection = done.calibration.rejection
    assert rejection is not None and rejection.kept == 324  # of 359, 90 % is 323.1
    answered = plusx.evaluate(run, split="val").reliability.answered
    assert answered is not None and answered.images == rejection.kept

    evaluated = plusx.evaluate(run, digits_files)
    predicted = plusx.predict_files(run, digits_files, out=tmp_path / "out")
    tops = evaluated.predictions.probabilities_NT[:, 0].tolist()
    by_file = {Path(each.file).relative_to(digits_files).as_posix(): each for each in predicted.predictions}
    near = 1e-6 if precision == "fp32" else 0.02
    for image, top in zip(evaluated.predictions.images, tops, strict=True):
        assert by_file[image].probabilities[0] == pytest.approx(top, abs=near)
        if abs(top - rejection.threshold) > near:
            assert by_file[image].unknown == (top < rejection.threshold)
    assert predicted.unknown == sum(each.unknown for each in predicted.predictions) > 0
    assert predicted.unknown + sum(predicted.counts.values()) == len(predicted.predictions) == 360


def test_predictions_keep_their_order_under_a_calibration(run: Path, digits_files: Path) -> None:
    files = sorted(digits_files.glob("*/*.png"))[:50]
    for temperature in (0.01, 100.0):
        card = dataclasses.replace(read_card(run), calibration=Calibration(temperature, 100, "val"))
        write_card(run, card)
        with_it = plusx.predict(run, files, top_k=10)
        write_card(run, dataclasses.replace(card, calibration=None))
        assert [each.classes for each in with_it] == [each.classes for each in plusx.predict(run, files, top_k=10)]


def test_calibrating_without_a_share_answers_every_image_again(run: Path) -> None:
    assert calibrate(run, reject_at=95).calibration.rejection is not None
    assert calibrate(run).calibration.rejection is None
    for wrong in (0, 101, -5):
        with pytest.raises(ValueError, match=f"reject_at is {wrong}; it is the per cent of images to keep, such as 95"):
            calibrate(run, reject_at=wrong)


def test_an_ensemble_is_not_calibrated_and_says_so(run: Path, tmp_path: Path) -> None:
    calibrate(run, reject_at=90)
    both = plusx.evaluate([run, run], out=tmp_path / "both")
    assert both.reliability.calibration is None and both.reliability.answered is None
    assert any("not calibrated" in note for note in both.notes)
    assert both.score.loss == pytest.approx(plusx.evaluate(uncalibrated(run)).score.loss, rel=1e-12)


def test_outsiders_that_are_the_measured_images_cannot_be_told_from_them(run: Path, digits_files: Path) -> None:
    calibrate(run, reject_at=90)
    found = plusx.evaluate(run, digits_files, outsiders=digits_files).reliability
    assert found.outsiders is not None and found.answered is not None
    assert found.outsiders.images == 360 and found.outsiders.auroc == pytest.approx(0.5, abs=1e-9)
    assert found.outsiders.unknown == 360 - found.answered.images


def test_outsiders_are_counted_and_the_surest_are_shown(run: Path, tmp_path: Path) -> None:
    for number in range(30):
        save_image(tmp_path / "noise" / f"{number}.png", seed=number)
    (tmp_path / "noise" / "broken.png").write_bytes(b"no image")
    found = plusx.evaluate(run, outsiders=tmp_path / "noise", out=tmp_path / "out")
    others = found.reliability.outsiders
    assert others is not None and others.images == 30 and others.unknown is None and len(others.surest) == 12
    tops = {
        each.file: each.probabilities[0] for each in plusx.predict(run, sorted((tmp_path / "noise").glob("*[0-9].png")))
    }
    assert [each.probability for each in others.surest] == pytest.approx(sorted(tops.values())[::-1][:12], abs=1e-6)
    known = found.predictions.probabilities_NT[:, 0].tolist()
    pairs = [(mine > theirs) + (mine == theirs) / 2 for mine in known for theirs in tops.values()]
    assert others.auroc == pytest.approx(sum(pairs) / len(pairs), abs=1e-4)
    assert any("broken.png" in note for note in found.notes)
    assert "Images of none of the classes" in (tmp_path / "out" / "evaluation.html").read_text()
    for folder, why in ((tmp_path / "none", "no such folder"), (tmp_path / "run", "no image")):
        with pytest.raises(ValueError, match=why):
            plusx.evaluate(run, outsiders=folder)

"""Run directories that version 0.1 left are loaded, evaluated, predicted with, resumed, reported and analysed.

version_0_1/README.md says how they were made.
"""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import plusx
from plusx.engine.events import StoppedError
from plusx.placement.place import Placement
from plusx.recipes.augment import ColorNoise, FlipLR, RandomCrop, RandomResizedCrop
from plusx.recipes.optim import Penalty
from plusx.recipes.schedule import Warmup
from plusx.report.run import write_report
from plusx.runs.metrics import read_metrics
from plusx.runs.store import read_card

MADE = Path(__file__).parent / "version_0_1"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
"""Weights of another processor, which rounds sums in another order, differ by about 1e-7 after 119 steps."""


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A copy of the runs and of their images, which may be written to."""
    return shutil.copytree(MADE, tmp_path / "made")


@pytest.mark.parametrize("name", ["digits", "digits-stopped", "folder-stopped"])
def test_a_card_is_read_with_every_spec_of_its_recipe(name: str) -> None:
    card = read_card(MADE / name)
    assert card.versions["plusx"] == "0.1.0"
    assert card.recipe.penalty == Penalty(l1=1e-5) and card.recipe.warmup == Warmup(fraction=0.1)
    of_folder = (RandomResizedCrop(), FlipLR(), ColorNoise())
    assert card.recipe.augment == (of_folder if name == "folder-stopped" else (RandomCrop(pad=1),))
    assert card.recipe.evaluation.splits == (("train", "val") if name == "folder-stopped" else ("train", "val", "test"))
    assert card.recipe.placement.recompute and Placement.from_dict(card.placement).recompute


def test_a_finished_run_is_loaded_and_evaluated(made: Path) -> None:
    net, card = plusx.load(made / "digits")
    assert card.status == "finished" and not net.training
    assert net(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    for split in ("train", "val", "test"):
        error = plusx.evaluate(made / "digits", split=split).score.error
        assert error == pytest.approx(card.results[f"{split}_error"], abs=1e-9)


def test_a_finished_run_is_reported_and_analysed(made: Path) -> None:
    write_report([made / "digits"], made / "report.html", title="digits")
    text = (made / "report.html").read_text(encoding="utf-8")
    assert f"{100 * read_card(made / 'digits').results['test_error']:.2f}" in text
    found = plusx.analyse(made / "digits", "lesions")
    assert len(found.series["residual_mlp"]) == 3 and found.figure.is_file()


def test_a_stopped_run_is_evaluated_with_its_best_weights_so_far(made: Path) -> None:
    run = made / "digits-stopped"
    assert read_card(run).status == "training"
    found = plusx.evaluate(run, split="val")
    assert any("not finished" in note for note in found.notes)
    best = min(record["value"] for record in read_metrics(run) if record["name"] == "val_error")
    assert found.score.error == pytest.approx(best, abs=1e-9)


def test_a_stopped_run_is_resumed_to_the_weights_that_version_0_1_ended_with(made: Path) -> None:
    run = made / "digits-stopped"
    before = list(read_metrics(run))
    card = plusx.resume(run, progress=False).card
    torch.testing.assert_close(
        load_file(run / "weights.safetensors"), load_file(made / "digits-ended.safetensors"), **CLOSE
    )
    assert list(read_metrics(run))[: len(before)] == before
    assert {"train_error", "val_error", "test_error"} <= card.results.keys() and card.results["steps"] == 600
    assert plusx.evaluate(run).score.error == pytest.approx(card.results["test_error"], abs=1e-9)


def test_a_run_is_resumed_twice_to_the_same_bits_as_once(made: Path) -> None:
    once, twice = made / "digits-stopped", shutil.copytree(made / "digits-stopped", made / "twice")
    plusx.resume(once)
    steps = iter(range(1000))
    with pytest.raises(StoppedError, match="step 500"):
        plusx.resume(twice, should_stop=lambda: next(steps) == 18)
    plusx.resume(twice)
    assert (once / "weights.safetensors").read_bytes() == (twice / "weights.safetensors").read_bytes()


def test_a_run_on_a_folder_is_resumed_where_its_images_are_now(made: Path) -> None:
    run = made / "folder-stopped"
    card = plusx.resume(run, data_dir=made / "photos").card
    torch.testing.assert_close(
        load_file(run / "weights.safetensors"), load_file(made / "folder-ended.safetensors"), **CLOSE
    )
    assert plusx.evaluate(run).score.error == card.results["val_error"] == 0
    predicted = plusx.predict(run, sorted((made / "photos").rglob("*.png")))
    assert len(predicted) == 20 and all(Path(each.file).parent.name == each.classes[0] for each in predicted)


def test_images_that_are_gone_are_asked_for(made: Path) -> None:
    with pytest.raises(ValueError, match="--data-dir"):
        plusx.resume(made / "folder-stopped")

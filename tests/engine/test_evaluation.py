"""Evaluation counts every image once, and classes by name."""

import csv
import dataclasses
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import plusx
from plusx.engine.evaluation import evaluate
from plusx.engine.losses import make_loss
from plusx.engine.task import Classification
from plusx.placement.machine import accelerator
from plusx.placement.place import plain_placement
from plusx.recipes.loss import CrossEntropy
from plusx.runs.predictions import Predictions, score
from plusx.runs.store import read_card, write_card

LOSS = make_loss(CrossEntropy())


class Constant(nn.Module):
    """Answers class 0 with logit 1 whatever it sees."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.0, 0.0]).expand(len(x), 3)


@pytest.mark.parametrize("sizes", [[7], [3, 3, 1], [1] * 7])
def test_batches_of_any_size_give_the_same_numbers(sizes: list[int]) -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2, 1])
    batches = [(torch.zeros(len(part), 1, 1, 1), part) for part in labels.split(sizes)]
    found = {m.name: m.value for m in Classification(LOSS).measure(Constant(), batches, plain_placement(), split="val")}
    log_sum = torch.tensor([1.0, 0.0, 0.0]).logsumexp(0).item()
    assert found["val_error"] == 4 / 7
    assert found["val_loss"] == pytest.approx((3 * (log_sum - 1) + 4 * log_sum) / 7, abs=1e-6)


class FirstColumn(nn.Module):
    """Logits are the pixels of the first column."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0, :, 0]


def test_two_views_are_the_mean_of_their_softmax() -> None:
    x = torch.randn(50, 1, 3, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 3
    one, other = x[:, 0, :, 0].softmax(1), x[:, 0, :, 4].softmax(1)
    for flip, shares in ((True, (one + other) / 2), (False, one)):
        found = {
            m.name: m.value
            for m in Classification(LOSS, flip).measure(FirstColumn(), [(x, labels)], plain_placement(), split="t")
        }
        assert found["t_error"] == (shares.argmax(1) != labels).sum().item() / 50
        assert found["t_loss"] == pytest.approx(-shares[range(50), labels].log().mean().item(), rel=1e-5)


def test_evaluate_takes_the_views_of_the_runs_recipe(digits_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    card = read_card(run)
    two = dataclasses.replace(card.recipe, evaluation=dataclasses.replace(card.recipe.evaluation, flip=True))
    write_card(run, dataclasses.replace(card, recipe=two))
    assert evaluate(run).score.loss != evaluate(digits_run).score.loss  # most digits have a left and a right


def test_the_mode_of_the_net_is_kept() -> None:
    net = Constant().train()
    list(
        Classification(LOSS).measure(net, [(torch.zeros(1, 1, 1, 1), torch.tensor([0]))], plain_placement(), split="x")
    )
    assert net.training


def test_a_run_measures_as_it_did_when_it_ended(digits_run: Path) -> None:
    found = evaluate(digits_run)
    results = read_card(digits_run).results
    assert (found.split, found.score.images) == ("test", 360)
    assert found.score.error == pytest.approx(results["test_error"], abs=1e-12)
    assert found.score.loss == pytest.approx(results["test_loss"], rel=1e-6)


@pytest.fixture
def digits_folder(digits_files: Path, tmp_path: Path) -> Path:
    """The test digits as files in class folders, to be changed."""
    return shutil.copytree(digits_files, tmp_path / "folder")


def test_a_folder_of_the_same_images_gives_the_same_error(digits_run: Path, digits_folder: Path) -> None:
    assert evaluate(digits_run, digits_folder).score.confusion == evaluate(digits_run).score.confusion


def test_a_class_less_moves_no_other_class(digits_run: Path, digits_folder: Path) -> None:
    shutil.rmtree(digits_folder / "0")
    shutil.rmtree(digits_folder / "4")
    assert evaluate(digits_run, digits_folder).score.error < 0.5  # by position it would be near 0.9


def test_a_class_more_is_named(digits_run: Path, digits_folder: Path) -> None:
    (digits_folder / "3").rename(digits_folder / "three")
    with pytest.raises(ValueError, match="class 'three' is none of the net's: 0, 1"):
        evaluate(digits_run, digits_folder)


def test_another_named_data_set_is_refused(digits_run: Path) -> None:
    with pytest.raises(ValueError, match="was trained on digits"):
        evaluate(digits_run, "cifar10")


def test_an_ensemble_of_a_run_with_itself_changes_nothing(digits_run: Path, tmp_path: Path) -> None:
    alone, twice = evaluate(digits_run), evaluate([digits_run, digits_run], out=tmp_path / "twice")
    torch.testing.assert_close(twice.predictions.losses_N, alone.predictions.losses_N, rtol=1e-12, atol=1e-12)
    assert twice.score.confusion == alone.score.confusion


def other_order(run: Path, copy: Path) -> Path:
    """The same net, its classes in the opposite order."""
    shutil.copytree(run, copy)
    card = read_card(copy)
    weights = load_file(copy / "weights.safetensors")
    turned = {name: w.flip(0) if name.startswith("head.linear") else w for name, w in weights.items()}
    save_file({name: w.contiguous() for name, w in turned.items()}, copy / "weights.safetensors")
    write_card(copy, dataclasses.replace(card, class_names=card.class_names[::-1]))
    return copy


def test_nets_of_an_ensemble_are_matched_by_the_names_of_classes(digits_run: Path, tmp_path: Path) -> None:
    both = evaluate([digits_run, other_order(digits_run, tmp_path / "turned")], out=tmp_path / "both")
    torch.testing.assert_close(both.predictions.losses_N, evaluate(digits_run).predictions.losses_N)


def test_an_ensemble_is_the_mean_of_two_softmaxes(digits_run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(digits_run, tmp_path / "other")  # the same net, but for its last layer
    weights = load_file(other / "weights.safetensors")
    weights["head.linear.weight"] *= 0.5
    save_file(weights, other / "weights.safetensors")
    both = evaluate([digits_run, other], out=tmp_path / "both").predictions
    one, two = (torch.exp(-evaluate(run).predictions.losses_N) for run in (digits_run, other))
    torch.testing.assert_close(both.losses_N, -((one + two) / 2).log(), rtol=1e-9, atol=1e-9)


def test_what_an_ensemble_cannot_be_made_of_is_named(digits_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(digits_run, tmp_path / "copy")
    card = read_card(copy)
    write_card(copy, dataclasses.replace(card, class_names=("zero", *card.class_names[1:])))
    with pytest.raises(ValueError, match="have different classes: '(0|zero)' is of one alone"):
        evaluate([digits_run, copy])
    write_card(copy, dataclasses.replace(card, source={**card.source, "fingerprint": "of others"}))
    with pytest.raises(ValueError, match="were trained on different data"):
        evaluate([digits_run, copy])
    held = dataclasses.replace(card.recipe, data=dataclasses.replace(card.recipe.data, test="test[:99]"))
    write_card(copy, dataclasses.replace(card, recipe=held))
    with pytest.raises(ValueError, match="hold different images back"):
        evaluate([digits_run, copy])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep me")
    with pytest.raises(ValueError, match="full exists; choose another --out"):
        evaluate([digits_run, digits_run], out=tmp_path / "full")


def test_every_number_of_the_report_follows_from_the_table(digits_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    evaluate(run)
    told = json.loads((run / "evaluation.json").read_text())
    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert told["images"] == len(rows) == 360
    right = [row["class1"] == row["label"] for row in rows]
    assert told["error"] == pytest.approx(1 - sum(right) / len(rows), abs=1e-12)
    assert told["loss"] == pytest.approx(sum(float(row["loss"]) for row in rows) / len(rows), abs=1e-12)
    among = [row["label"] in [row[f"class{rank}"] for rank in range(1, 6)] for row in rows]
    assert told["top5_error"] == pytest.approx(1 - sum(among) / len(rows), abs=1e-12)
    names = list(read_card(run).class_names)
    counted = Counter((row["label"], row["class1"]) for row in rows)
    assert told["confusion"] == [[counted[truth, said] for said in names] for truth in names]
    recalls = []
    for name, one in zip(names, told["classes"], strict=True):
        hit = counted[name, name]
        so, said = (sum(n for pair, n in counted.items() if pair[place] == name) for place in (0, 1))
        recalls.append(hit / so)
        assert one["images"] == so and one["recall"] == pytest.approx(hit / so, abs=1e-12)
        assert one["precision"] == pytest.approx(hit / said if said else 0, abs=1e-12)
        assert one["f1"] == pytest.approx(2 * hit / (so + said), abs=1e-12)
    assert told["balanced_accuracy"] == pytest.approx(sum(recalls) / len(recalls), abs=1e-12)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, hit_ in zip(rows, right, strict=True):
        sure = float(row["probability1"])
        bins.setdefault(math.ceil(sure * 15), []).append((sure, hit_))
    gaps = [abs(sum(hit_ - sure for sure, hit_ in inside)) / len(rows) for inside in bins.values()]
    assert told["calibration_error"] == pytest.approx(sum(gaps), abs=1e-12)
    page = (run / "evaluation.html").read_text()
    assert page.count("<figcaption>predicted <b>") == min(24, right.count(False)) > 0
    assert page.count('class="pixels"') >= min(24, right.count(False))


def test_the_score_is_not_lost_where_its_report_cannot_be_written(digits_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    (run / "predictions.csv").unlink(missing_ok=True)
    (run / "predictions.csv").mkdir()  # a file cannot be written in its place, even by root
    found = evaluate(run)
    assert found.out is None and found.score == evaluate(digits_run).score
    assert found.notes[-1].startswith("predictions.csv and the report were not written")


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_measured(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ValueError, match="cannot write to .*; choose another --out"):
        evaluate(digits_run, out=tmp_path / "out", progress=lambda done, total: pytest.fail("it measured"))
    assert not (tmp_path / "out").exists()


def test_top_5_of_few_classes_is_not_stated() -> None:
    for classes in (2, 5, 6, 10):
        logs = torch.randn(20, classes).log_softmax(1)
        names = [str(name) for name in range(classes)]
        found = score(Predictions.of(names, ["image"] * 20, torch.arange(20) % classes, logs))
        assert (found.top5_error is None) == (classes < 6)


def test_a_run_that_was_trained_on_an_accelerator_is_measured_on_this_machine(digits_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    card = read_card(run)
    asked = dataclasses.replace(card.recipe.placement, device="cuda")
    write_card(run, dataclasses.replace(card, recipe=dataclasses.replace(card.recipe, placement=asked)))
    assert evaluate(run).score == evaluate(digits_run).score
    assert plusx.Predictor(run).placement.device == (accelerator() or "cpu")
    with pytest.raises(ValueError, match="device is 'mps'; this machine has"):
        evaluate(run, device="mps")

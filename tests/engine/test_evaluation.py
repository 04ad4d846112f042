"""Evaluation counts every image once, and classes by name."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from plusx.data.sources import load_digits
from plusx.engine.evaluation import evaluate, measure
from plusx.placement.place import plain_placement
from plusx.runs.store import read_card, write_card


class Constant(nn.Module):
    """Answers class 0 with logit 1 whatever it sees."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.0, 0.0]).expand(len(x), 3)


@pytest.mark.parametrize("sizes", [[7], [3, 3, 1], [1] * 7])
def test_batches_of_any_size_give_the_same_numbers(sizes: list[int]) -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2, 1])
    batches = [(torch.zeros(len(part), 1, 1, 1), part) for part in labels.split(sizes)]
    found = {m.name: m.value for m in measure(Constant(), batches, plain_placement(), part="val")}
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
        found = {m.name: m.value for m in measure(FirstColumn(), [(x, labels)], plain_placement(), part="t", flip=flip)}
        assert found["t_error"] == (shares.argmax(1) != labels).sum().item() / 50
        assert found["t_loss"] == pytest.approx(-shares[range(50), labels].log().mean().item(), rel=1e-5)


def test_evaluate_takes_the_views_of_the_runs_recipe(digits_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    card = read_card(run)
    two = dataclasses.replace(card.recipe, evaluation=dataclasses.replace(card.recipe.evaluation, flip=True))
    write_card(run, dataclasses.replace(card, recipe=two))
    assert evaluate(run).loss != evaluate(digits_run).loss  # most digits have a left and a right


def test_the_mode_of_the_net_is_kept() -> None:
    net = Constant().train()
    list(measure(net, [(torch.zeros(1, 1, 1, 1), torch.tensor([0]))], plain_placement(), part="x"))
    assert net.training


def test_a_run_measures_as_it_did_when_it_ended(digits_run: Path) -> None:
    found = evaluate(digits_run)
    results = read_card(digits_run).results
    assert (found.part, found.images, found.error) == ("test", 360, results["test_error"])


@pytest.fixture
def digits_folder(tmp_path: Path) -> Path:
    """The test digits as files in class folders."""
    test = load_digits()["test"]
    assert test.pixels_NCHW is not None
    for i, (pixels, label) in enumerate(zip(test.pixels_NCHW, test.labels_N, strict=True)):
        (tmp_path / "folder" / str(int(label))).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0].numpy()).save(tmp_path / "folder" / str(int(label)) / f"{i}.png")
    return tmp_path / "folder"


def test_a_folder_of_the_same_images_gives_the_same_error(digits_run: Path, digits_folder: Path) -> None:
    assert evaluate(digits_run, digits_folder).error == pytest.approx(evaluate(digits_run).error, abs=1e-12)


def test_a_class_less_moves_no_other_class(digits_run: Path, digits_folder: Path) -> None:
    shutil.rmtree(digits_folder / "0")
    shutil.rmtree(digits_folder / "4")
    assert evaluate(digits_run, digits_folder).error < 0.5  # by position it would be near 0.9


def test_a_class_more_is_named(digits_run: Path, digits_folder: Path) -> None:
    (digits_folder / "3").rename(digits_folder / "three")
    with pytest.raises(ValueError, match="class 'three' .* is none of the net's: 0, 1"):
        evaluate(digits_run, digits_folder)


def test_another_named_data_set_is_refused(digits_run: Path) -> None:
    with pytest.raises(ValueError, match="was trained on digits"):
        evaluate(digits_run, "cifar10")

"""Evaluation counts every image once, and classes by name."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from plusx.data.sources import load_digits
from plusx.engine.evaluation import evaluate, measure
from plusx.placement.place import plain_placement
from plusx.runs.store import read_card


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

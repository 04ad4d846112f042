"""From picture to classes, the same through every door."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plusx.data.sources import load_digits
from plusx.deploy.predictor import Predictor, predict
from plusx.runs.store import load_run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, test = tmp_path_factory.mktemp("digits"), load_digits()["test"]
    assert test.pixels_NCHW is not None
    for i in range(20):
        Image.fromarray(np.asarray(test.pixels_NCHW[i, 0])).save(folder / f"{i}.png")
    return [folder / f"{i}.png" for i in range(20)]


def test_a_picture_is_answered_as_the_net_answers_its_pixels(digits_run: Path, pictures: list[Path]) -> None:
    net, card = load_run(digits_run)
    test = load_digits()["test"].take(range(20))
    assert test.pixels_NCHW is not None
    with torch.no_grad():
        expected = net(card.preprocess.normalise(test.pixels_NCHW)).softmax(1)
    for i, answer in enumerate(predict(digits_run, pictures, top_k=10)):
        by_name = dict(zip(answer.classes, answer.probabilities, strict=True))
        found = torch.tensor([by_name[name] for name in card.class_names], dtype=torch.float32)
        torch.testing.assert_close(found, expected[i], rtol=0, atol=1e-5)


def test_probabilities_are_sorted_and_sum_to_one(digits_run: Path, pictures: list[Path]) -> None:
    (answer,) = predict(digits_run, pictures[:1], top_k=99)
    assert len(answer.classes) == 10 and sum(answer.probabilities) == pytest.approx(1)
    assert list(answer.probabilities) == sorted(answer.probabilities, reverse=True)


def test_bytes_are_answered_as_the_file(digits_run: Path, pictures: list[Path]) -> None:
    predictor = Predictor(digits_run)
    assert predictor.predict(pictures[0]).probabilities == predictor.predict(pictures[0].read_bytes()).probabilities


def test_an_unreadable_picture_is_named(digits_run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"a.png: not an image"):
        predict(digits_run, [tmp_path / "a.png"])

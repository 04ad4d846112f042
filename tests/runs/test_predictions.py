"""Answers and what follows from them: exact on disk, right on paper."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from plusx.runs.evaluation_report import write_evaluation
from plusx.runs.predictions import Predictions, calibration, score, worst
from tests.runs.test_report import Links

NAMES = ("ant", "bee, honey", 'say "fly"', "개미", "wasp", "moth", "<b>")


def made(probabilities: list[list[float]], labels: list[int]) -> Predictions:
    shares = torch.tensor(probabilities, dtype=torch.float64)
    images = [f"some, where/{i}.png" for i in range(len(labels))]
    return Predictions.of(NAMES[: shares.shape[1]], images, torch.tensor(labels), (shares / shares.sum(1, True)).log())


@given(st.integers(2, 7).flatmap(lambda k: st.lists(st.lists(st.floats(1e-6, 1), min_size=k, max_size=k), min_size=1)))
def test_a_table_read_back_is_the_same_to_the_last_bit(probabilities: list[list[float]]) -> None:
    predictions = made(probabilities, [i % len(row) for i, row in enumerate(probabilities)])
    with TemporaryDirectory() as folder:  # tmp_path is one for all examples
        predictions.write(Path(folder) / "predictions.csv")
        again = Predictions.read(Path(folder) / "predictions.csv", predictions.class_names)
    assert again.images == predictions.images
    for name in ("labels_N", "top_NT", "probabilities_NT", "losses_N"):
        assert torch.equal(getattr(again, name), getattr(predictions, name)), name
    assert score(again) == score(predictions)


def test_a_score_by_hand() -> None:
    found = score(made([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]], [0, 1, 1, 0]))
    assert (found.images, found.error, found.top5_error) == (4, 0.25, 0)
    assert found.confusion == ((2, 0, 0), (1, 1, 0), (0, 0, 0))
    assert [c.precision for c in found.classes] == pytest.approx([2 / 3, 1, 0])
    assert [c.recall for c in found.classes] == pytest.approx([1, 0.5, 0])
    assert [c.f1 for c in found.classes] == pytest.approx([0.8, 2 / 3, 0])
    assert found.balanced_accuracy == pytest.approx(0.75)  # of the two classes that have images
    assert found.loss == pytest.approx(-np.log([0.8, 0.3, 0.7, 0.5]).mean())
    # bins of width 1/15: 0.8, 0.6, 0.7 and 0.5 are each alone
    assert found.calibration_error == pytest.approx((0.2 + 0.6 + 0.3 + 0.5) / 4)


def test_a_certain_answer_is_in_the_last_bin_and_an_equal_one_keeps_the_order_of_classes() -> None:
    predictions = made([[1.0, 1e-300], [1.0, 1.0]], [0, 1])
    assert [count for count, *_ in calibration(predictions)] == [1, 1]
    assert predictions.top_NT[1].tolist() == [0, 1]


def test_the_worst_mistakes_are_wrong_and_come_first() -> None:
    predictions = made([[0.9, 0.1], [0.6, 0.4], [0.99, 0.01], [0.2, 0.8]], [1, 0, 1, 0])
    assert worst(predictions, 2) == [2, 0] and worst(predictions, 9) == [2, 0, 3]


def test_the_fifth_class_counts_and_the_sixth_does_not() -> None:
    shares = [[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]] * 2
    assert score(made(shares, [4, 5])).top5_error == 0.5


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("image,label\n1,ant\n")
    with pytest.raises(ValueError, match="not a table of predictions"):
        Predictions.read(tmp_path / "p.csv", NAMES)
    with pytest.raises(ValueError, match="no image to measure on"):
        score(Predictions.of(NAMES[:2], [], torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2)))


@pytest.mark.parametrize("classes", [2, 7, 60])
def test_a_page_fetches_nothing_and_shows_the_mistakes(tmp_path: Path, classes: int) -> None:
    rng = torch.Generator().manual_seed(0)
    names = [f"{NAMES[i % 7]}{i}" for i in range(classes)]
    logs = torch.randn(80, classes, generator=rng).log_softmax(1)
    files = [f"{i}<i>.jpg" for i in range(80)]
    predictions = Predictions.of(names, files, torch.arange(80) % classes, logs)
    found = score(predictions)
    picture = Image.new("RGB", (200, 100) if classes == 7 else (8, 8), "red")
    write_evaluation(tmp_path, [Path("a run")], "test", "one view", predictions, found, picture=lambda i: picture)
    page = (tmp_path / "evaluation.html").read_text()
    links = Links()
    links.feed(page)
    assert all(link.startswith("data:image/") for link in links.fetched) and len(links.fetched) == 24
    assert "script" not in links.tags and "<i>.jpg" not in page and "&lt;i&gt;.jpg" in page
    assert ("svg" in links.tags) and (f"{100 * found.error:.2f} %" in page)
    assert ("taken for</th>" in page) == (classes == 60)


def test_a_page_of_no_mistakes(tmp_path: Path) -> None:
    predictions = made([[0.9, 0.1], [0.1, 0.9]], [0, 1])
    picture = Image.new("L", (8, 8))
    write_evaluation(
        tmp_path, [Path("r")], "val", "one view", predictions, score(predictions), picture=lambda i: picture
    )
    assert "every answer is right" in (tmp_path / "evaluation.html").read_text()

"""Answers and what follows from them: exact on disk, right on paper."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from plusx.report.evaluation import STRONGEST, write_evaluation
from plusx.runs.predictions import Predictions, calibration, score, worst
from tests.report.test_run import Links

NAMES = ("ant", "bee, honey", 'say "fly"', "개미", "wasp", "moth", "<b>")


def made(probabilities: list[list[float]], labels: list[int]) -> Predictions:
    shares = torch.tensor(probabilities, dtype=torch.float64)
    images = [f"some, where/{i}.png" for i in range(len(labels))]
    return Predictions.of(NAMES[: shares.shape[1]], images, torch.tensor(labels), (shares / shares.sum(1, True)).log())


@settings(deadline=None)  # the first call imports scikit-learn
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
    assert (found.images, found.error, found.top5_error) == (4, 0.25, None)  # five likeliest of three are all
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
    image = Image.new("RGB", (200, 100) if classes == 7 else (8, 8), "red")
    write_evaluation(tmp_path, [Path("a run")], "test", "one view", predictions, found, image=lambda i: image)
    page = (tmp_path / "evaluation.html").read_text()
    links = Links()
    links.feed(page)
    assert all(link.startswith("data:image/") for link in links.fetched) and len(links.fetched) == 24
    assert "script" not in links.tags and "<i>.jpg" not in page and "&lt;i&gt;.jpg" in page
    assert ("svg" in links.tags) and (f"{100 * found.error:.2f} %" in page)
    assert ("predicted</th>" in page) == (classes == 60)


def page_of(folder: Path, predictions: Predictions, part: str = "test") -> str:
    image = Image.new("RGB", (200, 100))
    write_evaluation(folder, [Path("r")], part, "one view", predictions, score(predictions), image=lambda i: image)
    return (folder / "evaluation.html").read_text()


@pytest.mark.parametrize(("classes", "said"), [(2, False), (5, False), (6, True)])
def test_the_top_5_error_is_left_out_where_it_can_only_be_zero(tmp_path: Path, classes: int, said: bool) -> None:
    predictions = made([[1.0] * classes] * 3, [0, 1, 1])
    assert ("top-5" in page_of(tmp_path, predictions)) is said


def test_accuracy_stands_beside_error(tmp_path: Path) -> None:
    text = re.sub(r"<[^>]+>", " ", page_of(tmp_path, made([[0.9, 0.1]] * 4, [0, 1, 0, 0])))
    assert re.search(r"error\s+25\.00 %\s+accuracy\s+75\.00 %", text)


def test_mistakes_are_the_loudest_of_the_confusion_matrix(tmp_path: Path) -> None:
    page = page_of(tmp_path, made([[0.9, 0.1]] * 3 + [[0.1, 0.9]] * 20, [0, 0, 1] + [0] * 2 + [1] * 18))
    [matrix] = re.findall(r'<table class="confusion">.*?</table>', page)
    cells = re.findall(r"<td([^>]*)>([\d,]+)</td>", matrix)
    assert [(count, "color-mix" in style) for style, count in cells] == [
        ("2", False), ("2", True), ("1", True), ("18", False),
    ]  # fmt: skip
    of_row_0, of_row_1 = (int(share) for share in re.findall(r"var\(--wrong\) (\d+)%", matrix))
    assert of_row_0 == STRONGEST and of_row_1 < of_row_0  # half of the ants, a nineteenth of the bees
    assert "darker" not in page and "diagonal, in grey; mistakes have colour" in page
    assert '<th scope="col"><span>ant</span></th>' in matrix and '<th scope="row">ant</th>' in matrix
    assert ".confusion { width: auto; }" in page


@pytest.mark.parametrize(("images", "hollow"), [(9, 1), (10, 0)])
def test_a_group_of_few_images_is_no_finding(tmp_path: Path, images: int, hollow: int) -> None:
    page = page_of(
        tmp_path, made([[0.9, 0.1]] * images + [[0.6, 0.4]] * 30, [0, 1] * (images // 2) + [0] * (images % 2 + 30))
    )
    assert ("Hollow points have fewer than 10 images" in page) is bool(hollow)
    [figure] = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    points = re.findall(r'style="(fill: [^;"]*; stroke: [^;"]*)', figure)
    assert sum(style == "fill: none; stroke: var(--test)" for style in points) >= hollow
    assert f">{images}</text>" in figure and ">30</text>" in figure  # the images of each group


def test_a_mistake_is_a_square_with_what_was_said_and_what_it_is(tmp_path: Path) -> None:
    page = page_of(tmp_path, made([[0.004, 0.996]], [0]))
    text = re.sub(r"<(?!br)[^>]+>", "", page)
    assert "predicted bee, honey, 100 % · is ant<br>0.png" in text
    [style] = re.findall(r"\.sheet img {([^}]*)}", page)
    assert {"aspect-ratio: 1", "height: auto", "object-fit: cover"} <= {rule.strip() for rule in style.split(";")}
    assert re.search(r'<img [^>]*alt="0.png"', page)


def test_a_page_of_no_mistakes(tmp_path: Path) -> None:
    predictions = made([[0.9, 0.1], [0.1, 0.9]], [0, 1])
    image = Image.new("L", (8, 8))
    write_evaluation(tmp_path, [Path("r")], "val", "one view", predictions, score(predictions), image=lambda i: image)
    assert "every prediction is right" in (tmp_path / "evaluation.html").read_text()

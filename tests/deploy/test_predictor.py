"""From picture to classes, the same through every door."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plusx.data.decode import UndecodableError
from plusx.data.sources import load_digits
from plusx.deploy import predictor as module
from plusx.deploy.predictor import Prediction, Predictor, predict
from plusx.placement.inference import backend
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
    for i, answer in enumerate(predict(digits_run, pictures, top_k=10, precision="fp32")):
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


def test_bf16_moves_probabilities_by_less_than_a_hundredth(digits_run: Path, tmp_path: Path) -> None:
    test = load_digits()["test"]
    assert test.pixels_NCHW is not None
    files = [tmp_path / f"{i}.png" for i in range(len(test))]
    for file, pixels_1HW in zip(files, test.pixels_NCHW, strict=True):
        Image.fromarray(np.asarray(pixels_1HW[0])).save(file)
    exact, near = (predict(digits_run, files, top_k=10, precision=p) for p in ("fp32", "bf16"))
    assert sum(a.classes[0] == b.classes[0] for a, b in zip(exact, near, strict=True)) >= 0.99 * len(files)
    for a, b in zip(exact, near, strict=True):
        found = dict(zip(b.classes, b.probabilities, strict=True))
        assert all(abs(found[name] - p) < 0.02 for name, p in zip(a.classes, a.probabilities, strict=True))


def test_many_are_answered_as_each_by_itself(digits_run: Path, pictures: list[Path]) -> None:
    predictor = Predictor(digits_run, precision="fp32")
    together = list(predictor.predict_many(pictures * 3))
    for picture, answer in zip(pictures * 3, together, strict=True):
        alone = predictor.predict(picture)
        assert isinstance(answer, Prediction) and answer.file == str(picture) and answer.classes == alone.classes
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


def test_pictures_are_taken_as_they_are_needed(digits_run: Path, pictures: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for taken, picture in enumerate(itertools.cycle(pictures)):  # noqa: B007
            yield picture

    answers = Predictor(digits_run).predict_many(endless())
    assert all(isinstance(answer, Prediction) for answer in itertools.islice(answers, 50))
    assert taken < 50 + 8 * 16


def test_an_unreadable_picture_is_answered_by_its_reason_in_its_place(
    digits_run: Path, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    before, bad, after = Predictor(digits_run).predict_many([pictures[0], tmp_path / "a.png", pictures[1]])
    assert isinstance(bad, UndecodableError) and "a.png: not an image" in str(bad)
    assert isinstance(before, Prediction) and isinstance(after, Prediction) and after.file == str(pictures[1])


def test_no_pictures_no_answers(digits_run: Path) -> None:
    assert predict(digits_run, []) == []


@pytest.mark.parametrize("top_k", [0, -1])
def test_at_least_one_class_is_asked_for(digits_run: Path, pictures: list[Path], top_k: int) -> None:
    with pytest.raises(ValueError, match=f"top_k is {top_k}; it must be 1 or more"):
        predict(digits_run, pictures[:1], top_k=top_k)


def test_an_unknown_precision_is_refused(digits_run: Path) -> None:
    with pytest.raises(ValueError, match="precision is 'fp8'; choose one of auto, fp32, bf16, int8"):
        Predictor(digits_run, precision="fp8")


def test_backends_are_measured_for_many_pictures_alone(digits_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def candidates(*arguments: object, **settings: object) -> dict[str, object]:
        return {name: lambda name=name: made.append(name) or name for name in ("frozen", "openvino")}

    monkeypatch.setattr(backend, "candidates", candidates)
    monkeypatch.setattr(backend, "measure_seconds", lambda answers, *_, **__: {"frozen": 2.0, "openvino": 1.0}[answers])
    assert Predictor(digits_run).backend == "frozen" and made == ["frozen"]
    assert Predictor(digits_run, pictures=module.MEASURED_FROM).backend == "openvino"

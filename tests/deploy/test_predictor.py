"""From image to classes, the same however the image comes."""

import dataclasses
import itertools
import threading
import time
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


@pytest.fixture(scope="session")
def images(digits_files: Path) -> list[Path]:
    """The first test digits, in the order of the split."""
    return sorted(digits_files.glob("*/*.png"), key=lambda file: int(file.stem))[:20]


def test_an_image_is_predicted_as_the_net_computes_its_pixels(digits_run: Path, images: list[Path]) -> None:
    net, card = load_run(digits_run)
    test = load_digits()["test"].take(range(20))
    assert test.pixels_NCHW is not None
    with torch.no_grad():
        expected = net(card.preprocess.normalise(test.pixels_NCHW)).softmax(1)
    for i, answer in enumerate(predict(digits_run, images, top_k=10, precision="fp32")):
        by_name = dict(zip(answer.classes, answer.probabilities, strict=True))
        found = torch.tensor([by_name[name] for name in card.class_names], dtype=torch.float32)
        torch.testing.assert_close(found, expected[i], rtol=0, atol=1e-5)


def test_probabilities_are_sorted_and_sum_to_one(digits_run: Path, images: list[Path]) -> None:
    (answer,) = predict(digits_run, images[:1], top_k=99)
    assert len(answer.classes) == 10 and sum(answer.probabilities) == pytest.approx(1)
    assert list(answer.probabilities) == sorted(answer.probabilities, reverse=True)


def test_bytes_are_predicted_as_the_file(digits_run: Path, images: list[Path]) -> None:
    predictor = Predictor(digits_run)
    assert predictor.predict(images[0]).probabilities == predictor.predict(images[0].read_bytes()).probabilities


def test_an_unreadable_image_is_named(digits_run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"a.png: not an image"):
        predict(digits_run, [tmp_path / "a.png"])


def test_a_folder_is_answered_with_the_verb_that_takes_it(digits_run: Path, images: list[Path]) -> None:
    with pytest.raises(ValueError, match="a folder, not an image; plusx.predict_files takes folders"):
        predict(digits_run, images[0].parent)


def test_bf16_moves_probabilities_by_less_than_a_hundredth(digits_run: Path, digits_files: Path) -> None:
    files = sorted(digits_files.glob("*/*.png"))
    exact, near = (predict(digits_run, files, top_k=10, precision=p) for p in ("fp32", "bf16"))
    assert sum(a.classes[0] == b.classes[0] for a, b in zip(exact, near, strict=True)) >= 0.99 * len(files)
    for a, b in zip(exact, near, strict=True):
        found = dict(zip(b.classes, b.probabilities, strict=True))
        assert all(abs(found[name] - p) < 0.02 for name, p in zip(a.classes, a.probabilities, strict=True))


def test_many_are_predicted_as_each_by_itself(digits_run: Path, images: list[Path]) -> None:
    predictor = Predictor(digits_run, precision="fp32")
    together = list(predictor.predict_many(images * 3))
    for image, answer in zip(images * 3, together, strict=True):
        alone = predictor.predict(image)
        assert isinstance(answer, Prediction) and answer.file == str(image) and answer.classes == alone.classes
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


def test_images_are_taken_as_they_are_needed(digits_run: Path, images: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for taken, image in enumerate(itertools.cycle(images)):  # noqa: B007
            yield image

    answers = Predictor(digits_run).predict_many(endless())
    assert all(isinstance(answer, Prediction) for answer in itertools.islice(answers, 50))
    assert taken < 50 + 8 * 16


def test_an_unreadable_image_is_a_reason_in_its_place(digits_run: Path, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    before, bad, after = Predictor(digits_run).predict_many([images[0], tmp_path / "a.png", images[1]])
    assert isinstance(bad, UndecodableError) and "a.png: not an image" in str(bad)
    assert isinstance(before, Prediction) and isinstance(after, Prediction) and after.file == str(images[1])


def test_no_images_no_predictions(digits_run: Path) -> None:
    assert predict(digits_run, []) == []


@pytest.mark.parametrize("top_k", [0, -1])
def test_at_least_one_class_is_asked_for(digits_run: Path, images: list[Path], top_k: int) -> None:
    with pytest.raises(ValueError, match=f"top_k is {top_k}; it must be 1 or more"):
        predict(digits_run, images[:1], top_k=top_k)


def test_an_unknown_precision_is_refused(digits_run: Path) -> None:
    with pytest.raises(ValueError, match="precision is 'fp8'; choose one of auto, fp32, bf16, int8"):
        Predictor(digits_run, precision="fp8")


def test_backends_are_timed_for_many_images_only(digits_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def candidates(*arguments: object, **settings: object) -> dict[str, object]:
        return {name: lambda name=name: made.append(name) or name for name in ("frozen", "openvino")}

    monkeypatch.setattr(backend, "candidates", candidates)
    monkeypatch.setattr(backend, "measure_seconds", lambda forward, *_, **__: {"frozen": 2.0, "openvino": 1.0}[forward])
    assert Predictor(digits_run).backend == "frozen" and made == ["frozen"]
    assert Predictor(digits_run, images=module.MEASURED_FROM).backend == "openvino"


def odd_files(folder: Path) -> list[Path]:
    """Files of which the pixels that are stored are not those that are meant."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels[..., :3]).save(folder / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(pixels).save(folder / "transparent.png")
    Image.fromarray(pixels[..., :3]).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(pixels[..., 0].astype(np.float32)).save(folder / "real.tif")
    Image.fromarray(pixels[..., :3]).quantize(9).save(folder / "palette.gif")
    return sorted(folder.iterdir())


def test_a_file_its_bytes_and_what_pillow_opened_have_equal_probabilities(photos_run: Path, tmp_path: Path) -> None:
    with Predictor(photos_run) as predictor:
        for file in odd_files(tmp_path):
            expected = predictor.predict(file)
            with Image.open(file) as image:
                assert predictor.predict(image) == expected and expected.file == str(file)
                loaded = predictor.predict(Image.open(file).copy() if file.suffix == ".png" else file)
            same = [predictor.predict(str(file)), predictor.predict(file.read_bytes()), loaded]
            assert all(each.probabilities == expected.probabilities for each in same), file


def test_an_array_is_predicted_as_the_file_that_holds_it(digits_run: Path, images: list[Path]) -> None:
    grey = np.asarray(Image.open(images[0]))
    with Predictor(digits_run) as predictor:
        expected = predictor.predict(images[0])
        for array in (grey, grey[..., None], np.repeat(grey[..., None], 3, axis=2), np.asfortranarray(grey)):
            assert predictor.predict(array) == dataclasses.replace(expected, file="")
        one, several = predict(digits_run, grey), predict(digits_run, iter([grey, images[0], grey]))
        assert len(one) == 1 and [each.file for each in several] == ["", str(images[0]), ""]


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (
            np.zeros((8, 8)),
            r"this one is float64; of values from 0 to 1, pass \(255 \* image\).round\(\).astype\('uint8'\)",
        ),
        (np.zeros((2, 8, 8, 3), np.uint8), "this one is 2 x 8 x 8 x 3; pass several images as a list"),
        (torch.zeros(1, 8, 8), "is of type Tensor; pass its pixels, before any normalisation, as a NumPy array"),
        (7, "is of type int; name its file, or pass the file's bytes, a PIL.Image or a NumPy array"),
    ],
)
def test_what_is_no_image_is_refused_with_what_to_pass(digits_run: Path, image: object, complaint: str) -> None:
    with Predictor(digits_run) as predictor:
        calls = (
            predictor.predict,
            lambda one: list(predictor.predict_many([one])),
            lambda one: predict(digits_run, one),
        )
        for call in calls:
            with pytest.raises(ValueError, match=complaint) as fault:
                call(image)  # type: ignore[operator]
            assert "\n" not in str(fault.value)


def test_progress_counts_the_images(digits_run: Path, images: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    counts: list[tuple[int, int]] = []
    predict(digits_run, images, progress=lambda done, total: counts.append((done, total)))
    assert counts == [(number, 20) for number in range(1, 21)]
    predict(digits_run, images)
    assert capsys.readouterr() == ("", "")  # no terminal


def test_predictors_that_are_used_from_several_threads_at_once_predict_as_one_alone(
    digits_run: Path, images: list[Path]
) -> None:
    with Predictor(digits_run, precision="fp32") as one, Predictor(digits_run, precision="fp32") as other:
        single, many = one.predict(images[3]), list(one.predict_many(images))
        threads, results = torch.get_num_threads(), []

        def ask(predictor: Predictor) -> None:
            for _ in range(3):
                results.append((predictor.predict(images[3]) == single, list(predictor.predict_many(images)) == many))

        askers = [threading.Thread(target=ask, args=(predictor,)) for predictor in (one, other, one, other)]
        for asker in askers:
            asker.start()
        while any(asker.is_alive() for asker in askers):
            assert torch.get_num_threads() == threads
            time.sleep(0.001)
        assert results == [(True, True)] * 12 and torch.get_num_threads() == threads


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_predictor_leaves_the_callers_threads_alone(digits_run: Path, images: list[Path], precision: str) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with Predictor(digits_run, precision=precision) as predictor:
            predictor.predict(images[0])
            list(predictor.predict_many(images))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)

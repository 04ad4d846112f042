"""The package as a notebook meets it: every verb is listed, takes text and Path, one item for several, and shows itself
in a line.
"""

import inspect
import pydoc
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import plusx
from plusx.data.found import find_images
from plusx.data.images import ImageSet
from tests.conftest import save_image

PATHS = ("classes", "data_dir", "net_or_run", "nets_or_runs", "out", "root", "run", "runs", "weights")
"""Names of parameters that are files or folders, or may be."""


def test_the_package_lists_its_verbs_and_its_version() -> None:
    assert {*plusx.__all__, "__version__"} <= set(dir(plusx))
    assert [name for name in dir(plusx) if not name.startswith("_")] == sorted(plusx.__all__)
    assert plusx.__version__.count(".") == 2
    assert all(f"    {name}" in (plusx.__doc__ or "") for name in plusx.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'tain'"):
        plusx.tain  # noqa: B018


@pytest.mark.parametrize(("old", "new"), plusx._RENAMED.items())
def test_an_old_name_is_answered_with_the_new_one(old: str, new: str) -> None:
    with pytest.raises(AttributeError, match=f"plusx.{old} is now plusx.{new}$"):
        getattr(plusx, old)
    assert new in plusx.__all__ and old not in dir(plusx)


@pytest.mark.parametrize("name", plusx.__all__)
def test_help_shows_neither_addresses_nor_lambdas(name: str) -> None:
    signature = str(inspect.signature(getattr(plusx, name)))
    assert " at 0x" not in signature and "lambda" not in signature


def test_the_whole_help_can_be_shown() -> None:
    shown = pydoc.render_doc(plusx, renderer=pydoc.plaintext)
    assert all(re.search(rf"^ +(class )?{name}\b.*\(", shown, re.MULTILINE) for name in plusx.__all__)


@pytest.mark.parametrize(
    "name",
    [
        *("analyse", "benchmark_inference", "benchmark_training", "calibrate", "check_data", "compare_runs"),
        *("cross_validate", "demo", "evaluate", "explain_files", "export", "find_lr", "predict", "predict_files"),
        *("prepare_data", "prepare_imagenet", "reproduce"),
        *("resume", "train"),
    ],
)
def test_a_verb_that_takes_long_shows_its_progress(name: str) -> None:
    assert inspect.signature(getattr(plusx, name)).parameters["progress"].default is True


@pytest.mark.parametrize("name", plusx.__all__)
def test_whatever_takes_a_path_takes_text_as_well(name: str) -> None:
    for parameter in inspect.signature(getattr(plusx, name)).parameters.values():
        if parameter.name in PATHS or "Path" in str(parameter.annotation):
            assert "str" in str(parameter.annotation) and "Path" in str(parameter.annotation), parameter


def refusal(verb: Callable[..., object], *arguments: object, **options: object) -> str:
    with pytest.raises(ValueError) as fault:
        verb(*arguments, **options)
    return str(fault.value)


@pytest.fixture
def calls(
    digits_run: Path, tmp_path: Path, class_folder: Callable[..., Path]
) -> dict[str, Callable[[Callable[[Path], Any]], Any]]:
    """Each verb that takes a path, with paths that `of` makes from a Path, and what it answers."""
    image, folder, weights = save_image(tmp_path / "a.png"), class_folder([], {"ant": 2, "bee": 2}), tmp_path / "w.pt"
    torch.save(plusx.build("resnet20").state_dict(), weights)
    twin = shutil.copytree(digits_run, tmp_path / "twin")
    short: dict[str, Any] = {"overrides": {"steps": 1, "data.limit": 20}}
    numbers = iter(range(99))

    def new() -> Path:
        return tmp_path / f"new{next(numbers)}"

    def converted(of: Callable[[Path], Any]) -> object:
        made = plusx.convert(of(weights), "resnet20", out=of(new()), data="cifar10", mean=[0.5] * 3, std=[1.0] * 3)
        return made.card.results

    return {
        "Predictor": lambda of: plusx.Predictor(of(digits_run)).predict(of(image)),
        "benchmark_inference": lambda of: refusal(
            plusx.benchmark_inference, of(digits_run), rounds=0, data_dir=of(folder)
        ),
        "export": lambda of: refusal(plusx.export, of(digits_run), "x", out=of(new()), data_dir=of(folder)),
        "read_metadata": lambda of: refusal(plusx.read_metadata, of(image)),
        "analyse": lambda of: plusx.analyse(of(digits_run), "filters", data_dir=of(folder)).figure.read_bytes(),
        "build": lambda of: len(plusx.build("resnet20", of(weights)).state_dict()),
        "calibrate": lambda of: refusal(plusx.calibrate, of(digits_run), of(image), data_dir=of(folder)),
        "check_data": lambda of: plusx.check_data(of(folder)),
        "compare": lambda of: plusx.compare([of(digits_run)]),
        "compare_runs": lambda of: plusx.compare_runs(
            [of(digits_run), of(twin)], out=of(new()), data_dir=of(folder)
        ).table(),
        "convert": converted,
        "cross_validate": lambda of: refusal(
            plusx.cross_validate, "digits", folds=1, out=of(new()), data_dir=of(folder)
        ),
        "demo": lambda of: refusal(plusx.demo, of(digits_run)),
        "evaluate": lambda of: plusx.evaluate(of(digits_run), out=of(new()), data_dir=of(folder)).score,
        "explain": lambda of: plusx.explain(of(digits_run), of(image)).figure(),
        "explain_files": lambda of: plusx.explain_files(of(digits_run), of(folder), out=of(new())).notes,
        "find_lr": lambda of: plusx.find_lr("digits", data_dir=of(folder), steps=10, overrides={"data.limit": 20}),
        "load": lambda of: plusx.load(of(digits_run))[1].to_dict(),
        "predict": lambda of: plusx.predict(of(digits_run), [of(image)]),
        "predict_files": lambda of: plusx.predict_files(of(digits_run), of(folder), out=of(new())).predictions,
        "prepare_data": lambda of: plusx.prepare_data(of(folder), of(new())).size_bytes,
        "prepare_imagenet": lambda of: refusal(plusx.prepare_imagenet, of(folder), of(folder)),
        "reproduce": lambda of: refusal(plusx.reproduce, "degradation", out=of(new()), data_dir=of(folder)),
        "resume": lambda of: refusal(plusx.resume, of(digits_run), data_dir=of(folder)),
        "list_experiments": lambda of: plusx.list_experiments(of(folder)),
        "summarise": lambda of: plusx.summarise(of(digits_run)),
        "write_check": lambda of: plusx.write_check(plusx.check_data(folder), of(new())).read_bytes(),
        "train": lambda of: plusx.train("digits", out=of(new()), data_dir=of(folder), **short).card.results[
            "test_error"
        ],
    }


def test_a_path_and_its_text_are_answered_alike(calls: dict[str, Callable[[Callable[[Path], Any]], Any]]) -> None:
    takers = {
        name
        for name in plusx.__all__
        if any("Path" in str(p.annotation) for p in inspect.signature(getattr(plusx, name)).parameters.values())
    }
    assert set(calls) == takers - {"serve"}  # which does not return; the command's tests give it text
    for name, call in calls.items():
        assert call(str) == call(Path), name


def test_one_image_stands_for_itself(digits_run: Path, tmp_path: Path) -> None:
    image = save_image(tmp_path / "cat.png")
    predictor = plusx.Predictor(digits_run)
    for one in (image, str(image), image.read_bytes()):
        (alone,) = plusx.predict(digits_run, one)
        assert [alone] == plusx.predict(digits_run, [one]) == list(predictor.predict_many(one))
    assert plusx.compare(digits_run) == plusx.compare(str(digits_run)) == [plusx.summarise(digits_run)]
    assert plusx.compare("resnet20") == [plusx.summarise("resnet20")]
    assert len(list(plusx.predict(digits_run, (path for path in [image, image])))) == 2
    with Image.open(image) as opened:
        for one in (opened, np.asarray(opened)):
            assert [each.probabilities for each in plusx.predict(digits_run, one)] == [alone.probabilities]
    assert "an image is of type int" in refusal(plusx.predict, digits_run, 3)


def test_what_a_notebook_shows_of_an_answer_is_a_line(
    digits_run: Path, tmp_path: Path, class_folder: Callable[..., Path]
) -> None:
    net, card = plusx.load(digits_run)
    weights = tmp_path / "w.pt"
    torch.save(plusx.build("resnet20").state_dict(), weights)
    trained = plusx.train("digits", overrides={"steps": 1, "data.limit": 20}, out=tmp_path / "run")
    converted = plusx.convert(weights, "resnet20", out=tmp_path / "c", data="cifar10", mean=[0.5] * 3, std=[1.0] * 3)
    evaluated = plusx.evaluate(digits_run, out=tmp_path / "e")
    shown = [
        card,
        card.preprocess,
        trained,
        converted,
        converted.translation,
        evaluated,
        evaluated.predictions,
        evaluated.score,
        ImageSet(torch.zeros(3, dtype=torch.int64), ("a",), torch.zeros(3, 1, 8, 8, dtype=torch.uint8)),
        plusx.check_data(class_folder([], {"ant": 2, "bee": 2})),
        plusx.prepare_data(class_folder([], {"ant": 2, "bee": 2}), tmp_path / "prepared"),
        plusx.cost(net, (1, 8, 8)),
        plusx.Predictor(digits_run),
        plusx.predict_files(digits_run, weights),
        plusx.compare_runs([digits_run, trained.run]),
        find_images(weights),
        plusx.analyse(digits_run, "responses"),
    ]
    for answer in shown:
        line = repr(answer)
        assert line.startswith(f"<{type(answer).__name__} ") and line.endswith(">") and "\n" not in line
        assert len(line) < 300, line
    error = 100 * card.results["test_error"]
    assert repr(card) == f"<Card resnet20 on digits, 10 classes, test error {error:.2f} %>"
    assert (
        repr(evaluated) == f"<Evaluated {digits_run} on test: <Score error {error:.2f} % on 360 images of 10 classes>>"
    )

"""What weights were trained on is not measured in a run that begins with them, however the images are split by then."""

import csv
from pathlib import Path
from typing import Any

import pytest

import plusx
from plusx.engine.events import StoppedError
from plusx.runs.images import trained_on
from tests.conftest import save_image

TINY: dict[str, Any] = {"preprocess.size": 16, "net.name": "resnet20", "batch_size": 8, "placement.threads": 1}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of 40 images, and a run that was trained on some of them."""
    root = tmp_path_factory.mktemp("seen")
    folder = root / "photos"
    for hue, name in enumerate(("ant", "bee")):
        for number in range(20):
            save_image(folder / name / f"{number:02}.png", seed=100 * hue + number, hue=hue)
    run = plusx.train(folder, overrides={**TINY, "steps": 2}, seed=0, out=root / "first", progress=False).run
    return folder, run


def table(folder: Path, file: Path, num_val: int) -> Path:
    """The same images, split in another way: the last ones of every class are for validation."""
    rows = [["path", "label", "split"]]
    for each in sorted(folder.iterdir()):
        images = sorted(each.iterdir())
        rows += [[str(i), each.name, "train" if n < len(images) - num_val else "val"] for n, i in enumerate(images)]
    with file.open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    return file


def held_out(run: Path) -> set[str]:
    with (run / "images.csv").open(newline="") as file:
        return {row["digest"] for row in csv.DictReader(file) if row["split"] in ("val", "test")}


@pytest.mark.parametrize("stopped", [False, True])
def test_images_of_the_first_weights_are_not_held_out(first: tuple[Path, Path], tmp_path: Path, stopped: bool) -> None:
    folder, run = first
    data, out = table(folder, tmp_path / "again.csv", 12), tmp_path / "second"
    asked: dict[str, Any] = {"recipe": "folder", "weights": run, "out": out, "progress": False}
    asked["overrides"] = {key: value for key, value in TINY.items() if key != "net.name"} | {"steps": 2}
    if stopped:
        with pytest.raises(StoppedError):
            plusx.train(data, **asked, should_stop=lambda: True)
        plusx.resume(out, progress=False)
    else:
        plusx.train(data, **asked)
    seen = trained_on(run)
    assert seen and 0 < len(held_out(out)) < 24 and not held_out(out) & seen
    measured = plusx.evaluate(out, progress=False)
    assert len(measured.predictions.images) == len(held_out(out))
    assert any("first weights were" in note for note in measured.notes)
    card = plusx.load(out)[1]
    assert card.source["images"]["val"] == len(held_out(out)) and card.source["trained_before"] > 0
    third = plusx.train(  # and what these weights were trained on is remembered further on
        data, recipe="folder", weights=out, overrides=asked["overrides"], out=tmp_path / "third", progress=False
    )
    assert seen <= (trained_on(third.run) or set())


def test_weights_that_have_seen_all_are_refused(first: tuple[Path, Path], tmp_path: Path) -> None:
    folder, run = first
    overrides = {**TINY, "data.val": "train", "data.train": "train", "steps": 1}
    del overrides["net.name"]
    with pytest.raises(ValueError, match="were trained on all .* val images"):
        plusx.train(folder, recipe="folder", weights=run, overrides=overrides, out=tmp_path / "x", progress=False)
    with pytest.raises(ValueError, match="was trained on .* of the 40 images, and no fold could measure those"):
        plusx.cross_validate(folder, folds=2, weights=run, out=tmp_path / "folds", progress=False)

"""What `evaluate` measures is what `predict` says of the same files, on the CPU and in every precision."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

from plusx.data.decode import AnyImage
from plusx.deploy.predictor import Predictor, predict
from plusx.engine.evaluation import evaluate
from plusx.runs.store import read_card, write_card

BOUNDS = {"fp32": 1e-6, "bf16": 0.02}
"""Of a probability; in bf16 what the size of a batch may move, where the processor is not AMX."""


def changed(run: Path, copy: Path, *, precision: str, flip: bool) -> Path:
    """The same run with another precision, and with or without mirror images."""
    shutil.copytree(run, copy)
    card = read_card(copy)
    placement = dataclasses.replace(card.recipe.placement, precision=precision)  # type: ignore[arg-type]
    evaluation = dataclasses.replace(card.recipe.evaluation, flip=flip)
    recipe = dataclasses.replace(card.recipe, placement=placement, evaluation=evaluation)
    write_card(copy, dataclasses.replace(card, recipe=recipe))
    return copy


def probabilities(run: Path, images: list[AnyImage]) -> torch.Tensor:
    names = read_card(run).class_names
    by_name = [
        dict(zip(each.classes, each.probabilities, strict=True)) for each in predict(run, images, top_k=len(names))
    ]
    return torch.tensor([[each[name] for name in names] for each in by_name], dtype=torch.float64)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("data", ["digits", "photos"])
def test_the_probabilities_are_equal(
    digits_run: Path, digits_files: Path, photos_run: Path, tmp_path: Path, data: str, precision: str, flip: bool
) -> None:
    of = digits_run if data == "digits" else photos_run
    folder = digits_files if data == "digits" else Path(read_card(photos_run).source["name"])
    run = changed(of, tmp_path / "run", precision=precision, flip=flip)
    measured = evaluate(run, folder, device="cpu").predictions
    files = [folder / image for image in measured.images]
    expected = probabilities(run, list(files))
    if flip:
        expected = (expected + probabilities(run, [ImageOps.mirror(Image.open(file)) for file in files])) / 2
    assert len(files) == (360 if data == "digits" else len(measured.labels_N))
    torch.testing.assert_close(
        measured.probabilities_NT, expected.gather(1, measured.top_NT), rtol=0, atol=BOUNDS[precision]
    )
    assert Predictor(run).placement.precision == precision

"""What the tests of exports share: runs that are trained once, and a skip where an extra is not installed."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import plusx
from plusx.deploy.export.forms import FORMS
from plusx.placement.inference.openvino import is_installed
from plusx.recipes import folder
from plusx.runs.calibration import Calibration, Rejection
from plusx.runs.store import read_card, write_card
from tests.conftest import save_image

GRAPHS = ("onnx", "openvino", "torch")


def need(to: str, *also: str) -> None:
    """Skip where the packages of a form are not installed."""
    packages = (*(FORMS[to].needs if to in FORMS else (to,)), *also)
    if not is_installed(*packages):
        pytest.skip(f"{' and '.join(packages)}, an extra, are not installed")


@pytest.fixture(scope="session")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 3 channels with validation images, calibrated by hand, with names of Korean and of quotes."""
    root = tmp_path_factory.mktemp("export")
    for i in range(32):
        size = (48 + 5 * (i % 4), 40 + 7 * (i % 3))
        name, split = ("강아지", 'a "b" <c>&é')[i % 2], ("train", "val")[i // 16]
        save_image(root / "photos" / split / name / f"{i}.png", seed=i, size=size, hue=i % 2)
    recipe = dataclasses.replace(folder(), steps=40, epochs=None, batch_size=8)
    # A net that has learnt little is not sure, so that small differences show in its probabilities.
    overrides = {"net.name": "resnet20", "preprocess.size": "32", "preprocess.crop_fraction": "0.875"}
    overrides["optim.lr"] = "0.003"
    run = plusx.train(root / "photos", recipe=recipe, overrides=overrides, out=root / "run", progress=False).run
    fitted = Calibration(temperature=1.7, images=16, data="val", rejection=Rejection(0.9, 0.6, 15))
    write_card(run, dataclasses.replace(read_card(run), calibration=fitted))
    return run


@pytest.fixture
def twin(two_classes: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a copy of that run with changes to its card."""

    def make(**changes: object) -> Path:
        run = shutil.copytree(two_classes, tmp_path / "twin")
        write_card(run, dataclasses.replace(read_card(run), **changes))  # type: ignore[arg-type]
        return run

    return make


@pytest.fixture
def mean_per_pixel(two_classes: Path, twin: Callable[..., Path]) -> Path:
    """A run whose mean is of each pixel."""
    preprocess = read_card(two_classes).preprocess
    mean = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    return twin(preprocess=dataclasses.replace(preprocess, mean_CHW=mean, obtained="drawn"))

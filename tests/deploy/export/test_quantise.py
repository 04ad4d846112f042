"""8 bits: calibrated on training images of every class, measured on held out ones, refused where they cost too much."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import plusx
from plusx.deploy.export import export as module
from plusx.deploy.export.export import export
from plusx.deploy.export.forms import FORMS
from plusx.deploy.export.quantise import NEEDS
from plusx.deploy.sample import CALIBRATION, training_sample
from plusx.runs.images import images_of
from plusx.runs.store import read_card
from tests.deploy.export.conftest import need


@pytest.mark.parametrize("to", ["onnx", pytest.param("openvino", marks=pytest.mark.more)])
def test_int8_is_smaller_and_nearly_as_accurate(to: str, digits_run: Path, tmp_path: Path) -> None:
    need(to, *NEEDS[to])
    whole, small = (
        export(digits_run, to, out=tmp_path / f"{int8}{FORMS[to].suffix}", int8=int8, max_drop=3.0, progress=False)
        for int8 in (False, True)
    )
    assert small.size_bytes < 0.5 * whole.size_bytes
    assert small.metadata.precision == "int8" and whole.metadata.precision == "fp32"
    found = small.verified
    assert found.drop is not None and found.drop <= 3 and found.images == 360
    assert found.largest_difference > 1e-3, "nothing was rounded"
    assert small.script is not None and small.script.is_file()


def test_too_large_a_drop_is_refused_with_the_numbers(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scales of black images say nothing of the test images."""
    need("openvino", *NEEDS["openvino"])
    quantise = module.quantise
    black = [np.zeros((1, 8, 8, 1), np.uint8)] * 4
    monkeypatch.setattr(module, "quantise", lambda to, model, calibration: quantise(to, model, black))
    with pytest.raises(plusx.ExportRefusedError, match=r"int8 costs \d+.\d\d percentage points of accuracy on test"):
        export(digits_run, "openvino", out=tmp_path / "x.xml", int8=True, progress=False)
    assert not list(tmp_path.iterdir())


def test_the_sample_is_of_the_training_images_and_of_every_class(digits_run: Path) -> None:
    card = read_card(digits_run)
    train = images_of(digits_run, card, split="train").images
    assert train.pixels_NCHW is not None
    labels = dict(zip((p.numpy().tobytes() for p in train.pixels_NCHW), train.labels_N.tolist(), strict=True))
    sample = list(training_sample(digits_run, card))
    counts = torch.bincount(torch.tensor([labels[p.numpy().tobytes()] for p in sample]), minlength=10)
    share = torch.bincount(train.labels_N, minlength=10) * CALIBRATION / len(train)
    assert len(sample) == CALIBRATION and (counts - share).abs().max() <= 1


@pytest.mark.more
def test_with_a_fixed_batch_the_calibration_has_that_batch(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("openvino", *NEEDS["openvino"])
    quantise, shapes = module.quantise, []

    def seen(to: str, model: Any, calibration: Any) -> Any:
        batches = list(calibration)
        shapes.extend(batch.shape for batch in batches)
        return quantise(to, model, batches)

    monkeypatch.setattr(module, "quantise", seen)
    made = export(digits_run, "openvino", out=tmp_path / "x.xml", int8=True, batch=7, max_drop=5, progress=False)
    assert set(shapes) == {(7, 8, 8, 1)} and len(shapes) == -(-CALIBRATION // 7) and made.metadata.batch == 7

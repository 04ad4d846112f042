"""Crops, scales and whole images, held to loops written by hand."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms.functional import hflip, pil_to_tensor, resize

import plusx
from plusx.data.folder import load_folder
from plusx.data.preprocess import Preprocess
from plusx.data.views import ViewBatches, Views
from plusx.engine.evaluation import evaluate
from plusx.recipes import digits
from plusx.runs.store import read_card
from plusx.weights.presets import channelwise


def preprocess(side: int, channels: int = 3) -> Preprocess:
    mean, std = torch.full((channels, 1, 1), 0.4), torch.full((channels, 1, 1), 0.25)
    return Preprocess((side, side), mean, std, "made up")


def image(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("width", "height"), [(300, 260), (257, 391), (256, 256)])
def test_ten_crops_are_torchvisions(width: int, height: int) -> None:
    theirs = transforms.Compose([transforms.Resize(256), transforms.TenCrop(224)])(image(width, height))
    ours = Views(crops=10).of(image(width, height), preprocess(224))
    assert len(ours) == 10
    for own, other in zip(ours, theirs, strict=True):
        assert torch.equal(own, pil_to_tensor(other))


def test_one_crop_at_a_scale_is_torchvisions() -> None:
    theirs = transforms.Compose([transforms.Resize(100), transforms.CenterCrop(80), transforms.PILToTensor()])
    [ours] = Views(scales=(100,)).of(image(131, 97), preprocess(80))
    assert torch.equal(ours, theirs(image(131, 97)))


def test_a_dense_view_is_the_whole_image_at_each_scale_and_its_mirror_image() -> None:
    found = Views(scales=(64, 96), dense=True, flip=True).of(image(128, 64), preprocess(64))
    assert [tuple(view.shape) for view in found] == [(3, 64, 128)] * 2 + [(3, 96, 192)] * 2
    assert torch.equal(found[1], found[0].flip(-1))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Views(crops=5), "crops is 5; choose 1 or 10"),
        (lambda: Views(crops=10, dense=True), "takes no crops"),
        (lambda: Views(scales=(0,)), "a scale is 0"),
        (lambda: Views(scales=(50,)).of(image(60, 60), preprocess(64)), "scale 50 is smaller than the net's input"),
    ],
)
def test_views_that_cannot_be_are_named(make: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()  # type: ignore[operator]


def by_hand(run: Path, files: tuple[str, ...], views_of: object) -> Tensor:
    """Probabilities from a loop over images, with crops of equal size at once."""
    net, card = plusx.load(run)
    rows = []
    with torch.no_grad():
        for file in files:
            views = [pil_to_tensor(view) for view in views_of(Image.open(file).convert("RGB"))]  # type: ignore[operator]
            views = [torch.stack(views)] if len({view.shape for view in views}) == 1 else [view[None] for view in views]
            inputs = [(view / 255 - card.preprocess.mean_CHW) / card.preprocess.std_C11 for view in views]
            rows.append(torch.cat([net(x).softmax(1) for x in inputs]).mean(0))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("views", "views_of"),
    [
        (Views(crops=10), lambda whole: transforms.TenCrop(32)(resize(whole, 37))),
        (
            Views(crops=10, scales=(34, 40)),
            lambda whole: [c for s in (34, 40) for c in transforms.TenCrop(32)(resize(whole, s))],
        ),
        (
            Views(scales=(32, 48), dense=True, flip=True),
            lambda whole: [turned for s in (32, 48) for turned in (resize(whole, s), hflip(resize(whole, s)))],
        ),
    ],
)
def test_views_equal_a_loop_written_by_hand(photos_run: Path, tmp_path: Path, views: Views, views_of: object) -> None:
    assert plusx.load(photos_run)[1].preprocess.interpolation == "bilinear"
    found = evaluate(photos_run, views=views, out=tmp_path / "out").predictions
    root = Path(read_card(photos_run).source["name"])
    expected = by_hand(photos_run, [root / image for image in found.images], views_of)
    torch.testing.assert_close(found.probabilities_NT, expected.gather(1, found.top_NT).double(), rtol=0, atol=1e-6)


def test_a_mean_of_each_pixel_serves_other_sizes_as_its_mean(tmp_path: Path) -> None:
    recipe = dataclasses.replace(digits(), steps=2, epochs=None)
    run = plusx.train(
        "digits", recipe=recipe, overrides={"preprocess.normalize": "pixel-mean"}, out=tmp_path / "run"
    ).run
    own = evaluate(run, views=Views(scales=(8,))).score
    assert own.loss == pytest.approx(evaluate(run).score.loss, rel=1e-6)
    assert evaluate(run, views=Views(scales=(8, 12), dense=True)).score.images == 360


def test_no_scale_fills_the_memory() -> None:
    preprocess = channelwise(224, [0.5] * 3, [0.5] * 3, "given")
    with pytest.raises(
        ValueError, match="an image of 1 x 26000 pixels would have 256 x 6656000 at scale 256, more than"
    ):
        Views(crops=10).of(Image.new("RGB", (1, 26_000)), preprocess)


@pytest.mark.parametrize("views", [Views(flip=True), Views(crops=10), Views(scales=(32, 40), dense=True)])
@pytest.mark.parametrize(("workers", "readers"), [(0, 3), (2, 1)])
def test_workers_and_readers_change_no_view(
    class_folder: Callable[..., Path], views: Views, workers: int, readers: int
) -> None:
    images = load_folder(class_folder(["train", "val"], {"ant": 4, "bee": 3})).splits["train"]
    expected = list(ViewBatches(images, preprocess(32), views, 3))
    others = list(ViewBatches(images, preprocess(32), views, 3, workers, readers))
    assert len(expected) == len(others) == 3
    for group, other in zip(expected, others, strict=True):
        assert [list(owners) for owners, _ in group] == [list(owners) for owners, _ in other]
        assert all(torch.equal(x, y) for (_, x), (_, y) in zip(group, other, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_view_that_does_not_fit_is_one_sentence_from_a_worker_too(
    class_folder: Callable[..., Path], workers: int
) -> None:
    images = load_folder(class_folder(["train", "val"], {"ant": 4, "bee": 3})).splits["train"]
    with pytest.raises(ValueError, match=r"^scale 50 is smaller than the net's input, 64 x 64 pixels$"):
        list(ViewBatches(images, preprocess(64), Views(scales=(50,)), 3, workers))

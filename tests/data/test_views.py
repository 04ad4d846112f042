"""Crops, scales and whole pictures, held to loops written by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms.functional import hflip, pil_to_tensor, resize

import plusx
from plusx.data.preprocess import Preprocess
from plusx.data.views import Views
from plusx.engine.evaluation import evaluate
from plusx.recipes import digits, folder
from plusx.runs.store import read_card
from plusx.weights.presets import channelwise
from tests.conftest import save_picture


def preprocess(side: int, channels: int = 3) -> Preprocess:
    mean, std = torch.full((channels, 1, 1), 0.4), torch.full((channels, 1, 1), 0.25)
    return Preprocess((side, side), mean, std, "made up")


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("width", "height"), [(300, 260), (257, 391), (256, 256)])
def test_ten_crops_are_torchvisions(width: int, height: int) -> None:
    theirs = transforms.Compose([transforms.Resize(256), transforms.TenCrop(224)])(picture(width, height))
    ours = Views(crops=10).of(picture(width, height), preprocess(224))
    assert len(ours) == 10
    for own, other in zip(ours, theirs, strict=True):
        assert torch.equal(own, pil_to_tensor(other))


def test_one_crop_at_a_scale_is_torchvisions() -> None:
    theirs = transforms.Compose([transforms.Resize(100), transforms.CenterCrop(80), transforms.PILToTensor()])
    [ours] = Views(scales=(100,)).of(picture(131, 97), preprocess(80))
    assert torch.equal(ours, theirs(picture(131, 97)))


def test_a_dense_view_is_the_whole_picture_at_each_scale_and_its_mirror_image() -> None:
    found = Views(scales=(64, 96), dense=True, flip=True).of(picture(128, 64), preprocess(64))
    assert [tuple(view.shape) for view in found] == [(3, 64, 128)] * 2 + [(3, 96, 192)] * 2
    assert torch.equal(found[1], found[0].flip(-1))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Views(crops=5), "crops is 5; choose 1 or 10"),
        (lambda: Views(crops=10, dense=True), "takes no crops"),
        (lambda: Views(scales=(0,)), "a scale is 0"),
        (lambda: Views(scales=(50,)).of(picture(60, 60), preprocess(64)), "scale 50 is smaller than the net's input"),
    ],
)
def test_views_that_cannot_be_are_named(make: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()  # type: ignore[operator]


@pytest.fixture(scope="module")
def photos_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet-20 on 24 pictures of differing shapes, at 32 pixels."""
    root = tmp_path_factory.mktemp("photos")
    for i in range(24):
        size = (48 + 5 * (i % 4), 40 + 7 * (i % 3))
        save_picture(root / "photos" / ("ant", "bee")[i % 2] / f"{i}.png", seed=i, size=size, hue=i % 2)
    recipe = dataclasses.replace(folder(), steps=4, epochs=None, batch_size=8)
    overrides = {"net.name": "resnet20", "preprocess.size": "32", "placement.precision": "fp32"}
    return plusx.train(root / "photos", recipe=recipe, overrides=overrides, out=root / "run").run


def by_hand(run: Path, files: tuple[str, ...], looks: object) -> Tensor:
    """Probabilities from a loop over pictures and views, one at a time."""
    net, card = plusx.load(run)
    rows = []
    with torch.no_grad():
        for file in files:
            shares = []
            for view in looks(Image.open(file).convert("RGB")):  # type: ignore[operator]
                x_CHW = (pil_to_tensor(view) / 255 - card.preprocess.mean_CHW) / card.preprocess.std_C11
                shares.append(net(x_CHW[None]).softmax(1)[0])
            rows.append(torch.stack(shares).mean(0))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("views", "looks"),
    [
        (Views(crops=10), lambda image: transforms.TenCrop(32)(resize(image, 37))),
        (
            Views(crops=10, scales=(34, 40)),
            lambda image: [c for s in (34, 40) for c in transforms.TenCrop(32)(resize(image, s))],
        ),
        (
            Views(scales=(32, 48), dense=True, flip=True),
            lambda image: [turned for s in (32, 48) for turned in (resize(image, s), hflip(resize(image, s)))],
        ),
    ],
)
def test_views_equal_a_loop_written_by_hand(photos_run: Path, tmp_path: Path, views: Views, looks: object) -> None:
    assert plusx.load(photos_run)[1].preprocess.interpolation == "bilinear"
    found = evaluate(photos_run, views=views, out=tmp_path / "out").predictions
    root = Path(read_card(photos_run).source["name"])
    expected = by_hand(photos_run, [root / image for image in found.images], looks)
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

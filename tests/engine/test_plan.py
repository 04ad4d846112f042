"""What was asked for, as a card: weights bring their preprocessing, field by field, unless somebody set the field."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

import plusx
from plusx.recipes import Recipe, folder
from plusx.recipes.data import PreprocessSpec
from plusx.recipes.net import NetSpec
from plusx.runs.store import read_card

FEW = {"steps": "1", "batch_size": "4", "data.limit": "8", "evaluation.count": "1"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in torchvision's layout, so ImageNet's mean and deviation, 224 pixels, 0.875 of the shorter side."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "theirs.pth"
    torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), file)
    return file


@pytest.fixture
def photos(class_folder: Callable[..., Path]) -> Path:
    return class_folder([], {"ant": 8, "bee": 8})


def prepared(photos: Path, out: Path, recipe: str | Recipe | None = None, **changes: object) -> PreprocessSpec:
    plusx.train(photos, recipe=recipe, out=out, overrides={**FEW, **changes}, progress=False)
    card = read_card(out)
    shown = card.preprocess
    assert (shown.fit, shown.crop_fraction) == (card.recipe.preprocess.fit, card.recipe.preprocess.crop_fraction)
    assert shown.size == (card.recipe.preprocess.size,) * 2
    imagenets = shown.mean_CHW.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert imagenets == (card.recipe.preprocess.normalize == "weights") == any("prepared" in n for n in card.notes)
    return card.recipe.preprocess


def test_a_net_that_starts_from_weights_sees_images_as_they_did(weights: Path, photos: Path, tmp_path: Path) -> None:
    found = prepared(photos, tmp_path / "run", **{"net.weights": str(weights)})
    assert found == PreprocessSpec(224, "crop", 0.875, "bilinear", "weights")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"preprocess.size": "32"}, PreprocessSpec(32, "crop", 0.875, "bilinear", "weights")),
        (
            {"preprocess.size": "32", "preprocess.normalize": "channel"},
            PreprocessSpec(32, "crop", 0.875, "bilinear", "channel"),
        ),
        (
            {"preprocess.fit": "squash", "preprocess.size": "32", "preprocess.crop_fraction": "1"},
            PreprocessSpec(32, "squash", 1.0, "bilinear", "weights"),
        ),
    ],
)
def test_what_somebody_sets_stays(
    changes: dict[str, str], expected: PreprocessSpec, weights: Path, photos: Path, tmp_path: Path
) -> None:
    assert prepared(photos, tmp_path / "run", **{"net.weights": str(weights)}, **changes) == expected


def test_what_a_recipe_that_is_handed_over_says_stays(weights: Path, photos: Path, tmp_path: Path) -> None:
    mine = dataclasses.replace(
        folder(), net=NetSpec("resnet18", weights=str(weights)), preprocess=PreprocessSpec(size=32)
    )
    assert prepared(photos, tmp_path / "run", mine) == PreprocessSpec(32, "crop", 0.875, "bilinear", "weights")


def test_without_weights_a_recipe_is_as_it_is_written(photos: Path, tmp_path: Path) -> None:
    changes = {"preprocess.size": "32", "net.name": "resnet20"}
    assert prepared(photos, tmp_path / "run", **changes) == PreprocessSpec(size=32)


def test_weights_whose_normalisation_nobody_tells_are_not_asked_for_it(photos: Path, tmp_path: Path) -> None:
    changes = {"preprocess.size": "32", "net.name": "resnet20", "preprocess.normalize": "weights"}
    with pytest.raises(ValueError, match="preprocess.normalize is 'weights', but the net starts from random weights"):
        prepared(photos, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_images_in_memory_keep_their_size(weights: Path, tmp_path: Path) -> None:
    grey = tmp_path / "grey.pth"
    net = torchvision.models.resnet18(num_classes=10)
    net.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    torch.save(net.state_dict(), grey)
    changes = {**FEW, "net.name": "resnet18", "net.weights": str(grey)}
    plusx.train("digits", overrides=changes, out=tmp_path / "run", progress=False)
    card = read_card(tmp_path / "run")
    assert card.preprocess.size == (8, 8) and card.recipe.preprocess.normalize == "channel"  # three means fit no grey

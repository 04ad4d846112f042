"""Starting from weights: which net and recipe follow, what is fetched, and what is refused."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import plusx as api
from plusx.recipes import folder
from plusx.runs.store import read_card
from plusx.weights import published
from tests.cli.commands import plusx

TINY = ["--set", "preprocess.size=32", "--set", "batch_size=8"]


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a net that is no recipe's usual one."""
    from tests.conftest import save_image

    root = tmp_path_factory.mktemp("birds")
    for i in range(24):
        save_image(root / "photos" / ("jay", "owl", "tit")[i % 3] / f"{i}.png", seed=5000 + i, hue=i % 3)
    recipe = dataclasses.replace(folder(), steps=2, epochs=None, batch_size=8)
    overrides = {"net.name": "resnet20", "net.options.shortcut": "B", "preprocess.size": "24"}
    return api.train(root / "photos", recipe=recipe, overrides=overrides, out=root / "run", progress=False).run


@pytest.fixture
def photos(class_folder: Callable[..., Path]) -> Path:
    return class_folder([], {"ant": 20, "bee": 20})


def test_the_weights_decide_net_recipe_and_preprocessing(birds: Path, photos: Path, tmp_path: Path) -> None:
    done = plusx("train", photos, "--from", birds, "--set", "steps=2", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "run")
    assert (card.recipe.name, card.recipe.net.name, card.net_options["shortcut"]) == ("finetune", "resnet20", "B")
    assert card.preprocess.size == (24, 24) and card.class_names == ("ant", "bee")
    assert "random weights" not in done.stderr


def test_quick_fits_in_seconds_and_says_what_cross_validation_found(birds: Path, photos: Path, tmp_path: Path) -> None:
    done = plusx("train", photos, "--from", birds, "--quick", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "resnet20, its last layer fitted: " in done.stdout and "in cross-validation" in done.stdout
    assert "images/s" not in done.stdout
    theirs, ours = (api.load(run)[0].state_dict() for run in (birds, tmp_path / "run"))
    changed = {name for name in theirs if not torch.equal(theirs[name], ours[name])}
    assert changed == {"head.linear.weight", "head.linear.bias"}


def test_few_images_and_random_weights_are_advised_against(photos: Path, tmp_path: Path) -> None:
    settings = ["--set", "steps=1", *TINY]
    done = plusx("train", photos, *settings, "--out", tmp_path / "run")
    assert "resnet18 starts from random weights, and 31 images are few to learn from" in done.stderr
    assert "add --pretrained" in done.stderr
    own = plusx("train", photos, *settings, "--set", "net.name=resnet20", "--out", tmp_path / "own")
    assert "--pretrained" not in own.stderr  # nobody publishes weights of it


def test_pretrained_says_what_it_fetches_and_from_where(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def fetch(url: str, *args: object, **kwargs: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    done = plusx("train", photos, "--pretrained", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "fetching 45 MB from https://download.pytorch.org/models/resnet18-" in caplog.text
    assert "cannot download https://download.pytorch.org" in done.stderr and "no network here" in done.stderr
    assert not (tmp_path / "run").exists()


def test_weights_alone_open_no_connection(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    done = plusx("train", photos, "--from", "torchvision:IMAGENET1K_V1", "--out", tmp_path / "run")
    assert done.returncode == 2 and "are not in the cache" in done.stderr and "--download" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pretrained", "--from", "x"], "--pretrained and --from both name the weights to start from"),
        (["--quick"], "the net has no weights to start from: add --pretrained"),
        (["--quick", "--recipe", "folder"], "--quick is the recipe `quick`; leave out --recipe"),
        (["--recipe", "finetune"], "the net has no weights to start from: add --pretrained"),
        (["--pretrained", "--set", "net.name=resnet20"], "no published weights of resnet20 are known"),
        (["--from", "nowhere.pt"], "no such file: nowhere.pt"),
        (["--from", "timm/resnet18.no_such_tag"], "timm"),
        (["--pretrained", "--set", "net.weights=x.pt"], "net.weights is x.pt, but weights to start from are named"),
        (["--set", "net.freeze=stem,stage.1", *TINY], "no part of the net; did you mean 'stages.1'"),
        (["--set", "net.freeze_until=0"], "net.freeze_until is 0.0; it must be in (0, 1]"),
        (["--set", "optim.layer_decay=1.5"], "optim.layer_decay is 1.5; it must be in (0, 1]"),
        (["--set", "optim.head_lr=0"], "optim.head_lr is 0.0; it must be more than 0"),
    ],
)
def test_what_does_not_fit_is_one_sentence(arguments: list[str], said: str, photos: Path, tmp_path: Path) -> None:
    done = plusx("train", photos, *arguments, "--out", tmp_path / "run")
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert done.stderr.count("plusx: ") == 1 and not (tmp_path / "run").exists()


def test_weights_of_another_net_name_the_net(birds: Path, photos: Path, tmp_path: Path) -> None:
    done = plusx("train", photos, "--from", birds, "--set", "net.name=resnet32", "--out", tmp_path / "run")
    assert done.returncode == 2 and "are weights of resnet20, not of resnet32" in done.stderr


@pytest.mark.parametrize(
    ("net", "name"), [("resnet50", "torchvision:IMAGENET1K_V1"), ("vgg16", "torchvision:IMAGENET1K_V1")]
)
def test_the_published_weights_of_a_net(net: str, name: str) -> None:
    assert published.published_name(net) == name

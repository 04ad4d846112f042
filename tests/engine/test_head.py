"""The last layer, fitted: it says what logistic regression says of the features, and nothing else is touched."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from plusx.data.images import ImageSet
from plusx.data.preprocess import fit_preprocess
from plusx.data.sources import load_digits
from plusx.engine.head import features, fit_head, last_linear
from plusx.engine.training import train
from plusx.nets import build, names
from plusx.nets.net import Net
from plusx.placement.place import Placement
from plusx.recipes import digits
from plusx.recipes.data import DataSpec
from plusx.recipes.net import NetSpec
from plusx.runs.store import load_run

HERE = Placement("cpu", "channels_last", "fp32", 1)


def some_digits(count: int, classes: int = 10) -> ImageSet:
    images = load_digits()["train"]
    return images.take([i for i, label in enumerate(images.labels_N.tolist()) if label < classes][:count])


@pytest.mark.parametrize("classes", [2, 10])
def test_logits_are_those_of_logistic_regression(classes: int) -> None:
    torch.manual_seed(0)
    images = some_digits(120, classes)
    preprocess = fit_preprocess(images)
    net = build("resnet20", num_classes=classes, in_channels=1).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    x_NF = features(net, "head.linear", images, preprocess, HERE).double().numpy()
    fitted = fit_head(net, images, preprocess, HERE)
    after = net.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "head.linear.weight",
        "head.linear.bias",
    }
    scaled = (x_NF - x_NF.mean(0)) / x_NF.std(0)
    model = LogisticRegression(C=fitted.inverse_penalty, max_iter=200).fit(scaled, images.labels_N.numpy())
    assert images.pixels_NCHW is not None
    with torch.inference_mode():
        found = net(preprocess.normalise(images.pixels_NCHW)).double().softmax(1).numpy()
    np.testing.assert_allclose(found, model.predict_proba(scaled), atol=2e-3)
    assert fitted.cv_error is not None and 0 <= fitted.cv_error < 0.6 and fitted.folds == 5


def test_a_feature_that_never_changes_counts_for_nothing() -> None:
    images, net = some_digits(60), build("resnet20", num_classes=10, in_channels=1).eval()
    stage = net.get_submodule("stages.2.2")
    stage.register_forward_hook(lambda module, args, y: y.index_fill(1, torch.tensor([3]), 7.0))
    fit_head(net, images, fit_preprocess(images), HERE)
    linear = last_linear(net)[1]
    assert torch.isfinite(linear.weight).all() and (linear.weight[:, 3] == 0).all()


def test_a_class_of_one_image_forbids_cross_validation() -> None:
    images = some_digits(60)
    labels = images.labels_N.tolist()
    one = images.take([labels.index(0), *(i for i, label in enumerate(labels) if label)])
    net = build("resnet20", num_classes=10, in_channels=1).eval()
    fitted = fit_head(net, one, fit_preprocess(one), HERE)
    assert (fitted.cv_error, fitted.folds) == (None, 0)


@pytest.mark.more
def test_every_net_with_a_linear_end_is_recognised() -> None:
    for name in names():
        with torch.device("meta"):
            net = build(name)
        try:
            _, last = last_linear(net)
        except ValueError as fault:
            assert "this net ends with" in str(fault)
        else:
            *_, end = (module for module in net.get_submodule("head").modules() if not list(module.children()))
            assert last is end


def test_a_net_without_a_linear_end_is_refused() -> None:
    with pytest.raises(ValueError, match="this net ends with Conv2d"):
        last_linear(Net(nn.Identity(), nn.Identity(), nn.Conv2d(1, 2, 1)))


def test_weights_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the net has no weights to start from: add --pretrained"):
        train("digits", overrides={"net.fit_head": True}, out=tmp_path / "run")


def test_the_same_run_fits_the_same_layer_and_training_goes_on_from_it(digits_run: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        digits(),
        net=NetSpec("resnet20", fit_head=True),
        data=DataSpec(train="train[:100]", val="train[100:200]", limit=None),
        steps=0,
        epochs=None,
    )
    first, again = (train("digits", recipe=recipe, weights=digits_run, out=tmp_path / name) for name in "ab")
    weights = [load_run(each.run)[0].state_dict() for each in (first, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert first.card.results["fitted_head"]["folds"] == 5
    trained = train("digits", recipe=dataclasses.replace(recipe, steps=2), weights=digits_run, out=tmp_path / "c")
    assert trained.card.results["fitted_head"] == first.card.results["fitted_head"]

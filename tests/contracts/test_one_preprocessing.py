"""One image of an odd shape is one tensor: in training, evaluation, views, prediction and after the card was read."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import plusx
from plusx.data.batches import Augmentation, EvalBatches, TrainBatches
from plusx.data.preprocess import Preprocess
from plusx.data.sources import load_source
from plusx.data.views import ViewBatches, Views
from plusx.deploy.predictor import Predictor
from plusx.engine import head
from plusx.placement.inference.eager import Eager
from plusx.runs.images import images_of
from plusx.runs.store import read_card
from tests.conftest import save_image


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_the_tensor_of_an_image_is_the_same_on_every_path(
    tmp_path: Path, fit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "photos"
    for number in range(12):
        save_image(root / "ab"[number % 2] / f"{number}.png", seed=number, size=(97, 41 + 3 * number))
    overrides = {"net.name": "resnet20", "preprocess.size": 32, "preprocess.fit": fit, "steps": 2, "augment": ()}
    run = plusx.train(root, overrides=overrides, out=tmp_path / "run", progress=False).run
    card = read_card(run)
    assert card.recipe.preprocess.fit == card.preprocess.fit == fit
    images = images_of(run, card, split="train").images
    assert images.files is not None
    expected = torch.stack([card.preprocess.normalise(card.preprocess.pixels(f)[None])[0] for f in images.files])

    seen: dict[str, Tensor] = {}
    batches = TrainBatches(images, card.preprocess, Augmentation(), len(images), seed=0)
    seen["training"] = batches[0][0][torch.tensor(batches.visits.order(0)).argsort()]
    seen["evaluation"] = EvalBatches(images, card.preprocess, len(images))[0][0]
    ((_, seen["views"]),) = ViewBatches(images, card.preprocess, Views(), len(images))[0]
    again = Preprocess.from_dict(json.loads((run / "card.json").read_text())["preprocess"])
    seen["card"] = torch.stack([again.normalise(again.pixels(file)[None])[0] for file in images.files])
    with Predictor(run) as predictor:
        met: list[Tensor] = []
        monkeypatch.setattr(predictor, "_forward", lambda x_BCHW: met.append(x_BCHW) or torch.zeros(len(x_BCHW), 2))
        for file in images.files:
            predictor.predict(file)
        seen["prediction"] = torch.cat(met)
    for path, x_BCHW in seen.items():
        assert torch.equal(x_BCHW, expected), path
    with pytest.MonkeyPatch.context() as patch:  # the last layer is fitted to the same
        patch.setattr(Eager, "__call__", lambda self, x_BCHW: x_BCHW.flatten(1))
        patch.setattr(head, "freeze", lambda body, precision: lambda x_BCHW: x_BCHW.flatten(1))
        net, _ = plusx.load(run)
        from plusx.placement.place import Placement

        features = head.features(net, "head.linear", images, card.preprocess, Placement.from_dict(card.placement))
    assert torch.equal(features, expected.flatten(1))
    assert load_source(str(root)).fingerprint == card.source["fingerprint"]

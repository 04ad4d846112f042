"""The loop: what it computes, what it keeps, where it stops."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from plusx.data.augment import make_augmentation, random_crop
from plusx.data.batches import EvalBatches, TrainBatches
from plusx.data.images import ImageSet, epoch_order
from plusx.data.preprocess import fit_preprocess
from plusx.data.randomness import derive_seed, generator
from plusx.data.sources import Source, load_source
from plusx.engine.events import StoppedError
from plusx.engine.step import Step
from plusx.engine.training import resume, train
from plusx.nets import build, catalog, entry
from plusx.nets.airbench import whitening_filters
from plusx.placement.place import Placement
from plusx.recipes import RECIPES, digits, digits_degradation, folder
from plusx.recipes.augment import (
    Augment,
    ColorNoise,
    CutMix,
    FlipLR,
    MixUp,
    Progressive,
    RandomCrop,
    RandomErasing,
)
from plusx.recipes.codec import from_dict as recipe_from_dict
from plusx.recipes.data import DataSpec, PreprocessSpec
from plusx.recipes.evaluation import Evaluation
from plusx.recipes.net import NetSpec
from plusx.recipes.optim import SGD, AdamW, Averaging, Muon
from plusx.recipes.schedule import Linear, Plateau
from plusx.runs.metrics import read_metrics
from plusx.runs.store import load_run, read_card

SMALL = dataclasses.replace(
    digits(),
    steps=8,
    epochs=None,
    batch_size=32,
    data=DataSpec(train="train[:200]", val="train[200:300]", limit=None),
    evaluation=Evaluation(count=4, splits=("val",), keep="best"),
    log_every=2,
)


def test_the_loop_equals_a_loop_written_by_hand(tmp_path: Path) -> None:
    # A small rate: at 0.1 rounding alone, magnified by batch norm, drives two right loops apart within eight steps.
    recipe = dataclasses.replace(
        SMALL,
        optim=SGD(lr=0.02, momentum=0.9, weight_decay=1e-3, nesterov=True),
        schedule=Linear(),
        augment=(RandomCrop(1),),
    )
    recipe = dataclasses.replace(recipe, evaluation=Evaluation(count=1, splits=("val",), keep="last"))
    net, card = load_run(train("digits", recipe=recipe, out=tmp_path / "run").run)

    images = load_source("digits").splits["train"].take(range(200))
    preprocess = fit_preprocess(images)
    torch.manual_seed(derive_seed(0, "init"))
    reference = build("resnet20", num_classes=10, in_channels=1).train()
    velocity = {name: torch.zeros_like(p) for name, p in reference.named_parameters()}
    stream = torch.cat([epoch_order(200, seed=0, epoch=e) for e in range(3)])
    assert images.pixels_NCHW is not None
    for step in range(8):
        index = stream[32 * step : 32 * step + 32]
        x = random_crop(preprocess.normalise(images.pixels_NCHW[index]), pad=1, generator=generator(0, "augment", step))
        reference.zero_grad()
        loss = nn.functional.cross_entropy(reference(x), images.labels_N[index], label_smoothing=0.1)
        loss.backward()
        with torch.no_grad():
            for name, p in reference.named_parameters():
                g = p.grad + 1e-3 * p
                velocity[name] = 0.9 * velocity[name] + g
                p -= 0.02 * (1 - step / 8) * (g + 0.9 * velocity[name])
    for (name, ours), theirs in zip(net.state_dict().items(), reference.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=5e-4, msg=name)
    assert card.results["steps"] == 8


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path: Path) -> None:
    weights = [
        (train("digits", recipe=SMALL, seed=seed, out=tmp_path / name).run / "weights.safetensors").read_bytes()
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert weights[0] == weights[1] != weights[2]


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train("digits", recipe=SMALL, out=tmp_path / "run")
    assert torch.equal(before, torch.get_rng_state())


def test_the_best_weights_are_those_of_the_lowest_validation_error(tmp_path: Path) -> None:
    # A rate that ruins the net towards the end, so that the last weights are not the best.
    recipe = dataclasses.replace(SMALL, steps=24, evaluation=Evaluation(count=8, splits=("val", "test"), keep="best"))
    run = train("digits", recipe=recipe, overrides={"optim.lr": "1.5", "schedule": "Constant"}, out=tmp_path / "r").run
    errors = {r["step"]: r["value"] for r in read_metrics(run) if r["name"] == "val_error"}
    results = read_card(run).results
    assert results["kept_step"] == min(errors, key=lambda step: (errors[step], step))
    assert results["val_error"] == min(errors.values())


def test_test_images_are_not_looked_at_before_the_end_unless_asked(tmp_path: Path) -> None:
    trained = train("digits", recipe=SMALL, out=tmp_path / "run")
    assert not any(r["name"].startswith("test") for r in read_metrics(trained.run))
    assert 0 < trained.card.results["test_error"] < 1
    assert trained.card.results["test_accuracy"] == 1 - trained.card.results["test_error"]


def test_evaluations_are_evenly_spaced_and_the_last_is_at_the_end(tmp_path: Path) -> None:
    run = train("digits", recipe=SMALL, out=tmp_path / "run", overrides={"steps": "10", "evaluation.count": "4"}).run
    assert [r["step"] for r in read_metrics(run) if r["name"] == "val_error"] == [3, 5, 8, 10]
    assert [r["step"] for r in read_metrics(run) if r["name"] == "batch_loss"] == [2, 4, 6, 8, 10]


def test_a_plateau_lowers_the_rate(tmp_path: Path) -> None:
    recipe = dataclasses.replace(SMALL, schedule=Plateau(patience=1, factor=0.1), steps=12, log_every=1)
    recipe = dataclasses.replace(recipe, evaluation=Evaluation(count=12, splits=("val",)), optim=SGD(lr=1e-9))
    run = train("digits", recipe=recipe, out=tmp_path / "run").run
    rates = [r["value"] for r in read_metrics(run) if r["name"] == "lr"]
    assert rates[0] == rates[1] == 1e-9 and rates[2] == pytest.approx(1e-10) and rates[-1] < 1e-14


def test_a_plateau_without_validation_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Plateau, which watches the validation error; set data.val"):
        train("digits", recipe=SMALL, overrides={"schedule": "Plateau", "data.val": "none"}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_adamw_trains(tmp_path: Path) -> None:
    recipe = dataclasses.replace(SMALL, optim=AdamW(lr=3e-3), steps=30)
    results = train("digits", recipe=recipe, out=tmp_path / "run").card.results
    assert results["val_error"] < 0.6


FAST = dataclasses.replace(
    SMALL,
    net=NetSpec("res_airbench94", {"first_width": 6, "width": 8}),
    preprocess=PreprocessSpec(size=16),
    data=DataSpec(train="train", val="val", test=None),
    augment=(FlipLR(alternate=True), RandomCrop(2, mode="reflect")),
    optim=Muon(lr=0.1, weight_decay=1e-3),
    averaging=Averaging(decay=0.6, every=2),
    progressive=Progressive(scale=0.75, until=0.6),
    evaluation=Evaluation(count=4, keep="best", flip=True),
    batch_size=8,
    save_seconds=0,
)
"""All that fast recipes are made of, on eight steps."""


@pytest.mark.parametrize("stop_at", [1, 3, 6])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_fast_recipe_resumes_to_the_same_bits(
    keep: str, stop_at: int, class_folder: Callable[..., Path], tmp_path: Path
) -> None:
    photos, changes = class_folder(["train", "val"], {"ant": 12, "bee": 12}), {"evaluation.keep": keep}
    straight = train(photos, recipe=FAST, overrides=changes, out=tmp_path / "straight").run
    steps = iter(range(1, 9))
    with pytest.raises(StoppedError):
        train(photos, recipe=FAST, overrides=changes, out=tmp_path / "run", should_stop=lambda: next(steps) == stop_at)
    resumed = resume(tmp_path / "run").run
    assert (resumed / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()
    values = [[(r["step"], r["name"], r["value"]) for r in read_metrics(run)] for run in (straight, resumed)]
    assert values[0] == values[1]


def test_a_run_killed_before_its_first_resume_point_fits_the_stem_again(
    class_folder: Callable[..., Path], tmp_path: Path
) -> None:
    photos = class_folder(["train", "val"], {"ant": 12, "bee": 12})
    straight = train(photos, recipe=FAST, out=tmp_path / "straight").run
    with pytest.raises(StoppedError):
        train(photos, recipe=FAST, out=tmp_path / "run", should_stop=lambda: True)
    shutil.rmtree(tmp_path / "run" / "state")
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    assert (resume(tmp_path / "run").run / "weights.safetensors").read_bytes() == (
        straight / "weights.safetensors"
    ).read_bytes()


def test_a_stem_is_fitted_to_the_training_images_and_stays(class_folder: Callable[..., Path], tmp_path: Path) -> None:
    photos = class_folder(["train", "val"], {"ant": 12, "bee": 12})
    net, card = load_run(train(photos, recipe=FAST, out=tmp_path / "run").run)
    files = sorted((photos / "train").rglob("*.png"))
    x = card.preprocess.normalise(torch.stack([card.preprocess.pixels(file) for file in files]))
    torch.testing.assert_close(net.get_parameter("stem.conv.weight")[:12], whitening_filters(x))


def test_somebodys_weights_keep_their_stem(class_folder: Callable[..., Path], tmp_path: Path) -> None:
    photos = class_folder(["train", "val"], {"ant": 12, "bee": 12})
    build_options = {"num_classes": 2, "first_width": 6, "width": 8}
    start = build("res_airbench94", **build_options)
    save_file(start.state_dict(), tmp_path / "start.safetensors")
    net, _ = load_run(
        train(
            photos, recipe=FAST, overrides={"net.weights": str(tmp_path / "start.safetensors")}, out=tmp_path / "run"
        ).run
    )
    assert torch.equal(net.get_parameter("stem.conv.weight"), start.get_parameter("stem.conv.weight"))


def test_the_average_equals_one_taken_by_hand(tmp_path: Path) -> None:
    one = dataclasses.replace(SMALL, evaluation=Evaluation(count=1, keep="last"), save_seconds=0)
    seen: list[dict[str, torch.Tensor]] = []

    step = Step.__call__

    def watching(self: Step, batch: Any, rate: float) -> torch.Tensor:
        loss = step(self, batch, rate)
        seen.append({name: t.clone() for name, t in self.net.state_dict().items()})
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "__call__", watching)
        averaged = dataclasses.replace(one, averaging=Averaging(decay=0.6, every=2))
        net, card = load_run(train("digits", recipe=averaged, out=tmp_path / "averaged").run)
    first, second, third, fourth = seen[1::2]
    for name, value in net.state_dict().items():
        if not value.is_floating_point():
            assert value == 8
            continue
        mean = (first[name] + second[name]) / 2  # plain means until 1 - 1 / n exceeds the decay, at the third
        by_hand = 0.6 * (0.6 * mean + 0.4 * third[name]) + 0.4 * fourth[name]
        torch.testing.assert_close(value, by_hand, rtol=1e-4, atol=1e-5, msg=name)
    last, _ = load_run(train("digits", recipe=one, out=tmp_path / "last").run)
    for name, value in last.state_dict().items():
        assert torch.equal(value, seen[-1][name]), name  # averaging does not touch the training
    found = next(r["value"] for r in read_metrics(tmp_path / "averaged") if r["name"] == "val_loss")
    assert found == card.results["val_loss"] != read_card(tmp_path / "last").results["val_loss"]


def test_a_net_that_cannot_take_the_smaller_images_is_refused_before_a_run_is_made(
    perceptron: str, tmp_path: Path
) -> None:
    changes = {"net.name": perceptron, "progressive": "Progressive"}
    with pytest.raises(ValueError, match="perceptron does not take images of 1 x 6 x 6"):
        train("digits", recipe=SMALL, overrides=changes, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_border_that_cannot_be_reflected_is_refused_before_a_run_is_made(tmp_path: Path) -> None:
    recipe = dataclasses.replace(SMALL, augment=(RandomCrop(8, mode="reflect"),))
    with pytest.raises(ValueError, match="RandomCrop.pad is 8; images of 8 pixels reflect 7 at most"):
        train("digits", recipe=recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("optim", ["SGD", "Adam", "Adagrad", "Adadelta", "RMSprop"])
def test_every_optimizer_resumes_to_the_same_bits(optim: str, tmp_path: Path) -> None:
    changes = {"optim": optim, "optim.decay": "weights", "optim.weight_decay": "1e-3", "penalty.l1": "1e-5"}
    straight = train("digits", recipe=SMALL, overrides=changes, out=tmp_path / "straight").run
    answers = iter([False, False, False, True])
    with pytest.raises(StoppedError):
        train("digits", recipe=SMALL, overrides=changes, out=tmp_path / "run", should_stop=lambda: next(answers))
    resumed = resume(tmp_path / "run").run
    assert (resumed / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()


def test_a_penalty_shrinks_weights_and_leaves_the_first_reported_loss_alone(tmp_path: Path) -> None:
    recipe = dataclasses.replace(SMALL, log_every=1, evaluation=Evaluation(count=1, keep="last"), optim=SGD(lr=0.02))
    losses, sizes = [], []
    for l1 in ("0", "0.05"):
        run = train("digits", recipe=recipe, overrides={"penalty.l1": l1}, out=tmp_path / l1).run
        losses.append(next(r["value"] for r in read_metrics(run) if r["name"] == "batch_loss"))
        sizes.append(sum(p.abs().sum().item() for p in load_run(run)[0].parameters() if p.ndim >= 2))
    assert losses[0] == losses[1] and sizes[1] < 0.9 * sizes[0]


def test_starting_weights_are_taken_over(tmp_path: Path, digits_run: Path) -> None:
    recipe = dataclasses.replace(digits(), steps=1, epochs=None, optim=SGD(lr=1e-9), seed=9)
    start = str(digits_run / "weights.safetensors")
    results = train("digits", recipe=recipe, overrides={"net.weights": start}, out=tmp_path / "run").card.results
    assert abs(results["test_error"] - read_card(digits_run).results["test_error"]) < 0.1


def test_a_loss_that_is_not_finite_stops_the_run_with_the_step_and_the_rate(tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match=r"the loss is (nan|inf) at step \d+ with learning rate 1e\+20; try a lower"):
        train("digits", recipe=SMALL, overrides={"optim.lr": "1e20", "schedule": "Constant"}, out=tmp_path / "run")


def test_a_run_can_be_asked_to_stop_and_then_goes_on(tmp_path: Path) -> None:
    answers = iter([False, False, True])
    with pytest.raises(StoppedError, match="stopped at step 3 of 8; resume with: plusx train --resume"):
        train("digits", recipe=SMALL, out=tmp_path / "run", should_stop=lambda: next(answers))
    assert [p.name for p in (tmp_path / "run" / "state").iterdir()] == ["step-00000003"]


def test_an_existing_directory_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ValueError, match="exists; choose another --out"):
        train("digits", recipe=SMALL, out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_typos_stop_before_any_data_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'optim.lr'"):
        train("/no/such/folder", overrides={"optim.lrr": "1"}, out=tmp_path / "run")
    with pytest.raises(ValueError, match="unknown net 'resnet2O'"):
        train("/no/such/folder", overrides={"net.name": "resnet2O"}, out=tmp_path / "run")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(ValueError, match="exists; choose another --out"):
        train("/no/such/folder", out=tmp_path / "taken")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_class_folder_trains_and_keeps_its_preprocessing(
    class_folder: Callable[..., Path], tmp_path: Path, workers: str
) -> None:
    root = class_folder([], {"ant": 12, "bee": 12})
    recipe = RECIPES["folder"]().smoke()
    trained = train(root, recipe=recipe, out=tmp_path / "run", overrides={"data.workers": workers})
    card = json.loads((trained.run / "card.json").read_text())
    assert card["class_names"] == ["ant", "bee"] and card["preprocess"]["size"] == [64, 64]
    assert card["source"]["name"] == str(root.resolve())
    assert 0 <= card["results"]["val_error"] <= 1 and "test_error" not in card["results"]


def test_the_demo_recipe_differs_between_nets_in_the_net_only() -> None:
    plain, residual = digits_degradation("plain56"), digits_degradation("resnet56")
    assert dataclasses.replace(plain, net=residual.net) == residual


def test_a_random_resized_crop_of_small_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="RandomResizedCrop, which is for image files"):
        train("digits", overrides={"augment": "RandomResizedCrop"}, out=tmp_path / "run")


def test_colour_noise_of_grey_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="augment has ColorNoise, which is for RGB; channels of these images: 1"):
        train("digits", overrides={"augment": "RandomCrop,ColorNoise"}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_colour_noise_changes_what_a_net_learns(class_folder: Callable[..., Path], tmp_path: Path) -> None:
    root, recipe = class_folder([], {"ant": 12, "bee": 12}), RECIPES["folder"]().smoke()
    small = {"net.name": "resnet20", "preprocess.size": "16"}
    weights = [
        train(root, recipe=recipe, out=tmp_path / name, overrides={**small, "augment": augment}).run
        / "weights.safetensors"
        for name, augment in (("a", "FlipLR"), ("b", "FlipLR,ColorNoise"), ("c", "FlipLR,ColorNoise"))
    ]
    assert weights[0].read_bytes() != weights[1].read_bytes() == weights[2].read_bytes()


@pytest.mark.parametrize("kind", get_args(Augment), ids=lambda kind: kind.__name__)
def test_every_augmentation_trains_on_files(kind: type, class_folder: Callable[..., Path], tmp_path: Path) -> None:
    root, recipe = class_folder([], {"ant": 12, "bee": 12}), RECIPES["folder"]().smoke()
    changes = {"net.name": "resnet20", "preprocess.size": "16", "augment": kind.__name__}
    card = train(root, recipe=recipe, overrides=changes, out=tmp_path / "run").card
    assert card.recipe.augment == (kind(),) and card.results["steps"] == 6


def test_augmentations_train_on_grey_images_in_memory_and_resume_to_the_same_bits(tmp_path: Path) -> None:
    changes = {
        "augment": "RandomCrop,RandAugment,TrivialAugment,ColorJitter,RandomErasing,MixUp,CutMix",
        "augment.ColorJitter.saturation": 0,
        "augment.RandomErasing.fill": "noise",
        "augment.MixUp.alpha": 1.0,
        "save_seconds": 0,
    }
    straight = train("digits", recipe=SMALL, overrides=changes, out=tmp_path / "straight").run
    steps = iter(range(1, 9))
    with pytest.raises(StoppedError):
        train("digits", recipe=SMALL, overrides=changes, out=tmp_path / "run", should_stop=lambda: next(steps) == 3)
    torch.rand(5)  # nothing hangs on the global generator
    resumed = resume(tmp_path / "run").run
    assert (resumed / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()
    other = train("digits", recipe=SMALL, overrides={**changes, "data.workers": 2}, out=tmp_path / "workers").run
    assert (other / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()
    plain = train("digits", recipe=SMALL, overrides={"augment": ""}, out=tmp_path / "plain").run
    assert (plain / "weights.safetensors").read_bytes() != (straight / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "ColorJitter.saturation is 0.4; grey images have none: set it to 0"),
        ({"saturation": 0, "hue": 0.1}, "ColorJitter.hue is 0.1; grey images have none: set it to 0"),
    ],
)
def test_colours_of_grey_images_cannot_be_jittered(changes: dict[str, float], sentence: str, tmp_path: Path) -> None:
    each = {f"augment.ColorJitter.{name}": value for name, value in changes.items()}
    with pytest.raises(ValueError, match=sentence):
        train("digits", overrides={"augment": "ColorJitter", **each}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["RandAugment", "TrivialAugment", "ColorJitter"])
def test_pixels_that_are_neither_grey_nor_rgb_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ImageSet(torch.arange(300) % 2, ("a", "b"), torch.randint(0, 256, (300, 2, 8, 8), dtype=torch.uint8))
    two = Source("two", {"train": images, "test": images}, fingerprint="")
    monkeypatch.setattr("plusx.engine.plan.load_source", lambda *args, **options: two)
    with pytest.raises(ValueError, match=f"augment has {name}, which is for grey and RGB images; channels .*: 2"):
        train("digits", recipe=SMALL, overrides={"augment": name}, out=tmp_path / "run")


class Perceptron(nn.Sequential):
    """A net whose weights depend on the size of its input."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> None:
        super().__init__(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))


@pytest.fixture
def perceptron(monkeypatch: pytest.MonkeyPatch) -> str:
    known = dataclasses.replace(entry("resnet20"), name="perceptron", builder=Perceptron)
    monkeypatch.setitem(catalog._ENTRIES, "perceptron", known)
    return "perceptron"


def test_a_net_that_depends_on_the_images_size_is_told_it(perceptron: str, tmp_path: Path) -> None:
    card = train("digits", recipe=SMALL, overrides={"net.name": perceptron}, out=tmp_path / "run").card
    assert card.net_options == {"num_classes": 10, "in_channels": 1, "image_size": 8}
    assert "image_size" not in train("digits", recipe=SMALL, out=tmp_path / "other").card.net_options


def test_such_a_net_takes_square_images_only(perceptron: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = ImageSet(torch.arange(300) % 2, ("a", "b"), torch.randint(0, 256, (300, 1, 8, 6), dtype=torch.uint8))
    oblong = Source("oblong", {"train": images, "test": images}, fingerprint="")
    monkeypatch.setattr("plusx.engine.plan.load_source", lambda *args, **options: oblong)
    with pytest.raises(ValueError, match="perceptron takes square images; these are 8 x 6"):
        train("digits", recipe=SMALL, overrides={"net.name": perceptron}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_net_that_cannot_take_the_images_is_refused_before_a_run_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpadded(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
        return nn.Sequential(nn.Conv2d(in_channels, 4, 11), nn.Flatten(), nn.Linear(4, num_classes))

    known = dataclasses.replace(entry("resnet20"), name="unpadded", builder=unpadded)
    monkeypatch.setitem(catalog._ENTRIES, "unpadded", known)
    with pytest.raises(ValueError, match="unpadded does not take images of 1 x 8 x 8"):
        train("digits", recipe=SMALL, overrides={"net.name": "unpadded"}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_recipe_is_what_the_card_says(tmp_path: Path) -> None:
    run = train("digits", recipe=SMALL, out=tmp_path / "run", overrides={"optim.lr": "0.07"}).run
    written = recipe_from_dict(json.loads((run / "card.json").read_text())["recipe"])
    assert written == dataclasses.replace(SMALL, optim=dataclasses.replace(SMALL.optim, lr=0.07))


def test_blocks_that_are_left_out_of_first_steps_train_later(tmp_path: Path) -> None:
    options = {
        "net.options.survival": "0.05",
        "net.options.survival_decays": "false",
        "steps": "12",
        "data.limit": "32",
    }
    run = train("digits", overrides=options, out=tmp_path / "run").run
    began = train("digits", overrides={**options, "steps": "0"}, out=tmp_path / "began").run
    first, last = (load_file(r / "weights.safetensors") for r in (began, run))
    moved = [not torch.equal(first[name], last[name]) for name in first if name.endswith("conv1.conv.weight")]
    assert any(moved)  # of nine blocks, each with a chance of 0.54


@pytest.mark.parametrize("by", ["resize", "crop"])
def test_batches_are_made_on_the_device_that_holds_the_images(by: Literal["resize", "crop"]) -> None:
    images = ImageSet(torch.zeros(8, dtype=torch.int64), ("a",), torch.zeros(8, 3, 16, 16, dtype=torch.uint8))
    preprocess = fit_preprocess(images)
    images, preprocess = images.to("meta"), preprocess.to("meta")  # meets no tensor of another device
    augment = (FlipLR(alternate=True), RandomCrop(pad=2, mode="reflect"), RandomCrop(pad=2), FlipLR(), ColorNoise())
    augmentation = make_augmentation(augment, preprocess, Progressive(by=by, until=0.5))
    batches = TrainBatches(images, preprocess, augmentation, 4, seed=0).planned(lambda share: round(4 * share))
    for x_BCHW, labels_B in batches.steps(0, 2, workers=2):
        assert x_BCHW.is_meta and labels_B.is_meta and x_BCHW.shape == (4, 3, 12, 12)
    augmentation = make_augmentation((RandomErasing(fill="noise"), MixUp(), CutMix()), preprocess)
    for x_BCHW, shares_BK in TrainBatches(images, preprocess, augmentation, 4, seed=0).steps(0, 4):
        assert x_BCHW.is_meta and shares_BK.is_meta and shares_BK.shape == (4, 1)
    assert all(x_BCHW.is_meta for x_BCHW, _ in EvalBatches(images, preprocess, 4, workers=2))


@pytest.mark.parametrize(("option", "asked", "is_"), [("num_classes", 7, 10), ("in_channels", 3, 1)])
def test_what_the_data_decides_cannot_be_set_otherwise(option: str, asked: int, is_: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"net.options.{option} is {asked}, but the data decides it: here it is {is_}"):
        train("digits", recipe=SMALL, overrides={f"net.options.{option}": asked}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_image_files_are_normalised_where_they_are_read(
    class_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Placement, "holds", lambda self, size: pytest.fail("nothing is in memory to be held"))
    recipe = dataclasses.replace(folder().smoke(), batch_size=8)
    overrides = {"net.name": "resnet20", "preprocess.size": "16"}
    made = train(class_folder([], {"ant": 9, "bee": 9}), recipe=recipe, overrides=overrides, out=tmp_path / "run")
    assert made.card.status == "finished" and 0 < made.card.results["data_share"] <= 1

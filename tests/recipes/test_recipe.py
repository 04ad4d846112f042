"""Recipes: frozen, whole, overridable by one option, and never by a typo."""

import dataclasses
import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.recipes import RECIPES, Recipe, digits, digits_degradation, override, override_all, recipe_for
from plusx.recipes import settings as list_settings
from plusx.recipes.augment import (
    Augment,
    ColorJitter,
    ColorNoise,
    CutMix,
    FlipLR,
    MixUp,
    Progressive,
    RandAugment,
    RandomCrop,
    RandomErasing,
    TrivialAugment,
)
from plusx.recipes.cifar10 import cifar10_94, cifar10_paper, cifar10_paper_110, cifar10_resnet20_fast
from plusx.recipes.codec import from_dict as recipe_from_dict
from plusx.recipes.codec import to_dict as recipe_to_dict
from plusx.recipes.loss import CrossEntropy
from plusx.recipes.net import NetSpec
from plusx.recipes.optim import SGD, Adadelta, Adagrad, Adam, AdamW, Averaging, Lamb, Muon, Optim, Penalty, RMSprop
from plusx.recipes.schedule import Cosine, Plateau
from plusx.recipes.text import as_text

ALL = [make() for make in RECIPES.values()] + [digits_degradation("plain20")]


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: r.name)
def test_json_keeps_a_recipe(recipe: Recipe) -> None:
    assert recipe_from_dict(json.loads(json.dumps(recipe_to_dict(recipe)))) == recipe


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: r.name)
def test_a_recipe_cannot_be_changed_in_place(recipe: Recipe) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1  # type: ignore[misc]


def leaves(part: object, prefix: str = "") -> list[str]:
    assert dataclasses.is_dataclass(part)
    keys = []
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        keys += leaves(value, f"{prefix}{field.name}.") if dataclasses.is_dataclass(value) else [prefix + field.name]
    return keys


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: r.name)
def test_any_one_misspelt_key_is_refused_with_the_right_one(recipe: Recipe) -> None:
    for key in leaves(recipe):
        with pytest.raises(ValueError, match=f"unknown key '{key}x'; did you mean '{key}'"):
            override(recipe, key + "x", "1")


def fields_of(part: object, prefix: str = "") -> Iterator[tuple[str, object, object]]:
    """Key, annotation and value of every field, of every part and of every augmentation."""
    assert dataclasses.is_dataclass(part)
    hints = typing.get_type_hints(type(part))
    for field in dataclasses.fields(part):
        key, value = prefix + field.name, getattr(part, field.name)
        yield key, hints[field.name], value
        if dataclasses.is_dataclass(value):
            yield from fields_of(value, f"{key}.")
        for item in value if isinstance(value, tuple) else ():
            if dataclasses.is_dataclass(item):
                yield from fields_of(item, f"{key}.{type(item).__name__}.")


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of an annotated type that can be written as text, fit or not."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values_of, arguments))
    if dataclasses.is_dataclass(hint):
        return st.just(hint()) if hint is not NetSpec else st.nothing()
    simple: dict[Any, st.SearchStrategy[Any]] = {
        type(None): st.none(),
        bool: st.booleans(),
        int: st.integers(0, 9),
        float: st.one_of(st.floats(0, 1), st.integers(0, 2)),
        str: st.sampled_from(["train", "val", "train[:9]"]),
    }
    return simple.get(hint, st.nothing())


FIELDS = [(recipe, key, hint) for recipe in ALL for key, hint, _ in fields_of(recipe) if not values_of(hint).is_empty]


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_value_and_its_text_change_a_recipe_alike(data: st.DataObject) -> None:
    recipe, key, hint = data.draw(st.sampled_from(FIELDS))
    value = data.draw(values_of(hint))

    def changed(given: object) -> Recipe | str:
        try:
            return override(recipe, key, given)
        except ValueError as fault:  # a number out of range, steps and epochs both none
            return str(fault)

    assert changed(value) == changed(as_text(value))


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: r.name)
def test_a_recipe_overridden_with_its_own_values_is_itself(recipe: Recipe) -> None:
    for key, _, value in fields_of(recipe):
        assert override(recipe, key, value) == recipe, key


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("epochs", 3, lambda r: r.epochs == 3.0 and isinstance(r.epochs, float) and r.steps is None),
        ("optim.lr", np.float32(0.5), lambda r: type(r.optim.lr) is float and r.optim.lr == 0.5),
        ("batch_size", np.int64(8), lambda r: type(r.batch_size) is int and r.batch_size == 8),
        ("seed", np.int64(3), lambda r: type(r.seed) is int and r.seed == 3),
        ("data.val", None, lambda r: r.data.val is None),
        ("placement.compile", True, lambda r: r.placement.compile is True),
        ("optim", AdamW(lr=1e-3), lambda r: r.optim == AdamW(lr=1e-3)),
        ("net", NetSpec("resnet56"), lambda r: r.net.name == "resnet56"),
        ("net.weights", Path("a") / "b.pt", lambda r: r.net.weights == str(Path("a") / "b.pt")),
        ("net.options", {"shortcut": "B", "survival": "0.5"}, lambda r: r.net.options["survival"] == 0.5),
        ("net.options.depths", (2, 2), lambda r: r.net.options == {"depths": [2, 2]}),
        ("augment", (RandomCrop(pad=2), FlipLR()), lambda r: r.augment == (RandomCrop(pad=2), FlipLR())),
        ("augment", ["FlipLR", RandomCrop(pad=1)], lambda r: r.augment == (FlipLR(), RandomCrop(pad=1))),
        ("evaluation.splits", ["val"], lambda r: r.evaluation.splits == ("val",)),
    ],
)
def test_a_value_of_the_fields_own_type_is_taken(key: str, value: object, read: Callable[[Recipe], bool]) -> None:
    changed = override(RECIPES["cifar10-quick"](), key, value)
    assert read(changed)
    assert recipe_from_dict(json.loads(json.dumps(recipe_to_dict(changed)))) == changed


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("batch_size", True, "batch_size is True; it must be a whole number"),
        ("batch_size", 2.5, "batch_size is 2.5; it must be a whole number"),
        ("optim.lr", float("nan"), "optim.lr is nan; it must be a finite number"),
        ("optim.lr", None, "optim.lr is None; it must be a finite number"),
        ("epochs", [3], "epochs is [3]; it must be a finite number or ByImages or None"),
        ("placement.compile", 1, "placement.compile is 1; it must be True or False"),
        ("data.val", 5, "data.val is 5; it must be a text or None"),
        ("optim", RandomCrop(), "it must be SGD or AdamW or Adam"),
        ("optim", AdamW, "it must be SGD or AdamW or Adam"),
        ("augment", RandomCrop(), "it must be a tuple, each RandomCrop or FlipLR"),
        ("augment", (RandomCrop(), 3), "augment is 3; it must be RandomCrop or FlipLR"),
        ("evaluation.keep", 1, "evaluation.keep is 1; it must be one of best, last"),
        ("net.options.shortcut", object, "it must be a number, a text, true, false or a list of these"),
        ("net.options", 3, "it must be a mapping of options"),
    ],
)
def test_a_value_of_another_type_is_one_sentence(key: str, value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        override(RECIPES["cifar10-quick"](), key, value)


@pytest.mark.parametrize("changes", [{"optim.lr": 0.5, "optim": "AdamW"}, {"optim": AdamW(), "optim.lr": "0.5"}])
def test_a_field_of_a_part_is_kept_whatever_the_order(changes: Mapping[str, object]) -> None:
    assert override_all(RECIPES["digits"](), changes).optim == AdamW(lr=0.5)


def test_the_paper_recipe_is_that_of_section_4_2() -> None:
    r = cifar10_paper()
    assert (r.steps, r.batch_size, r.optim) == (64_000, 128, SGD(lr=0.1, momentum=0.9, weight_decay=1e-4))
    assert (r.augment, r.preprocess.normalize) == ((RandomCrop(pad=4), FlipLR()), "pixel-mean")
    assert (r.data.train, r.data.val, r.loss.label_smoothing) == ("train[:45000]", "train[45000:]", 0.0)
    assert r.total_steps(45_000) * r.batch_size / 45_000 == pytest.approx(182.0, abs=0.05)
    warm = cifar10_paper_110()
    assert warm.warmup is not None and warm.warmup.fraction * 64_000 == 400 and warm.net.name == "resnet110"


@pytest.mark.parametrize("make", [cifar10_94, cifar10_resnet20_fast])
def test_a_fast_recipe_sees_the_test_images_once_and_chooses_nothing_by_them(make: Callable[[], Recipe]) -> None:
    r = make()
    assert (r.data.train, r.data.val, r.evaluation.keep, r.evaluation.splits) == ("train", None, "last", ("val",))


def test_cifar10_94_has_the_published_numbers_in_units_of_the_mean_loss() -> None:
    r = cifar10_94()
    assert isinstance(r.optim, Muon) and r.optim.vector_lr == pytest.approx(0.053 * r.batch_size)
    assert r.optim.head_lr == pytest.approx(0.67 * r.batch_size / (256 / 9) ** 2, abs=0.005)
    assert r.optim.weight_decay == pytest.approx(2e-6 * 2000)  # of the published batch
    assert r.total_steps(50_000) == 600


@pytest.mark.parametrize(
    ("key", "text", "read"),
    [
        ("optim.lr", "0.05", lambda r: r.optim.lr == 0.05),
        ("optim.nesterov", "false", lambda r: r.optim.nesterov is False),
        ("optim", "AdamW", lambda r: r.optim == AdamW()),
        ("optim", "Adam", lambda r: r.optim == Adam()),
        ("optim.decay", "weights", lambda r: r.optim.decay == "weights"),
        ("penalty.l1", "1e-5", lambda r: r.penalty == Penalty(l1=1e-5)),
        ("penalty.on", "all", lambda r: r.penalty == Penalty(on="all")),
        ("loss.aux_weight", "0", lambda r: r.loss.aux_weight == 0),
        ("schedule", "Cosine", lambda r: r.schedule == Cosine()),
        ("schedule", "Plateau", lambda r: r.schedule == Plateau()),
        ("warmup", "none", lambda r: r.warmup is None),
        ("warmup", "Warmup", lambda r: r.warmup is not None),
        ("augment", "FlipLR,RandomCrop", lambda r: r.augment == (FlipLR(), RandomCrop())),
        (
            "augment",
            "RandomCrop,FlipLR,ColorNoise",
            lambda r: r.augment == (RandomCrop(), FlipLR(), ColorNoise(std=0.1)),
        ),
        ("augment", "", lambda r: r.augment == ()),
        ("augment.RandomCrop.pad", "2", lambda r: RandomCrop(2) in r.augment),
        ("augment.RandomCrop.mode", "reflect", lambda r: RandomCrop(4, "reflect") in r.augment),
        ("augment.FlipLR.alternate", "true", lambda r: FlipLR(alternate=True) in r.augment),
        (
            "augment",
            "RandAugment, TrivialAugment, ColorJitter, RandomErasing, MixUp, CutMix",
            lambda r: r.augment == (RandAugment(), TrivialAugment(), ColorJitter(), RandomErasing(), MixUp(), CutMix()),
        ),
        ("optim", "Muon", lambda r: r.optim == Muon()),
        ("averaging", "Averaging", lambda r: r.averaging == Averaging()),
        ("averaging", "none", lambda r: r.averaging is None),
        ("progressive", "Progressive", lambda r: r.progressive == Progressive()),
        ("evaluation.flip", "true", lambda r: r.evaluation.flip is True),
        ("net.name", "plain20", lambda r: r.net.name == "plain20"),
        ("net.options.shortcut", "B", lambda r: r.net.options == {"shortcut": "B"}),
        ("net.options.depth", "26", lambda r: r.net.options == {"depth": 26}),
        ("steps", "100", lambda r: (r.steps, r.epochs) == (100, None)),
        ("epochs", "1.5", lambda r: (r.steps, r.epochs) == (None, 1.5)),
        ("evaluation.splits", "train,val", lambda r: r.evaluation.splits == ("train", "val")),
        ("evaluation.keep", "last", lambda r: r.evaluation.keep == "last"),
        ("data.val", "none", lambda r: r.data.val is None),
        ("placement.threads", "1", lambda r: r.placement.threads == 1),
    ],
)
def test_values_are_read_by_the_type_of_their_field(key: str, text: str, read) -> None:  # type: ignore[no-untyped-def]
    assert read(override(RECIPES["cifar10-quick"](), key, text))


@pytest.mark.parametrize(
    ("key", "text", "sentence"),
    [
        ("optim.lr", "fast", "optim.lr=fast: not a number"),
        ("optim.lr", "nan", "not a finite number"),
        ("optim.lr", "-1", "optim.lr is -1.0; it must be more than 0"),
        ("batch_size", "0", "batch_size is 0; it must be 1 or more"),
        ("batch_size", "1.5", "not a whole number"),
        ("seed", "-1", "seed is -1"),
        ("optim", "Adamw", "choose one of SGD, AdamW, Adam, Lamb, Adagrad, Adadelta, RMSprop, Muon"),
        ("optim.decay", "biases", "optim.decay=biases: choose one of all, weights"),
        ("penalty.l1", "-1", "penalty.l1 is -1.0; it must be 0 or more"),
        ("penalty.l2", "1", "unknown key 'penalty.l2'; did you mean 'penalty.l1'"),
        ("loss.aux_weight", "-1", "loss.aux_weight is -1.0; it must be 0 or more"),
        (
            "augment",
            "FlipLR,Noise",
            "augment=Noise: choose one of RandomCrop, FlipLR, RandomResizedCrop, ScaleCrop, ColorNoise",
        ),
        ("evaluation.keep", "first", "choose one of best, last"),
        ("optim.nesterov", "yes", "write true or false"),
        ("net", "resnet20", "set net.name=resnet20"),
        ("net", "NetSpec", "net cannot be set as a whole from text"),
        ("augment.Flip.p", "1", "unknown key 'augment.Flip.p'; did you mean 'augment.FlipLR.p'"),
        ("augment", "RandAugment,Mixup", "augment=Mixup: choose one of RandomCrop, FlipLR,"),
        ("seed.x", "1", "'seed' has no parts"),
        ("", "1", "unknown key"),
    ],
)
def test_values_that_do_not_fit_are_refused(key: str, text: str, sentence: str) -> None:
    with pytest.raises((ValueError, TypeError)) as fault:
        override(RECIPES["cifar10-quick"](), key, text)
    assert sentence in str(fault.value)


NEW_PARTS: list[Optim] = [
    Adam(beta1=0.8),
    Lamb(beta2=0.99),
    Adagrad(eps=1e-8),
    Adadelta(rho=0.95),
    RMSprop(alpha=0.9, decay="weights"),
    Muon(lr=0.1, head_lr=2.0),
]


@pytest.mark.parametrize("optim", NEW_PARTS, ids=lambda o: type(o).__name__)
def test_json_keeps_every_optimizer_and_the_parts_beside_it(optim: Optim) -> None:
    recipe = dataclasses.replace(
        RECIPES["digits"](),
        optim=optim,
        penalty=Penalty(l1=1e-5, on="all"),
        loss=CrossEntropy(aux_weight=0.4),
        augment=(ColorNoise(0.2), FlipLR(alternate=True), RandomCrop(2, mode="reflect")),
        averaging=Averaging(decay=0.9, every=3),
        progressive=Progressive(scale=0.5, by="crop"),
    )
    assert recipe_from_dict(json.loads(json.dumps(recipe_to_dict(recipe)))) == recipe


@pytest.mark.parametrize("kind", typing.get_args(Augment), ids=lambda kind: kind.__name__)
def test_json_keeps_every_augmentation_and_every_field_is_set_by_its_key_alone(kind: type) -> None:
    recipe = override(RECIPES["cifar10-quick"](), "augment", kind.__name__)
    assert recipe.augment == (kind(),) and recipe.smoke().augment == recipe.augment
    for field in dataclasses.fields(kind):
        key, value = f"augment.{kind.__name__}.{field.name}", getattr(kind(), field.name)
        changed: object = {"mode": "reflect", "fill": "noise", "alternate": True}.get(field.name)
        if changed is None:
            changed = value + 1 if isinstance(value, int) else value * 0.9 or 0.5
        with_it = override(recipe, key, as_text(changed))
        assert with_it.augment == (dataclasses.replace(kind(), **{field.name: changed}),) != recipe.augment
        assert recipe_from_dict(json.loads(json.dumps(recipe_to_dict(with_it)))) == with_it
        with pytest.raises(ValueError, match=f"unknown key '{key}x'; did you mean '{key}'"):
            override(recipe, key + "x", "1")


@pytest.mark.parametrize(
    ("key", "text", "sentence"),
    [
        ("RandAugment.num_ops", "0", "RandAugment.num_ops is 0; it must be 1 or more"),
        ("RandAugment.magnitude", "31", "RandAugment.magnitude is 31; it must be from 0 to 30"),
        ("ColorJitter.contrast", "-1", "ColorJitter.contrast is -1.0; it must be 0 or more"),
        ("ColorJitter.hue", "0.6", "ColorJitter.hue is 0.6; it must be in [0, 0.5]"),
        ("RandomErasing.probability", "2", "RandomErasing.probability is 2.0; it must be in [0, 1]"),
        ("RandomErasing.min_area", "0.5", "RandomErasing.min_area is 0.5; it must be in (0, max_area]"),
        ("RandomErasing.max_area", "2", "RandomErasing.max_area is 2.0; it must be 1 or less"),
        ("RandomErasing.max_aspect", "0.5", "RandomErasing.max_aspect is 0.5; it must be 1 or more"),
        ("MixUp.alpha", "0", "MixUp.alpha is 0.0; it must be more than 0"),
        ("CutMix.alpha", "-1", "CutMix.alpha is -1.0; it must be more than 0"),
        ("CutMix.probability", "1.5", "CutMix.probability is 1.5; it must be in [0, 1]"),
    ],
)
def test_numbers_of_augmentations_are_held_to_their_bounds(key: str, text: str, sentence: str) -> None:
    recipe = override(RECIPES["cifar10-quick"](), "augment", key.partition(".")[0])
    with pytest.raises(ValueError) as fault:
        override(recipe, f"augment.{key}", text)
    assert sentence in str(fault.value)


@pytest.mark.parametrize("name", ["MixUp", "CutMix"])
def test_one_image_is_not_mixed_with_itself(name: str) -> None:
    with pytest.raises(ValueError, match=f"batch_size is 1; it must be 2 or more with {name}"):
        override_all(RECIPES["cifar10-quick"](), {"augment": name, "batch_size": 1})


def test_a_field_of_another_optimizer_is_set_after_the_optimizer() -> None:
    recipe = RECIPES["cifar10-quick"]()
    for key, value in (("optim", "Adadelta"), ("optim.rho", "0.95"), ("augment", "RandomCrop,ColorNoise")):
        recipe = override(recipe, key, value)
    recipe = override(recipe, "augment.ColorNoise.std", "0.3")
    assert (recipe.optim, recipe.augment) == (Adadelta(rho=0.95), (RandomCrop(), ColorNoise(0.3)))
    with pytest.raises(ValueError, match="unknown key 'optim.momentum'"):
        override(recipe, "optim.momentum", "0.9")


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (kind, field, value)
        for kind, fields in {
            Adam: ("lr", "beta1", "beta2", "eps", "weight_decay"),
            Lamb: ("lr", "beta1", "beta2", "eps", "weight_decay"),
            Adagrad: ("lr", "eps", "weight_decay"),
            Adadelta: ("lr", "rho", "eps", "weight_decay"),
            RMSprop: ("lr", "alpha", "eps", "momentum", "weight_decay"),
            Muon: ("lr", "head_lr", "vector_lr", "momentum", "sgd_momentum", "weight_decay"),
        }.items()
        for field in fields
        for value in (-1.0, *((1.0,) if field in ("beta1", "beta2", "rho", "alpha") or "momentum" in field else ()))
    ],
)
def test_an_optimizers_field_out_of_range_is_refused(kind: type, field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"optim.{field} is {value}; it must be"):
        kind(**{field: value})


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Muon(ns_steps=0), "optim.ns_steps is 0; it must be 1 or more"),
        (lambda: Averaging(decay=1.0), "averaging.decay is 1.0; it must be in (0, 1)"),
        (lambda: Averaging(every=0), "averaging.every is 0; it must be 1 or more"),
        (lambda: Progressive(scale=1.0), "progressive.scale is 1.0; it must be in (0, 1)"),
        (lambda: Progressive(until=0.0), "progressive.until is 0.0; it must be in (0, 1]"),
    ],
)
def test_a_part_of_a_fast_recipe_out_of_range_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        make()


def test_a_card_from_before_a_field_was_added_still_loads() -> None:
    fields = recipe_to_dict(RECIPES["cifar10-quick"]())
    del fields["penalty"], fields["optim"]["decay"], fields["loss"]["aux_weight"]
    del fields["averaging"], fields["progressive"], fields["evaluation"]["flip"]
    del fields["augment"][0]["mode"], fields["augment"][1]["alternate"]
    assert recipe_from_dict(fields) == RECIPES["cifar10-quick"]()


@given(n=st.integers(1, 10**6), batch=st.integers(1, 4096), epochs=st.floats(0.01, 300))
def test_the_length_in_epochs_covers_every_image(n: int, batch: int, epochs: float) -> None:
    recipe = Recipe("r", NetSpec("resnet20"), epochs=epochs, batch_size=batch)
    assert recipe.total_steps(n) * batch >= epochs * n - 1e-6 * n
    assert (recipe.total_steps(n) - 1) * batch < max(epochs * n, 1) + 1e-6 * n


def test_the_folder_recipe_follows_the_number_of_pictures() -> None:
    epochs = [recipe_for("photos", None).resolved(n).epochs for n in (1, 300, 1_000, 2_000, 4_000, 100_000)]
    assert epochs == [60, 60, 60, 30, 15, 15]


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown recipe 'cifar10-papr'; did you mean 'cifar10-paper'"):
        recipe_for("cifar10", "cifar10-papr")


def test_an_unknown_part_in_json_is_refused() -> None:
    fields = recipe_to_dict(RECIPES["digits"]())
    with pytest.raises(ValueError, match="unknown recipe part 'Evil'"):
        recipe_from_dict({**fields, "optim": {"kind": "Evil"}})
    with pytest.raises(ValueError, match="unknown key 'speed'"):
        recipe_from_dict({**fields, "speed": 3})


@given(
    st.integers(0, 10_000), st.integers(1, 512), st.integers(1, 60_000), st.integers(1, 60_000), st.floats(0.01, 300)
)
def test_a_run_is_measured_at_most_once_an_epoch_and_for_at_most_a_tenth_of_its_work(
    steps: int, batch_size: int, num_train: int, num_evaluated: int, epochs: float
) -> None:
    for recipe in (
        override(override(digits(), "steps", str(steps)), "batch_size", str(batch_size)),
        override(override(digits(), "epochs", str(epochs)), "batch_size", str(batch_size)),
    ):
        count, seen = recipe.evaluations(num_train, num_evaluated), recipe.total_steps(num_train) * batch_size
        assert count == 1 or (count <= seen / num_train and count * num_evaluated <= 0.1 * 3 * seen)


def test_a_recipe_or_a_user_that_counts_evaluations_gets_them() -> None:
    recipe = override(override(digits(), "steps", "23"), "evaluation.count", "15")
    assert recipe.evaluations(100, 1000) == 15


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.name)
def test_every_field_of_a_recipe_is_listed(recipe: Recipe) -> None:
    keys = {setting.key.partition(".")[0] for setting in list_settings(recipe)}
    assert keys == {field.name for field in dataclasses.fields(recipe)}
    whole = {setting.key for setting in list_settings(recipe) if "." not in setting.key}
    assert whole >= {"epochs", "steps", "optim", "schedule", "augment"}

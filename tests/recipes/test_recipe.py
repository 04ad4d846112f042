"""Recipes: frozen, whole, overridable by one option, and never by a typo."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plusx.recipes import RECIPES, Recipe, digits_degradation, override, recipe_for
from plusx.recipes.cifar10 import cifar10_paper, cifar10_paper_110
from plusx.recipes.recipe import SGD, AdamW, Cosine, FlipLR, NetSpec, Plateau, RandomCrop

ALL = [make(1000) for make in RECIPES.values()] + [digits_degradation("plain20")]


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: r.name)
def test_json_keeps_a_recipe(recipe: Recipe) -> None:
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


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


def test_the_paper_recipe_is_that_of_section_4_2() -> None:
    r = cifar10_paper()
    assert (r.steps, r.batch_size, r.optim) == (64_000, 128, SGD(lr=0.1, momentum=0.9, weight_decay=1e-4))
    assert (r.augment, r.preprocess.normalize) == ((RandomCrop(pad=4), FlipLR()), "pixel-mean")
    assert (r.data.train, r.data.val, r.loss.label_smoothing) == ("train[:45000]", "train[45000:]", 0.0)
    assert r.total_steps(45_000) * r.batch_size / 45_000 == pytest.approx(182.0, abs=0.05)
    warm = cifar10_paper_110()
    assert warm.warmup is not None and warm.warmup.fraction * 64_000 == 400 and warm.net.name == "resnet110"


@pytest.mark.parametrize(
    ("key", "text", "read"),
    [
        ("optim.lr", "0.05", lambda r: r.optim.lr == 0.05),
        ("optim.nesterov", "false", lambda r: r.optim.nesterov is False),
        ("optim", "AdamW", lambda r: r.optim == AdamW()),
        ("schedule", "Cosine", lambda r: r.schedule == Cosine()),
        ("schedule", "Plateau", lambda r: r.schedule == Plateau()),
        ("warmup", "none", lambda r: r.warmup is None),
        ("warmup", "Warmup", lambda r: r.warmup is not None),
        ("augment", "FlipLR,RandomCrop", lambda r: r.augment == (FlipLR(), RandomCrop())),
        ("augment.RandomCrop.pad", "2", lambda r: RandomCrop(2) in r.augment),
        ("net.name", "plain20", lambda r: r.net.name == "plain20"),
        ("net.options.shortcut", "B", lambda r: r.net.options == {"shortcut": "B"}),
        ("net.options.depth", "26", lambda r: r.net.options == {"depth": 26}),
        ("steps", "100", lambda r: (r.steps, r.epochs) == (100, None)),
        ("epochs", "1.5", lambda r: (r.steps, r.epochs) == (None, 1.5)),
        ("evaluation.parts", "train,val", lambda r: r.evaluation.parts == ("train", "val")),
        ("evaluation.keep", "last", lambda r: r.evaluation.keep == "last"),
        ("data.val", "none", lambda r: r.data.val is None),
        ("placement.threads", "1", lambda r: r.placement.threads == 1),
    ],
)
def test_values_are_read_by_the_type_of_their_field(key: str, text: str, read) -> None:  # type: ignore[no-untyped-def]
    assert read(override(RECIPES["cifar10-quick"](0), key, text))


@pytest.mark.parametrize(
    ("key", "text", "sentence"),
    [
        ("optim.lr", "fast", "optim.lr=fast: not a number"),
        ("optim.lr", "nan", "not a finite number"),
        ("optim.lr", "-1", "optim.lr is -1.0; it must be more than 0"),
        ("batch_size", "0", "batch_size is 0; it must be 1 or more"),
        ("batch_size", "1.5", "not a whole number"),
        ("seed", "-1", "seed is -1"),
        ("optim", "Adamw", "choose one of SGD, AdamW"),
        ("evaluation.keep", "first", "choose one of best, last"),
        ("optim.nesterov", "yes", "write true or false"),
        ("net", "resnet20", "choose one of NetSpec"),
        ("augment.Flip.p", "1", "unknown key 'augment.Flip.p'; did you mean 'augment.FlipLR.p'"),
        ("seed.x", "1", "'seed' has no parts"),
        ("", "1", "unknown key"),
    ],
)
def test_values_that_do_not_fit_are_refused(key: str, text: str, sentence: str) -> None:
    with pytest.raises((ValueError, TypeError)) as fault:
        override(RECIPES["cifar10-quick"](0), key, text)
    assert sentence in str(fault.value)


@given(n=st.integers(1, 10**6), batch=st.integers(1, 4096), epochs=st.floats(0.01, 300))
def test_the_length_in_epochs_covers_every_image(n: int, batch: int, epochs: float) -> None:
    recipe = Recipe("r", NetSpec("resnet20"), epochs=epochs, batch_size=batch)
    assert recipe.total_steps(n) * batch >= epochs * n - 1e-6 * n
    assert (recipe.total_steps(n) - 1) * batch < max(epochs * n, 1) + 1e-6 * n


def test_the_folder_recipe_follows_the_number_of_pictures() -> None:
    epochs = [recipe_for("photos", None, n).epochs for n in (1, 300, 1_000, 2_000, 4_000, 100_000)]
    assert epochs == [60, 60, 60, 30, 15, 15]


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown recipe 'cifar10-papr'; did you mean 'cifar10-paper'"):
        recipe_for("cifar10", "cifar10-papr", 1)


def test_an_unknown_part_in_json_is_refused() -> None:
    fields = RECIPES["digits"](0).to_dict()
    with pytest.raises(ValueError, match="unknown recipe part 'Evil'"):
        Recipe.from_dict({**fields, "optim": {"kind": "Evil"}})
    with pytest.raises(ValueError, match="unknown key 'speed'"):
        Recipe.from_dict({**fields, "speed": 3})

"""Every recipe trains, shrunk to seconds, on data of its kind."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from plusx.engine.training import train
from plusx.recipes import RECIPES, digits_degradation
from plusx.runs.store import load_run
from tests.conftest import write_cifar

DEAR = ("cifar10-paper-110", "cifar10-94", "imagenet", "imagenet-a3", "imagenet-small")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.more] * (n in DEAR)) for n in RECIPES])
def test_a_recipe_trains(name: str, tmp_path: Path, class_folder: Callable[..., Path]) -> None:
    recipe = RECIPES[name]().smoke()
    if name.startswith("cifar10"):
        write_cifar(tmp_path, "cifar10", "binary")
        half = dataclasses.replace(recipe.data, train="train[:100]", val="train[100:]")
        recipe, data = dataclasses.replace(recipe, data=half), "cifar10"
    elif name.startswith("imagenet") or name in ("folder", "finetune", "quick"):
        data = str(class_folder(["train", "val"], {"ant": 12, "bee": 12}))
    else:
        data = "digits"
    weights = None
    if recipe.net.fit_head:
        weights = train(data, recipe=RECIPES["folder"]().smoke(), out=tmp_path / "start").run
    trained = train(data, recipe=recipe, weights=weights, out=tmp_path / "run", data_dir=tmp_path)
    assert trained.card.results["steps"] == 6
    assert (trained.run / "report.html").stat().st_size > 5_000
    load_run(trained.run)


def test_the_demo_recipe_trains(tmp_path: Path) -> None:
    assert train("digits", recipe=digits_degradation("plain20").smoke(), out=tmp_path / "run").card.status == "finished"


def test_cifar100_trains_with_the_recipe_of_cifar10(tmp_path: Path) -> None:
    write_cifar(tmp_path, "cifar100", "python")
    recipe = RECIPES["cifar10-quick"]().smoke()
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, train="train[:60]", val="train[60:]"))
    trained = train("cifar100", recipe=recipe, out=tmp_path / "run", data_dir=tmp_path)
    assert len(trained.card.class_names) == 100

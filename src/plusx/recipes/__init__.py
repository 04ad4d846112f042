"""How a net is trained: plain data, no torch."""

import difflib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

from plusx.recipes.cifar10 import (
    cifar10_94,
    cifar10_paper,
    cifar10_paper_110,
    cifar10_quick,
    cifar10_resnet20_fast,
)
from plusx.recipes.digits import digits, digits_degradation
from plusx.recipes.finetune import finetune, quick
from plusx.recipes.folder import folder
from plusx.recipes.imagenet import imagenet, imagenet_a3, imagenet_small
from plusx.recipes.recipe import Recipe
from plusx.recipes.settings import Setting, settings
from plusx.recipes.text import override, override_all

RECIPES: dict[str, Callable[[], Recipe]] = {
    "digits": digits,
    "cifar10-quick": cifar10_quick,
    "cifar10-paper": cifar10_paper,
    "cifar10-paper-110": cifar10_paper_110,
    "cifar10-resnet20-fast": cifar10_resnet20_fast,
    "cifar10-94": cifar10_94,
    "imagenet": imagenet,
    "imagenet-a3": imagenet_a3,
    "imagenet-small": imagenet_small,
    "folder": folder,
    "finetune": finetune,
    "quick": quick,
}
"""Name -> function that makes the recipe."""

_DEFAULTS = {"digits": "digits", "cifar10": "cifar10-quick", "cifar100": "cifar10-quick"}


@dataclass(frozen=True)
class RecipeEntry:
    """A recipe and what its docstring says."""

    name: str
    recipe: Recipe
    about: str
    """Its docstring, a paragraph a line."""
    run: str
    """The command that trains with it."""

    @property
    def summary(self) -> str:
        """The first sentence or two."""
        return self.about.partition("\n")[0]

    @property
    def data(self) -> str:
        """The data that it is for, as it stands in `run`: the name of a data set, or FOLDER."""
        return self.run.split()[2]


def recipe_names() -> tuple[str, ...]:
    """Names of all recipes."""
    return tuple(RECIPES)


def recipe_entry(name: str) -> RecipeEntry:
    """A recipe by name, with what its docstring says.

    Raises:
        ValueError: No recipe has that name; the nearest is named.

    Example:
        >>> recipe_entry("cifar10-paper").run
        'plusx train cifar10 --recipe cifar10-paper --set net.name=resnet56'
    """
    recipe = recipe_for("", name)
    text = inspect.getdoc(RECIPES[name]) or ""
    found = re.search(r"Run: `([^`]+)`", text)
    assert found, f"the docstring of {name} has no line `Run:`"
    return RecipeEntry(name, recipe, "\n".join(" ".join(each.split()) for each in text.split("\n\n")), found[1])


def recipe_for(source: str, name: str | None, *, from_weights: bool = False) -> Recipe:
    """The recipe of that name, or the default one of a data source.

    Args:
        source: A data set's name, or a folder.
        name: Of a recipe; None takes the default.
        from_weights: Whether the net starts from weights, for which folders have a default of their own.

    Raises:
        ValueError: No recipe has that name; the nearest is named.

    Example:
        >>> recipe_for("cifar100", None).name
        'cifar10-quick'
    """
    name = name or _DEFAULTS.get(source, "finetune" if from_weights else "folder")
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(RECIPES)}"
        raise ValueError(f"unknown recipe {name!r}; {hint}")
    return RECIPES[name]()


__all__ = [
    "RECIPES",
    "Recipe",
    "RecipeEntry",
    "Setting",
    "digits_degradation",
    "folder",
    "override",
    "override_all",
    "recipe_entry",
    "recipe_for",
    "recipe_names",
    "settings",
]

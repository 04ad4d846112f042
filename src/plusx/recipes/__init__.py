"""How a net is trained: plain data, no torch."""

import difflib
from collections.abc import Callable

from plusx.recipes.cifar10 import (
    cifar10_94,
    cifar10_paper,
    cifar10_paper_110,
    cifar10_quick,
    cifar10_resnet20_fast,
)
from plusx.recipes.digits import digits, digits_degradation
from plusx.recipes.folder import folder
from plusx.recipes.imagenet import imagenet
from plusx.recipes.recipe import Recipe, override

RECIPES: dict[str, Callable[[int], Recipe]] = {
    "digits": lambda num_train: digits(),
    "cifar10-quick": lambda num_train: cifar10_quick(),
    "cifar10-paper": lambda num_train: cifar10_paper(),
    "cifar10-paper-110": lambda num_train: cifar10_paper_110(),
    "cifar10-resnet20-fast": lambda num_train: cifar10_resnet20_fast(),
    "cifar10-94": lambda num_train: cifar10_94(),
    "imagenet": lambda num_train: imagenet(),
    "folder": folder,
}
"""Name -> function of the number of training images, which only `folder` looks at."""

_DEFAULTS = {"digits": "digits", "cifar10": "cifar10-quick", "cifar100": "cifar10-quick"}


def recipe_for(source: str, name: str | None, num_train: int) -> Recipe:
    """The recipe of that name, or the default one of a data source.

    Raises:
        ValueError: No recipe has that name; the nearest is named.

    Example:
        >>> recipe_for("cifar100", None, 50_000).name
        'cifar10-quick'
    """
    name = name or _DEFAULTS.get(source, "folder")
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(RECIPES)}"
        raise ValueError(f"unknown recipe {name!r}; {hint}")
    return RECIPES[name](num_train)


__all__ = ["RECIPES", "Recipe", "digits_degradation", "folder", "override", "recipe_for"]

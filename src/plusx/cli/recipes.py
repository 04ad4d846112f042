"""`plusx recipes`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

import plusx
from plusx.cli.options import Json, Settings, parse_settings
from plusx.cli.tables import filled, print_field, print_json

if TYPE_CHECKING:
    from plusx.recipes import Recipe, RecipeEntry


def recipes(
    recipe: Annotated[str | None, typer.Argument(help="Show every field of this recipe, as --set takes it.")] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """List the recipes, or show one of them. A recipe is shown with the value and the meaning of every field. A field
    that is set by name, such as optim, brings further fields.

    \b
    Examples:
      plusx recipes
      plusx recipes digits
      plusx recipes digits --set optim=AdamW
    """
    if recipe is not None:
        _print_recipe(plusx.describe_recipe(recipe), parse_settings(settings), as_json)
        return
    if settings:
        raise ValueError("--set changes one recipe; name it: plusx recipes NAME --set KEY=VALUE")
    entries = [plusx.describe_recipe(name) for name in plusx.list_recipes()]
    if as_json:
        print_json({"recipes": [_recipe_facts(entry) for entry in entries]})
        return
    for entry in entries:
        facts = f"{entry.recipe.net.name}, {_length(entry.recipe)}, {entry.recipe.batch_size:,} images a step"
        print(filled(f"{entry.name}: {facts}", 4))
        print(filled(f"    {entry.summary}", 4))
        print(f"    {entry.run}")  # not filled: what is copied must be one line
    print("\n`plusx recipes NAME` shows every field")


def _print_recipe(entry: "RecipeEntry", overrides: dict[str, str], as_json: bool) -> None:
    fields = plusx.list_settings(entry.recipe, overrides)
    if as_json:
        each = [
            {
                "key": s.key,
                "value": s.value if isinstance(s.value, str | int | float | None) else s.text,
                "about": s.sentence,
                "choices": s.choices,
            }
            for s in fields
        ]
        print_json({**_recipe_facts(entry), "settings": each})
        return
    print(entry.name)
    for paragraph in entry.about.splitlines():
        print(f"{filled(paragraph)}\n")
    for setting in fields:
        one_by_one = isinstance(setting.value, Mapping)
        sentence = (
            f"{setting.sentence} `plusx nets {entry.recipe.net.name}` lists them." if one_by_one else setting.sentence
        )
        named = f"{setting.key}.NAME=VALUE" if one_by_one else f"{setting.key}={setting.text}"
        several = "Any of" if isinstance(setting.value, tuple) else "One of"
        print_field(named, sentence, setting.choices, several)
    rate = next(s for s in fields if s.key == "optim.lr")
    print(f"\n{entry.run} --set optim.lr={rate.value / 2:g}")


def _recipe_facts(entry: "RecipeEntry") -> dict[str, Any]:
    recipe = entry.recipe
    return {
        "recipe": entry.name,
        "data": entry.data,
        "net": recipe.net.name,
        "steps": recipe.steps,
        "epochs": recipe.epochs if isinstance(recipe.epochs, int | float) else None,
        "length": _length(recipe),
        "batch_size": recipe.batch_size,
        "about": entry.about,
        "run": entry.run,
    }


def _length(recipe: "Recipe") -> str:
    if recipe.steps is not None:
        return f"{recipe.steps:,} steps"
    epochs = recipe.epochs
    return f"{epochs:g} epochs" if isinstance(epochs, int | float) else f"{epochs.in_words if epochs else ''}"

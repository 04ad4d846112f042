"""Recipes to JSON and back."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from plusx.recipes.recipe import Recipe


def _parts_of(hint: Any) -> typing.Iterator[type]:
    """The dataclasses that an annotation admits, and those that their fields admit."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
        for field_hint in typing.get_type_hints(hint).values():
            yield from _parts_of(field_hint)
    for argument in typing.get_args(hint):
        yield from _parts_of(argument)


PARTS: dict[str, Any] = {part.__name__: part for part in _parts_of(Recipe)}
"""Every kind of part that a recipe may hold, by name."""


RENAMED: dict[tuple[str, str], str] = {("Evaluation", "parts"): "splits", ("PlacementSpec", "checkpoint"): "recompute"}
"""(part, field) of version 0.1, and what the field is called now."""


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain JSON types; the inverse of `from_dict`."""
    return _encode(recipe)


def from_dict(fields: Mapping[str, Any]) -> Recipe:
    """A recipe from `to_dict`'s output.

    Raises:
        ValueError: A kind of part or a key is unknown.
    """
    recipe = _decode(dict(fields))
    if not isinstance(recipe, Recipe):
        raise ValueError(f"not a recipe: {fields.get('kind')!r}")
    return recipe


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return dict(value)
    return [_encode(item) for item in value] if isinstance(value, tuple) else value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if not isinstance(value, dict) or "kind" not in value:
        return value
    kind = PARTS.get(value["kind"])
    if kind is None:
        raise ValueError(f"unknown recipe part {value['kind']!r}")
    now = {key: RENAMED.get((value["kind"], key), key) for key in map(str, value) if key != "kind"}
    fields: dict[str, Any] = {now[key]: _decode(value[key]) for key in now}
    if unknown := fields.keys() - {f.name for f in dataclasses.fields(kind)}:
        raise ValueError(f"unknown key {min(unknown)!r} in {value['kind']}")
    return kind(**fields)

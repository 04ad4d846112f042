"""Fields of a recipe from text and values: what `--set key=value` does."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import os
import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from plusx.recipes.codec import RENAMED
from plusx.recipes.recipe import Recipe

LENGTHS = ("steps", "epochs", "max_time")
"""Fields that say how long a run is; one of them is set."""


def override(recipe: Recipe, key: str, value: Any) -> Recipe:
    """A recipe with one field changed; what `--set key=value` does.

    Args:
        key: Path of the field, such as `optim.lr`, `net.options.shortcut` or `augment.RandomCrop.pad`.
        value: A value of the field's own type, or its text: a number, true or false, none, a choice, a comma-separated
            list, or the name of a part (`optim=AdamW`, `augment=RandomCrop,FlipLR,ColorNoise`).

    Raises:
        ValueError: The key is unknown (the nearest is named) or the value does not fit it.

    Example:
        >>> from plusx.recipes import digits
        >>> from plusx.recipes.augment import FlipLR, RandomCrop
        >>> override(digits(), "optim.lr", "0.2") == override(digits(), "optim.lr", 0.2)
        True
        >>> override(digits(), "augment", (RandomCrop(pad=2), FlipLR())).augment
        (RandomCrop(pad=2, mode='zeros'), FlipLR(alternate=False))
    """
    changed = _override(recipe, key.split("."), value, key)
    (field,) = changed
    if field in LENGTHS and changed[field] is not None:
        changed |= {other: None for other in LENGTHS if other != field}
    return dataclasses.replace(recipe, **changed)


def override_all(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with several fields changed; a whole part before the fields within it, whatever their order.

    Args:
        changes: Keys and values, as for `override`.

    Raises:
        ValueError: As for `override`.

    Example:
        >>> from plusx.recipes import digits
        >>> override_all(digits(), {"optim.lr": 0.01, "optim": "AdamW"}).optim.lr
        0.01
    """
    for key in sorted(changes, key=lambda key: key.count(".")):
        recipe = override(recipe, key, changes[key])
    return recipe


def _override(part: Any, path: list[str], value: Any, key: str) -> dict[str, Any]:
    """The fields of `part` that change: one, rebuilt from the leaf upwards."""
    fields = {f.name for f in dataclasses.fields(part)}
    if now := RENAMED.get((type(part).__name__, path[0])):
        raise ValueError(f"{key} is now called {key.removesuffix(path[0])}{now}")
    if path[0] not in fields:
        raise ValueError(f"unknown key {key!r}; {_suggest(path[0], fields, key)}")
    hint, current = typing.get_type_hints(type(part))[path[0]], getattr(part, path[0])
    if len(path) == 1:
        return {path[0]: _fitted(hint, value, key)}
    if isinstance(current, Mapping):
        return {path[0]: {**current, ".".join(path[1:]): _fitted_option(value, key)}}
    if isinstance(current, tuple) and len(path) > 2:
        names = [type(item).__name__ for item in current]
        if path[1] not in names:
            raise ValueError(f"unknown key {key!r}; {_suggest(path[1], names, key)}")
        at = names.index(path[1])
        item = dataclasses.replace(current[at], **_override(current[at], path[2:], value, key))
        return {path[0]: (*current[:at], item, *current[at + 1 :])}
    if not dataclasses.is_dataclass(current):
        raise ValueError(f"unknown key {key!r}; {path[0]!r} has no parts")
    return {path[0]: dataclasses.replace(current, **_override(current, path[1:], value, key))}  # type: ignore[type-var]


def _fitted(hint: Any, value: Any, key: str) -> Any:
    """A value, or the text of one, as the annotated type; ValueError says what would fit."""
    if isinstance(value, str):
        return _parse(hint, value, key)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    options = arguments if origin in (typing.Union, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    if type(value) in options and dataclasses.is_dataclass(value):
        return value
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, tuple | list):
            return tuple(_fitted(typing.get_args(option)[0], item, key) for item in value)
        if typing.get_origin(option) is Mapping and isinstance(value, Mapping):
            return {str(name): _fitted_option(item, f"{key}.{name}") for name, item in value.items()}
        if option is bool and isinstance(value, bool):
            return value
        if option is str and isinstance(value, os.PathLike):
            return os.fspath(value)
        if option in (int, float) and isinstance(value, numbers.Real) and not isinstance(value, bool):
            if not math.isfinite(value):
                break
            if option is float or isinstance(value, numbers.Integral):
                return option(value)
    raise ValueError(f"{key} is {reprlib.repr(value)}; it must be {_in_words(hint)}")


def _fitted_option(value: Any, key: str) -> Any:
    """A builder's option as JSON has it, so that the run's card can keep it."""
    match value:
        case str():
            return option_value(value)
        case bool() | None:
            return value
        case numbers.Integral():
            return int(value)
        case numbers.Real() if math.isfinite(value):
            return float(value)
        case list() | tuple():
            return [_fitted_option(item, key) for item in value]
    raise ValueError(f"{key} is {reprlib.repr(value)}; it must be a number, a text, true, false or a list of these")


def _in_words(hint: Any) -> str:
    """What a value of the annotated type is."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        return f"a tuple, each {_in_words(arguments[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_in_words, arguments))
    if origin is Mapping:
        return "a mapping of options"
    words = {bool: "True or False", int: "a whole number", float: "a finite number", str: "a text", type(None): "None"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))


def _parse(hint: Any, text: str, key: str) -> Any:
    """Text to a value of the annotated type; ValueError says what would fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if text not in arguments:
            raise ValueError(f"{key}={text}: choose one of {', '.join(map(str, arguments))}")
        return text
    if origin is tuple:
        return tuple(_parse(arguments[0], item.strip(), key) for item in text.split(",") if item.strip())
    if origin in (typing.Union, types.UnionType):
        if type(None) in arguments and text.lower() == "none":
            return None
        options = [a for a in arguments if a is not type(None)]
        parts = [a for a in options if isinstance(a, type) and dataclasses.is_dataclass(a)]
        if len(parts) == len(options) > 1 or any(part.__name__ == text for part in parts):
            return _named_part(parts, text, key)
        return _parse(options[0], text, key)
    if dataclasses.is_dataclass(hint):
        return _named_part([hint], text, key)
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{key}={text}: write true or false")
        return text.lower() == "true"
    if hint in (int, float):
        try:
            number = hint(text)
        except ValueError:
            raise ValueError(f"{key}={text}: not {'a whole number' if hint is int else 'a number'}") from None
        if not math.isfinite(number):
            raise ValueError(f"{key}={text}: not a finite number")
        return number
    if hint is str:
        return text
    raise ValueError(f"{key} cannot be set as a whole from text; set {key}.NAME=VALUE")


def _named_part(options: list[Any], text: str, key: str) -> Any:
    by_name = {option.__name__: option for option in options}
    needed = [f.name for f in dataclasses.fields(options[0]) if not _has_default(f)]
    if needed:
        raise ValueError(f"{key}={text}: {key} cannot be set as a whole from text; set {key}.{needed[0]}={text}")
    if text not in by_name:
        raise ValueError(f"{key}={text}: choose one of {', '.join(by_name)}")
    return by_name[text]()


def _has_default(field_: dataclasses.Field[Any]) -> bool:
    return field_.default is not dataclasses.MISSING or field_.default_factory is not dataclasses.MISSING


def as_text(value: Any) -> str:
    """A field's value as `--set` takes it; of a part, its name.

    Example:
        >>> from plusx.recipes.augment import FlipLR, RandomCrop
        >>> as_text(None), as_text(True), as_text(0.1), as_text(("train", "val")), as_text((RandomCrop(), FlipLR()))
        ('none', 'true', '0.1', 'train,val', 'RandomCrop,FlipLR')
    """
    if dataclasses.is_dataclass(value):
        return type(value).__name__
    if isinstance(value, tuple | list):
        return ",".join(map(as_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def option_value(text: str) -> Any:
    """Read the text of a builder option: numbers, true and false become values, everything else stays text.

    Example:
        >>> [option_value(text) for text in ("3", "0.5", "true", "3x3")]
        [3, 0.5, True, '3x3']
    """
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def _suggest(wrong: str, known: typing.Iterable[str], key: str) -> str:
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.5)
    return f"did you mean {key.replace(wrong, near[0])!r}?" if near else f"choose one of {', '.join(sorted(known))}"

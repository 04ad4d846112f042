"""Every field of a recipe with its `--set` key, its value and the sentence that stands under it in the source."""

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from plusx.recipes.recipe import Recipe
from plusx.recipes.text import as_text, override_all


@dataclass(frozen=True)
class Setting:
    """A field that `--set KEY=VALUE` changes."""

    key: str
    value: Any
    sentence: str
    choices: tuple[str, ...] = ()
    """What it may be, where that is a closed set."""

    @property
    def text(self) -> str:
        """The value as `--set` takes it; empty for builder options, which are set one by one."""
        return "" if isinstance(self.value, Mapping) else as_text(self.value)


def settings(recipe: Recipe, overrides: Mapping[str, Any] | None = None) -> tuple[Setting, ...]:
    """Every field of a recipe, a part before its own fields.

    Args:
        recipe: Any.
        overrides: Changes to it, as for `train`; a part that is set by name brings its own fields.

    Raises:
        ValueError: A key is unknown or a value does not fit.

    Example:
        >>> from plusx.recipes import digits
        >>> next(s for s in settings(digits()) if s.key == "optim.lr")
        Setting(key='optim.lr', value=0.1, sentence='Learning rate at the peak, before the schedule.', choices=())
    """
    return tuple(_settings(override_all(recipe, overrides or {}), ""))


def _settings(part: Any, prefix: str) -> Iterator[Setting]:
    hints, sentences = typing.get_type_hints(type(part)), _sentences(type(part))
    for field in dataclasses.fields(part):
        key, value = prefix + field.name, getattr(part, field.name)
        sentence = sentences.get(field.name, "")
        if dataclasses.is_dataclass(value):
            sentence = f"{sentence} {_summary(value)}"
        elif isinstance(value, tuple):
            sentence = " ".join([sentence, *(_summary(item) for item in value if dataclasses.is_dataclass(item))])
        if not (isinstance(hint := hints[field.name], type) and dataclasses.is_dataclass(hint)):
            yield Setting(key, value, sentence, _choices(hint))  # a part of one kind is set by its fields alone
        if dataclasses.is_dataclass(value):
            yield from _settings(value, f"{key}.")
        elif isinstance(value, Mapping):
            for name, item in value.items():
                yield Setting(f"{key}.{name}", item, "Option of the net's builder.")
        elif isinstance(value, tuple):
            for item in value:
                if dataclasses.is_dataclass(item):
                    yield from _settings(item, f"{key}.{type(item).__name__}.")


def _choices(hint: Any) -> tuple[str, ...]:
    """The values of a closed set, as text: letters, true and false, the names of parts; and none."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return tuple(map(str, arguments))
    if hint is bool:
        return ("true", "false")
    if hint is type(None):
        return ("none",)
    if origin is tuple:
        return _choices(arguments[0])
    if origin in (typing.Union, types.UnionType):
        each = [_choices(argument) for argument in arguments]
        return tuple(choice for choices in each for choice in choices) if all(each) else ()
    return (hint.__name__,) if dataclasses.is_dataclass(hint) and isinstance(hint, type) else ()


def _summary(part: Any) -> str:
    """The first paragraph of a part's docstring."""
    paragraph = (inspect.getdoc(part) or "").partition("\n\n")[0]
    return f"{type(part).__name__}: {' '.join(paragraph.split())}"


def _sentences(part: type) -> dict[str, str]:
    """The docstrings under the fields of a dataclass, inherited ones too; none where the source is not there."""
    found = {}
    for kind in reversed(part.__mro__):
        if not dataclasses.is_dataclass(kind):
            continue
        try:
            [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        except OSError:
            continue
        assert isinstance(tree, ast.ClassDef)
        for field, below in pairwise(tree.body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(sentence))),
                ):
                    found[name] = " ".join(sentence.split())
    return found

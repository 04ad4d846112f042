"""Every net by name, with the facts that its paper or a published count states about it.

An entry is a claim: `tests/contracts/test_every_net.py` holds each net to its entry.
"""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

from torch import nn


@dataclass(frozen=True)
class Entry:
    """What is known of a net before it is built; all figures are for the builder's defaults."""

    name: str
    builder: Callable[..., nn.Module]
    paper: str
    """arXiv number, or author and year."""
    table: str
    """Table, figure or section that defines the net."""
    layers: int
    """Layers with weights on the longest path, projections not counted: the number in the net's name."""
    params: int
    """Trainable parameters."""
    macs: int
    """Multiply-adds of convolutions and linear layers for one image."""
    input_shape: tuple[int, int, int]
    """Channels, height and width that `macs` refers to."""
    num_classes: int
    """Classes that `params` refers to."""
    top1_error: float | None = None
    """Published top-1 error in [0, 1], single net."""
    top1_source: str | None = None
    """Where that error is printed and how it was measured."""


class Facts(TypedDict):
    """The facts that the nets of one table share."""

    paper: str
    table: str
    input_shape: tuple[int, int, int]
    num_classes: int


_ENTRIES: dict[str, Entry] = {}


def register(**facts: Any) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Enter a builder under its function's name, with the facts of `Entry`. ValueError on a name taken."""

    def enter(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        name = builder.__name__
        if name in _ENTRIES:
            raise ValueError(f"two nets are named {name!r}")
        _ENTRIES[name] = Entry(name=name, builder=builder, **facts)
        return builder

    return enter


def names() -> tuple[str, ...]:
    """Names of all nets, in the order of their papers."""
    return tuple(_ENTRIES)


def entry(name: str) -> Entry:
    """The facts of a net.

    Raises:
        ValueError: No net has that name; the nearest is named.

    Example:
        >>> entry("resnet20").params
        269722
    """
    if name not in _ENTRIES:
        near = difflib.get_close_matches(name, _ENTRIES, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`plusx nets` lists them"
        raise ValueError(f"unknown net {name!r}; {hint}")
    return _ENTRIES[name]


def build(name: str, **options: object) -> nn.Module:
    """A net with fresh weights, drawn from torch's global generator.

    Args:
        name: Catalog name.
        options: Keyword arguments of the builder, such as `num_classes`, `in_channels` or `shortcut`.

    Raises:
        ValueError: The name, an option or an option's value is unknown.

    Example:
        >>> sum(p.numel() for p in build("resnet20", shortcut="B").parameters())
        272474
    """
    builder = entry(name).builder
    known = inspect.signature(builder).parameters
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise ValueError(f"{name} has no option {option!r}; {hint}")
    return builder(**options)

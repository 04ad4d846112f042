"""Every net by name, with the facts that its paper or a published count states about it.

An entry is a claim: `tests/contracts/test_every_net.py` holds each net to its entry.
"""

import difflib
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from plusx.nets.layers import ACTIVATIONS, INITIALISERS, POOLINGS, initialise, swap_activations, swap_poolings
from plusx.nets.net import AuxiliaryHeads


@dataclass(frozen=True)
class Option:
    """A keyword argument of a net's builder."""

    name: str
    default: Any
    sentence: str
    """What the builder's docstring says of it."""
    choices: tuple[Any, ...] = ()
    """What it may be, where that is a closed set."""


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
    """Convolutions and linear layers on the longest path, projections not counted: the number in most nets' names."""
    params: int
    """Parameters, auxiliary heads and those that stay as they began included."""
    macs: int
    """Multiply-adds of convolutions and linear layers for one image, without auxiliary heads."""
    input_shape: tuple[int, int, int]
    """Channels, height and width that `macs` refers to."""
    num_classes: int
    """Classes that `params` refers to."""
    top1_error: float | None = None
    """Published top-1 error in [0, 1], single net."""
    top1_source: str | None = None
    """Where that error is printed and how it was measured."""
    retired: Mapping[str, Any] = field(default_factory=dict)
    """Options of earlier versions, each with the value that the net now always has; old cards state them."""

    @property
    def family(self) -> str:
        """The file of plusx.nets that the net is in."""
        return self.function.__module__.rpartition(".")[2]

    @property
    def function(self) -> Callable[..., nn.Module]:
        """The function or class that builds it, of which `builder` may fix some arguments."""
        return self.builder.func if isinstance(self.builder, partial) else self.builder

    @property
    def summary(self) -> str:
        """The first paragraph of the builder's docstring."""
        return " ".join((inspect.getdoc(self.function) or "").partition("\n\n")[0].split())

    @property
    def defaults(self) -> dict[str, Any]:
        """Every option of the builder with its default, or with `inspect.Parameter.empty` where it has none."""
        return {name: each.default for name, each in inspect.signature(self.builder).parameters.items()}

    def takes(self, option: str) -> bool:
        """Whether the net has an option: an image size, say, without which it takes images of any size.

        Args:
            option: Name of a keyword argument of the builder, or an option that every net takes.

        Example:
            >>> entry("mlp").takes("image_size"), entry("resnet20").takes("image_size")
            (True, False)
        """
        return option in self.defaults or option in SWAPS

    @property
    def options(self) -> tuple[Option, ...]:
        """What the builder takes, and what every net takes besides."""
        sentences = _arguments(inspect.getdoc(self.function) or "")
        init = vars(self.function)["__init__"] if isinstance(self.function, type) else self.function
        hints = typing.get_type_hints(init)
        own = [
            Option(name, default, sentences.get(name, ""), _choices(hints.get(name)))
            for name, default in self.defaults.items()
        ]
        return (*own, *(Option(name, None, *about) for name, about in _SWAPS_IN_WORDS.items()))


class Facts(TypedDict):
    """The facts that the nets of one table share."""

    paper: str
    table: str
    input_shape: tuple[int, int, int]
    num_classes: int


_ENTRIES: dict[str, Entry] = {}
OWN: dict[str, Entry] = {}
"""Nets of a user's own, which `plusx.nets.own` enters; they have no facts, and `names` leaves them out."""

SWAPS: Mapping[str, Callable[[nn.Module, str], None]] = {
    "activation": swap_activations,
    "pooling": swap_poolings,
    "init": initialise,
}
"""Options that every net takes beside its builder's: what the paper chose is replaced throughout."""
_SWAPS_IN_WORDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "activation": ("In place of every activation of the net; none leaves the paper's.", tuple(ACTIVATIONS)),
    "pooling": ("In place of every pooling but the global; none leaves the paper's.", tuple(POOLINGS)),
    "init": ("Draws the weights of every convolution and linear layer; none is as the paper.", tuple(INITIALISERS)),
}


def register(name: str, builder: Callable[..., nn.Module], **facts: Any) -> None:
    """Enter a net. ValueError on a name taken."""
    if name in _ENTRIES:
        raise ValueError(f"two nets are named {name!r}")
    _ENTRIES[name] = Entry(name=name, builder=builder, **facts)


def names() -> tuple[str, ...]:
    """Names of all nets, family by family in the order of their papers."""
    return tuple(_ENTRIES)


def entry(name: str) -> Entry:
    """The facts of a net.

    Raises:
        ValueError: No net has that name; the nearest is named.

    Example:
        >>> entry("resnet20").params
        269722
    """
    if name in OWN and name not in _ENTRIES:
        return OWN[name]
    if name not in _ENTRIES:
        near = difflib.get_close_matches(name, _ENTRIES, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`plusx nets` lists them"
        raise ValueError(f"unknown net {name!r}; {hint}")
    return _ENTRIES[name]


def build(name: str, **options: Any) -> nn.Module:
    """A net with fresh weights, drawn from torch's global generator.

    Args:
        name: Catalog name.
        options: Keyword arguments of the builder, such as `num_classes`, `in_channels` or `shortcut`; and, for any net,
            `activation`, `pooling` and `init`, which replace what the paper chose. `num_classes=0` leaves out the last
            linear layer of every head: the net puts out the features that this layer would read.

    Raises:
        ValueError: The name, an option or an option's value is unknown.

    Example:
        >>> sum(p.numel() for p in build("resnet20", shortcut="B").parameters())
        272474
        >>> build("resnet20", num_classes=0)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 64])
    """
    facts = entry(name)
    options = {option: value for option, value in options.items() if (option, value) not in facts.retired.items()}
    for option in options:
        if not facts.takes(option):
            known = [*facts.defaults, *SWAPS]
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise ValueError(f"{name} has no option {option!r}; {hint}")
    try:
        net = facts.builder(**{option: value for option, value in options.items() if option not in SWAPS})
    except (TypeError, RuntimeError) as fault:  # num_classes=ten, growth=-3: torch's own words name the wrong value
        raise ValueError(f"{name} cannot be built with {options}: {fault}") from None
    for option, change in SWAPS.items():
        if option in options:
            change(net, options[option])
    return net


def all_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of a net's builder: those that are set, and the defaults of the others.

    Args:
        name: Catalog name.
        options: As for `build`.

    Raises:
        ValueError: The name is unknown.

    Example:
        >>> all_options("resnet20", {"num_classes": 7})["shortcut"]
        'A'
    """
    defaults = entry(name).defaults.items()
    return {option: default for option, default in defaults if default is not inspect.Parameter.empty} | dict(options)


def require_input(
    name: str, options: Mapping[str, Any], input_shape: tuple[int, int, int], *, batch_size: int | None = None
) -> None:
    """Raises ValueError when a net cannot be trained on images of that shape; nothing is computed.

    Args:
        name: Catalog name.
        options: As for `build`.
        input_shape: Channels, height and width.
        batch_size: Images of a training step; none checks the shape alone.
    """
    with torch.device("meta"):
        net, x = build(name, **options).eval(), torch.zeros(1, *input_shape)
    try:
        _all_heads(net, x)
    except (RuntimeError, ValueError) as fault:
        shape, own = (" x ".join(map(str, s)) for s in (input_shape, entry(name).input_shape))
        reason = str(fault).splitlines()[0]
        raise ValueError(f"{name} does not take images of {shape} (the paper's are {own}): {reason}") from None
    if batch_size == 1:
        _require_many_values(name, net, x)


def _require_many_values(name: str, net: nn.Module, x: Tensor) -> None:
    """Raises ValueError when a batch norm gets one value a channel: less its mean, any value is 0."""

    def check(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].numel() == inputs[0].shape[1]:
            height, width = x.shape[2:]
            raise ValueError(
                f"batch_size is 1, and from one image of {height} x {width} the batch norm {places[norm]!r} of {name} "
                "gets one value a channel, of which nothing can be learnt; set batch_size to 2 or more"
            )

    places = {module: place for place, module in net.named_modules()}
    for module in places:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.register_forward_pre_hook(check)
    _all_heads(net, x)


def _all_heads(net: nn.Module, x: Tensor) -> None:
    """Run the net with its auxiliary heads, where it has any."""
    if isinstance(net, AuxiliaryHeads):
        net.forward_with_aux(x)
    else:
        net(x)


def _arguments(docstring: str) -> dict[str, str]:
    """The sentences of a docstring's Args."""
    section = docstring.partition("\nArgs:\n")[2].partition("\n\n")[0]
    arguments = re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in arguments}


def _choices(hint: Any) -> tuple[Any, ...]:
    """The values of a Literal, also of one beside None."""
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    inner = [_choices(argument) for argument in typing.get_args(hint)]
    return next((choices for choices in inner if choices), ())

"""Other people's weights under our names: a state dict in, a state dict out; nothing is read or downloaded here.

Values are never changed: only names are, the shape of a linear layer that was written as a convolution, and the order
of channels where a net of theirs has another.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from plusx.nets.catalog import all_options, build, entry
from plusx.weights.channel_order import padded_behind
from plusx.weights.layouts import LAYOUTS, OURS, VARIANTS, Layout, Padding

COUNTS = ("total_ops", "total_params", "n_averaged")
"""Last components of the names of what profilers and torch's AveragedModel leave among the tensors."""
HEAD = re.compile(r"(fc|linear|classifier|head)(\.\d+|\.fc)*\.(weight|bias)")
"""Their last layer, also where it has no prefix and the rest of the net has one: backbone.conv1.weight, fc.weight."""


@dataclass(frozen=True)
class Translation:
    """A state dict under our names, and what became of theirs."""

    source: str
    """Whose layout it was: plusx, torchvision, timm, akamaster or kuangliu."""
    options: Mapping[str, Any]
    """Builder options of the net that the tensors fit."""
    tensors: Mapping[str, Tensor]
    matched: tuple[str, ...]
    """Names that were ours already."""
    renamed: Mapping[str, str]
    """Their name -> ours."""
    dropped: tuple[str, ...]
    """Their names that have no place here: what profilers count, another net beside the chosen one, or, in the last
    layer, another number of classes."""
    missing: tuple[str, ...]
    """Our names that got no value and keep their fresh one: those of a new head, and counters that old files lack."""
    last_layers: tuple[str, ...]
    """Our names of the tensors whose rows are the classes, of every head."""
    prefix: str = ""
    """What came off the front of their names."""
    notes: tuple[str, ...] = ()
    """What was assumed because the tensors do not show it, a sentence each."""

    def __repr__(self) -> str:
        counts = {
            "matched": self.matched,
            "renamed": self.renamed,
            "dropped": self.dropped,
            "missing": self.missing,
        }
        listed = ", ".join(f"{len(names):,} {what}" for what, names in counts.items())
        return f"<Translation of {self.source}: {listed}>"


class _Fit(NamedTuple):
    """One way to read a state dict as a net of ours."""

    score: int
    prefix: str
    layout: Layout
    shown: dict[str, Any]
    """Options that the tensors show."""
    ours: tuple[str, ...]
    whole: dict[str, str]
    """Their name without the prefix -> with it."""
    names: dict[str, str]
    """Their name without the prefix -> ours."""

    @property
    def exact(self) -> bool:
        return len(self.names) == len(self.whole) == len(self.ours)


def translate(
    name: str,
    tensors: Mapping[str, Tensor],
    *,
    prefix: str | None = None,
    padding: Padding | None = None,
    **options: Any,
) -> Translation:
    """Rename a state dict to the tensors of a net of ours.

    Args:
        name: Catalog name of the net that the tensors belong to.
        tensors: A state dict. A prefix that all names have, such as `module.` or `model.`, is taken off, and what
            profilers count is left out.
        prefix: Take the tensors whose names begin with it, where there are several nets.
        padding: Where option A's zeros lie, which the tensors do not show; None takes the layout's, with a note.
        options: Builder options. Those that the file itself shows (classes, input channels, shortcut, auxiliary heads)
            are read off it unless they are set; a number of classes other than the file's leaves its last layer out.

    Raises:
        ValueError: The tensors are not that net's.

    Example:
        >>> import torchvision
        >>> theirs = torchvision.models.resnet18(num_classes=7).state_dict()
        >>> translation = translate("resnet18", {f"module.{name}": tensor for name, tensor in theirs.items()})
        >>> translation.source, translation.prefix, translation.options["num_classes"]
        ('torchvision', 'module.', 7)
        >>> translation.renamed["module.fc.bias"]
        'head.linear.bias'
    """
    weights = {key: value for key, value in tensors.items() if key.rpartition(".")[2] not in COUNTS}
    fit = _best(name, weights, prefix, options)
    names = fit.names
    taken = Counter(names.values())
    if twice := next((key for key, count in taken.items() if count > 1), None):
        both = " and ".join(fit.whole[key] for key, our_key in names.items() if our_key == twice)
        raise ValueError(f"the weights are not {name}'s: {both} would both be {twice}")
    theirs = {short: weights[key] for short, key in fit.whole.items()}
    classes = _class_dimensions(name, {**fit.shown, **options})
    last = _last_layers(classes)
    full_options = {**fit.shown, **_sizes(theirs, names, classes), **options}
    with torch.device("meta"):
        ours = build(name, **full_options).state_dict()
    placed, another_head = {}, set()
    for key, our_key in names.items():
        if our_key not in ours:  # num_classes=0
            another_head.add(key)
            continue
        value, want = theirs[key], ours[our_key].shape
        if value.dim() == 4 and len(want) == 2:
            value = value.flatten(1)  # a linear layer that was written as a convolution
        differ = {i for i, sides in enumerate(zip(value.shape, want, strict=False)) if sides[0] != sides[1]}
        if value.shape == want:
            placed[our_key] = value
        elif value.dim() == len(want) and differ <= classes.get(our_key, set()):
            another_head.add(key)
        else:
            have, need = (" x ".join(map(str, shape)) for shape in (value.shape, want))
            raise ValueError(f"the weights are not {name}'s: {fit.whole[key]} is {have}, {our_key} is {need}")
    missing = tuple(key for key in ours if key not in placed)
    unplaced = [key for key in theirs if names.get(key) not in placed]
    heads = {names[key] for key in another_head}
    lacking = [key for key in missing if key not in heads and not key.endswith("num_batches_tracked")]
    if not set(last) & set(names.values()):  # there is none: its place is a new head's
        lacking = [key for key in lacking if not key.startswith(("head.", "aux."))]
    surplus = [fit.whole[key] for key in unplaced if key not in another_head and not key.startswith("aux")]
    if prefix is None:
        surplus += [key for key in weights if key not in fit.whole.values()]
    if lacking or surplus or not placed:
        lacks = lacking and (placed or not surplus)
        example = f"they lack {lacking[0]}" if lacks else f"{surplus[0]} has no place in it"
        raise ValueError(f"the weights are not {name}'s: {example}{_elsewhere(name, weights, prefix, options)}")
    kept, notes = _zeros_behind(name, fit.layout, full_options, placed, padding)
    used = {fit.whole[key]: our_key for key, our_key in names.items() if our_key in placed}
    return Translation(
        source=fit.layout.source,
        options=full_options,
        tensors=kept,
        matched=tuple(key for key, our_key in used.items() if key == our_key),
        renamed={key: our_key for key, our_key in used.items() if key != our_key},
        dropped=tuple(key for key in tensors if key not in used),
        missing=missing,
        last_layers=last,
        prefix=fit.prefix,
        notes=notes,
    )


def with_classes(translation: Translation, order: Sequence[int] | None) -> Translation:
    """A translation whose classes come in another order, or without the last layers.

    Args:
        translation: Of a net with a last layer.
        order: For each class, its row in the weights' last layers; None leaves these layers out.
    """
    last, tensors = translation.last_layers, translation.tensors
    if order is not None:
        rows = torch.tensor(order)
        return replace(translation, tensors={key: t[rows] if key in last else t for key, t in tensors.items()})
    back = {ours: theirs for theirs, ours in translation.renamed.items()}
    return replace(
        translation,
        tensors={key: value for key, value in tensors.items() if key not in last},
        matched=tuple(key for key in translation.matched if key not in last),
        renamed={theirs: ours for theirs, ours in translation.renamed.items() if ours not in last},
        dropped=translation.dropped + tuple(back.get(key, key) for key in last),
        missing=translation.missing + last,
    )


def _best(name: str, tensors: Mapping[str, Tensor], prefix: str | None, options: Mapping[str, Any]) -> _Fit:
    """The prefix, the layout, and the options that the tensors show, under which most of the tensors have a place."""
    prefixes = _common_prefixes(tensors)
    if prefix is not None:
        prefixes = [f"{prefix.rstrip('.')}." if prefix else ""]
        if not any(key.startswith(prefixes[0]) for key in tensors):
            begin = dict.fromkeys(f"{key.partition('.')[0]}." for key in tensors)
            raise ValueError(f"no tensor's name begins with {prefixes[0]}; they begin with {', '.join(begin)}")
    fits = []
    for fit in _fits(name, tensors, prefixes, options):
        if fit.exact:
            return fit
        fits.append(fit)
    return max(fits, key=lambda fit: fit.score)


def _fits(
    name: str, tensors: Mapping[str, Tensor], prefixes: Iterable[str], options: Mapping[str, Any]
) -> Iterator[_Fit]:
    """Every way to read the tensors whose names begin with one of the prefixes."""
    facts = entry(name)
    family = facts.family
    variants = [{k: v for k, v in each.items() if facts.takes(k)} for each in VARIANTS.get(family, ({},))]

    @cache
    def names_of(variant: int) -> tuple[str, ...]:
        structure = {**variants[variant], **{k: v for k, v in options.items() if k != "num_classes"}}
        with torch.device("meta"):
            return tuple(build(name, **structure).state_dict())

    for prefix in prefixes:
        whole = {key.removeprefix(prefix): key for key in tensors if key.startswith(prefix)}
        if not any(map(HEAD.fullmatch, whole)):
            whole |= {key: key for key in tensors if HEAD.fullmatch(key)}
        theirs = {short: tensors[key] for short, key in whole.items()}
        for number, shown in enumerate(variants):
            ours = names_of(number)
            for layout in (OURS, *LAYOUTS.get(family, ())):
                renamed = layout.rename(theirs, ours)
                names = {key: renamed[key] for key in theirs if renamed.get(key) in ours}
                yield _Fit(2 * len(names) - len(ours), prefix, layout, shown, ours, whole, names)


def _common_prefixes(tensors: Iterable[str]) -> list[str]:
    """What all names but the last layer's begin with, such as "", "model." and "model.net."."""
    paths = [key.split(".") for key in tensors if not HEAD.fullmatch(key)] or [[""]]
    first, depth = paths[0], 0
    while all(len(each) > depth + 1 and each[: depth + 1] == first[: depth + 1] for each in paths):
        depth += 1
    return ["".join(f"{each}." for each in first[:length]) for length in range(depth + 1)]


def _elsewhere(name: str, tensors: Mapping[str, Tensor], prefix: str | None, options: Mapping[str, Any]) -> str:
    """The prefixes under which the net lies whole, as the end of a sentence."""
    if prefix is not None:
        return ""
    counts = Counter("".join(f"{each}." for each in key.split(".")[:n]) for key in tensors for n in (1, 2, 3))
    with torch.device("meta"):
        size = len(build(name).state_dict())
    whole = [
        fit.prefix
        for fit in _fits(name, tensors, [prefix for prefix, count in counts.items() if 2 * count > size], options)
        if {key for key in fit.ours if not key.startswith(("head.", "aux.")) and not key.endswith("_tracked")}
        <= set(fit.names.values())
    ]
    listed = " and under ".join(dict.fromkeys(whole))
    return f"; it lies under {listed}: choose with --prefix" if whole else ""


def _class_dimensions(name: str, options: Mapping[str, Any]) -> dict[str, set[int]]:
    """Our name -> the dimensions that grow with the number of classes."""
    with torch.device("meta"):
        one, two = (build(name, **{**options, "num_classes": count}).state_dict() for count in (1, 2))
    grown = {key: {i for i, side in enumerate(two[key].shape) if side != one[key].shape[i]} for key in two}
    return {key: dimensions for key, dimensions in grown.items() if dimensions}


def _last_layers(names: Iterable[str]) -> tuple[str, ...]:
    """Those of our names, in the net's order, that belong to the last layer of a head."""
    names = tuple(names)
    layers = {".".join(key.split(".")[: 1 + key.startswith("aux.")]): key.rpartition(".")[0] for key in names}
    return tuple(key for key in names if key.rpartition(".")[0] in layers.values())


def _sizes(theirs: Mapping[str, Tensor], names: Mapping[str, str], classes: Mapping[str, set[int]]) -> dict[str, int]:
    """The number of classes and of input channels that the file's tensors have."""
    shapes = {our_key: theirs[key].shape for key, our_key in names.items()}
    last = [shapes[key][0] for key in classes if key in shapes and key.startswith("head.")]
    first = [shape[1] for key, shape in shapes.items() if key.startswith("stem.") and len(shape) == 4]
    return {**({"num_classes": last[-1]} if last else {}), **({"in_channels": first[0]} if first else {})}


def _zeros_behind(
    name: str, layout: Layout, options: Mapping[str, Any], tensors: dict[str, Tensor], padding: Padding | None
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors for option A's zeros where ours are, and a note where the place of theirs was assumed."""
    if padding not in ("behind", "both", None):
        raise ValueError(f"padding is {padding!r}; choose behind or both")
    if all_options(name, options).get("shortcut") != "A":
        if padding is not None:
            raise ValueError(f"padding={padding} says where option A's zeros lie; this {name} has no such shortcut")
        return tensors, ()
    notes: tuple[str, ...] = ()
    if padding is None and layout is not OURS:
        padding = layout.padding
        where, other = ("on both sides", "behind") if padding == "both" else ("all behind", "both")
        notes = (
            f"the tensors do not show where the zeros of option A's shortcuts lie; they are taken to lie {where}, as "
            f"the layers have {layout.source}'s names. If that is wrong, so are all logits: measure the error with "
            f"`plusx evaluate`, and where it is high, convert with --set padding={other}",
        )
    return padded_behind(tensors) if padding == "both" else tensors, notes

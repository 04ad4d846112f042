"""Other people's weights: the key layouts of torchvision, timm and the CIFAR repositories, to our names.

A state dict in, a state dict out; nothing is read or downloaded here. Values are never changed: only names are, the
shape of a linear layer that was written as a convolution, and the order of channels where a net of theirs has another.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from plusx.nets.catalog import all_options, build, entry
from plusx.weights.channel_order import padded_behind

Padding = Literal["behind", "both"]
"""Where the zeros of option A lie: all behind the channels of x, or half of them on each side."""
Rename = Callable[[Mapping[str, Tensor], Sequence[str]], dict[str, str]]
"""(their tensors, our names in order) to their name -> our name."""

COUNTS = ("total_ops", "total_params", "n_averaged")
"""What profilers and torch's AveragedModel leave among the tensors, by the last part of its name."""
HEAD = re.compile(r"(fc|linear|classifier|head)(\.\d+|\.fc)*\.(weight|bias)")
"""Their last layer where it stands beside a net that has a prefix: backbone.conv1.weight, head.fc.weight."""


@dataclass(frozen=True)
class Layout:
    """How somebody names the tensors of a family of nets."""

    source: str
    rename: Rename
    padding: Padding = "behind"
    """Where its author's option A puts the zeros, which no tensor shows."""


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
    """Our names that got no value and keep their fresh one: a new head, and counters that old files lack."""
    last_layers: tuple[str, ...]
    """Our names of the tensors whose rows are the classes, of every head."""
    prefix: str = ""
    """What came off the front of their names."""
    notes: tuple[str, ...] = ()
    """What the tensors do not show and was assumed, a sentence each."""

    def __repr__(self) -> str:
        counts = [f"{len(getattr(self, what)):,} {what}" for what in ("matched", "renamed", "dropped", "missing")]
        return f"<Translation of {self.source}: {', '.join(counts)}>"


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
        name: Catalog name of the net that the tensors are of.
        tensors: A state dict. A prefix that all names have, such as `module.` or `model.`, is taken off, and what
            profilers count is left out.
        prefix: Take the tensors whose names begin with it, where there are several nets.
        padding: Where option A's zeros lie, which the tensors do not show; by the layout if not given, with a note.
        options: Builder options. Those that the file itself shows (classes, input channels, shortcut, auxiliary heads)
            are read off it if not given; a number of classes other than the file's leaves its last layer out.

    Raises:
        ValueError: The tensors are not of that net.

    Example:
        >>> import torchvision
        >>> theirs = torchvision.models.resnet18(num_classes=7).state_dict()
        >>> found = translate("resnet18", {f"module.{name}": tensor for name, tensor in theirs.items()})
        >>> found.source, found.prefix, found.options["num_classes"], found.renamed["module.fc.bias"]
        ('torchvision', 'module.', 7, 'head.linear.bias')
    """
    counts = [key for key in tensors if key.rpartition(".")[2] in COUNTS]
    counted = {key: value for key, value in tensors.items() if key not in counts}
    found = _best(name, counted, prefix, options)
    names = found.names
    taken = Counter(names.values())
    if twice := next((key for key, count in taken.items() if count > 1), None):
        both = " and ".join(found.whole[key] for key, our_key in names.items() if our_key == twice)
        raise ValueError(f"the weights are not {name}'s: {both} would both be {twice}")
    theirs = {short: counted[key] for short, key in found.whole.items()}
    classes = _class_dimensions(name, {**found.shown, **options})
    last = _last_layers(classes)
    given = {**found.shown, **_sizes(theirs, names, classes), **options}
    with torch.device("meta"):
        ours = build(name, **given).state_dict()
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
            raise ValueError(f"the weights are not {name}'s: {found.whole[key]} is {have}, {our_key} is {need}")
    missing = tuple(key for key in ours if key not in placed)
    unplaced = [key for key in theirs if names.get(key) not in placed]
    heads = {names[key] for key in another_head}
    lacking = [key for key in missing if key not in heads and not key.endswith("num_batches_tracked")]
    if not set(last) & set(names.values()):  # there is none: its place is a new head's
        lacking = [key for key in lacking if not key.startswith(("head.", "aux."))]
    surplus = [found.whole[key] for key in unplaced if key not in another_head and not key.startswith("aux")]
    if prefix is None:
        surplus += [key for key in counted if key not in found.whole.values()]
    if lacking or surplus or not placed:
        lacks = lacking and (placed or not surplus)
        example = f"they lack {lacking[0]}" if lacks else f"{surplus[0]} has no place in it"
        raise ValueError(f"the weights are not {name}'s: {example}{_elsewhere(name, counted, prefix, options)}")
    kept, notes = _zeros_behind(name, found.layout, given, placed, padding)
    used = {found.whole[key]: our_key for key, our_key in names.items() if our_key in placed}
    return Translation(
        source=found.layout.source,
        options=given,
        tensors=kept,
        matched=tuple(key for key, our_key in used.items() if key == our_key),
        renamed={key: our_key for key, our_key in used.items() if key != our_key},
        dropped=tuple(key for key in tensors if key not in used),
        missing=missing,
        last_layers=last,
        prefix=found.prefix,
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
    """The prefix, the layout, and the options that the tensors show, under which most of them have a place."""
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
    """Every way to read the tensors that one of the prefixes begins."""
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
    """What all names but the last layer's begin with: "", "model." and "model.net." for model.net.conv1.weight."""
    parts = [key.split(".") for key in tensors if not HEAD.fullmatch(key)] or [[""]]
    depth = 0
    while all(len(each) > depth + 1 and each[: depth + 1] == parts[0][: depth + 1] for each in parts):
        depth += 1
    return ["".join(f"{part}." for part in parts[0][:length]) for length in range(depth + 1)]


def _elsewhere(name: str, tensors: Mapping[str, Tensor], prefix: str | None, options: Mapping[str, Any]) -> str:
    """The prefixes under which the net lies whole, as the end of a sentence."""
    if prefix is not None:
        return ""
    counts = Counter("".join(f"{part}." for part in key.split(".")[:n]) for key in tensors for n in (1, 2, 3))
    with torch.device("meta"):
        size = len(build(name).state_dict())
    whole = [
        fit.prefix
        for fit in _fits(name, tensors, [found for found, count in counts.items() if 2 * count > size], options)
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
    """Those of our names, in the net's order, that are of the last layer of a head."""
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
    """The tensors for option A's zeros where ours are, and a note where it was assumed where theirs are."""
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
            f"the layers have {layout.source}'s names. If that is wrong, so is every answer: measure the error with "
            f"`plusx evaluate`, and where it is high, convert with --set padding={other}",
        )
    return padded_behind(tensors) if padding == "both" else tensors, notes


# ---- layouts ---------------------------------------------------------------------------------------------------------


def _by_rules(*rules: tuple[str, str]) -> Rename:
    """Names by pattern. A group whose name ends in a digit counts from that digit in theirs and from 0 in ours."""
    patterns = [(re.compile(pattern), ours) for pattern, ours in rules]

    def rename(theirs: Mapping[str, Tensor], ours: Sequence[str]) -> dict[str, str]:
        names = {}
        for key in theirs:
            found = next(((match, new) for p, new in patterns if (match := p.fullmatch(key))), None)
            if found:
                groups = found[0].groupdict()
                counted = {g: int(value) - int(g[-1]) if g[-1].isdigit() else value for g, value in groups.items()}
                names[key] = found[1].format(**counted)
        return names

    return rename


def _in_order(*sections: str) -> Rename:
    """Their nth module with weights is our nth; for nets that are one chain. `sections` are theirs, in order."""

    def place(module: str) -> tuple[int, ...]:
        section = next(i for i, prefix in enumerate(sections) if module.startswith(prefix))
        return section, *(int(number) for number in re.findall(r"\d+", module))

    def rename(theirs: Mapping[str, Tensor], ours: Sequence[str]) -> dict[str, str]:
        modules = sorted({key.rpartition(".")[0] for key in theirs if key.startswith(sections)}, key=place)
        our_modules = dict.fromkeys(key.rpartition(".")[0] for key in ours)
        pairs = dict(zip(modules, our_modules, strict=False))
        split = {key: key.rpartition(".") for key in theirs}
        return {key: f"{pairs[module]}.{leaf}" for key, (module, _, leaf) in split.items() if module in pairs}

    return rename


def _three_stages(rename: Rename) -> Rename:
    """Only for files of three stages."""
    return lambda theirs, ours: {} if any(key.startswith("layer4.") for key in theirs) else rename(theirs, ours)


def _ours(theirs: Mapping[str, Tensor], ours: Sequence[str]) -> dict[str, str]:
    """Our names; a last layer may have become a Sequential, for dropout before it."""
    return {key: key if key in ours else re.sub(r"\.\d+(?=\.\w+$)", "", key) for key in theirs}


_BLOCK, _OUR_BLOCK = r"layer(?P<stage1>\d)\.(?P<block0>\d+)\.", "stages.{stage1}.{block0}."
_RESNET = (
    (r"conv1\.(?P<t>weight|bias)", "stem.conv.conv.{t}"),
    (r"bn1\.(?P<t>\w+)", "stem.conv.norm.{t}"),
    (_BLOCK + r"conv(?P<n>\d)\.weight", _OUR_BLOCK + "branch.conv{n}.conv.weight"),
    (_BLOCK + r"bn(?P<n>\d)\.(?P<t>\w+)", _OUR_BLOCK + "branch.conv{n}.norm.{t}"),
    (_BLOCK + r"(downsample|shortcut)\.0\.weight", _OUR_BLOCK + "shortcut.conv.weight"),
    (_BLOCK + r"(downsample|shortcut)\.1\.(?P<t>\w+)", _OUR_BLOCK + "shortcut.norm.{t}"),
)
# A last layer may have become a Sequential, for dropout before it, or have its own module, as mmpretrain's head.fc.
_FC = (r"(fc|classifier|head)(\.\d+|\.fc)*\.(?P<t>weight|bias)", "head.linear.{t}")
_LINEAR = (r"linear(\.\d+)*\.(?P<t>weight|bias)", "head.linear.{t}")
_TORCHVISION_RESNET = _by_rules(*_RESNET, _FC)
_CIFAR_RESNET = _by_rules(*_RESNET, _LINEAR)
_PREACT_RESNET = _by_rules(
    (r"conv1\.weight", "stem.conv.weight"),
    (_BLOCK + r"bn1\.(?P<t>\w+)", _OUR_BLOCK + "open.norm.{t}"),
    (_BLOCK + r"conv1\.weight", _OUR_BLOCK + "branch.conv1.weight"),
    (_BLOCK + r"bn(?P<n>\d)\.(?P<t>\w+)", _OUR_BLOCK + "branch.conv{n}.norm.{t}"),
    (_BLOCK + r"conv(?P<n>\d)\.weight", _OUR_BLOCK + "branch.conv{n}.conv.weight"),
    (_BLOCK + r"shortcut\.0\.weight", _OUR_BLOCK + "shortcut.weight"),
    _LINEAR,
)
_GOOGLENET = _by_rules(
    *(
        (theirs + r"\." + part + r"\.(?P<t>\w+)", f"{ours}.{our_part}.{{t}}")
        for theirs, ours in (
            ("conv1", "stem.conv1"),
            ("conv2", "stem.reduce2"),
            ("conv3", "stem.conv2"),
            (r"inception(?P<stage>\d)(?P<m>\w)\.branch1", "stages.inception{stage}.{m}.branch1x1"),
            (r"inception(?P<stage>\d)(?P<m>\w)\.branch2\.0", "stages.inception{stage}.{m}.branch3x3.reduce"),
            (r"inception(?P<stage>\d)(?P<m>\w)\.branch2\.1", "stages.inception{stage}.{m}.branch3x3.conv"),
            (r"inception(?P<stage>\d)(?P<m>\w)\.branch3\.0", "stages.inception{stage}.{m}.branch5x5.reduce"),
            (r"inception(?P<stage>\d)(?P<m>\w)\.branch3\.1", "stages.inception{stage}.{m}.branch5x5.conv"),
            (r"inception(?P<stage>\d)(?P<m>\w)\.branch4\.1", "stages.inception{stage}.{m}.branch_pool.proj"),
            (r"aux(?P<aux1>\d)\.conv", "aux.{aux1}.conv"),
        )
        for part, our_part in (("conv", "conv"), ("bn", "norm"))
    ),
    (r"aux(?P<aux1>\d)\.(?P<fc>fc\d)\.(?P<t>\w+)", "aux.{aux1}.{fc}.{t}"),
    _FC,
)
_LAYER = r"features\.denseblock(?P<stage1>\d)\.denselayer(?P<layer1>\d+)\."
_OUR_LAYER = "stages.{stage1}.block.{layer1}.branch."
_DENSENET = _by_rules(
    (r"features\.(?P<part>conv|norm)0\.(?P<t>\w+)", "stem.{part}.{t}"),
    (_LAYER + r"(?P<part>norm|conv)\.?1\.(?P<t>\w+)", _OUR_LAYER + "reduce.{part}.{t}"),  # norm.1 in old files
    (_LAYER + r"(?P<part>norm|conv)\.?2\.(?P<t>\w+)", _OUR_LAYER + "conv.{part}.{t}"),
    (r"features\.transition(?P<stage>\d)\.(?P<part>norm|conv)\.(?P<t>\w+)", "stages.{stage}.transition.{part}.{t}"),
    (r"features\.norm5\.(?P<t>\w+)", "head.norm.{t}"),
    _FC,
)
_PATHS, _OUR_PATHS = r"features\.conv(?P<stage2>\d)_(?P<block1>\d+)\.", "stages.{stage2}.{block1}."
_DPN = _by_rules(
    (r"features\.conv1_1\.conv\.weight", "stem.conv.conv.weight"),
    (r"features\.conv1_1\.bn\.(?P<t>\w+)", "stem.conv.norm.{t}"),
    *(
        (_PATHS + theirs + r"\." + part + r"\.(?P<t>\w+)", f"{_OUR_PATHS}{ours}.{our_part}.{{t}}")
        for theirs, ours in (
            (r"c1x1_w_s[12]", "shortcut"),
            ("c1x1_a", "branch.conv1"),
            ("c3x3_b", "branch.conv2"),
            ("c1x1_c", "branch.conv3"),
        )
        for part, our_part in (("conv", "conv"), ("bn", "norm"))
    ),
    (_PATHS + r"c1x1_c(?P<path1>\d)\.weight", _OUR_PATHS + "branch.conv3.convs.{path1}.weight"),
    (r"features\.conv5_bn_ac\.bn\.(?P<t>\w+)", "head.norm.{t}"),
    _FC,
)

OURS = Layout("plusx", _ours)
_RESNETS = (
    Layout("torchvision", _TORCHVISION_RESNET),  # and timm
    Layout("akamaster", _three_stages(_CIFAR_RESNET), "both"),  # akamaster/pytorch_resnet_cifar10
    Layout("kuangliu", _CIFAR_RESNET),  # kuangliu/pytorch-cifar
)
_PREACT = Layout("kuangliu", _PREACT_RESNET)
LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    "alexnet": (Layout("torchvision", _in_order("features.", "classifier.")),),
    "vgg": (
        Layout("torchvision", _in_order("features.", "classifier.")),
        Layout("timm", _in_order("features.", "pre_logits.", "head.")),
    ),
    "googlenet": (Layout("torchvision", _GOOGLENET),),
    "resnet": _RESNETS,
    "preact": (_PREACT,),
    "wide_resnet": (*_RESNETS, _PREACT),
    "resnext": _RESNETS,
    "densenet": (Layout("torchvision", _DENSENET),),  # and timm
    "dpn": (Layout("timm", _DPN),),
}
"""Family -> layouts of others; equally good ones are taken in this order."""

_SHORTCUTS: tuple[Mapping[str, Any], ...] = (
    *({}, {"shortcut": "A"}, {"shortcut": "B"}, {"shortcut": "C"}, {"stem_bias": True}),
)
VARIANTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    **dict.fromkeys(("resnet", "preact", "wide_resnet", "resnext"), _SHORTCUTS),
    "googlenet": ({"aux": True}, {"aux": False}),
}
"""Family -> options that a file shows by the tensors it has."""

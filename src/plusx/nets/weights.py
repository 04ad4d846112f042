"""Other people's weights: the key layouts of torchvision, timm and the CIFAR repositories, to our names.

A state dict in, a state dict out; nothing is read or downloaded here. Values are never changed: only names are, the
shape of a linear layer that was written as a convolution, and the order of channels where a net of theirs has another.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from plusx.nets.catalog import build, entry
from plusx.nets.channel_order import padded_behind

Rename = Callable[[Mapping[str, Tensor], Sequence[str]], dict[str, str]]
"""(their tensors, our names in order) to their name -> our name."""


@dataclass(frozen=True)
class Layout:
    """How somebody names the tensors of a family of nets."""

    source: str
    rename: Rename
    reorder: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    """Tensors under our names in their order of channels -> in ours."""


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
    """Their names that have no place here, or, in the last layer, another number of classes."""
    missing: tuple[str, ...]
    """Our names that got no value and keep their fresh one: a new head, and counters that old files lack."""


def translate(name: str, tensors: Mapping[str, Tensor], **options: Any) -> Translation:
    """Rename a state dict to the tensors of a net of ours.

    Args:
        name: Catalog name of the net that the tensors are of.
        tensors: A state dict; an outer `module.` or `_orig_mod.` on all names is taken off.
        options: Builder options. Those that the file itself shows (classes, input channels, shortcut, auxiliary heads)
            are read off it if not given; a number of classes other than the file's leaves its last layer out.

    Raises:
        ValueError: The tensors are not of that net.

    Example:
        >>> import torchvision
        >>> theirs = torchvision.models.resnet18(num_classes=7).state_dict()
        >>> found = translate("resnet18", theirs)
        >>> found.source, found.options["num_classes"], found.renamed["fc.bias"]
        ('torchvision', 7, 'head.linear.bias')
    """
    theirs = _without_prefix(tensors)
    layout, shown, names = _best(name, theirs, options)
    given = {**shown, **_sizes(theirs, names), **options}
    with torch.device("meta"):
        ours = build(name, **given).state_dict()
    placed, another_head = {}, set()
    for key, our_key in names.items():
        value, want = theirs[key], ours[our_key].shape
        if value.dim() == 4 and len(want) == 2:
            value = value.flatten(1)  # a linear layer that was written as a convolution
        if value.shape == want:
            placed[our_key] = value
        elif value.shape[1:] == want[1:] and want[0] == given.get("num_classes"):
            another_head.add(key)
        else:
            have, need = (" x ".join(map(str, shape)) for shape in (value.shape, want))
            raise ValueError(f"the weights are not {name}'s: {key} is {have}, {our_key} is {need}")
    missing = tuple(key for key in ours if key not in placed)
    dropped = tuple(key for key in theirs if names.get(key) not in placed)
    heads = {names[key] for key in another_head}
    lacking = [key for key in missing if key not in heads and not key.endswith("num_batches_tracked")]
    surplus = [key for key in dropped if key not in another_head and not key.startswith("aux")]
    if lacking or surplus:
        example = f"they lack {lacking[0]}" if lacking else f"{surplus[0]} has no place in it"
        raise ValueError(f"the weights are not {name}'s: {example}")
    used = {key: our_key for key, our_key in names.items() if key not in dropped}
    return Translation(
        source=layout.source,
        options=given,
        tensors=layout.reorder(placed),
        matched=tuple(key for key, our_key in used.items() if key == our_key),
        renamed={key: our_key for key, our_key in used.items() if key != our_key},
        dropped=dropped,
        missing=missing,
    )


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    theirs = dict(tensors)
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):  # torch.compile may wrap, or be wrapped
        if theirs and all(key.startswith(prefix) for key in theirs):
            theirs = {key.removeprefix(prefix): value for key, value in theirs.items()}
    return theirs


def _best(
    name: str, theirs: Mapping[str, Tensor], options: Mapping[str, Any]
) -> tuple[Layout, dict[str, Any], dict[str, str]]:
    """The layout, and the options that the tensors show, under which most have a place and fewest are missing."""
    family, known = entry(name).family, inspect.signature(entry(name).builder).parameters
    scored: list[tuple[int, Layout, dict[str, Any], dict[str, str]]] = []
    for layout in (OURS, *LAYOUTS.get(family, ())):
        for variant in VARIANTS.get(family, ({},)):
            shown = {key: value for key, value in variant.items() if key in known}
            with torch.device("meta"):
                ours = build(name, **{**shown, **options}).state_dict()
            names = {key: our_key for key, our_key in layout.rename(theirs, tuple(ours)).items() if our_key in ours}
            candidate = (2 * len(names) - len(ours), layout, shown, names)
            scored.append(candidate)
            if len(names) == len(theirs) == len(ours):
                return candidate[1:]
    _, layout, shown, names = max(scored, key=lambda candidate: candidate[0])
    if not names:
        raise ValueError(f"the weights are not {name}'s: {next(iter(theirs), 'nothing')} has no place in it")
    return layout, shown, names


def _sizes(theirs: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, int]:
    """The number of classes and of input channels that the file's tensors have."""
    shapes = [(our_key, theirs[key].shape) for key, our_key in names.items() if theirs[key].dim() in (2, 4)]
    last = [shape[0] for our_key, shape in shapes if our_key.startswith("head.")]
    first = [shape[1] for our_key, shape in shapes if our_key.startswith("stem.") and len(shape) == 4]
    return {**({"num_classes": last[-1]} if last else {}), **({"in_channels": first[0]} if first else {})}


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


def _same(theirs: Mapping[str, Tensor], ours: Sequence[str]) -> dict[str, str]:
    return {key: key for key in theirs}


_BLOCK, _OUR_BLOCK = r"layer(?P<stage1>\d)\.(?P<block0>\d+)\.", "stages.{stage1}.{block0}."
_RESNET = (
    (r"conv1\.(?P<t>weight|bias)", "stem.conv.conv.{t}"),
    (r"bn1\.(?P<t>\w+)", "stem.conv.norm.{t}"),
    (_BLOCK + r"conv(?P<n>\d)\.weight", _OUR_BLOCK + "branch.conv{n}.conv.weight"),
    (_BLOCK + r"bn(?P<n>\d)\.(?P<t>\w+)", _OUR_BLOCK + "branch.conv{n}.norm.{t}"),
    (_BLOCK + r"(downsample|shortcut)\.0\.weight", _OUR_BLOCK + "shortcut.conv.weight"),
    (_BLOCK + r"(downsample|shortcut)\.1\.(?P<t>\w+)", _OUR_BLOCK + "shortcut.norm.{t}"),
)
_TORCHVISION_RESNET = _by_rules(*_RESNET, (r"fc\.(?P<t>\w+)", "head.linear.{t}"))
_CIFAR_RESNET = _by_rules(*_RESNET, (r"linear\.(?P<t>\w+)", "head.linear.{t}"))
_PREACT_RESNET = _by_rules(
    (r"conv1\.weight", "stem.conv.weight"),
    (_BLOCK + r"bn1\.(?P<t>\w+)", _OUR_BLOCK + "open.norm.{t}"),
    (_BLOCK + r"conv1\.weight", _OUR_BLOCK + "branch.conv1.weight"),
    (_BLOCK + r"bn(?P<n>\d)\.(?P<t>\w+)", _OUR_BLOCK + "branch.conv{n}.norm.{t}"),
    (_BLOCK + r"conv(?P<n>\d)\.weight", _OUR_BLOCK + "branch.conv{n}.conv.weight"),
    (_BLOCK + r"shortcut\.0\.weight", _OUR_BLOCK + "shortcut.weight"),
    (r"linear\.(?P<t>\w+)", "head.linear.{t}"),
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
    (r"fc\.(?P<t>\w+)", "head.linear.{t}"),
)
_LAYER = r"features\.denseblock(?P<stage1>\d)\.denselayer(?P<layer1>\d+)\."
_OUR_LAYER = "stages.{stage1}.block.{layer1}.branch."
_DENSENET = _by_rules(
    (r"features\.(?P<part>conv|norm)0\.(?P<t>\w+)", "stem.{part}.{t}"),
    (_LAYER + r"(?P<part>norm|conv)\.?1\.(?P<t>\w+)", _OUR_LAYER + "reduce.{part}.{t}"),  # norm.1 in old files
    (_LAYER + r"(?P<part>norm|conv)\.?2\.(?P<t>\w+)", _OUR_LAYER + "conv.{part}.{t}"),
    (r"features\.transition(?P<stage>\d)\.(?P<part>norm|conv)\.(?P<t>\w+)", "stages.{stage}.transition.{part}.{t}"),
    (r"features\.norm5\.(?P<t>\w+)", "head.norm.{t}"),
    (r"classifier\.(?P<t>\w+)", "head.linear.{t}"),
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
    (r"classifier\.(?P<t>\w+)", "head.linear.{t}"),
)

OURS = Layout("plusx", _same)
LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    "alexnet": (Layout("torchvision", _in_order("features.", "classifier.")),),
    "vgg": (
        Layout("torchvision", _in_order("features.", "classifier.")),
        Layout("timm", _in_order("features.", "pre_logits.", "head.")),
    ),
    "googlenet": (Layout("torchvision", _GOOGLENET),),
    "resnet": (
        Layout("torchvision", _TORCHVISION_RESNET),  # and timm
        Layout("akamaster", _three_stages(_CIFAR_RESNET), padded_behind),  # akamaster/pytorch_resnet_cifar10
        Layout("kuangliu", _CIFAR_RESNET),  # kuangliu/pytorch-cifar
        Layout("kuangliu", _PREACT_RESNET),
    ),
    "densenet": (Layout("torchvision", _DENSENET),),  # and timm
    "dpn": (Layout("timm", _DPN),),
}
"""Family -> layouts of others; equally good ones are taken in this order."""

VARIANTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "resnet": ({}, {"shortcut": "A"}, {"shortcut": "B"}, {"shortcut": "C"}, {"stem_bias": True}),
    "googlenet": ({"aux": True}, {"aux": False}),
}
"""Family -> options that a file shows by the tensors it has."""

"""How torchvision, timm and the CIFAR repositories name the tensors of each family of nets."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

Padding = Literal["behind", "both"]
"""Where the zeros of option A lie: all behind the channels of x, or half of them on each side."""
Rename = Callable[[Mapping[str, Tensor], Sequence[str]], dict[str, str]]
"""(their tensors, our names in order) to their name -> our name."""


@dataclass(frozen=True)
class Layout:
    """How somebody names the tensors of a family of nets."""

    source: str
    rename: Rename
    padding: Padding = "behind"
    """Where its author's option A puts the zeros, which no tensor shows."""


def _by_rules(*rules: tuple[str, str]) -> Rename:
    """Names by pattern. A group whose name ends in a digit counts from that digit in their names and from 0 in ours."""
    patterns = [(re.compile(pattern), ours) for pattern, ours in rules]

    def rename(theirs: Mapping[str, Tensor], ours: Sequence[str]) -> dict[str, str]:
        names = {}
        for key in theirs:
            match, new = next(((match, new) for p, new in patterns if (match := p.fullmatch(key))), (None, ""))
            if match:
                groups = match.groupdict()
                counted = {g: int(value) - int(g[-1]) if g[-1].isdigit() else value for g, value in groups.items()}
                names[key] = new.format(**counted)
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

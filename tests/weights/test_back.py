"""Weights of ours in torchvision's and timm's own nets: loaded strictly, equal in what they compute, and back again."""

import copy
from typing import Any

import pytest
import torch

from plusx.nets import build
from plusx.nets.net import AuxiliaryHeads
from plusx.weights.back import Library, their_net, their_nets, translate_back
from plusx.weights.translate import translate
from tests.nets.test_equality import ONE_A_FAMILY, TIMM, TORCHVISION

QUICK = {("torchvision", "resnet18"), ("timm", "densenet121"), ("torchvision", "googlenet"), ("timm", "dpn68")}
DEAR = ("vgg13", "vgg16", "vgg19", "resnet152", "wide_resnet101_2", "resnext101_64x4d", "dpn107", "dpn131")
PAIRS = [
    pytest.param(
        library,
        name,
        marks=[]
        if (library, name) in QUICK
        else [pytest.mark.slow]
        if name.removesuffix("_bn") in DEAR
        else [pytest.mark.more],
    )
    for library in ("torchvision", "timm")
    for name in their_nets(library)  # type: ignore[arg-type]  # mypy sees text
]


def moved(name: str, **options: Any) -> torch.nn.Module:
    """A net of ours whose statistics are as if it had been trained."""
    torch.manual_seed(0)
    net = build(name, **options)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


@pytest.mark.parametrize(("library", "name"), PAIRS)
def test_their_net_computes_the_same_and_gives_the_weights_back(library: Library, name: str) -> None:
    options = {"num_classes": 7}
    ours = moved(name, **options)
    theirs = their_net(library, name, options).eval()
    theirs.load_state_dict(translate_back(library, name, options, ours.state_dict()), strict=True)
    side = 224 if library == "timm" and name.startswith("vgg") else 64
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)).double()  # sums have another order
    with torch.no_grad():
        expected, found = copy.deepcopy(ours).double()(x), copy.deepcopy(theirs).double()(x)
    assert (found - expected).abs().max() <= 1e-6 * max(1.0, expected.abs().max().item())
    back = translate(name, theirs.state_dict(), **options)
    assert not back.dropped and not back.missing
    for key, value in ours.state_dict().items():
        assert torch.equal(back.tensors[key], value), key


def test_every_net_that_they_have_goes_back() -> None:
    assert set(their_nets("torchvision")) == TORCHVISION
    assert set(their_nets("timm")) >= TIMM
    assert not ONE_A_FAMILY - {*their_nets("torchvision"), *their_nets("timm")}


def test_googlenet_goes_with_and_without_auxiliary_heads() -> None:
    for aux in (True, False):
        options = {"num_classes": 3, "aux": aux}
        ours = build("googlenet", **options)
        assert isinstance(ours, AuxiliaryHeads)
        with torch.device("meta"):
            theirs = their_net("torchvision", "googlenet", options)
        assert (
            translate_back("torchvision", "googlenet", options, ours.state_dict()).keys() == theirs.state_dict().keys()
        )


@pytest.mark.parametrize(
    ("library", "name", "options", "sentence"),
    [
        ("torchvision", "resnet20", {}, "torchvision has no net resnet20; of plusx's nets it has alexnet, "),
        ("timm", "googlenet", {}, "timm has no net googlenet; of plusx's nets it has vgg11, "),
        ("torchvision", "resnet18", {"in_channels": 1}, "takes images of 3 channels; this net has 1"),
        ("torchvision", "resnet18", {"shortcut": "C"}, "torchvision's resnet18 is not the net of this run: "),
        ("torchvision", "resnet18", {"shortcut": "A"}, "torchvision's resnet18 is not the net of this run: "),
    ],
)
def test_what_they_lack_is_one_sentence(library: Library, name: str, options: dict[str, Any], sentence: str) -> None:
    with torch.device("meta"):
        tensors = build(name, **options).state_dict()
    with pytest.raises(ValueError) as fault:
        translate_back(library, name, options, tensors)
    assert sentence in str(fault.value) and "\n" not in str(fault.value)

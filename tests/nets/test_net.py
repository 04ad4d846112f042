"""The contract of a net: what it declares holds whatever is done to it, and a wrapper declares nothing."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from plusx.nets import build, entry, names
from plusx.nets.net import AuxiliaryHeads, DenseEvaluation, FittedStem, Net, dense_form, hides
from plusx.placement.place import choose_placement
from plusx.recipes.placement import PlacementSpec

ABILITIES: dict[str, type] = {"googlenet": AuxiliaryHeads, "vgg11": DenseEvaluation, "airbench94": FittedStem}


SMALL = {entry(name).family: name for name in sorted(names(), key=lambda name: -entry(name).layers)}
"""Of each family the net of the fewest layers; `make test-more` takes all."""


@pytest.mark.parametrize(
    "name", [name if name in SMALL.values() else pytest.param(name, marks=pytest.mark.more) for name in names()]
)
def test_every_net_is_a_net_and_its_family_decides_what_it_declares(name: str) -> None:
    with torch.device("meta"):
        net = build(name)
    assert isinstance(net, Net)
    families = {"googlenet": AuxiliaryHeads, "vgg": DenseEvaluation, "airbench": FittedStem}
    declared = [ability for ability in families.values() if isinstance(net, ability)]
    assert declared == [ability for family, ability in families.items() if family == entry(name).family]
    assert entry(name).takes("image_size") == (name in ("mlp", "residual_mlp", "highway_fc"))


def compiled(net: nn.Module) -> nn.Module:
    net.compile(backend="eager")
    return net


def placed(net: nn.Module, **fields: object) -> nn.Module:
    return choose_placement(PlacementSpec(**fields)).place(net)


CHANGES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "compiled in place": compiled,
    "another type": lambda net: net.double(),
    "fused in place": lambda net: placed(net, device="cpu", precision="fp32"),
    "cut in place": lambda net: placed(net, device="cpu", precision="fp32", kernels="plain", recompute=True),
    "copied after it was fused": lambda net: copy.deepcopy(placed(net, device="cpu")),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["googlenet", "airbench94"])
def test_an_ability_survives_what_is_done_in_place_and_a_copy(name: str, change: str) -> None:
    net = CHANGES[change](build(name))
    assert isinstance(net, Net) and isinstance(net, ABILITIES[name])


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "AveragedModel": AveragedModel,
    "torch.compile": lambda net: torch.compile(net, backend="eager"),  # type: ignore[dict-item, return-value]
    "one in another": lambda net: nn.DataParallel(AveragedModel(net)),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_declares_nothing_and_is_known_to_hide_what_its_net_declares(wrapper: str) -> None:
    wrapped = WRAPPERS[wrapper](build("googlenet", num_classes=3))
    assert not hides(WRAPPERS[wrapper](build("resnet20")), AuxiliaryHeads)
    assert not isinstance(wrapped, AuxiliaryHeads) and hides(wrapped, AuxiliaryHeads)


def test_dense_forms() -> None:
    with pytest.raises(ValueError, match="no dense form"):
        dense_form(build("alexnet", num_classes=3))
    with torch.device("meta"):
        net = build("vgg11", num_classes=3)
        assert dense_form(net) == net.forward_dense
        for name in ("resnet18", "densenet121", "googlenet"):
            assert dense_form(net := build(name, num_classes=3)) is net


def test_a_retired_option_is_taken_with_the_value_that_it_always_has_now() -> None:
    assert type(build("resnet18_cifar", preact=False)) is type(build("resnet18_cifar"))
    with pytest.raises(ValueError, match="resnet18_cifar has no option 'preact'"):
        build("resnet18_cifar", preact=True)
    with pytest.raises(ValueError, match="resnet50 has no option 'preact'"):
        build("resnet50", preact=False)

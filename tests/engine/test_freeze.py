"""Frozen parts stay as they begin, to the bit, for as long as they are frozen; rates fall from part to part."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from plusx.engine.events import StoppedError
from plusx.engine.freeze import Frozen, parts
from plusx.engine.optim import make_optimizer
from plusx.engine.training import resume, train
from plusx.nets import build
from plusx.placement.place import Placement
from plusx.recipes import digits
from plusx.recipes.data import DataSpec
from plusx.recipes.evaluation import Evaluation
from plusx.recipes.net import NetSpec
from plusx.recipes.optim import SGD, AdamW
from plusx.runs.store import load_run

NETS = (
    "lenet5",
    pytest.param("vgg11_bn", marks=pytest.mark.more),
    "googlenet",
    "highway_c",
    "resnet20",
    "preact_resnet110",
    "densenet_bc_100_12",
    "dpn68",
)
RECIPE = dataclasses.replace(
    digits(),
    steps=8,
    epochs=None,
    batch_size=16,
    data=DataSpec(train="train[:64]", val="train[64:128]", limit=None),
    evaluation=Evaluation(count=4, splits=("val",), keep="last"),
)


def state(run: Path) -> dict[str, Tensor]:
    return load_run(run)[0].state_dict()


@pytest.mark.parametrize("kernels", ["plain", "fused"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_frozen_stays_to_the_bit_and_the_rest_moves(tmp_path: Path, kernels: str, precision: str) -> None:
    where = {"placement.kernels": kernels, "placement.precision": precision}
    before = state(train("digits", recipe=RECIPE, overrides={**where, "steps": 0}, out=tmp_path / "a").run)
    frozen = {**where, "net.freeze": "stem,stages.0"}
    after = state(train("digits", recipe=RECIPE, overrides=frozen, out=tmp_path / "b").run)
    still = {name for name in before if name.startswith(("stem.", "stages.0."))}
    assert any("running_mean" in name for name in still)
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) == (name in still), name


@pytest.mark.parametrize("name", NETS)
def test_every_family_trains_behind_a_frozen_part(name: str) -> None:
    """The gradients of what is trained are those of the net whose frozen part is in evaluation mode."""
    torch.manual_seed(0)
    net = build(name, num_classes=3).train()
    twin = build(name, num_classes=3).train()
    twin.load_state_dict(net.state_dict())
    side = 64 if name in ("googlenet", "dpn68") else 32
    x = torch.randn(4, 1 if name == "lenet5" else 3, side, side).contiguous(memory_format=torch.channels_last)
    Placement("cpu", "channels_last", "fp32", torch.get_num_threads(), "fused").place(net)
    Frozen(net, NetSpec(name, freeze=("stem",))).hold(True)
    twin.get_submodule("stem").eval()
    for each in (net, twin):
        torch.manual_seed(1)
        each(x).logsumexp(1).sum().backward()
    ours = {key: p.grad for key, p in net.named_parameters() if p.grad is not None}
    theirs = {key: p.grad for key, p in twin.named_parameters() if p.grad is not None and not key.startswith("stem.")}
    assert ours.keys() == theirs.keys()
    whole = torch.cat([theirs[key].flatten() for key in theirs])
    difference = (torch.cat([ours[key].flatten() for key in theirs]) - whole).norm()
    assert difference < 0.05 * whole.norm()  # batch norms over few pixels magnify rounding


def test_parts_are_trained_from_the_share_of_the_run_that_thaws_them() -> None:
    net = build("resnet20")
    frozen = Frozen(net, NetSpec("resnet20", freeze=("stages.0",)))
    part = net.get_submodule("stages.0")
    changes, modes = [], []
    for step in range(10):
        net.train()  # as an evaluation leaves it
        changes.append(frozen.hold(step < 4))
        modes.append((part.training, all(p.requires_grad for p in part.parameters())))
    assert changes == [step in (0, 4) for step in range(10)]
    assert modes == [(step >= 4, step >= 4) for step in range(10)]
    assert net.get_submodule("stages.1").training


def test_what_never_trains_is_not_trained_after_the_thaw() -> None:
    net = build("airbench94")
    never = [name for name, p in net.named_parameters() if not p.requires_grad]
    frozen = Frozen(net, NetSpec("airbench94", freeze=("stem", "stages")))
    frozen.hold(True)
    frozen.hold(False)
    assert never and [name for name, p in net.named_parameters() if not p.requires_grad] == never


@pytest.mark.parametrize("optim", [SGD(momentum=0.9, layer_decay=0.5, head_lr=0.2), AdamW(layer_decay=0.5)])
def test_a_run_that_is_stopped_around_the_thaw_ends_with_the_same_weights(tmp_path: Path, optim: SGD | AdamW) -> None:
    net = NetSpec("resnet20", freeze=("stem", "stages.0"), freeze_until=0.5)
    recipe = dataclasses.replace(RECIPE, net=net, optim=optim)
    whole = state(train("digits", recipe=recipe, out=tmp_path / "whole").run)
    for stop in (3, 4, 5):
        asked = iter(range(1, 100))
        out = tmp_path / f"stopped{stop}"
        with pytest.raises(StoppedError):
            train("digits", recipe=recipe, out=out, should_stop=lambda asked=asked, stop=stop: next(asked) == stop)
        found = state(resume(out).run)
        assert all(torch.equal(whole[name], found[name]) for name in whole), stop


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("stem", "stages.7"), "'stages.7', which is no part of the net; did you mean 'stages."),
        (("zzz",), "'zzz', which is no part of the net; this net has stem, head, stages.0, stages.1, stages.2"),
        (("stem", "stages", "head"), "leaves nothing to train"),
    ],
)
def test_parts_that_are_not_there_are_named(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parts(build("resnet20"), names)


def test_rates_fall_from_the_head_to_the_stem() -> None:
    net = build("resnet20")
    optimizer = make_optimizer(SGD(lr=0.1, decay="weights", layer_decay=0.5, head_lr=1.0), net)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    expected = {"stem": 0.1 / 16, "stages.0": 0.1 / 8, "stages.1": 0.1 / 4, "stages.2": 0.1 / 2, "head": 1.0}
    assert len(rates) == len(list(net.parameters()))
    for name, parameter in net.named_parameters():
        rate, decay = rates[id(parameter)]
        assert rate == next(value for part, value in expected.items() if name.startswith(f"{part}."))
        assert decay == (1e-4 if parameter.ndim > 1 else 0.0)
    plain = make_optimizer(SGD(lr=0.1), net)
    assert [(group["lr"], len(group["params"])) for group in plain.param_groups] == [(0.1, len(rates))]


def test_a_net_of_ones_own_needs_no_parts() -> None:
    optimizer = make_optimizer(SGD(lr=0.1, layer_decay=0.5, head_lr=1.0), nn.Linear(2, 2))
    assert [group["lr"] for group in optimizer.param_groups] == [1.0]

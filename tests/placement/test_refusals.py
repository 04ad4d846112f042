"""With and without our kernels: what PyTorch refuses is refused, what it computes is computed."""

import copy
import operator
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from plusx.engine.training import train
from plusx.nets import build, require_input
from plusx.nets.densenet import cifar_net as densenet
from plusx.nets.resnet import cifar_net as resnet
from plusx.placement.graph import trace
from plusx.placement.kernels import native
from plusx.placement.kernels.fuse import fuse
from plusx.placement.kernels.norm import FusedNorm
from plusx.placement.place import Placement, choose_placement
from plusx.recipes.placement import PlacementSpec

pytestmark = pytest.mark.skipif(native.vector_level() == 0, reason="built without a C compiler, or no AVX2")

CHANNELS = 12


def outcome(call: Callable[[], Tensor], *state: nn.Module) -> tuple[str, list[Tensor]]:
    """What was raised, or else the numbers; and the buffers afterwards."""
    try:
        raised, numbers = "", [call().float()]
    except Exception as fault:
        raised, numbers = type(fault).__name__, []
    buffers = [b.float() for module in state for b in module.buffers()]
    return raised, numbers + [b for b in buffers if b.numel()]


def assert_same(ours: tuple[str, list[Tensor]], theirs: tuple[str, list[Tensor]], *, bound: float) -> None:
    assert ours[0] == theirs[0]
    for a, b in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(a, b, rtol=bound, atol=bound, equal_nan=True)


# ---- batch norm ------------------------------------------------------------------------------------------------------


def cumulative(norm: nn.BatchNorm2d) -> None:
    norm.momentum = None


def without_moments(norm: nn.BatchNorm2d) -> None:
    norm.track_running_stats, norm.running_mean, norm.running_var, norm.num_batches_tracked = False, None, None, None


def without_a_count(norm: nn.BatchNorm2d) -> None:
    norm.num_batches_tracked = None


def with_one_scale_for_all(norm: nn.BatchNorm2d) -> None:
    norm.weight = nn.Parameter(torch.full((1,), 2.0).expand(CHANNELS))


def without_a_scale(norm: nn.BatchNorm2d) -> None:
    norm.weight, norm.bias = None, None  # type: ignore[assignment]


def in_double(norm: nn.BatchNorm2d) -> None:
    norm.double()


def moments_in_double(norm: nn.BatchNorm2d) -> None:
    norm.running_mean, norm.running_var = norm.running_mean.double(), norm.running_var.double()  # type: ignore[union-attr]


CHANGES: list[Callable[[nn.BatchNorm2d], object]] = [
    lambda norm: None,
    cumulative,
    without_moments,
    without_a_count,
    with_one_scale_for_all,
    without_a_scale,
    in_double,
    nn.BatchNorm2d.bfloat16,
    moments_in_double,
]


@settings(max_examples=100, deadline=None)
@given(
    shape=st.one_of(
        st.tuples(
            *(st.integers(0, 3), st.sampled_from((CHANNELS, CHANNELS, 8, 16)), st.integers(0, 3), st.integers(0, 3))
        ),
        st.sampled_from([(1, CHANNELS, 1, 1), (CHANNELS, 2, 2), (1, CHANNELS, 2, 2, 2)]),
    ),
    dtype=st.sampled_from((torch.float32, torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int32)),
    channels_last=st.booleans(),
    mode=st.sampled_from(("training", "evaluation", "evaluation with gradients")),
    change=st.sampled_from(CHANGES),
    residual=st.sampled_from(("none", "same", "one pixel", "other type")),
    relu=st.booleans(),
)
def test_a_batch_norm_refuses_and_computes_what_pytorchs_does(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    channels_last: bool,
    mode: str,
    change: Callable[[nn.BatchNorm2d], object],
    residual: str,
    relu: bool,
) -> None:
    x = torch.randn(shape).mul(3).to(dtype)
    if channels_last and len(shape) == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    shortcut = {
        "none": None,
        "same": x,
        "one pixel": x[..., :1, :1],
        "other type": x.double(),
    }[residual]
    theirs = nn.BatchNorm2d(CHANNELS)
    ours = FusedNorm(copy.deepcopy(theirs))
    for norm in (theirs, ours):
        change(norm.train(mode == "training"))

    def plain() -> Tensor:
        y = theirs(x) if shortcut is None else theirs(x) + shortcut
        return F.relu(y) if relu else y

    with torch.set_grad_enabled(mode != "evaluation"):
        assert_same(
            outcome(lambda: ours(x, shortcut, 0, relu), ours),
            outcome(plain, theirs),
            bound=1e-5 if dtype == torch.float32 else 2**-7,
        )


def test_the_gradient_of_a_gradient_is_refused_and_not_left_out() -> None:
    x = torch.randn(2, CHANNELS, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    norm = FusedNorm(nn.BatchNorm2d(CHANNELS))
    (gradient,) = torch.autograd.grad(norm(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once; .* placement.kernels=plain"):
        gradient.square().sum().backward()


# ---- nets ------------------------------------------------------------------------------------------------------------

PLACES = {
    "plain": Placement("cpu", "contiguous", "fp32", 1),
    "channels last": Placement("cpu", "channels_last", "fp32", 1),
    "fused": Placement("cpu", "channels_last", "fp32", 1, "fused"),
    "fused, recompute": Placement("cpu", "channels_last", "fp32", 1, "fused", recompute=True),
    "recompute": Placement("cpu", "channels_last", "fp32", 1, recompute=True),
    "fused, bf16": Placement("cpu", "channels_last", "bf16", 1, "fused"),
}
SMALL_NETS: dict[str, Callable[[], nn.Module]] = {
    "resnet8": lambda: resnet(8, "A"),
    "densenet10": lambda: densenet(10, 4, bottleneck=False),
    "densenet10, less memory": lambda: densenet(10, 4, bottleneck=False, save_memory=True),
    "resnet8, some survive": lambda: resnet(8, "B", survival=0.5),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["resnet8", "densenet10", "densenet10, less memory"])
def test_one_value_a_channel_is_refused_in_training_wherever_the_net_runs(name: str, place: str) -> None:
    placement = PLACES[place]
    net = placement.place(SMALL_NETS[name]()).train()
    images = placement.place_images(torch.randn(1, 3, 4, 4))
    with placement.autocast(), pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        net(images)
    with torch.no_grad(), placement.autocast():
        assert net.eval()(images).shape == (1, 10)


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(list(SMALL_NETS)),
    place=st.sampled_from(list(PLACES)),
    batch=st.integers(0, 4),
    channels=st.sampled_from((3, 3, 3, 4)),
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    dtype=st.sampled_from((torch.float32, torch.float32, torch.float64)),
)
def test_a_placed_net_refuses_and_computes_what_the_net_does(
    name: str, place: str, batch: int, channels: int, sides: tuple[int, int], dtype: torch.dtype
) -> None:
    placement = PLACES[place]
    torch.manual_seed(0)
    net = SMALL_NETS[name]()
    x = torch.randn(batch, channels, *sides).to(dtype)
    plain = Placement("cpu", "contiguous", placement.precision, 1)
    found = []
    for where in (plain, placement):
        try:
            placed = where.place(copy.deepcopy(net)).train()
        except ValueError as fault:  # stochastic depth is not cut
            assert "cannot be cut" in str(fault)
            return
        torch.manual_seed(1)
        with where.autocast():
            found.append(outcome(lambda placed=placed, where=where: placed(where.place_images(x)), placed))
    assert found[1][0] == found[0][0]
    values = batch * (sides[0] // 4) * (sides[1] // 4)  # a channel, in the last stage
    if placement.precision == "fp32" and values >= 8:  # the deviation of fewer is moved by rounding, in any layout
        assert_same(found[1], found[0], bound=1e-3)


def test_a_batch_of_one_is_refused_before_training_where_a_norm_would_see_one_value() -> None:
    options = {"num_classes": 10}
    with pytest.raises(
        ValueError, match=r"^batch_size is 1, .*'stages.3.0.branch.conv1.norm' of resnet18 gets one value"
    ):
        require_input("resnet18", options, (3, 32, 32), batch_size=1)
    require_input("resnet18", options, (3, 33, 32), batch_size=1)
    require_input("resnet18", options, (3, 32, 32), batch_size=2)
    require_input("vgg11", options, (3, 32, 32), batch_size=1)  # has no batch norm
    with pytest.raises(ValueError, match="batch_size is 1"):
        require_input("resnet18", {"survival": 0.5}, (3, 32, 32), batch_size=1)
    with pytest.raises(ValueError, match="batch_size is 1"):
        require_input("lenet5_dense", {"batch_norm": True}, (1, 32, 32), batch_size=1)


@pytest.mark.parametrize(
    ("field", "value"), [("precision", "fp16"), ("layout", "channels-last"), ("kernels", "native")]
)
def test_a_placement_of_an_unknown_kind_is_refused(field: str, value: str) -> None:
    fields = {"device": "cpu", "layout": "contiguous", "precision": "fp32", "threads": 1, field: value}
    with pytest.raises(ValueError, match=f"placement.{field} is '{value}'; choose one of"):
        Placement(**fields)  # type: ignore[arg-type]


def test_kernels_that_are_recomputed_are_not_compiled() -> None:
    assert choose_placement(PlacementSpec(device="cpu", compile=True, recompute=True)).kernels == "plain"
    with pytest.raises(ValueError, match="placement.kernels is 'fused'; torch.compile would enter"):
        choose_placement(PlacementSpec(device="cpu", kernels="fused", compile=True, recompute=True))


# ---- forwards that are almost a residual block -----------------------------------------------------------------------


class Almost(nn.Module):
    """A convolution and a batch norm, and a forward that is given."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()
        self.given = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.given(self, x)


def short(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 1, 2)


FORWARDS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a sum with a factor": lambda m, x: F.relu(torch.add(m.norm(m.conv(x)), m.conv(x), alpha=2)),
    "padding with ones": lambda m, x: F.relu(m.norm(m.conv(x)) + F.pad(short(x), (0, 0, 0, 0, 0, 8), value=1.0)),
    "padding with ones, by place": lambda m, x: F.relu(
        m.norm(m.conv(x)) + F.pad(short(x), (0, 0, 0, 0, 0, 8), "constant", 1.0)
    ),
    "a pooling without a stride": lambda m, x: F.relu(
        m.norm(m.conv(x)) + F.pad(F.avg_pool2d(x, 1)[..., ::2, ::2], (0, 0, 0, 0, 0, 8))
    ),
    "a pooling of more pixels": lambda m, x: F.relu(
        m.norm(m.conv(x)) + F.pad(F.avg_pool2d(x, 2, 2), (0, 0, 0, 0, 0, 8))
    ),
    "one channel for all": lambda m, x: F.relu(m.norm(m.conv(x)) + F.pad(short(x[:, :1]), (0, 0, 0, 0, 0, 0))),
}


@pytest.mark.parametrize("forward", FORWARDS)
def test_a_forward_that_is_almost_a_residual_block_computes_what_it_did(forward: str) -> None:
    torch.manual_seed(0)
    net = Almost(FORWARDS[forward]).to(memory_format=torch.channels_last)
    nn.init.normal_(net.norm.bias)
    fused = copy.deepcopy(net)
    fuse(fused, trace(fused))
    x = torch.randn(3, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    for mode in (True, False):
        with torch.set_grad_enabled(mode):
            torch.testing.assert_close(fused.train(mode)(x), net.train(mode)(x), rtol=1e-5, atol=1e-5)


class InPlace(nn.Module):
    """What the norm reads is changed between the norm and its ReLU."""

    def __init__(self, change: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.norm(x)
        return F.relu(y + self.change(self, x))


IN_PLACE: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a module": lambda m, x: m.relu(x),
    "a function": lambda m, x: F.relu(x, inplace=True),
    "a function, by place": lambda m, x: F.relu(x, True),
    "a function with an underscore": lambda m, x: torch.relu_(x),
    "a method": lambda m, x: x.mul_(3),
    "an operator": lambda m, x: operator.imul(x, 3),
}


@torch.no_grad()
@pytest.mark.parametrize("change", IN_PLACE)
def test_what_a_norm_reads_is_read_before_it_is_changed_in_place(change: str) -> None:
    net = InPlace(IN_PLACE[change]).to(memory_format=torch.channels_last).eval()
    nn.init.normal_(net.norm.bias)
    nn.init.normal_(net.norm.running_mean)
    fused = copy.deepcopy(net)
    fuse(fused, trace(fused))
    x = torch.randn(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fused(x), net(x), rtol=1e-5, atol=1e-5)


def test_modules_that_somebody_has_hooked_onto_stay_what_they_are() -> None:
    def make() -> nn.Sequential:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        prune.random_unstructured(net[0], "weight", amount=0.5)
        net[1].register_forward_hook(lambda module, inputs, output: output + 1)
        net[2].register_forward_hook(lambda module, inputs, output: -output)
        return net

    fused = make()
    fuse(fused, trace(fused))
    x = torch.randn(2, 16, 4, 4).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fused(x), make()(x))


# ---- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_a_copy_of_a_placed_net_computes_with_its_own_weights(place: str) -> None:
    torch.manual_seed(0)
    placement = PLACES[place]
    net = placement.place(build("resnet20")).train()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1.5)
    fresh = build("resnet20")
    fresh.load_state_dict(twin.state_dict())
    other = placement.place(fresh).train()
    x = placement.place_images(torch.randn(4, 3, 32, 32))
    with placement.autocast():
        ours, expected = twin(x), other(x)
    assert torch.equal(ours, expected)
    ours.float().square().sum().backward()
    assert all(p.grad is None for p in net.parameters()) and all(p.grad is not None for p in twin.parameters())


def test_a_placed_net_is_pickled_with_its_weights() -> None:
    placement = PLACES["fused"]
    net = placement.place(build("resnet20")).eval()
    again = pickle.loads(pickle.dumps(net))
    x = placement.place_images(torch.randn(2, 3, 32, 32))
    with torch.no_grad():
        torch.testing.assert_close(again(x), net(x), rtol=1e-5, atol=1e-5)


def test_training_with_one_image_a_step_is_refused_before_it_begins(tmp_path: Path) -> None:
    for kernels in ("plain", "fused"):
        overrides = {"batch_size": "1", "net.name": "resnet18", "placement.kernels": kernels}
        with pytest.raises(
            ValueError, match=r"^batch_size is 1, and from one image of 8 x 8 the batch norm .* of resnet18"
        ):
            train("digits", overrides=overrides, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()

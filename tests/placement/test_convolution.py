"""The 3x3 convolutions and blocks of every engine that this processor can run, beside PyTorch in double precision."""

import copy
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from plusx.nets import build, preact, resnet
from plusx.placement.graph import trace
from plusx.placement.kernels import block, convolution, native
from plusx.placement.kernels.convolution import NativeConv2d, fits_native
from plusx.placement.kernels.fuse import fuse, own_norms
from plusx.placement.machine import cpu_flags
from plusx.placement.place import choose_placement
from plusx.recipes.placement import PlacementSpec

DTYPES = {
    "amx_bf16": torch.bfloat16,
    "avx512_bf16": torch.bfloat16,
    "avx512_fp32": torch.float32,
    "avx2_fp32": torch.float32,
}


def engines() -> list[str]:
    """Those that this processor can run, whatever is the fastest."""
    level, best = native.vector_level(), native.engine(torch.bfloat16)
    runs = {
        "amx_bf16": best == "amx_bf16",
        "avx512_bf16": best is not None and "avx512_bf16" in cpu_flags(),
        "avx512_fp32": level == 2,
        "avx2_fp32": level >= 1,
    }
    return [name for name, can in runs.items() if can] if native.engine(torch.float32) else []


every_engine = pytest.mark.parametrize("engine", engines(), indirect=True)
DATA = {torch.float32: 3e-5, torch.bfloat16: 2**-8}
"""What y and dx may differ by, as a share of the largest. Winograd's sums lose about ten times what direct ones do."""
WEIGHTS = {"amx_bf16": 1e-5}
"""The same of the weights' gradient; 1e-4 by Winograd's algorithm."""


@pytest.fixture
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the operators use this engine."""
    for module in (block, convolution):
        monkeypatch.setattr(module, "engine", lambda dtype: request.param if dtype == DTYPES[request.param] else None)
    return str(request.param)


def images(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)


def off(ours: Tensor | None, reference: Tensor | None) -> float:
    """The greatest difference, as a share of the largest number."""
    assert ours is not None and reference is not None
    return float((ours.detach().double() - reference).abs().max() / reference.abs().max().clamp(min=1e-30))


def alike(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two gradients."""
    return float(F.cosine_similarity(a.double().flatten(), b.double().flatten(), 0))


SHAPES = [
    (3, 16, 16, 32, 32),  # of tiles.h: two pixels a row of a tile
    (5, 32, 32, 16, 16),
    (20, 64, 64, 8, 8),  # groups of images
    (3, 16, 48, 7, 5),
    (1, 48, 16, 9, 13),
    (2, 16, 16, 3, 3),  # odd rows of 16 channels
    (2, 64, 128, 14, 14),
    (1, 16, 16, 1, 1),
    (2, 32, 16, 61, 66),  # several chunks of tiles an image
    (70, 16, 32, 4, 4),
]


def check_convolution(engine: str, shape: tuple[int, ...], layout: torch.memory_format) -> None:
    batch, inputs, outputs, height, width = shape
    dtype = DTYPES[engine]
    x = images(batch, inputs, height, width, dtype=dtype).requires_grad_()
    dy = images(batch, outputs, height, width, dtype=dtype)
    weight = (torch.randn(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5).contiguous(memory_format=layout)
    y = torch.ops.plusx.convolution(x, weight.requires_grad_(), 1, 1)
    y.backward(dy)
    rounded = weight.detach().bfloat16() if engine == "amx_bf16" else weight.detach()
    X, W = x.detach().double().requires_grad_(), rounded.double().requires_grad_()
    Y = F.conv2d(X, W, padding=1)
    Y.backward(dy.double())
    assert off(y, Y.detach()) < DATA[dtype]
    assert off(x.grad, X.grad) < DATA[dtype]
    assert off(weight.grad, W.grad) < WEIGHTS.get(engine, 1e-4)


@every_engine
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_convolution_and_its_gradients_are_those_of_double_precision(
    engine: str, shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    check_convolution(engine, shape, layout)


@every_engine
def test_convolution_of_any_shape(engine: str) -> None:
    side, channels = st.integers(1, 23), st.sampled_from([16, 32, 48])

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(st.integers(1, 9), channels, channels, side, side)
    def law(batch: int, inputs: int, outputs: int, height: int, width: int) -> None:
        torch.manual_seed(0)
        check_convolution(engine, (batch, inputs, outputs, height, width), torch.channels_last)

    law()


@every_engine
def test_a_pixel_reaches_its_neighbours_alone(engine: str) -> None:
    """A tile of Winograd's algorithm mixes pixels that do not touch: what is left of it is rounding."""
    x = torch.zeros(1, 16, 12, 12, dtype=DTYPES[engine]).contiguous(memory_format=torch.channels_last)
    x[0, :, 4, 4] = 1
    y = torch.ops.plusx.convolution(x, torch.randn(16, 16, 3, 3), 1, 1)
    far = torch.ones(12, 12, dtype=torch.bool)
    far[3:6, 3:6] = False
    assert y.float().abs().amax(1)[0][far].max() < 1e-5 * y.float().abs().max()


@every_engine
def test_without_memory_an_operation_raises(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many threads that their room exceeds what a process can address."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2**31 - 1)
    dtype, weight = DTYPES[engine], torch.randn(256, 256, 3, 3)
    x, vector = images(1, 256, 400, 400, dtype=dtype), torch.ones(256)
    with pytest.raises(MemoryError, match="no memory for convolution forward"):
        torch.ops.plusx.convolution(x, weight, 1, 1)
    with pytest.raises(MemoryError, match="no memory for convolution backward"):
        torch.ops.plusx.convolution_backward(x, x, weight, 1, 1, True)
    with pytest.raises(MemoryError, match="no memory for block forward"):
        torch.ops.plusx.block(x, weight, vector, vector, weight, vector, vector, None, 1e-5, 1e-5)
    with pytest.raises(MemoryError, match="no memory for norm forward"):
        torch.ops.plusx.norm(x, vector, vector, None, 1, 1e-5, True)


class Residual(nn.Module):
    """A block of two convolutions, its shortcut the identity or a projection."""

    def __init__(self, channels: int, projects: bool) -> None:
        super().__init__()
        conv, norm = lambda k: nn.Conv2d(channels, channels, k, padding=k // 2, bias=False), nn.BatchNorm2d
        self.branch = nn.Sequential(conv(3), norm(channels), nn.ReLU(), conv(3), norm(channels))
        self.shortcut = nn.Sequential(conv(1), norm(channels)) if projects else nn.Identity()
        self.relu = nn.ReLU()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.branch(x) + self.shortcut(x))


@every_engine
@pytest.mark.parametrize("projects", [False, True])
@pytest.mark.parametrize(("channels", "side"), [(16, 32), (32, 16), (64, 8), (16, 5)])
def test_a_block_is_its_operations_in_double_precision(engine: str, projects: bool, channels: int, side: int) -> None:
    torch.manual_seed(0)
    dtype = DTYPES[engine]
    net = Residual(channels, projects).to(memory_format=torch.channels_last)
    exact, fused = copy.deepcopy(net).double(), copy.deepcopy(net)
    fuse(fused, trace(fused))
    assert any(name.startswith("block_") for name in vars(fused))
    x, dz = images(9, channels, side, side, dtype=dtype), images(9, channels, side, side, dtype=dtype)
    ours, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        z = fused(ours)
    Z = exact(theirs)
    z.backward(dz)
    Z.backward(dz.double())
    half = dtype == torch.bfloat16
    nearness = 0.99 if half else 1 - 1e-4  # where rounding moves a number past a ReLU, its gradient is another
    assert off(z, Z.detach()) < (2**-6 if half else 1e-4)
    assert ours.grad is not None and theirs.grad is not None and alike(ours.grad, theirs.grad) > nearness
    for (name, p), q in zip(fused.named_parameters(), exact.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None and alike(p.grad, q.grad) > nearness, name
    for (name, b), c in zip(fused.named_buffers(), exact.buffers(), strict=True):
        assert torch.allclose(b.double(), c.double(), rtol=0.02 if half else 1e-5, atol=2e-3 if half else 1e-6), name


@every_engine
def test_a_block_is_its_operations_one_by_one(engine: str) -> None:
    torch.manual_seed(0)
    net = Residual(16, projects=False).to(memory_format=torch.channels_last)
    single, fused = copy.deepcopy(net), copy.deepcopy(net)
    fuse(fused, trace(fused))
    own_norms(single, native=True)
    conv1, norm1, _, conv2, norm2 = single.branch
    conv1, conv2 = NativeConv2d(conv1), NativeConv2d(conv2)
    x, dz = (images(9, 16, 12, 12, dtype=DTYPES[engine]) for _ in range(2))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    z, Z = fused(ours), norm2(conv2(norm1(conv1(theirs), relu=True)), theirs, relu=True)
    z.backward(dz)
    Z.backward(dz)
    assert off(z, Z.detach().double()) < 2**-7
    nearness = 0.999 if engine == "avx512_bf16" else 0.9999  # it keeps what lies between in single precision
    assert ours.grad is not None and theirs.grad is not None and alike(ours.grad, theirs.grad) > nearness
    for (name, p), q in zip(fused.named_parameters(), single.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None and alike(p.grad, q.grad) > nearness, name
    for (name, b), c in zip(fused.named_buffers(), single.buffers(), strict=True):
        assert torch.allclose(b, c, rtol=1e-3, atol=1e-4), name


@pytest.mark.skipif(not engines(), reason="built without a C compiler, or no AVX2")
def test_a_mean_that_dwarfs_the_deviation_costs_a_block_no_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One channel's mean of 1,000 with a deviation of a hundredth, after the first convolution."""
    x = (1e3 + 1e-2 * torch.randn(64, 16, 8, 8)).contiguous(memory_format=torch.channels_last)
    weight = torch.zeros(16, 16, 3, 3)
    weight[:, :, 1, 1] = torch.eye(16)
    vector = torch.ones(16)
    _, y1, _, mean, variance, *_ = torch.ops.plusx.block(
        x, weight, vector, 0 * vector, weight, vector, 0 * vector, None, 1e-5, 1e-5
    )
    exact = y1.double()
    assert off(mean, exact.mean((0, 2, 3))) < 1e-7
    assert off(variance, exact.var((0, 2, 3), unbiased=False)) < 1e-4


@pytest.mark.skipif(not engines(), reason="built without a C compiler, or no AVX2")
@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_which_blocks_are_one_operation(shortcut: str) -> None:
    """All but the two that begin with stride 2."""
    net = choose_placement(PlacementSpec(device="cpu", precision="fp32")).place(build("resnet20", shortcut=shortcut))
    assert sum(name.startswith("block_") for name in vars(net)) == 7


@pytest.mark.skipif(not engines(), reason="built without a C compiler, or no AVX2")
@pytest.mark.parametrize(("family", "operations"), [(resnet, 7), (preact, 0)])
def test_a_block_that_may_be_left_out_is_fused_where_it_survives(family: ModuleType, operations: int) -> None:
    """The same blocks survive, and what they compute is what they compute on PyTorch's kernels."""
    torch.manual_seed(0)
    start = family.cifar_net(20, "A", survival=0.5)
    found = []
    for kernels in ("fused", "plain"):
        placement = choose_placement(PlacementSpec(device="cpu", precision="fp32", kernels=kernels))
        net = placement.place(copy.deepcopy(start)).train()
        torch.manual_seed(3)
        x = placement.place_images(torch.randn(6, 3, 32, 32))
        losses = [net(x).square().mean() for _ in range(4)]
        torch.stack(losses).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        with torch.no_grad():
            found.append((torch.stack(losses).detach(), gradient, net.eval()(x), torch.rand(())))
        inner = [module for module in net.modules() if any(key.startswith("block_") for key in vars(module))]
        assert len(inner) == (operations if kernels == "fused" else 0)
    fused, plain = found
    assert torch.allclose(fused[0], plain[0], rtol=1e-3) and alike(fused[1], plain[1]) > 1 - 1e-4
    assert torch.allclose(fused[2], plain[2], rtol=1e-2, atol=1e-3) and torch.equal(fused[3], plain[3])


def test_which_convolutions_are_ours() -> None:
    def conv(**changes: object) -> nn.Conv2d:
        options = {"in_channels": 16, "out_channels": 32, "kernel_size": 3, "padding": 1, "bias": False}
        return nn.Conv2d(**{**options, **changes})  # type: ignore[arg-type]

    for change in ({}, {"in_channels": 64}):
        assert fits_native(conv(**change)) and NativeConv2d(conv(**change)).by == "convolution", change
    for change in ({"stride": 2}, {"in_channels": 3}, {"kernel_size": 7, "stride": 2}):
        assert fits_native(conv(**change)) and NativeConv2d(conv(**change)).by == "columns", change
    for change in ({"out_channels": 12}, {"bias": True}, {"groups": 16}, {"stride": (1, 2)}, {"kernel_size": (1, 3)}):
        assert not fits_native(conv(**change)), change
    for change in ({"padding": "same"}, {"kernel_size": 1}, {"in_channels": 128, "stride": 2}, {"dilation": 2}):
        assert not fits_native(conv(**change)), change
    assert not fits_native(NativeConv2d(conv()))

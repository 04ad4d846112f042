"""Strided convolutions and stems beside PyTorch in double precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from plusx.nets import build
from plusx.placement.kernels import convolution, native
from plusx.placement.kernels.convolution import NativeConv2d
from plusx.placement.place import choose_placement
from plusx.recipes.placement import PlacementSpec
from tests.placement.test_convolution import DTYPES, engines, images, off

every_engine = pytest.mark.parametrize("engine", [name for name in engines() if name != "amx_bf16"], indirect=True)
NEAR = {torch.float32: 1e-5, torch.bfloat16: 2**-8}
"""What y and dx may differ by, as a share of the largest."""


@pytest.fixture
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the operator use this engine."""
    monkeypatch.setattr(convolution, "engine", lambda dtype: request.param if dtype == DTYPES[request.param] else None)
    return str(request.param)


@every_engine
def test_a_convolution_and_its_gradients_are_those_of_double_precision(engine: str) -> None:
    channels, side = st.sampled_from([1, 3, 5, 16, 32]), st.integers(1, 21)
    shapes = st.tuples(st.integers(1, 5), channels, st.sampled_from([16, 48]), side, side)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(shapes, st.sampled_from([1, 2, 3, 7]), st.integers(1, 3), st.integers(0, 3), st.booleans())
    def law(shape: tuple[int, ...], kernel: int, stride: int, padding: int, last: bool) -> None:
        torch.manual_seed(0)
        batch, inputs, outputs, height, width = shape
        tiled = (kernel, stride, padding) == (3, 1, 1) and inputs % 16 == 0  # convolution.h takes it
        if tiled or min(height, width) + 2 * padding < kernel:
            return
        dtype = DTYPES[engine]
        x = images(batch, inputs, height, width, dtype=dtype).requires_grad_()
        layout = torch.channels_last if last else torch.contiguous_format
        weight = torch.randn(outputs, inputs, kernel, kernel).contiguous(memory_format=layout).requires_grad_()
        y = torch.ops.plusx.convolution(x, weight, stride, padding)
        X, W = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
        Y = F.conv2d(X, W, stride=stride, padding=padding)
        assert y.shape == Y.shape
        dy = images(*Y.shape, dtype=dtype)
        y.backward(dy)
        Y.backward(dy.double())
        assert off(y, Y.detach()) < NEAR[dtype]
        assert off(x.grad, X.grad) < NEAR[dtype]
        assert off(weight.grad, W.grad) < 1e-5

    law()


@every_engine
@pytest.mark.parametrize("needs_dx", [False, True])
def test_the_gradient_of_images_is_left_out(engine: str, needs_dx: bool) -> None:
    x = images(2, 3, 8, 8, dtype=DTYPES[engine])
    dy = images(2, 16, 8, 8, dtype=DTYPES[engine])
    dx, _ = torch.ops.plusx.convolution_backward(dy, x, torch.randn(16, 3, 3, 3), 1, 1, needs_dx)
    assert dx.shape == (x.shape if needs_dx else (0,))


@every_engine
def test_the_operator_is_what_autograd_compile_and_export_expect(engine: str) -> None:
    x, weight = images(2, 3, 9, 9, dtype=DTYPES[engine]).requires_grad_(), torch.randn(16, 3, 3, 3).requires_grad_()
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(torch.ops.plusx.convolution.default, (x, weight, 2, 1), test_utils=checks)


@every_engine
def test_without_memory_it_raises(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2**31 - 1)
    x = images(1, 64, 200, 200, dtype=DTYPES[engine])
    with pytest.raises(MemoryError, match="no memory for columns forward"):
        torch.ops.plusx.convolution(x, torch.randn(64, 64, 3, 3), 2, 1)


@pytest.mark.skipif(native.engine(torch.float32) is None, reason="built without a C compiler, or no AVX2")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cifar_net_has_no_other_convolution(precision: str) -> None:
    if native.engine(torch.bfloat16) in (None, "amx_bf16") and precision == "bf16":
        pytest.skip("the processor has no bf16, or multiplies it in a matrix unit")
    placement = choose_placement(PlacementSpec(device="cpu", precision=precision))
    net = placement.place(build("resnet20"))
    with torch.profiler.profile() as recorded, placement.autocast():
        net(placement.place_images(torch.randn(4, 3, 32, 32))).float().sum().backward()
    assert not [event.key for event in recorded.key_averages() if "conv" in event.key and "plusx" not in event.key]


@every_engine
def test_autocast_decides_the_precision_of_images(engine: str) -> None:
    """Also where the channels of a tensor in single precision are those that convolution.h takes."""
    dtype = DTYPES[engine]
    for channels, stride in ((3, 1), (16, 2), (16, 1)):
        conv = NativeConv2d(nn.Conv2d(channels, 16, 3, stride, 1, bias=False))
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            x = images(2, channels, 8, 8, dtype=torch.float32)
            assert conv.fits(x) and conv(x).dtype == dtype
            for other in (torch.float64, torch.uint8):  # which autocast leaves as they are, and PyTorch refuses
                assert not conv.fits(x.to(other))
                with pytest.raises(RuntimeError, match="type"):
                    conv(x.to(other))

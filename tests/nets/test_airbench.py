"""Airbench: whitening of patches, identities at the start, shortcuts, batch norm without a scale."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plusx.nets import build
from plusx.nets.airbench import WHITEN_EPS, Block, PlainBlock, Scale, shift_norm, whitening_filters


def smooth_images(count: int, channels: int = 3) -> Tensor:
    """Neighbours and channels go together, as in photographs."""
    noise = torch.randn(count, channels, 20, 20, generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(noise, 5, 1) * 3 + noise.mean(1, keepdim=True)[:, :, 2:18, 2:18]


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_have_the_identity_as_covariance(channels: int) -> None:
    x = smooth_images(200, channels)
    y = F.conv2d(x, whitening_filters(x)).double()
    actual = torch.einsum("bihw,bjhw->ij", y, y) / (len(y) * y.shape[2] * y.shape[3])
    size = 4 * channels
    assert actual.shape == (size, size)
    torch.testing.assert_close(actual, torch.eye(size, dtype=torch.float64), rtol=0, atol=0.05)
    assert (actual - actual.diag().diag()).abs().max() < 1e-4
    assert (actual.diag() < 1).all()  # variances are divided by a little more than themselves


def test_a_direction_without_variance_is_not_blown_up() -> None:
    x = torch.randn(50, 1, 8, 8).expand(50, 3, 8, 8)  # grey: two thirds of the directions have none
    assert whitening_filters(x).flatten(1).norm(dim=1).max() < 1.01 / WHITEN_EPS**0.5


def test_the_number_of_threads_does_not_reach_the_filters() -> None:
    x, threads = smooth_images(300), torch.get_num_threads()
    try:
        made = []
        for number in (1, 2):
            torch.set_num_threads(number)
            made.append(whitening_filters(x))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*made)


def test_the_stem_has_each_filter_and_its_negative_and_keeps_them() -> None:
    net, x = build("airbench94"), smooth_images(100)
    net.fit_stem(x)
    weight = net.get_parameter("stem.conv.weight")
    assert torch.equal(weight[:12], whitening_filters(x)) and torch.equal(weight[12:], -weight[:12])
    assert not weight.requires_grad and net.get_parameter("stem.conv.bias").requires_grad


@pytest.mark.parametrize(("name", "identities"), [("airbench94", 6), ("res_airbench94", 3)])
def test_convolutions_without_a_shortcut_begin_as_identities(name: str, identities: int) -> None:
    actual = 0
    for conv in build(name).modules():
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
            x = torch.randn(2, conv.in_channels, 6, 6)
            actual += torch.allclose(conv(x)[:, : conv.in_channels], x, atol=1e-5)
            assert conv(x)[:, conv.in_channels :].abs().sum() > 0 or conv.in_channels == conv.out_channels
    assert actual == identities


@pytest.mark.parametrize("residual", [False, True])
def test_a_block_computes_its_equation(residual: bool) -> None:
    block = (Block(5) if residual else PlainBlock(5)).eval()
    nn.init.normal_(block.branch.conv.weight)
    x = torch.randn(2, 5, 4, 4)
    torch.testing.assert_close(block(x), F.gelu(block.branch(x) + (x if residual else 0)))


def test_the_nets_differ_in_their_shortcuts_alone() -> None:
    plain, residual = build("airbench94"), build("res_airbench94")
    residual.load_state_dict(plain.state_dict())
    blocks = [[m for m in net.modules() if isinstance(m, Block | PlainBlock)] for net in (plain, residual)]
    assert [hasattr(block, "shortcut") for block in blocks[0] + blocks[1]] == [False] * 3 + [True] * 3
    x = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(plain(x), residual(x))
    for block in blocks[1]:
        block.shortcut = Scale(0)
    assert torch.equal(plain(x), residual(x))


def test_batch_norm_shifts_and_does_not_scale() -> None:
    norms = [m for m in build("airbench94").modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 6
    assert all(m.bias.requires_grad and not m.weight.requires_grad and m.weight.eq(1).all() for m in norms)
    norm, x = shift_norm(2), torch.randn(8, 2, 3, 3)
    norm(x)
    torch.testing.assert_close(norm.running_mean, 0.4 * x.mean((0, 2, 3)))


def test_logits_are_divided_by_nine() -> None:
    net = build("airbench94").eval()
    x = torch.randn(2, 3, 32, 32)
    maps = net.stages(net.stem(x))
    assert maps.shape == (2, 256, 3, 3)
    torch.testing.assert_close(net(x), maps.amax((2, 3)) @ net.get_parameter("head.linear.weight").T / 9)


@pytest.mark.parametrize("side", [9, 24, 32, 40])
def test_images_of_other_sizes_are_taken(side: int) -> None:
    assert build("res_airbench94", first_width=8, width=12).eval()(torch.randn(1, 3, side, side)).shape == (1, 10)


def test_widths_are_those_of_the_larger_published_nets() -> None:
    with torch.device("meta"):
        convolutions = [
            tuple(m.weight.shape[:2])
            for m in build("airbench94", first_width=128, width=384).modules()
            if isinstance(m, nn.Conv2d)
        ]
    assert convolutions == [(24, 3), (128, 24), (128, 128), (384, 128), (384, 384), (384, 384), (384, 384)]


@pytest.mark.parametrize("name", ["relu", "silu"])
def test_every_activation_is_replaced(name: str) -> None:
    net = build("res_airbench94", activation=name)
    kinds = [type(m).__name__ for m in net.modules() if type(m) in (nn.GELU, nn.ReLU, nn.SiLU)]
    assert kinds == [{"relu": "ReLU", "silu": "SiLU"}[name]] * 7

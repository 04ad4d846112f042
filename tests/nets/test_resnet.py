"""The nets of He et al. (2015) against the paper's equations and published counts."""

import math

import pytest
import torch
from torch import nn

from plusx.nets import build, preact, wide_resnet
from plusx.nets.layers import ConvNorm
from plusx.nets.preact import PreActBlock
from plusx.nets.resnet import Block, cifar_net, imagenet_net


@pytest.mark.parametrize("depth", [20, 56, 110])
def test_option_a_adds_no_parameter_to_the_plain_net(depth: int) -> None:
    with torch.device("meta"):
        residual, plain = build(f"resnet{depth}"), build(f"plain{depth}")
    assert [p.shape for p in residual.parameters()] == [p.shape for p in plain.parameters()]


def test_option_c_of_resnet34_has_thirteen_projections_more_than_b() -> None:
    with torch.device("meta"):
        counts = {o: _projections(build("resnet34", shortcut=o)) for o in "ABC"}
    assert counts == {"A": 0, "B": 3, "C": 16}


def test_every_depth_of_6n_plus_2_can_be_built_and_no_other() -> None:
    with torch.device("meta"):
        for n in (1, 4, 12):
            params = sum(p.numel() for p in cifar_net(6 * n + 2, "A").parameters())
            assert params == 269_722 + (n - 3) * 97_216
    for depth in (2, 19, 21, 0, -4):
        with pytest.raises(ValueError, match="6n \\+ 2"):
            cifar_net(depth, "A")


@pytest.mark.parametrize("option", ["A", "B", "C"])
def test_a_block_computes_its_equation(option: str) -> None:
    torch.manual_seed(1)
    net = cifar_net(8, option).eval()
    block = net.stages[1][0]
    assert isinstance(block, Block)
    x = torch.randn(2, 16, 8, 8)
    f = block.branch(x)
    if option == "A":
        s = torch.zeros_like(f)
        s[:, :16] = x[:, :, ::2, ::2]
    else:
        assert isinstance(block.shortcut, ConvNorm)
        w = block.shortcut.conv.weight[:, :, 0, 0]
        s = block.shortcut.norm(torch.einsum("oc,nchw->nohw", w, x[:, :, ::2, ::2]))
    torch.testing.assert_close(block(x), (f + s).clamp(min=0))


def test_a_plain_block_computes_its_equation() -> None:
    net = build("plain20").eval()
    block, x = net.stages[0][0], torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(block(x), block.branch(x).clamp(min=0))


def test_the_stride_sits_where_it_is_said_to() -> None:
    for stride_on, strides in (("1x1", [2, 1, 1]), ("3x3", [1, 2, 1])):
        with torch.device("meta"):
            branch = build("resnet50", stride_on=stride_on).stages[1][0].branch
        assert [m.conv.stride[0] for m in branch if isinstance(m, ConvNorm)] == strides


def test_weights_begin_as_he_et_al_prescribe() -> None:
    torch.manual_seed(0)
    net = imagenet_net(18, "B")
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.03), name
            assert abs(module.weight.mean().item()) < 0.01
    assert net.head.linear.bias.eq(0).all()


def test_an_unknown_letter_is_refused() -> None:
    with pytest.raises(ValueError, match="shortcut is 'D'; choose A, B or C"):
        build("resnet20", shortcut="D")
    with pytest.raises(ValueError, match="stride_on is '7x7'"):
        build("resnet50", stride_on="7x7")


# ---- pre-activation, wide, grouped -----------------------------------------------------------------------------------


def test_a_preactivation_block_computes_its_equation() -> None:
    torch.manual_seed(0)
    net = build("preact_resnet110").eval()
    same, grows = net.stages[1][1], net.stages[1][0]
    x = torch.randn(2, 32, 8, 8)
    opened = same.open.norm(x).clamp(min=0)
    torch.testing.assert_close(same(x), same.branch(opened) + x)  # the identity is clean
    x = torch.randn(2, 16, 8, 8)
    opened = grows.open.norm(x).clamp(min=0)
    torch.testing.assert_close(grows(x), grows.branch(opened) + grows.shortcut(opened))


def test_preactivation_leaves_the_shortcut_free_of_any_layer() -> None:
    for name in ("preact_resnet110", "preact_resnet164"):
        with torch.device("meta"):
            blocks = [m for m in build(name).modules() if isinstance(m, PreActBlock)]
        identities = sum(isinstance(block.shortcut, nn.Identity) for block in blocks)
        assert len(blocks) - identities == (2 if name == "preact_resnet110" else 3)


def test_resnext_and_wide_resnet_are_resnet_by_groups_and_width() -> None:
    with torch.device("meta"):
        for name, inner, groups in (("resnext50_32x4d", 128, 32), ("wide_resnet50_2", 128, 1), ("resnet50", 64, 1)):
            conv = build(name).get_submodule("stages.0.0.branch.conv2.conv")
            assert (conv.in_channels, conv.out_channels, conv.groups) == (inner, inner, groups)
            assert build(name).get_submodule("stages.3.2.branch.conv3.conv").out_channels == 2048
    with pytest.raises(ValueError, match="ResNet-18 has none"):
        build("resnet18", groups=32)


def test_depths_that_do_not_fit_are_refused() -> None:
    for make in (lambda: preact.cifar_net(111), lambda: preact.cifar_net(21), lambda: wide_resnet.cifar_net(27, 1)):
        with pytest.raises(ValueError, match="n \\+ [24]"):
            make()


# ---- stochastic depth ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet110", "preact_resnet110"])
def test_survival_falls_linearly_to_the_last_block(name: str) -> None:
    with torch.device("meta"):
        net = build(name, survival=0.5)
    p = [block.survival for stage in net.stages for block in stage]
    assert p == pytest.approx([1 - number / 54 * 0.5 for number in range(1, 55)])
    assert sum(p) == pytest.approx((3 * 54 - 1) / 4) == 40.25  # blocks expected in a step


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet110"])
def test_the_expectation_at_test_time_is_exact(name: str) -> None:
    """Before the ReLU, evaluation is the mean over the two outcomes of training, weighted with p and 1 - p."""
    torch.manual_seed(0)
    net = build(name, survival=0.3, activation="leaky_relu" if name == "resnet20" else "relu").eval()
    block = net.stages[2][1]
    p, x = block.survival, torch.randn(2, 64, 4, 4)
    with torch.no_grad():
        actual = block(x)
        if name == "resnet20":
            expected = nn.functional.leaky_relu(p * (block.branch(x) + x) + (1 - p) * x)
        else:
            expected = p * (block.branch(block.open(x)) + x) + (1 - p) * x
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet110"])
def test_a_block_is_left_out_as_often_as_it_should_be(name: str) -> None:
    torch.manual_seed(0)
    net = build(name, survival=0.2).train()
    block, x = net.stages[2][-1], torch.rand(1, 64, 2, 2)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    block.branch.register_forward_hook(count)
    for _ in range(2_000):
        block(x)
    assert calls / 2_000 == pytest.approx(0.2, abs=0.03)


def test_a_left_out_block_passes_its_input_on_unharmed() -> None:
    net = build("resnet20", survival=0.001).train()
    block, x = net.stages[2][-1], torch.rand(1, 64, 2, 2)
    before = x.clone()
    torch.manual_seed(0)
    assert torch.equal(block(x), before) and torch.equal(x, before)


def test_a_survival_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="survival is 0"):
        build("resnet20", survival=0)


def _projections(net: nn.Module) -> int:
    return sum(isinstance(b.shortcut, ConvNorm) for b in net.modules() if isinstance(b, Block))

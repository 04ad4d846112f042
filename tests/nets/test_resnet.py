"""The nets of He et al. (2015) against the paper's equations and published counts."""

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from plusx.nets import build, entry
from plusx.nets.resnet import Block, ConvNorm, cifar_net, imagenet_net

# Parameters and multiply-adds: torchvision 0.29.1 (option B), akamaster/pytorch_resnet_cifar10, else
# counted from the layer lists of Table 1 and Sec. 4.2.
COUNTS = [
    ("resnet18", {"shortcut": "A"}, 11_515_688, 1_794_805_760),
    ("resnet18", {"shortcut": "B"}, 11_689_512, 1_814_073_344),
    ("resnet18", {"shortcut": "C"}, 12_043_816, 1_878_298_624),
    ("resnet34", {"shortcut": "A"}, 21_623_848, 3_644_493_824),
    ("resnet34", {"shortcut": "B"}, 21_797_672, 3_663_761_408),
    ("resnet34", {"shortcut": "C"}, 22_716_840, 3_830_747_136),
    ("resnet50", {"stride_on": "3x3"}, 25_557_032, 4_089_184_256),
    ("resnet101", {"stride_on": "3x3"}, 44_549_160, 7_801_405_440),
    ("resnet152", {"stride_on": "3x3"}, 60_192_808, 11_513_626_624),
    ("resnet50", {"stride_on": "1x1"}, 25_557_032, 3_857_973_248),
    ("resnet101", {"stride_on": "1x1"}, 44_549_160, 7_570_194_432),
    ("resnet152", {"stride_on": "1x1"}, 60_192_808, 11_282_415_616),
    ("plain18", {}, 11_515_688, 1_794_805_760),
    ("plain34", {}, 21_623_848, 3_644_493_824),
    ("resnet20", {"shortcut": "A"}, 269_722, 40_551_040),
    ("resnet32", {"shortcut": "A"}, 464_154, 68_862_592),
    ("resnet44", {"shortcut": "A"}, 658_586, 97_174_144),
    ("resnet56", {"shortcut": "A"}, 853_018, 125_485_696),
    ("resnet110", {"shortcut": "A"}, 1_727_962, 252_887_680),
    ("resnet1202", {"shortcut": "A"}, 19_421_274, 2_829_238_912),
    ("resnet20", {"shortcut": "B"}, 272_474, 40_813_184),
    ("resnet32", {"shortcut": "B"}, 466_906, 69_124_736),
    ("resnet44", {"shortcut": "B"}, 661_338, 97_436_288),
    ("resnet56", {"shortcut": "B"}, 855_770, 125_747_840),
    ("resnet110", {"shortcut": "B"}, 1_730_714, 253_149_824),
]


@pytest.mark.parametrize(("name", "options", "params", "macs"), COUNTS, ids=lambda v: str(v))
def test_counts_are_the_published_ones(name: str, options: dict[str, str], params: int, macs: int) -> None:
    with torch.device("meta"):
        net = build(name, **options).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.zeros(1, *entry(name).input_shape))
    assert sum(p.numel() for p in net.parameters()) == params
    assert counter.get_total_flops() == 2 * macs


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


def _projections(net: nn.Module) -> int:
    return sum(isinstance(b.shortcut, ConvNorm) for b in net.modules() if isinstance(b, Block) and b.residual)

"""A frozen net computes what the net does, whatever its family; in bf16 nearly, and whatever is beside an image."""

import math

import pytest
import torch
from torch import Tensor, nn

from plusx.nets import build, entry, names
from plusx.placement.inference import frozen
from plusx.placement.inference.eager import Eager
from plusx.placement.inference.frozen import FusedConv, FusedLinear, GlobalAverage, ReluPool, freeze
from plusx.placement.machine import cpu_flags, multiplies_bf16

FIXED_SIZE = ("alexnet", "vgg", "mlp", "lenet", "highway", "airbench")
"""Families whose nets take their own size alone; the others are tested on less, to be quick."""
NOISE = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0))
"""A prime number of values, so that no two layers are alike."""


def trained(name: str, **options: object) -> nn.Module:
    """A net whose weights, biases and statistics are all of them something: drawing 100 M numbers takes too long."""
    if entry(name).params > 3_000_000:
        with torch.device("meta"):
            net = build(name, **options)
        net.to_empty(device="cpu")
    else:
        net = build(name, **options)
    deep = entry(name).layers > 100 and not name.startswith("plain")  # what a block adds must not add up to infinity
    begin = 0
    with torch.no_grad():
        for tensor in net.parameters():
            values = NOISE.repeat(-(-(tensor.numel() + begin) // len(NOISE)))[begin : begin + tensor.numel()]
            begin = (begin + tensor.numel()) % len(NOISE)
            tensor.copy_(values.view_as(tensor)).mul_((0.3 if deep else 1) * math.sqrt(2 / max(1, tensor[0].numel())))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.copy_(NOISE[: len(tensor)].abs() / 2 + 0.5)
                for tensor in (module.bias, module.running_mean):
                    tensor.copy_(NOISE[-len(tensor) :] / 10)
    return net.eval()


def images(name: str, batch: int, seed: int = 1) -> Tensor:
    channels, height, width = entry(name).input_shape
    if entry(name).family not in FIXED_SIZE:
        height, width = min(height, 32), min(width, 32)
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(seed))


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest logit."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


def is_large(name: str) -> bool:
    return entry(name).params > 20_000_000 or entry(name).layers > 200 or entry(name).macs > 5e9


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if is_large(name) else []) for name in names()]
)
def test_every_net_computes_the_same_when_it_is_frozen(name: str) -> None:
    net, x = trained(name), images(name, 2)
    with torch.inference_mode():
        expected = net(x)
    assert error(freeze(net)(x), expected) < 1e-4


@pytest.mark.parametrize("name", ["resnet50", "preact_resnet18_cifar", "densenet_bc_100_12", "alexnet_two_tower"])
def test_bf16_stays_near(name: str) -> None:
    net, x = trained(name), images(name, 2)
    with torch.inference_mode():
        expected = net(x)
    assert error(freeze(net, precision="bf16")(x), expected) < 0.03  # of values that have three digits


def test_nothing_is_left_between_the_convolutions_of_a_resnet() -> None:
    graph = freeze(trained("resnet18")).net
    kinds = [type(module) for module in graph.modules() if not list(module.children())]
    assert kinds.count(FusedConv) == 20 and kinds.count(FusedLinear) == 1
    assert set(kinds) == {FusedConv, FusedLinear, nn.MaxPool2d, GlobalAverage, nn.Flatten}
    functions = [node for node in graph.graph.nodes if node.op in ("call_function", "call_method")]
    assert not functions


def test_a_norm_that_opens_a_block_becomes_a_convolution_of_each_channel() -> None:
    graph = freeze(trained("preact_resnet18_cifar")).net
    assert not any(isinstance(module, nn.BatchNorm2d | nn.ReLU) for module in graph.modules())


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1), (3, 2, 0), (5, 3, 2), (1, 1, 0)]
)
@pytest.mark.parametrize(("height", "width"), [(11, 12), (7, 6)])
def test_pooling_bits_is_max_pooling(kernel: int, stride: int, padding: int, height: int, width: int) -> None:
    x = torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(0)).relu().bfloat16()
    x = x.contiguous(memory_format=torch.channels_last)
    before = x.clone()
    found = ReluPool(kernel, stride, padding)(x)
    assert torch.equal(found, nn.MaxPool2d(kernel, stride, padding)(x)) and torch.equal(x, before)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_in_bf16_what_a_relu_puts_out_is_pooled_as_bits() -> None:
    kinds = [type(module) for module in freeze(trained("resnet18"), precision="bf16").net.modules()]
    assert ReluPool in kinds and nn.MaxPool2d not in kinds


def test_freezing_leaves_the_net_as_it_is() -> None:
    net, x = trained("resnet20"), images("resnet20", 2)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.inference_mode():
        expected = net(x)
        freeze(net, precision="bf16")(x)
        assert torch.equal(net(x), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_the_images_stay_as_they_are() -> None:
    x = images("resnet20", 2).contiguous(memory_format=torch.channels_last)
    before = x.clone()
    freeze(trained("resnet20"))(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_logits_do_not_depend_on_which_images_are_beside_an_image(precision: frozen.Precision) -> None:
    forward, x, others = freeze(trained("resnet50"), precision=precision), *(images("resnet50", 5, s) for s in (1, 2))
    mixed = torch.cat([x[:2], others[2:]])
    assert torch.equal(forward(mixed)[:2], forward(x)[:2])


def test_in_bf16_on_amx_logits_do_not_depend_on_how_many_are_beside_it() -> None:
    if multiplies_bf16(cpu_flags()) != "AMX":
        pytest.skip("promised, and measured, for AMX alone")
    x = images("resnet50", 9)
    forward, threads = freeze(trained("resnet50"), precision="bf16"), torch.get_num_threads()
    expected = forward(x)
    try:
        for size in (1, 2, 3, 8):
            for count in (1, threads):
                torch.set_num_threads(count)
                assert torch.equal(torch.cat([forward(some) for some in x.split(size)]), expected), (size, count)
    finally:
        torch.set_num_threads(threads)


def test_in_fp32_how_many_are_beside_it_is_a_matter_of_the_last_digits() -> None:
    forward, x = freeze(trained("resnet50")), images("resnet50", 9)
    expected = forward(x)
    for size in (1, 2, 8):
        assert error(torch.cat([forward(some) for some in x.split(size)]), expected) < 1e-5


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_fused_operators_the_folded_graph_computes_the_same(
    precision: frozen.Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = trained("resnet18_cifar"), images("resnet18_cifar", 2)
    fused = freeze(net, precision=precision)(x)
    monkeypatch.setattr(frozen, "_onednn_fuses", lambda dtype: False)
    plain = freeze(net, precision=precision)
    assert not any(isinstance(module, FusedConv | nn.BatchNorm2d) for module in plain.net.modules())
    assert error(plain(x), fused) < (1e-4 if precision == "fp32" else 0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_net_that_cannot_be_traced_runs_as_it_is_in_the_same_precision(precision: frozen.Precision) -> None:
    net, x = trained("alexnet", pooling="stochastic"), images("alexnet", 2)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = net(x).float()
    forward = freeze(net, precision=precision)
    assert isinstance(forward, Eager) and forward.net is net
    assert error(forward(x), expected) < (1e-4 if precision == "fp32" else 0.01)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_net_may_end_with_a_shortcut_around_its_last_layer(precision: frozen.Precision) -> None:
    class Ending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            return y + self.last(y)

    torch.manual_seed(0)
    net, x = Ending().eval(), torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        expected = net(x)
    assert error(freeze(net, precision=precision)(x), expected) < (1e-5 if precision == "fp32" else 0.02)

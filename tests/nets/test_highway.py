"""Highway networks against Eqn. (3)."""

import pytest
import torch
from torch import nn

from plusx.nets import build
from plusx.nets.highway import HighwayBlock


@pytest.mark.parametrize("name", ["highway_fc", "highway_mnist_16"])
def test_a_block_computes_its_equation(name: str) -> None:
    torch.manual_seed(0)
    net = build(name)
    block = next(m for m in net.modules() if isinstance(m, HighwayBlock))
    x = torch.randn(2, 50) if name == "highway_fc" else torch.randn(2, 16, 8, 8)
    h, t = block.branch.layer(x).clamp(min=0), torch.sigmoid(block.gate(x))
    torch.testing.assert_close(block(x), h * t + x * (1 - t))


def test_a_closed_gate_carries_and_an_open_one_transforms() -> None:
    block = next(m for m in build("highway_fc").modules() if isinstance(m, HighwayBlock))
    x = torch.randn(2, 50)
    nn.init.constant_(block.gate.bias, -1e4)
    assert torch.equal(block(x), x)
    nn.init.constant_(block.gate.bias, 1e4)
    torch.testing.assert_close(block(x), block.branch(x))


@pytest.mark.parametrize(("name", "bias"), [("highway_fc", -2.0), ("highway_mnist_32", -1.0), ("highway_a", -2.0)])
def test_gates_begin_negative(name: str, bias: float) -> None:
    blocks = [m for m in build(name).modules() if isinstance(m, HighwayBlock)]
    assert blocks and all(block.gate.bias.eq(bias).all() for block in blocks)
    changed = [m for m in build(name, gate_bias=-4.0).modules() if isinstance(m, HighwayBlock)]
    assert all(block.gate.bias.eq(-4).all() for block in changed)


def test_a_fresh_deep_highway_net_carries_its_gradient_where_a_plain_one_loses_it() -> None:
    norms = {}
    for name in ("highway_fc", "mlp"):
        torch.manual_seed(0)
        net = build(name, depth=50, width=50, activation="sigmoid", init="xavier")
        torch.manual_seed(1)
        nn.functional.cross_entropy(net(torch.randn(16, 1, 28, 28)), torch.arange(16) % 10).backward()
        first, last = net.get_parameter("stem.linear.weight").grad, net.get_parameter("head.linear.weight").grad
        norms[name] = (first.norm() / last.norm()).item()
    assert norms["mlp"] < 1e-6 < 1e-3 < norms["highway_fc"]


def test_a_depth_without_highway_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="depth is 2"):
        build("highway_fc", depth=2)

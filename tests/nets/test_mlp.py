"""The perceptron and the worked example of three scalar layers."""

import pytest
import torch
from torch import nn

from plusx.nets import build
from plusx.nets.mlp import MLP, worked_example


def example(*, residual: bool, first_weight: float) -> dict[str, float]:
    net = worked_example(residual=residual, first_weight=first_weight).double()
    y = net(torch.full((1, 1), 0.5, dtype=torch.float64))
    loss = (y - 1).square().sum()
    loss.backward()
    return {
        "y": y.item(),
        "loss": loss.item(),
        **{n: p.grad.item() for n, p in net.named_parameters() if p.grad is not None},
    }


# Full-precision values, worked out by hand from the formulas.
@pytest.mark.parametrize(
    ("residual", "first_weight", "y", "loss", "w3", "w2", "w1"),
    [
        (False, 0.1, 0.512817, 0.237347, -0.124834, -0.0031169, -0.00007597),
        (True, 0.1, 0.525610, 0.225046, -0.121317, -0.0030291, -0.0030291),
        (False, 0.2, 0.512825, 0.237339, -0.124908, -0.0031927, -0.00007583),
        (True, 0.2, 0.525929, 0.224743, -0.121301, -0.0031005, -0.0030212),
    ],
)
def test_the_worked_example(
    residual: bool, first_weight: float, y: float, loss: float, w3: float, w2: float, w1: float
) -> None:
    actual = example(residual=residual, first_weight=first_weight)
    assert actual["y"] == pytest.approx(y, abs=1e-6) and actual["loss"] == pytest.approx(loss, abs=1e-6)
    assert actual["stages.0.branch.linear2.weight"] == pytest.approx(w3, abs=1e-6)
    assert actual["stages.0.branch.linear1.weight"] == pytest.approx(w2, abs=1e-7)
    assert actual["stem.linear.weight"] == pytest.approx(w1, abs=1e-7)


def test_the_shortcut_carries_forty_times_the_gradient_of_the_main_path() -> None:
    with_shortcut = example(residual=True, first_weight=0.1)
    net = worked_example(residual=True).double()
    block = net.stages[0]
    h1 = net.stem(torch.full((1, 1), 0.5, dtype=torch.float64))
    main = block.act(block.branch(h1) + block.shortcut(h1.detach()))
    delta = (main - 1).square().sum()
    (main_gradient,) = torch.autograd.grad(delta, [net.get_parameter("stem.linear.weight")])
    shortcut_gradient = with_shortcut["stem.linear.weight"] - main_gradient.item()
    assert main_gradient.item() == pytest.approx(-0.00007383, abs=1e-7)
    assert shortcut_gradient == pytest.approx(-0.0029553, abs=1e-6)
    assert shortcut_gradient / main_gradient.item() == pytest.approx(40, rel=0.01)


@pytest.mark.parametrize("shortcut", ["none", "identity", "projection"])
def test_a_block_computes_its_equation(shortcut: str) -> None:
    torch.manual_seed(0)
    net = build("mlp", shortcut=shortcut, width=6, depth=4, activation="tanh")
    block, x = net.stages[0], torch.randn(3, 6)
    f = block.branch.linear2(block.branch.linear1(x).tanh())
    s = {"none": 0, "identity": x, "projection": block.shortcut(x) if shortcut == "projection" else 0}[shortcut]
    torch.testing.assert_close(block(x), (f + s).tanh())


def test_depth_is_the_number_of_linear_layers() -> None:
    for depth in (2, 4, 30):
        net = MLP(4, width=3, depth=depth, shortcut="identity", num_classes=2)
        assert sum(isinstance(m, nn.Linear) for m in net.modules()) == depth
    with pytest.raises(ValueError, match="depth is 5; .* 2n \\+ 2"):
        MLP(4, width=3, depth=5, shortcut="identity", num_classes=2)
    with pytest.raises(ValueError, match="shortcut is 'B'; choose none, identity or projection"):
        build("mlp", shortcut="B")

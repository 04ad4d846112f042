"""The L1 penalty against autograd, and the parameters that it leaves alone."""

import pytest
import torch
from torch import Tensor, nn

from plusx.engine.penalty import add_gradient
from plusx.recipes.optim import Penalty, Touched


def net_and_loss() -> tuple[nn.Sequential, Tensor]:
    """The same each time; its backward pass has not been run."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 5))
    with torch.no_grad():
        net[3].weight[0] = 0.0  # where |w| has no slope, sign takes 0, as autograd does
    loss = net(torch.randn(8, 3, 6, 6)).square().mean()
    return net, loss


@pytest.mark.parametrize("on", ["all", "weights"])
def test_the_gradient_is_that_of_autograd_on_the_explicit_penalty(on: Touched) -> None:
    net, loss = net_and_loss()
    loss.backward()
    add_gradient(Penalty(l1=0.01, on=on), net)
    explicit, loss = net_and_loss()
    names = {"all": dict(explicit.named_parameters()), "weights": ["0.weight", "3.weight"]}[on]
    (loss + 0.01 * sum(explicit.get_parameter(name).abs().sum() for name in names)).backward()
    for (name, p), q in zip(net.named_parameters(), explicit.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None
        torch.testing.assert_close(p.grad, q.grad, msg=name)


def test_biases_and_batch_norm_are_left_alone_by_default() -> None:
    net, loss = net_and_loss()
    loss.backward()
    before = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    add_gradient(Penalty(l1=0.01), net)
    changed = {name for name, p in net.named_parameters() if not torch.equal(p.grad, before[name])}  # type: ignore[arg-type]
    assert changed == {"0.weight", "3.weight"}


def test_what_is_not_trained_gets_no_gradient() -> None:
    net, _ = net_and_loss()
    add_gradient(Penalty(l1=0.01), net)
    assert all(p.grad is None for p in net.parameters())
    net[0].weight.requires_grad_(False)
    net(torch.randn(8, 3, 6, 6)).sum().backward()
    add_gradient(Penalty(l1=0.01), net)
    assert net[0].weight.grad is None and net[3].weight.grad is not None


def test_a_penalty_of_zero_changes_no_bit() -> None:
    net, loss = net_and_loss()
    loss.backward()
    before = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    add_gradient(Penalty(on="all"), net)
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), before, strict=True))  # type: ignore[arg-type]

"""The L1 penalty, and which parameters a penalty touches. (L2 is the optimizers' own `weight_decay`.)"""

from typing import assert_never

import torch
from torch import Tensor, nn

from plusx.recipes.optim import Penalty, Touched


def touched(net: nn.Module, on: Touched) -> list[nn.Parameter]:
    """The parameters of a net that a penalty shrinks, in the net's order.

    Args:
        net: Any net.
        on: `all`, or `weights`: those of two dimensions or more.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> len(touched(net, "all")), len(touched(net, "weights"))
        (4, 1)
    """
    match on:
        case "all":
            return list(net.parameters())
        case "weights":
            return [p for p in net.parameters() if p.ndim >= 2]
        case _:
            assert_never(on)


@torch.no_grad()
def add_gradient(penalty: Penalty, net: nn.Module) -> None:
    """Add the gradient of l1 sum |w|, which is l1 sign(w), to the gradients of the parameters that the penalty touches.

    A parameter without a gradient is not being trained and stays without one.
    """
    if penalty.l1 == 0:
        return
    trained: list[Tensor] = [p for p in touched(net, penalty.on) if p.grad is not None]
    if trained:
        gradients = [p.grad for p in trained if p.grad is not None]
        torch._foreach_add_(gradients, torch._foreach_sign(trained), alpha=penalty.l1)

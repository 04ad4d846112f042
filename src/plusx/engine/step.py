"""One step of training."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from plusx.engine.losses import LossFn
from plusx.engine.optim import hold_rates
from plusx.engine.penalty import add_gradient
from plusx.placement.capture import Captured
from plusx.placement.place import Placement
from plusx.recipes.optim import Penalty


def train_step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_fn: LossFn,
    penalty: Penalty,
    x_BCHW: Tensor,
    labels_B: Tensor,
    placement: Placement,
) -> Tensor:
    """One step of the optimizer; returns the batch's loss without the penalty, detached."""
    with placement.autocast():
        loss = loss_fn(net, placement.place_images(x_BCHW), labels_B.to(placement.device))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    add_gradient(penalty, net)
    optimizer.step()
    return loss.detach()


def captured_step(
    step: Callable[[Tensor, Tensor], Tensor], net: nn.Module, optimizer: torch.optim.Optimizer, placement: Placement
) -> Captured:
    """A step that is recorded once and replayed, where the placement and the optimizer allow it.

    What changes from one step to the next reaches it as data: the batch as arguments, the learning rate in a tensor of
    the optimizer's, dropout through the seed of the device's generator.

    Args:
        step: (x_BCHW, labels_B) to the loss: `train_step` with everything else filled in.
        net: Placed already.
        optimizer: Of the net.
        placement: Of the net.
    """

    def changed() -> list[Tensor]:
        moments = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
        return [*net.parameters(), *net.buffers(), *moments]

    found = placement.captured(step, changed)
    if found.record is not None and not hold_rates(optimizer, placement.device):
        found.record, found.refused = None, f"{type(optimizer).__name__} counts its steps on the CPU"
    return found

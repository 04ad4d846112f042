"""One step of training."""

import torch
from torch import Tensor, nn

from plusx.engine.losses import LossFn
from plusx.engine.penalty import add_gradient
from plusx.placement.place import Placement
from plusx.recipes.recipe import Penalty


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

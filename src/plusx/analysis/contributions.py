"""What each block of a net contributes to a class, for one image."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from plusx.analysis.attention import sharing_twin
from plusx.analysis.blocks import blocks, without_branch


@dataclass(frozen=True)
class Contribution:
    """What a block contributes to the logit of a class."""

    name: str
    """The block's name in the net."""
    contribution: float
    """What the logit loses without the block's branch, in logits; negative where the branch speaks against the class."""


def contributions(net: nn.Module, x_1CHW: Tensor, target: int) -> tuple[Contribution, ...]:
    """What the logit of a class loses without the branch of each block in turn; nothing for a net without blocks.

    In y = F(x) + S(x), F(x) is set to 0, and all that follows is computed again: y = S(x), and an activation behind the
    addition stays. Behind a gate, y = x; a block without a shortcut passes x on, as `without_branch` says. The numbers
    do not add up to the logit: without one block the others are given another x.

    Args:
        net: It stays as it is.
        x_1CHW: One image as the net takes it, on the net's device.
        target: Index of the class.

    Example:
        >>> from plusx.nets import build
        >>> found = contributions(build("resnet20"), torch.randn(1, 3, 32, 32), target=3)
        >>> found[0].name, len(found)
        ('stages.0.0', 9)
    """
    with torch.no_grad():
        twin = sharing_twin(net)
        try:
            parts = blocks(twin)
        except ValueError:
            return ()
        x_1CHW = x_1CHW.float()
        whole = twin(x_1CHW)[0, target].item()
        found = []
        for name, block in parts.items():
            with without_branch(block):
                found.append(Contribution(name, whole - twin(x_1CHW)[0, target].item()))
    return tuple(found)

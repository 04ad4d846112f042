"""What each block of a net contributes to a class, for one image."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from plusx.analysis.attention import sharing_twin
from plusx.analysis.blocks import blocks, without_branch
from plusx.nets.net import Net


@dataclass(frozen=True)
class Contribution:
    """What a block contributes to the logit of a class."""

    name: str
    """The block's name in the net."""
    contribution: float
    """What the logit loses without the block's branch, in logits; negative where it speaks against the class."""
    added: float | None = None
    """What the logit would gain by this block if the head read y in the place of x; None where the head cannot."""


def contributions(net: nn.Module, x_1CHW: Tensor, target: int) -> tuple[Contribution, ...]:
    """What each block contributes to the logit of a class; nothing for a net without blocks.

    `contribution` is by ablation: in y = F(x) + S(x), F(x) is set to 0, and all that follows is computed again. An
    activation behind the addition stays; behind a gate, y = x; a block without a shortcut passes x on, as
    `without_branch` says. These numbers do not add up to the logit: without one block, the others are given another x.

    `added` does add up. It is head(y) - head(x), for the last blocks, as far back as one follows another and the maps
    keep their shape: the sum over them is the logit less that of the head on the first one's x. Where the head is
    global average pooling and one linear layer, it is what the layer makes of the mean of y - x.

    Args:
        net: It stays as it is.
        x_1CHW: One image as the net takes it, on the net's device.
        target: Index of the class.

    Example:
        >>> from plusx.nets import build
        >>> found = contributions(build("resnet20"), torch.randn(1, 3, 32, 32), target=3)
        >>> found[0].name, len(found), [each.added is not None for each in found].count(True)
        ('stages.0.0', 9, 2)
    """
    with torch.no_grad():
        twin = sharing_twin(net)
        try:
            parts = blocks(twin)
        except ValueError:
            return ()
        x_1CHW = x_1CHW.float()
        added = _added(twin, parts, x_1CHW, target)
        whole = twin(x_1CHW)[0, target].item()
        found = []
        for name, block in parts.items():
            with without_branch(block):
                found.append(Contribution(name, whole - twin(x_1CHW)[0, target].item(), added.get(name)))
    return tuple(found)


def _added(net: nn.Module, parts: Mapping[str, nn.Module], x_1CHW: Tensor, target: int) -> dict[str, float]:
    if not isinstance(net, Net):
        return {}
    passed: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
        passed[module] = inputs[0], y

    handles = [module.register_forward_hook(keep) for module in (*parts.values(), net.head)]
    net(x_1CHW)
    for handle in handles:
        handle.remove()
    added: dict[str, float] = {}
    read, logits = passed[net.head]
    logit = logits[0, target].item()
    for name, block in reversed(list(parts.items())):
        x, y = passed[block]
        if y is not read or x.shape != y.shape:
            break
        before = net.head(x.clone())[0, target].item()  # a clone, as a layer may work in place
        added[name], logit, read = logit - before, before, x
    return added

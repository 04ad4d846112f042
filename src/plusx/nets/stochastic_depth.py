"""Stochastic depth. Huang, Sun, Liu, Sedra and Weinberger 2016, arXiv:1603.09382, Sec. 3.

In a training step the residual function F of block l is left out with probability 1 - p_l, for the whole mini-batch; in
evaluation it is scaled by p_l. The blocks of ResNet and of its pre-activation form take part; their `survival` is p_l.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]


class Survivor(Protocol):
    """A block that may be left out of a training step."""

    survival: float
    """The probability p that its residual function is computed; 1 always computes it."""

    def joined(self, x: Tensor) -> Tensor:
        """What it computes in a step that it survives. Kernels may replace this method."""
        ...


def survives(p: float) -> bool:
    """One Bernoulli draw for the whole mini-batch, from torch's generator."""
    if is_tracing():
        raise ValueError(
            "survival is below 1: each training step draws which blocks survive, and torch.jit.trace would keep the "
            "first draw for ever; trace the net in evaluation, or use torch.fx, torch.jit.script or torch.compile"
        )
    return bool(torch.rand(()) < p)


def set_survival(blocks: Sequence[Survivor], last: float, decays: bool = True) -> None:
    """Linear decay, p_l = 1 - l / L (1 - p_L) for block l of L; Eqn. (4). Or p_l = p_L.

    Args:
        blocks: In the order in which the net runs them.
        last: p_L.
        decays: Whether earlier blocks survive more often, or all as often as the last.

    Raises:
        ValueError: `last` is not in (0, 1].
    """
    if not 0 < last <= 1:
        raise ValueError(f"survival is {last!r}; it must be in (0, 1]")
    for number, block in enumerate(blocks, start=1):
        block.survival = 1 - (number / len(blocks) if decays else 1) * (1 - last)

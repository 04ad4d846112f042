"""LAMB: Adam's step, rescaled for each layer to its length; You et al. (2019), arXiv:1904.00962, Algorithm 2."""

from typing import Any

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    """w <- w - lr ||w|| / ||u|| u, with u Adam's step plus weight_decay w, in the groups that weight decay shrinks.

    Args:
        groups: Parameter groups; one whose `weight_decay` is 0 follows Adam.
        lr: Learning rate.
        betas: Decays of the mean of gradients and of squared gradients.
        eps: Added to the root of the second moment.
        weight_decay: Part of the step before it is rescaled.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; a parameter without a gradient is not being trained and stays as it is."""
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for w in group["params"]:
                if w.grad is None:
                    continue
                state = self._state(w)
                state["step"] += 1
                state["mean"].lerp_(w.grad, 1 - beta1)
                state["square"].mul_(beta2).addcmul_(w.grad, w.grad, value=1 - beta2)
                count = float(state["step"])
                root = (state["square"] / (1 - beta2**count)).sqrt_().add_(group["eps"])
                u = (state["mean"] / (1 - beta1**count)).div_(root)
                if group["weight_decay"]:
                    u.add_(w, alpha=group["weight_decay"])
                    u.mul_(_ratio(w, u))
                w.sub_(u, alpha=group["lr"])

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


def _ratio(w: Tensor, u: Tensor) -> Tensor:
    """||w|| / ||u||; 1 where one of them is 0."""
    length, step = torch.linalg.vector_norm(w), torch.linalg.vector_norm(u)
    return torch.where((length > 0) & (step > 0), length / step, 1.0)

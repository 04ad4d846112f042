"""An optimizer from its spec. Its state is tensors by parameter name, so that a resume point can hold it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plusx.recipes.recipe import SGD, AdamW, Optim


def make_optimizer(spec: Optim, net: nn.Module) -> torch.optim.Optimizer:
    """An optimizer over all parameters; each group remembers its peak rate as `initial_lr`."""
    parameters = list(net.parameters())
    match spec:
        case SGD():
            optimizer: torch.optim.Optimizer = torch.optim.SGD(
                parameters,
                lr=spec.lr,
                momentum=spec.momentum,
                weight_decay=spec.weight_decay,
                nesterov=spec.nesterov,
                fused=True,
            )
        case AdamW():
            optimizer = torch.optim.AdamW(
                parameters,
                lr=spec.lr,
                betas=(spec.beta1, spec.beta2),
                eps=spec.eps,
                weight_decay=spec.weight_decay,
                fused=True,
            )
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def set_multiplier(optimizer: torch.optim.Optimizer, multiplier: float) -> None:
    """The rate of every group: its peak times the multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * multiplier


def optimizer_tensors(optimizer: torch.optim.Optimizer, net: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as `<parameter>/<buffer>` -> tensor."""
    return {
        f"{name}/{buffer}": value
        for name, parameter in net.named_parameters()
        for buffer, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, in the layout of the parameters."""
    parameters = dict(net.named_parameters())
    for key, value in tensors.items():
        name, buffer = key.rsplit("/", 1)
        parameter = parameters[name]
        like = torch.empty_like(parameter) if value.shape == parameter.shape else torch.empty_like(value)
        optimizer.state[parameter][buffer] = like.copy_(value)

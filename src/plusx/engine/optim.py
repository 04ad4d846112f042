"""An optimizer from its spec. Its state is tensors by parameter name, so that a resume point can hold it."""

from collections.abc import Mapping
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from plusx.engine import muon
from plusx.engine.lamb import Lamb as LambRule
from plusx.engine.penalty import touched
from plusx.recipes.optim import SGD, Adadelta, Adagrad, Adam, AdamW, Lamb, Muon, Optim, RMSprop


def make_optimizer(spec: Optim, net: nn.Module, *, precision: str = "fp32") -> torch.optim.Optimizer:
    """An optimizer over all parameters; each group remembers its peak rate as `initial_lr`.

    Args:
        spec: The recipe's.
        net: Placed already.
        precision: fp32 or bf16, of the one optimizer that multiplies matrices.
    """
    groups = _groups(spec, net)
    match spec:
        case SGD():
            optimizer: torch.optim.Optimizer = torch.optim.SGD(
                groups,
                lr=spec.lr,
                momentum=spec.momentum,
                weight_decay=spec.weight_decay,
                nesterov=spec.nesterov,
                fused=True,
            )
            if spec.momentum:  # torch's fused step wants all velocities or none, and stochastic depth leaves blocks out
                for p in net.parameters():
                    if p.requires_grad:
                        optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
        case Lamb():
            optimizer = LambRule(
                groups, lr=spec.lr, betas=(spec.beta1, spec.beta2), eps=spec.eps, weight_decay=spec.weight_decay
            )
        case Adam():
            kind = torch.optim.AdamW if isinstance(spec, AdamW) else torch.optim.Adam
            optimizer = kind(
                groups,
                lr=spec.lr,
                betas=(spec.beta1, spec.beta2),
                eps=spec.eps,
                weight_decay=spec.weight_decay,
                fused=True,
            )
        case Adagrad():
            optimizer = torch.optim.Adagrad(
                groups,
                lr=spec.lr,
                eps=spec.eps,
                weight_decay=spec.weight_decay,
                fused=all(p.device.type == "cpu" for p in net.parameters()),  # torch has no such kernel for MPS
            )
        case Adadelta():
            optimizer = torch.optim.Adadelta(
                groups, lr=spec.lr, rho=spec.rho, eps=spec.eps, weight_decay=spec.weight_decay
            )
        case RMSprop():
            optimizer = torch.optim.RMSprop(
                groups,
                lr=spec.lr,
                alpha=spec.alpha,
                eps=spec.eps,
                weight_decay=spec.weight_decay,
                momentum=spec.momentum,
            )
        case Muon():
            optimizer = muon.Muon(groups, ns_steps=spec.ns_steps, precision=precision)
        case _:
            assert_never(spec)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def _groups(spec: Optim, net: nn.Module) -> list[dict[str, Any]]:
    """Muon's own groups; else the parameters by their rate, and by whether weight decay shrinks them."""
    if isinstance(spec, Muon):
        return muon.groups(spec, net)
    shrunk = set(map(id, touched(net, spec.decay)))
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in net.named_parameters():
        rate, decays = _rate(spec, net, name), id(parameter) in shrunk
        own = {} if decays else {"weight_decay": 0.0}
        groups.setdefault((rate, decays), {"params": [], "lr": rate, **own})["params"].append(parameter)
    return list(groups.values())


def _rate(spec: SGD | Adam | Adagrad | Adadelta | RMSprop, net: nn.Module, parameter: str) -> float:
    """The peak rate of a parameter: of the stem and of each stage by how many parts follow; of all else, the head's."""
    if spec.layer_decay == 1 and spec.head_lr is None:
        return spec.lr
    part, _, rest = parameter.partition(".")
    if part not in ("stem", "stages"):
        return spec.lr if spec.head_lr is None else spec.head_lr
    stages = [name for name, _ in dict(net.named_children()).get("stages", nn.Sequential()).named_children()]
    behind = len(stages) + 1 if part == "stem" else len(stages) - stages.index(rest.partition(".")[0])
    return spec.lr * spec.layer_decay**behind


def set_multiplier(optimizer: torch.optim.Optimizer, multiplier: float) -> None:
    """The rate of every group: its peak times the multiplier."""
    for group in optimizer.param_groups:
        rate = group["initial_lr"] * multiplier
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def hold_rates(optimizer: torch.optim.Optimizer, device: str) -> bool:
    """Make the rates tensors, which a recorded step reads anew each time; False for an optimizer that cannot."""
    if not isinstance(optimizer, torch.optim.SGD | torch.optim.Adam | muon.Muon):
        return False  # the others count their steps on the CPU
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        if "capturable" in group:
            group["capturable"] = True
    return True


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
    fused = optimizer.defaults.get("fused")
    for key, value in tensors.items():
        name, buffer = key.rsplit("/", 1)
        parameter = parameters[name]
        if buffer == "step":  # fused kernels count beside the parameter, the others on the CPU
            like = torch.empty_like(value, device=parameter.device if fused else "cpu")
        else:
            like = torch.empty_like(parameter)
        optimizer.state[parameter][buffer] = like.copy_(value)

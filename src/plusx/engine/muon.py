"""Muon: momentum, made orthogonal before it moves a matrix.

Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein (2024), "Muon: An optimizer for hidden layers in neural
networks", https://kellerjordan.github.io/posts/muon; with weights of constant length as in airbench94_muon.py of
github.com/KellerJordan/cifar10-airbench. torch.optim.Muon takes no convolution, and one matrix at a time.

Shapes: M matrices, R rows, C columns.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from plusx.recipes.optim import Muon as Spec

QUINTIC = (3.4445, -4.7750, 2.0315)  # of Jordan et al. (2024): steep at 0, so that small singular values rise quickly


def orthogonalise(x_MRC: Tensor, *, steps: int) -> Tensor:
    """Nearly U V^T of every matrix U S V^T: from x / ||x||, again and again a x + b (x x^T) x + c (x x^T)^2 x.

    Five steps bring singular values from a hundredth of the norm on into about [0.7, 1.2].

    Args:
        x_MRC: Matrices of one shape.
        steps: Newton-Schulz iterations.

    Example:
        >>> u = orthogonalise(torch.diag(torch.tensor([4.0, 1.0, 0.1]))[None], steps=5)
        >>> bool(((u[0].diag() > 0.65) & (u[0].diag() < 1.25)).all()), round(float(u[0, 0, 1]), 3)
        (True, 0.0)
    """
    a, b, c = QUINTIC
    tall = x_MRC.shape[1] > x_MRC.shape[2]
    x = x_MRC.mT if tall else x_MRC  # so that x x^T is the smaller of the two products
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def groups(spec: Spec, net: nn.Module) -> list[dict[str, Any]]:
    """The parameter groups of a net: matrices, the weight of its last layer, vectors."""
    head = [p for p in dict(net.named_children()).get("head", net).parameters() if p.ndim >= 2][-1:]
    rest = [p for p in net.parameters() if all(p is not h for h in head)]

    def follow_sgd(parameters: list[nn.Parameter], lr: float) -> dict[str, Any]:
        decay = spec.weight_decay / lr  # so that lr times it, the share that a step takes off, is the same for both
        return {"params": parameters, "lr": lr, "momentum": spec.sgd_momentum, "weight_decay": decay, "matrices": False}

    return [
        {
            "params": [p for p in rest if p.ndim >= 2],
            "lr": spec.lr,
            "momentum": spec.momentum,
            "weight_decay": 0.0,
            "matrices": True,
        },
        follow_sgd(head, spec.head_lr),
        follow_sgd([p for p in rest if p.ndim < 2], spec.vector_lr),
    ]


class Muon(torch.optim.Optimizer):
    """Nesterov SGD, whose step is orthogonal in the groups of matrices.

    Args:
        groups: What `groups` returns.
        ns_steps: Newton-Schulz iterations.
        precision: fp32 or bf16, of these iterations: the processor's matrix unit makes bf16 four times as fast.
    """

    def __init__(self, groups: list[dict[str, Any]], *, ns_steps: int, precision: str) -> None:
        super().__init__(groups, {})
        self.ns_steps, self.precision = ns_steps, precision

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; a parameter without a gradient is not being trained and stays as it is."""
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            if not trained:
                continue
            gradients = torch._foreach_add([p.grad for p in trained], trained, alpha=group["weight_decay"])
            velocities = [self._velocity(p) for p in trained]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, gradients)
            steps = list(torch._foreach_add(gradients, velocities, alpha=group["momentum"]))
            if group["matrices"]:
                steps = self._orthogonal(steps)
                lengths = torch._foreach_norm(trained)
                torch._foreach_mul_(
                    trained, [len(w) ** 0.5 / (n + 1e-7) for w, n in zip(trained, lengths, strict=True)]
                )
            if isinstance(group["lr"], Tensor):  # alpha must be a number, which a recorded step could not change
                torch._foreach_mul_(steps, -group["lr"])
                torch._foreach_add_(trained, steps)
            else:
                torch._foreach_add_(trained, steps, alpha=-group["lr"])

    def _velocity(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]

    def _orthogonal(self, matrices: Sequence[Tensor]) -> list[Tensor]:
        """Each flattened to out x rest and orthogonalised, those of equal shape at once."""
        made: dict[int, Tensor] = {}
        for shape in dict.fromkeys(m.shape for m in matrices):
            places = [place for place, m in enumerate(matrices) if m.shape == shape]
            x_MRC = torch.stack([matrices[place].flatten(1) for place in places])
            x_MRC = x_MRC.bfloat16() if self.precision == "bf16" else x_MRC
            done_MRC = orthogonalise(x_MRC, steps=self.ns_steps).to(matrices[0].dtype)
            made |= {place: done.reshape(shape) for place, done in zip(places, done_MRC, strict=True)}
        return [made[place] for place in range(len(matrices))]

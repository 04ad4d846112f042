"""Nets that nobody here has written: kernels and the frozen graph compute what their forward says, or leave them."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from plusx.placement.inference.frozen import freeze
from plusx.placement.place import choose_placement
from plusx.recipes.placement import PlacementSpec


class Odd(nn.Module):
    """What a graph would freeze, or a kernel miss: draws of Python's, counters, shared and parametrised layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 16, 3, padding=1))
        self.again, self.norm = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.calls, self.out = 0, nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = torch.relu(self.norm(self.conv(x)))
        for _ in range(2):  # one layer twice
            x = torch.relu(x + self.norm(self.again(x)))
        if self.training and random.random() < 0.5:
            x = 2 * x
        return self.out((x + x.mean((2, 3), keepdim=True)).amax((2, 3)))


class Plain(nn.Module):
    """An ordinary residual net that names its parts in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.bn0 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.c1, self.b1 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.c2, self.b2 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16, momentum=0.3, eps=1e-3)
        self.act, self.fc = nn.ReLU(inplace=True), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.bn0(self.first(x)))
        x = self.act(x + self.b2(self.c2(self.act(self.b1(self.c1(x))))))
        return self.fc(x.mean((2, 3)))


class Drawn(Plain):
    """A residual net that leaves its block out by a draw of Python's, which a graph would freeze."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.bn0(self.first(x)))
        if random.random() < 0.5:
            x = self.act(x + self.b2(self.c2(self.act(self.b1(self.c1(x))))))
        return self.fc(x.mean((2, 3)))


class DrawnByNumpy(Plain):
    """The same by NumPy."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (1 + (np.random.random() < 0.5))


class Counting(Plain):
    """A net that warms up by a count of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x) * min(1.0, self.calls / 3)


@pytest.mark.parametrize("kind", [Odd, Plain, Drawn, DrawnByNumpy, Counting])
def test_kernels_and_the_frozen_graph_change_no_unknown_net(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    nets = [kind(), kind()]
    nets[1].load_state_dict(nets[0].state_dict())
    if choose_placement().kernels != "fused":
        pytest.skip("no native kernels here")
    placed = []
    for net, kernels in zip(nets, ("plain", "fused"), strict=True):
        spec = PlacementSpec(device="cpu", precision="fp32", kernels=kernels)  # type: ignore[arg-type]
        placed.append(choose_placement(spec).place(net).train())
    x = torch.randn(8, 3, 12, 12).to(memory_format=torch.channels_last)
    for step in range(4):
        found = []
        for net in placed:
            random.seed(step)
            np.random.seed(step)
            logits = net(x)
            net.zero_grad()
            logits.logsumexp(1).sum().backward()
            grads = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
            found.append((logits.detach(), grads, {k: t.clone() for k, t in net.state_dict().items()}))
        (one, grads, state), (other, theirs, their_state) = found
        torch.testing.assert_close(other, one, rtol=2e-4, atol=2e-4)
        assert grads.keys() == theirs.keys() and state.keys() == their_state.keys()
        largest = max(float(grad.abs().max()) for grad in grads.values())
        for name, grad in grads.items():
            torch.testing.assert_close(theirs[name], grad, rtol=2e-3, atol=2e-4 * largest)
        for name, t in state.items():
            torch.testing.assert_close(their_state[name], t, rtol=1e-4, atol=1e-4)
    frozen, net = freeze(placed[0].eval()), placed[0]
    for step in range(4):
        found = []
        for call in (frozen, net):
            random.seed(step)
            np.random.seed(step)
            found.append(call(x).detach())
        torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)

"""While a thread traces one net, another uses a second one."""

import threading

import pytest
import torch
from torch import Tensor, nn

from plusx.nets import build
from plusx.placement.graph import trace
from plusx.placement.inference.frozen import freeze


class Slow(nn.Module):
    """A net whose forward waits, so that its trace takes as long as the test likes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.traced, self.go_on = threading.Event(), threading.Event()

    def forward(self, x: Tensor) -> Tensor:
        self.traced.set()
        assert self.go_on.wait(60)
        return self.layer(x)


@pytest.mark.parametrize("tracing", [trace, freeze])
def test_a_net_is_used_while_another_is_traced(tracing: object) -> None:
    used, x = build("resnet20").eval(), torch.rand(2, 3, 32, 32)
    frozen = freeze(used)
    with torch.no_grad():
        alone, alone_frozen = used(x), frozen(x)
    slow, found = Slow(), []
    thread = threading.Thread(target=lambda: found.append(tracing(slow)))  # type: ignore[operator]
    thread.start()
    assert slow.traced.wait(60)
    try:
        with torch.no_grad():
            assert torch.equal(used(x), alone) and torch.equal(frozen(x), alone_frozen)
    finally:
        slow.go_on.set()
        thread.join()
    assert found and found[0] is not None

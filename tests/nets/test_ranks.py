"""GoogLeNet and nets with stochastic depth over two ranks, as docs/other-libraries.md says."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from plusx.engine.losses import make_loss
from plusx.nets import build
from plusx.nets.googlenet import GoogLeNet
from plusx.nets.net import Outputs
from plusx.nets.resnet import cifar_net as resnet
from plusx.recipes.loss import CrossEntropy

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="gloo is not built in")


class WithAux(nn.Module):
    """The wrapper of the documentation."""

    def __init__(self, net: GoogLeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Outputs:
        return self.net.forward_with_aux(x)


def weights_after(case: str) -> dict[str, Tensor]:
    """Three steps of one rank, on images of its own; the parameters afterwards."""
    torch.manual_seed(0)
    ddp, side = {
        "auxiliary heads": lambda: (DistributedDataParallel(WithAux(build("googlenet", num_classes=10))), 33),
        "forward alone": lambda: (DistributedDataParallel(build("googlenet", num_classes=10, aux=False)), 33),
        "survival": lambda: (DistributedDataParallel(resnet(8, "A", survival=0.3), find_unused_parameters=True), 8),
    }[case]()
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.01)
    torch.manual_seed(1 + dist.get_rank())
    for _ in range(3):
        outputs, labels = ddp(torch.rand(2, 3, side, side)), torch.randint(10, (2,))
        logits = (outputs.main, *outputs.aux) if isinstance(outputs, Outputs) else (outputs,)
        optimizer.zero_grad()
        sum(nn.functional.cross_entropy(each, labels) for each in logits).backward()
        optimizer.step()
    return {name.removeprefix("module."): p.detach() for name, p in ddp.named_parameters()}


def one_rank(rank: int, folder: str, case: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        torch.save(weights_after(case), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("case", ["auxiliary heads", "forward alone", "survival"])
def test_ranks_stay_equal_and_every_head_trains(case: str, tmp_path: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(one_rank, (str(tmp_path), case), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first and all(torch.equal(first[name], second[name]) for name in first)
    torch.manual_seed(0)
    began = dict(build("googlenet", num_classes=10).named_parameters())
    for name in first:
        if ".aux." in name:
            assert not torch.equal(first[name], began[name.removeprefix("net.")]), name


def test_auxiliary_heads_get_a_gradient_from_forward_with_aux_alone() -> None:
    torch.manual_seed(0)
    net = build("googlenet", num_classes=10)
    x = torch.rand(2, 3, 33, 33)
    net(x).sum().backward()
    assert all(p.grad is None for p in net.aux.parameters())
    make_loss(CrossEntropy())(net, x, torch.tensor([0, 1])).backward()
    assert all(p.grad is not None for p in net.aux.parameters())

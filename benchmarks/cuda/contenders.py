"""One training step as plusx takes it, and as PyTorch alone does: eager, compiled, and as a CUDA graph.

Shapes: B images in a batch, C channels, H height, W width.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.cuda.device import DEVICE
from plusx.benchmark.training import noise
from plusx.data.augment import make_augmentation
from plusx.data.batches import TrainBatches
from plusx.data.preprocess import fit_preprocess
from plusx.engine.losses import make_loss
from plusx.engine.optim import make_optimizer
from plusx.engine.step import Step
from plusx.engine.task import Classification
from plusx.nets import build
from plusx.placement.place import Placement, choose_placement
from plusx.recipes import RECIPES
from plusx.recipes.augment import FlipLR, RandomCrop
from plusx.recipes.loss import CrossEntropy
from plusx.recipes.optim import SGD, Optim, Penalty
from plusx.recipes.placement import PlacementSpec

CASES = (("resnet20", 128), ("resnet20", 1024), ("res_airbench94", 1000), ("resnet50", 256))
"""Net and batch size."""
MAIN = ("plusx", "plusx, compiled", "eager bf16", "graph bf16", "compiled graph bf16")
"""The contenders that are measured in every case; the others only in the first, where every launch counts."""


def rules_placement(device: str = DEVICE) -> Placement:
    """What plusx decides by its rules for a device."""
    return choose_placement(PlacementSpec(device=device))  # type: ignore[arg-type]


def optim_of(net: str) -> Optim:
    """What a net is trained with here."""
    return RECIPES["cifar10-94"]().optim if "airbench" in net else SGD(lr=0.01)


class WholeStep:
    """A step of plusx's training loop, batch and augmentation within; each call learns from the next batch.

    Args:
        net: Catalog name.
        batch_size: Images in a step.
        placement: Where and how it runs.
        optim: What it is trained with; `optim_of` the net if not given.
        options: Of the net.
    """

    def __init__(
        self, net: str, batch_size: int, placement: Placement, optim: Optim | None = None, **options: Any
    ) -> None:
        torch.manual_seed(0)
        images = noise(net, 2 * batch_size)
        preprocess = fit_preprocess(images)
        augmentation = make_augmentation((RandomCrop(), FlipLR()), preprocess)
        if placement.holds(images.size_bytes):
            images, preprocess = images.to(placement.device), preprocess.to(placement.device)
        self.batches = TrainBatches(images, preprocess, augmentation, batch_size, seed=0)
        self.net = placement.place(build(net, **options)).train()
        optimizer = make_optimizer(optim or optim_of(net), self.net, precision=placement.precision)
        task = Classification(make_loss(CrossEntropy()))
        self.step, self.number = Step(self.net, optimizer, task, Penalty(), placement), 0

    def __call__(self) -> Tensor:
        torch.manual_seed(self.number)
        loss = self.step(self.batches[self.number], 1 / (1 + self.number))
        self.number += 1
        return loss


def peer(
    net: str, batch_size: int, *, bf16: bool = True, graph: bool = False, compiled: bool = False
) -> Callable[[], object]:
    """A step of PyTorch without plusx's loop, on one batch that is ready on the device.

    Args:
        net: Catalog name.
        batch_size: Images in a step.
        bf16: Under autocast and channels last, rather than in contiguous fp32.
        graph: Replay a CUDA graph of it.
        compiled: Compile the net.
    """
    torch.manual_seed(0)
    torch.backends.cudnn.deterministic = False
    layout = torch.channels_last if bf16 else torch.contiguous_format
    model = build(net).to(DEVICE).to(memory_format=layout).train()
    forward = torch.compile(model, dynamic=False) if compiled else model
    optimizer = make_optimizer(optim_of(net), model, precision="bf16" if bf16 else "fp32")
    images = noise(net, batch_size)
    assert images.pixels_NCHW is not None
    x_BCHW = (images.pixels_NCHW.to(DEVICE).float() / 64 - 2).to(memory_format=layout)
    labels_B = images.labels_N.to(DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(forward(x_BCHW), labels_B)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    if not graph or DEVICE != "cuda":
        return step
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    recording = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recording):
        step()
    return recording.replay


def contenders(net: str, batch_size: int) -> dict[str, Callable[[], Callable[[], object]]]:
    """What makes each contender: a call that is one step."""
    placement = rules_placement()
    return {
        "plusx": lambda: WholeStep(net, batch_size, placement),
        "plusx, compiled": lambda: WholeStep(net, batch_size, dataclasses.replace(placement, compile=True)),
        "plusx, not captured": lambda: WholeStep(net, batch_size, dataclasses.replace(placement, capture=False)),
        "eager fp32": lambda: peer(net, batch_size, bf16=False),
        "eager bf16": lambda: peer(net, batch_size),
        "graph fp32": lambda: peer(net, batch_size, bf16=False, graph=True),
        "graph bf16": lambda: peer(net, batch_size, graph=True),
        "compiled graph bf16": lambda: peer(net, batch_size, graph=True, compiled=True),
    }

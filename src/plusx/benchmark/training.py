"""How fast a net trains here, beside the same net in plain PyTorch, in one interleaved run.

A step of ours is the whole step of the training loop: batch, augmentation, forward, backward, optimizer. A step of
plain PyTorch is what a first script does: the batch is ready in memory. So ours includes the cost of the data and
theirs does not. The images are noise in memory; reading files is not measured.

Shapes: B images in a batch, C channels, H height, W width.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import record_function

from plusx.data.augment import make_augmentation
from plusx.data.batches import TrainBatches
from plusx.data.images import ImageSet
from plusx.data.preprocess import fit_preprocess
from plusx.engine.losses import make_loss
from plusx.engine.optim import make_optimizer
from plusx.engine.step import Step
from plusx.engine.task import Classification
from plusx.nets import build, entry
from plusx.placement.machine import describe, peak_memory_bytes, usable_cpus
from plusx.placement.place import Placement, choose_placement
from plusx.placement.turns import take_turns
from plusx.progress import shown
from plusx.recipes.augment import FlipLR, RandomCrop
from plusx.recipes.loss import CrossEntropy
from plusx.recipes.optim import SGD, Penalty


class WholeStep:
    """A step of the training loop; each call makes a batch, augments it and learns from it."""

    def __init__(self, net: str, batch_size: int, placement: Placement) -> None:
        torch.manual_seed(0)
        images = noise(net, 2 * batch_size)
        preprocess = fit_preprocess(images)
        if placement.holds(images.size_bytes):
            images, preprocess = images.to(placement.device), preprocess.to(placement.device)
        augmentation = make_augmentation((RandomCrop(), FlipLR()), preprocess)
        self.placement = placement
        self.batches = TrainBatches(images, preprocess, augmentation, batch_size, seed=0)
        self.net = placement.place(build(net)).train()
        optimizer, task = make_optimizer(SGD(lr=0.01), self.net), Classification(make_loss(CrossEntropy()))
        self.step = Step(self.net, optimizer, task, Penalty(), placement)
        self.numbers = itertools.count()
        self.data_seconds: list[float] = []
        """How long each batch took to make."""

    def __call__(self) -> None:
        began = time.perf_counter()
        with record_function("data"):  # seen by the profiler alone
            batch = self.batches[next(self.numbers)]
        self.data_seconds.append(time.perf_counter() - began)
        loss = self.step(batch, 1.0)
        if self.placement.reads_are_free:  # as in the loop
            loss.item()


def ours(net: str, batch_size: int) -> WholeStep:
    """What `plusx train` does on this machine with a net of the catalog."""
    return WholeStep(net, batch_size, choose_placement())


def plain_step(
    net: nn.Module, x_BCHW: Tensor, labels_B: Tensor, *, channels_last: bool = False, bf16: bool = False
) -> Callable[[], None]:
    """A training step as PyTorch's tutorials write it, on one batch that is ready.

    Args:
        net: Any net on the device of the images; it is trained.
        x_BCHW: Normalised images.
        labels_B: Their classes.
        channels_last: Use this memory layout for the net and the images, rather than the contiguous one.
        bf16: Run under autocast to bf16, rather than in fp32.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net, x_BCHW = net.to(memory_format=layout).train(), x_BCHW.to(memory_format=layout)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=True)

    def step() -> None:
        with torch.autocast(x_BCHW.device.type, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(net(x_BCHW), labels_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def noise(net: str, count: int) -> ImageSet:
    """Images of noise, of the size that a net of the catalog takes, labelled with its classes in turn."""
    facts = entry(net)
    return ImageSet(
        torch.arange(count) % facts.num_classes,
        tuple(map(str, range(facts.num_classes))),
        torch.randint(0, 256, (count, *facts.input_shape), dtype=torch.uint8),
    )


@dataclass(frozen=True)
class TrainingSpeed:
    """The result of `benchmark_training`; speeds are medians over the rounds."""

    net: str
    batch_size: int
    rounds: int
    device: str
    """The device that both ran on."""
    placement: Placement
    """How ours ran."""
    images_per_s: float
    eager_fp32_images_per_s: float
    ratio_to_eager_fp32: float
    """Median of the rounds' ratios; above 1, ours is faster."""
    ratio_range: tuple[float, float]
    """Lowest and highest of the rounds' ratios."""
    data_share: float
    """Share of our step that is spent on making the batch."""
    machine: dict[str, str | int]
    peak_memory_bytes: int | None


def benchmark_training(
    net: str = "resnet20",
    *,
    batch_size: int = 128,
    rounds: int = 10,
    progress: bool | Callable[[int, int], None] = True,
) -> TrainingSpeed:
    """Time training steps, ours and plain PyTorch's (eager, fp32, contiguous) in turn and on the same device.

    Args:
        net: Catalog name; its input is the catalog's.
        batch_size: Images a step.
        rounds: In each, ours and theirs are timed once, for a quarter of a second or one step.
        progress: True shows a bar in a terminal or a notebook; a callable is called with the rounds done and the
            rounds in all.

    Raises:
        ValueError: The net is unknown, or a number is below 1.

    Example:
        >>> benchmark_training("lenet5", batch_size=4, rounds=1).ratio_to_eager_fp32 > 0
        True
    """
    for name, value in (("batch", batch_size), ("rounds", rounds)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be 1 or more")
    torch.set_num_threads(usable_cpus())
    mine = ours(net, batch_size)
    device = mine.placement.device
    x_BCHW, labels_B = (tensor.to(device) for tensor in mine.batches[0])
    theirs = plain_step(build(net).to(device), x_BCHW, labels_B)
    contenders: dict[str, Callable[[], None]] = {"ours": mine, "eager fp32": theirs}
    with shown(progress, f"{net}, batch {batch_size}", unit="rounds") as report:
        turns = take_turns(contenders, rounds=rounds, progress=report, wait=mine.placement.wait)
    ratio = turns.ratio("ours", "eager fp32")
    return TrainingSpeed(
        net=net,
        batch_size=batch_size,
        rounds=rounds,
        device=device,
        placement=mine.placement,
        images_per_s=turns.rate("ours", batch_size).median,
        eager_fp32_images_per_s=turns.rate("eager fp32", batch_size).median,
        ratio_to_eager_fp32=ratio.median,
        ratio_range=(ratio.low, ratio.high),
        data_share=median(mine.data_seconds) / median(turns.seconds["ours"]),
        machine=describe(),
        peak_memory_bytes=peak_memory_bytes(),
    )

"""How fast a net trains here, beside the same net in plain PyTorch, in one interleaved run.

A step of ours is the whole step of the training loop: batch, augmentation, forward, backward, optimizer. A step of
plain PyTorch is what a first script does: fp32, contiguous, eager, the batch ready in memory. Ours so carries the
data's cost and theirs does not.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from plusx.data.batches import TrainBatches
from plusx.data.images import ImageSet
from plusx.data.preprocess import fit_preprocess
from plusx.engine.losses import make_loss
from plusx.engine.optim import make_optimizer
from plusx.engine.training import make_augmentation, train_step
from plusx.nets import build, entry
from plusx.placement.machine import describe, peak_memory_bytes
from plusx.placement.place import Placement, choose_placement, plain_placement
from plusx.recipes.recipe import SGD, CrossEntropy, FlipLR, Penalty, RandomCrop

STEPS_A_ROUND = 3


@dataclass(frozen=True)
class TrainingSpeed:
    """Medians over the rounds."""

    net: str
    batch_size: int
    rounds: int
    placement: Placement
    images_per_s: float
    eager_fp32_images_per_s: float
    ratio_to_eager_fp32: float
    """Median of the rounds' ratios; above 1, ours is faster."""
    ratio_range: tuple[float, float]
    """Lowest and highest of the rounds' ratios."""
    data_share: float
    """Part of our step spent on making the batch."""
    machine: dict[str, str | int]
    peak_memory_bytes: int | None


def benchmark_training(
    net: str,
    *,
    batch_size: int = 128,
    rounds: int = 10,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingSpeed:
    """Time training steps, ours and plain PyTorch's in turn.

    Args:
        net: Catalog name; its input is the catalog's.
        batch_size: Images a step.
        rounds: Each of three steps of ours and three of theirs.
        watch: Told of finished rounds.

    Raises:
        ValueError: The net is unknown, or a number is below 1.
    """
    for name, value in (("batch", batch_size), ("rounds", rounds)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be 1 or more")
    ours, plain = choose_placement(), plain_placement()
    our_step, data_time = _steps(net, batch_size, ours, make_batches=True)
    plain_step, _ = _steps(net, batch_size, plain, make_batches=False)
    for step in (our_step, plain_step):
        step()
        step()
    data_time.clear()
    our_seconds, plain_seconds = [], []
    for done in range(rounds):
        our_seconds.append(_timed(our_step))
        plain_seconds.append(_timed(plain_step))
        watch(done + 1, rounds)
    ratios = [theirs / mine for mine, theirs in zip(our_seconds, plain_seconds, strict=True)]
    return TrainingSpeed(
        net=net,
        batch_size=batch_size,
        rounds=rounds,
        placement=ours,
        images_per_s=batch_size / median(our_seconds),
        eager_fp32_images_per_s=batch_size / median(plain_seconds),
        ratio_to_eager_fp32=median(ratios),
        ratio_range=(min(ratios), max(ratios)),
        data_share=median(data_time) / median(our_seconds),
        machine=describe(),
        peak_memory_bytes=peak_memory_bytes(),
    )


def _timed(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    for _ in range(STEPS_A_ROUND):
        step()
    return (time.perf_counter() - began) / STEPS_A_ROUND


def _steps(
    name: str, batch_size: int, placement: Placement, *, make_batches: bool
) -> tuple[Callable[[], None], list[float]]:
    """A function that trains one step, and the seconds that its batches took."""
    facts = entry(name)
    torch.manual_seed(0)
    images = ImageSet(
        torch.arange(2 * batch_size) % facts.num_classes,
        tuple(map(str, range(facts.num_classes))),
        torch.randint(0, 256, (2 * batch_size, *facts.input_shape), dtype=torch.uint8),
    )
    preprocess = fit_preprocess(
        images, size=None, fit="crop", crop_fraction=1.0, interpolation="bilinear", normalize="channel"
    )
    batches = TrainBatches(
        images, preprocess, make_augmentation((RandomCrop(), FlipLR()), preprocess), batch_size, seed=0
    )
    net = placement.place(build(name)).train()
    optimizer, loss_fn = make_optimizer(SGD(lr=0.01), net), make_loss(CrossEntropy())
    ready, data_seconds, number = batches[0], [], iter(range(10**9))

    def step() -> None:
        began = time.perf_counter()
        x_BCHW, labels_B = batches[next(number)] if make_batches else ready
        data_seconds.append(time.perf_counter() - began)
        train_step(net, optimizer, loss_fn, Penalty(), x_BCHW, labels_B, placement).item()

    return step, data_seconds

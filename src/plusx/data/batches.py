"""The loader: which images, read, normalise, augment, yield. Every batch is a function of (seed, step).

The training images form one endless stream, epoch after epoch, each a fresh permutation; step s takes the images from
s B to (s + 1) B of it. So every image is seen once an epoch, no batch is short, and the batch of any step can be made
again, which is why resume needs no loader state and the number of workers changes nothing. Where classes are balanced,
the stream is that of `BalancedVisits`, and an epoch is as many images.

Shapes: B images in a batch, C channels, H height, W width.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from plusx.data.balance import BalancedVisits
from plusx.data.images import ImageSet, epoch_order
from plusx.data.preprocess import Box, CropBox, Preprocess
from plusx.data.randomness import generator

Batch = tuple[Tensor, Tensor]
"""x_BCHW, float32 and normalised, and labels_B, int64; where images are mixed, shares_BK in their place, float32: how
much of each class an image has."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class Augmentation:
    """What happens to training images, as functions that take a keyword `generator` where nothing else is said."""

    crop: Callable[..., Box] | None = None
    """(width, height) of an image file to the crop of it that becomes the input."""
    change: tuple[Callable[..., Tensor], ...] = ()
    """Applied in turn to each normalised batch."""
    by_epoch: tuple[Callable[..., Tensor], ...] = ()
    """Applied before `change`, with keywords `epoch_B` and `coin_B`: a number in [0, 1) that an image keeps all run
    long."""
    shrink: Callable[..., Tensor] | None = None
    """Applied after `change`, to the batches of the first `shrink_until` steps."""
    shrink_share: float = 0.0
    """Of the run, that these steps are."""
    shrink_until: int = 0
    """Where that share is done, as `TrainBatches.planned` is told."""
    pixels: tuple[Callable[..., Tensor], ...] = ()
    """Applied before normalisation, in turn, to uint8 pixels, with a keyword `generators`: one for each image."""
    mix: Callable[..., Batch] | None = None
    """Applied last: images and the shares of their classes to such as are mixed."""
    mirror: bool = False
    """Mirror each image left and right with probability 1/2 before normalisation, after `pixels`: what `flip_lr` at the
    head of `change` does, in a small part of its time."""


class Visits:
    """The images in the order in which training visits them, epoch after epoch without end.

    Neighbouring steps share an epoch, and a permutation of 50,000 images takes longer than a batch of them: the newest
    epochs are kept. A worker process receives none of them and makes its own.

    Args:
        length: Images in an epoch.
        seed: The recipe's.

    Example:
        >>> visits = Visits(3, seed=0)
        >>> [sorted(visits.order(epoch)) for epoch in (0, 1)]
        [[0, 1, 2], [0, 1, 2]]
    """

    KEPT = 2  # the epoch of a step, and the one that a batch across its end begins

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed = length, seed
        self._orders: dict[int, list[int]] = {}

    def __reduce__(self) -> tuple[type["Visits"], tuple[int, int]]:
        return Visits, (self.length, self.seed)

    def order(self, epoch: int) -> list[int]:
        """The positions of the images, in the order of an epoch."""
        order = self._orders.get(epoch)
        if order is None:
            order = epoch_order(self.length, seed=self.seed, epoch=epoch).tolist()
            self._orders = {**dict(list(self._orders.items())[1 - self.KEPT :]), epoch: order}
        return order

    def at(self, places: range) -> tuple[list[int], list[int]]:
        """The positions of the images at these places of the stream, and the epoch of each."""
        indices, epochs = [], []
        for epoch in range(places.start // self.length, (places.stop - 1) // self.length + 1):
            begin = epoch * self.length
            visited = self.order(epoch)[max(places.start - begin, 0) : places.stop - begin]
            indices += visited
            epochs += [epoch] * len(visited)
        return indices, epochs


@dataclass(frozen=True)
class TrainBatches(Dataset[Batch]):
    """`batches[step]` is the batch of that step."""

    images: ImageSet
    preprocess: Preprocess
    augmentation: Augmentation
    batch_size: int
    seed: int
    readers: int = 1
    """Threads that read image files; with worker processes, in each of them."""
    fast: bool = False
    """Whether crops are cut out of image files at whole pixels, which is faster."""
    balanced: bool = False
    """Whether every class comes as often as every other, not every image."""
    visits: Visits | BalancedVisits = field(init=False, repr=False, compare=False)
    """The order of the images."""

    def __post_init__(self) -> None:
        if self.balanced:
            labels = self.images.labels_N.tolist()
            visits: Visits | BalancedVisits = BalancedVisits(labels, len(self.images.class_names), self.seed)
        else:
            visits = Visits(len(self.images), self.seed)
        object.__setattr__(self, "visits", visits)

    @property
    def num_images(self) -> int:
        """How many there are in an epoch."""
        return len(self.images)

    def __getitem__(self, step: int) -> Batch:
        indices, epochs = self.visits.at(range(step * self.batch_size, (step + 1) * self.batch_size))

        def generators(purpose: str) -> list[torch.Generator]:
            return [generator(self.seed, purpose, *seen) for seen in zip(epochs, indices, strict=True)]

        crop, crops = self.augmentation.crop, []
        if crop is not None:
            crops = [partial(crop, generator=rng) for rng in generators("look")]
        rng = generator(self.seed, "augment", step)
        mirror_B = torch.zeros(len(indices), dtype=torch.bool)
        if self.augmentation.mirror:
            mirror_B = torch.rand(len(indices), generator=rng) < 0.5
        if crops and self.fast and not self.augmentation.pixels:
            x_BCHW = _read_fast(self.images, indices, self.preprocess, crops, mirror_B.tolist(), self.readers)
        else:
            pixels_BCHW = _read(self.images, indices, self.preprocess, crops, self.readers, self.fast)
            if self.augmentation.pixels:
                rngs = generators("pixels")
                for change in self.augmentation.pixels:
                    pixels_BCHW = change(pixels_BCHW, generators=rngs)
            if self.augmentation.mirror:
                pixels_BCHW = _mirrored(pixels_BCHW, mirror_B)
            x_BCHW = self.preprocess.normalise(pixels_BCHW)
        for change in self.augmentation.by_epoch:
            x_BCHW = change(x_BCHW, coin_B=_coins(len(self.images), self.seed)[indices], epoch_B=torch.tensor(epochs))
        for change in self.augmentation.change:
            x_BCHW = change(x_BCHW, generator=rng)
        if self.augmentation.shrink is not None and step < self.augmentation.shrink_until:
            x_BCHW = self.augmentation.shrink(x_BCHW, generator=rng)
        labels_B = _at(self.images.labels_N, indices)
        if self.augmentation.mix is None:
            return x_BCHW, labels_B
        shares_BK = F.one_hot(labels_B, len(self.images.class_names)).float()
        return self.augmentation.mix(x_BCHW, shares_BK, generator=generator(self.seed, "mix", step))

    def planned(self, step_at: Callable[[float], int]) -> "TrainBatches":
        """The same batches in a run in which a share is done at another step.

        Args:
            step_at: The step of a share.
        """
        if self.augmentation.shrink is None:
            return self
        until = step_at(self.augmentation.shrink_share)
        return replace(self, augmentation=replace(self.augmentation, shrink_until=until))

    def steps(self, start: int, stop: int, *, workers: int = 0) -> Iterator[Batch]:
        """The batches of steps start .. stop - 1, in order."""
        return load(self, range(start, stop), workers if self.images.labels_N.is_cpu else 0)


@dataclass(frozen=True)
class EvalBatches(Dataset[Batch]):
    """Every image once, in order; the last batch holds what is left."""

    images: ImageSet
    preprocess: Preprocess
    batch_size: int
    workers: int = 0
    readers: int = 1
    """Threads that read image files; with worker processes, in each of them."""

    @property
    def num_images(self) -> int:
        """How many there are in all."""
        return len(self.images)

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, number: int) -> Batch:
        indices = range(number * self.batch_size, min((number + 1) * self.batch_size, len(self.images)))
        pixels_BCHW = _read(self.images, indices, self.preprocess, [], self.readers)
        return self.preprocess.normalise(pixels_BCHW), self.images.labels_N[indices.start : indices.stop]

    def __iter__(self) -> Iterator[Batch]:
        return load(self, range(len(self)), self.workers if self.images.labels_N.is_cpu else 0)


def _read(
    images: ImageSet,
    indices: Sequence[int],
    preprocess: Preprocess,
    crops: Sequence[CropBox],
    readers: int,
    fast: bool = False,
) -> Tensor:
    """The images at these positions as uint8, B x C x H x W."""
    if images.pixels_NCHW is not None:
        return _at(images.pixels_NCHW, indices)
    if images.stored is not None:
        images.stored.require_serves(preprocess.size, preprocess.crop_fraction)
    choices: Sequence[CropBox | None] = crops or [None] * len(indices)

    def read(index: int, crop: CropBox | None) -> Tensor:
        return preprocess.pixels(images.source(index), crop, fast=fast)

    if readers == 1:
        return torch.stack([read(index, crop) for index, crop in zip(indices, choices, strict=True)])
    with ThreadPoolExecutor(readers) as pool:  # Pillow and PyTorch release the interpreter's lock while they work
        return torch.stack(list(pool.map(read, indices, choices)))


def _read_fast(
    images: ImageSet,
    indices: Sequence[int],
    preprocess: Preprocess,
    crops: Sequence[CropBox],
    mirror: Sequence[bool],
    readers: int,
) -> Tensor:
    """As reading at whole pixels, mirroring and normalising, to the bit, but image by image, in the caches of a reader.

    NumPy computes, since PyTorch's operations would start threads of their own in every reader.
    """
    assert images.files is not None
    if images.stored is not None:
        images.stored.require_serves(preprocess.size, preprocess.crop_fraction)
    mean_CHW, scale_C11 = (preprocess.mean_CHW * 255).numpy(), (1 / (preprocess.std_C11 * 255)).numpy()
    x_BCHW = np.empty((len(indices), preprocess.channels, *preprocess.size), dtype=np.float32)

    def read(places: range) -> None:
        for place in places:
            pixels_CHW = preprocess.pixels(images.source(indices[place]), crops[place], fast=True).numpy()
            x_CHW = x_BCHW[place]
            x_CHW[...] = pixels_CHW[..., ::-1] if mirror[place] else pixels_CHW
            x_CHW -= mean_CHW
            x_CHW *= scale_C11

    if readers == 1:
        read(range(len(indices)))
    else:
        groups = [range(at, min(at + TOGETHER, len(indices))) for at in range(0, len(indices), TOGETHER)]
        list(_pool(readers, os.getpid()).map(read, groups))
    return torch.from_numpy(x_BCHW)


TOGETHER = 4
"""Images that a reader takes at a time."""


@cache
def _pool(readers: int, process: int) -> ThreadPoolExecutor:
    """Threads that stay from batch to batch; those of another process did not come along when it was forked."""
    return ThreadPoolExecutor(readers)


def _mirrored(pixels_BCHW: Tensor, mirror_B: Tensor) -> Tensor:
    """Some images of a batch, which nobody else holds, mirrored left and right."""
    if not pixels_BCHW.is_cpu:
        mirror_B = mirror_B.to(pixels_BCHW.device, non_blocking=True)
        return torch.where(mirror_B[:, None, None, None], pixels_BCHW.flip(-1), pixels_BCHW)
    for number in mirror_B.nonzero().flatten().tolist():
        pixels_BCHW[number] = pixels_BCHW[number].flip(-1)
    return pixels_BCHW


@lru_cache(maxsize=2)
def _coins(length: int, seed: int) -> Tensor:
    """For each image a number in [0, 1), the same in every epoch."""
    return torch.rand(length, generator=generator(seed, "coin"))


def _at(rows: Tensor, indices: Sequence[int]) -> Tensor:
    """Some rows of a tensor, on its own device, which does not wait for the indices."""
    return rows[torch.as_tensor(indices).to(rows.device, non_blocking=True)]


def load(dataset: Dataset[Item], numbers: Sequence[int], workers: int) -> Iterator[Item]:
    """The items of a data set at some positions, in order.

    Args:
        dataset: What is asked for them; it is pickled where workers do not share this process's memory.
        numbers: The positions.
        workers: Processes that make them ahead of time; 0 makes them here.

    Raises:
        ValueError: What the data set raised, as it raised it.
    """
    if workers == 0:
        yield from (dataset[number] for number in numbers)
        return
    loader = DataLoader(
        _Guarded(dataset),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        generator=torch.Generator(),  # the loader draws a number; not from the global generator
        collate_fn=_as_is,
        worker_init_fn=_obey_the_main_process,
    )
    for batch in loader:
        if isinstance(batch, ValueError):
            raise batch
        yield batch


@dataclass(frozen=True)
class _Guarded(Dataset[Any]):
    """Hands a user's mistake over as a value: raised in a worker, it would arrive as a traceback in a string."""

    dataset: Dataset[Any]

    def __getitem__(self, number: int) -> Any:
        try:
            return self.dataset[number]
        except ValueError as fault:  # an image that cannot be read, or that a view does not fit
            return fault


def _obey_the_main_process(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the main process decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _as_is(batch: Any) -> Any:
    return batch

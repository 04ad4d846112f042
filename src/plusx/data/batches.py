"""The loader: which images, read, normalise, augment, yield. Every batch is a function of (seed, step).

The training images form one endless stream, epoch after epoch, each a fresh permutation; step s takes the images from
s B to (s + 1) B of it. So every image is seen once an epoch, no batch is short, and any step can be made anew, which is
why resume needs no loader state and the number of workers changes nothing.

Shapes: B images in a batch, C channels, H height, W width.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from plusx.data.decode import UndecodableError
from plusx.data.images import ImageSet, epoch_order
from plusx.data.preprocess import Box, CropBox, Preprocess
from plusx.data.randomness import generator

Batch = tuple[Tensor, Tensor]
"""x_BCHW, float32 and normalised, and labels_B, int64."""


@dataclass(frozen=True)
class Augmentation:
    """What happens to training images, as functions that take a keyword `generator`, but for `by_epoch`."""

    look: Callable[..., Box] | None = None
    """(width, height) of an image file to the part of it that is looked at."""
    change: tuple[Callable[..., Tensor], ...] = ()
    """Applied in turn to each normalised batch."""
    by_epoch: tuple[Callable[..., Tensor], ...] = ()
    """Applied before, with keywords `epoch_B` and `coin_B`: a number in [0, 1) that an image keeps all the run."""
    shrink: Callable[..., Tensor] | None = None
    """Applied after, to the batches of the first `shrink_until` steps."""
    shrink_until: int = 0


@dataclass(frozen=True)
class TrainBatches(Dataset[Batch]):
    """`batches[step]` is the batch of that step."""

    images: ImageSet
    preprocess: Preprocess
    augmentation: Augmentation
    batch_size: int
    seed: int
    readers: int = 1
    """Threads that read image files; with worker processes, of each."""

    @property
    def num_images(self) -> int:
        """How many there are in an epoch."""
        return len(self.images)

    def __getitem__(self, step: int) -> Batch:
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        indices, epochs, looks, length = [], [], [], len(self.images)
        for epoch in range(places.start // length, (places.stop - 1) // length + 1):
            begin = epoch * length
            part = _order(length, self.seed, epoch)[max(places.start - begin, 0) : places.stop - begin]
            indices += part
            epochs += [epoch] * len(part)
            if self.augmentation.look is not None:
                rngs = [generator(self.seed, "look", epoch, index) for index in part]
                looks += [partial(self.augmentation.look, generator=rng) for rng in rngs]
        x_BCHW = self.preprocess.normalise(_read(self.images, indices, self.preprocess, looks, self.readers))
        for change in self.augmentation.by_epoch:
            x_BCHW = change(x_BCHW, coin_B=_coins(length, self.seed)[indices], epoch_B=torch.tensor(epochs))
        rng = generator(self.seed, "augment", step)
        for change in self.augmentation.change:
            x_BCHW = change(x_BCHW, generator=rng)
        if self.augmentation.shrink is not None and step < self.augmentation.shrink_until:
            x_BCHW = self.augmentation.shrink(x_BCHW, generator=rng)
        return x_BCHW, _at(self.images.labels_N, indices)

    def steps(self, start: int, stop: int, *, workers: int = 0) -> Iterator[Batch]:
        """The batches of steps start .. stop - 1, in order."""
        return _load(self, range(start, stop), workers if self.images.labels_N.is_cpu else 0)


@dataclass(frozen=True)
class EvalBatches(Dataset[Batch]):
    """Every image once, in order; the last batch holds what is left."""

    images: ImageSet
    preprocess: Preprocess
    batch_size: int
    workers: int = 0
    readers: int = 1
    """Threads that read image files; with worker processes, of each."""

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
        return _load(self, range(len(self)), self.workers if self.images.labels_N.is_cpu else 0)


@lru_cache(maxsize=4)  # neighbouring steps share an epoch; a permutation of 50,000 takes longer than a batch
def _order(length: int, seed: int, epoch: int) -> list[int]:
    return epoch_order(length, seed=seed, epoch=epoch).tolist()


@lru_cache(maxsize=4)
def _coins(length: int, seed: int) -> Tensor:
    return torch.rand(length, generator=generator(seed, "coin"))


def _read(
    images: ImageSet, indices: Sequence[int], preprocess: Preprocess, looks: Sequence[CropBox], readers: int
) -> Tensor:
    """The images at these positions as uint8, B x C x H x W."""
    if images.pixels_NCHW is not None:
        return _at(images.pixels_NCHW, indices)
    assert images.files is not None
    files = [images.files[i] for i in indices]
    choices: Sequence[CropBox | None] = looks or [None] * len(indices)
    if readers == 1:
        return torch.stack([preprocess.pixels(file, look) for file, look in zip(files, choices, strict=True)])
    with ThreadPoolExecutor(readers) as pool:  # Pillow releases the interpreter's lock while it decodes and resizes
        return torch.stack(list(pool.map(preprocess.pixels, files, choices)))


def _at(rows: Tensor, indices: Sequence[int]) -> Tensor:
    """Some rows of a tensor, wherever it is; a device does not wait for the indices."""
    return rows[torch.as_tensor(indices).to(rows.device, non_blocking=True)]


def _load(dataset: Dataset[Batch], numbers: Sequence[int], workers: int) -> Iterator[Batch]:
    """The batches of those numbers, made here or ahead of time by worker processes."""
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
        if isinstance(batch, UndecodableError):
            raise batch
        yield batch


@dataclass(frozen=True)
class _Guarded(Dataset[Any]):
    """Hands an unreadable picture over as a value: raised in a worker it would arrive as a traceback in a string."""

    dataset: Dataset[Batch]

    def __getitem__(self, number: int) -> Batch | UndecodableError:
        try:
            return self.dataset[number]
        except UndecodableError as fault:
            return fault


def _obey_the_main_process(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the main one decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _as_is(batch: Any) -> Any:
    return batch

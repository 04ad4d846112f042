"""The views of an image that a net's probabilities are averaged over: crops, scales, whole images, mirror images.

Ten crops: the four corners, the centre, and their mirror images; Krizhevsky et al. (2012), Sec. 4.1. Dense: the net
slides over the whole image, at several scales; Simonyan and Zisserman (2014), Sec. 3.2, and He et al. (2015), Sec. 3.4,
whose scales are 224, 256, 384, 480 and 640.

Shapes: B images in a batch, C channels, H height, W width.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from plusx.data.batches import EvalBatches, load
from plusx.data.decode import MAX_PIXELS
from plusx.data.images import ImageSet
from plusx.data.preprocess import Preprocess

SCALE = 256 / 224
"""The image's shorter side over the crop's, where no scale is named: the papers' 256 for crops of 224."""


@dataclass(frozen=True)
class Views:
    """Which views; by default the one of the run's own preprocessing.

    Raises:
        ValueError: Another number of crops than 1 or 10, crops of a dense view, or a scale below one pixel.

    Example:
        >>> Views(crops=10, scales=(256, 384))
        Views(crops=10, scales=(256, 384), dense=False, flip=False)
    """

    crops: int = 1
    """1, the centre, or 10, at each scale."""
    scales: tuple[int, ...] = ()
    """Pixels of the image's shorter side; every scale is a view, or ten."""
    dense: bool = False
    """The whole image at each scale instead of crops."""
    flip: bool = False
    """Mirror images as well; ten crops contain them already."""

    def __post_init__(self) -> None:
        if self.crops not in (1, 10):
            raise ValueError(f"crops is {self.crops}; choose 1 or 10")
        if self.dense and self.crops == 10:
            raise ValueError("dense evaluation covers the whole image; it takes no crops")
        if any(scale < 1 for scale in self.scales):
            raise ValueError(f"a scale is {min(self.scales)}; it is a number of pixels")

    @property
    def as_in_training(self) -> bool:
        """Whether these are the image as the run's own preprocessing makes it, and at most its mirror image."""
        return self.crops == 1 and not self.scales and not self.dense

    def of(self, image: Image.Image, preprocess: Preprocess) -> list[Tensor]:
        """The views of an image as uint8, C x H x W, mirror images among them.

        Args:
            image: RGB or grey, before any preprocessing.
            preprocess: Whose size and interpolation they have.

        Raises:
            ValueError: A scale is smaller than the crop, or makes the image too large.
        """
        height, width = preprocess.size
        filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
        views = []
        for scale in self.scales or (round(SCALE * min(height, width)),):
            if scale < max(height, width):
                raise ValueError(f"scale {scale} is smaller than the net's input, {height} x {width} pixels")
            ratio = scale / min(image.size)
            size = tuple(scale if side == min(image.size) else int(ratio * side) for side in image.size)
            if size[0] * size[1] > MAX_PIXELS:
                raise ValueError(
                    f"an image of {image.width} x {image.height} pixels would have {size[0]} x {size[1]} at scale "
                    f"{scale}, more than the {MAX_PIXELS:,} allowed; crop it, or evaluate without --scales and --crops"
                )
            whole = _tensor(image.resize((size[0], size[1]), filters[preprocess.interpolation]), preprocess.channels)
            for side in (whole, whole.flip(-1)) if self.flip or self.crops == 10 else (whole,):
                if self.dense:
                    views.append(side)
                    continue
                for top, left in _places(side.shape[1] - height, side.shape[2] - width, self.crops):
                    views.append(side[:, top : top + height, left : left + width])
        return views


ViewBatch = tuple[Sequence[int], Tensor]
"""For each view the number of its image within a group of images, and x_BCHW, float32 and normalised."""


@dataclass(frozen=True)
class ViewBatches(Dataset[list[ViewBatch]]):
    """The views of every image, image after image: `batches[number]` are those of a group of images.

    A group is `batch_size` images, the last one what is left. Its views come as batches of equal shape and of at most
    `batch_size`, in which the views of each image are in order.

    Raises:
        ValueError: A scale is too small or too large for an image, or an image cannot be read.
    """

    images: ImageSet
    preprocess: Preprocess
    """The net's."""
    views: Views
    batch_size: int
    workers: int = 0
    """Processes that make the views."""
    readers: int = 1
    """Threads that read image files; with worker processes, in each of them."""

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, number: int) -> list[ViewBatch]:
        if self.views.as_in_training:
            x_BCHW, _ = EvalBatches(self.images, self.preprocess, self.batch_size, readers=self.readers)[number]
            sides = (x_BCHW, x_BCHW.flip(-1)) if self.views.flip else (x_BCHW,)
            return [(range(len(side)), side) for side in sides]
        if self.images.stored is not None and self.views.scales:
            self.images.stored.require_serves((max(self.views.scales),) * 2, 1.0)
        indices = range(number * self.batch_size, min((number + 1) * self.batch_size, len(self.images)))
        if self.readers == 1:
            views = [self._of(i) for i in indices]
        else:
            with ThreadPoolExecutor(self.readers) as pool:
                views = list(pool.map(self._of, indices))
        return [(owners, _normalise(self.preprocess, x)) for owners, x in _by_shape(views, self.batch_size)]

    def __iter__(self) -> Iterator[list[ViewBatch]]:
        return load(self, range(len(self)), self.workers)

    def _of(self, index: int) -> list[Tensor]:
        return self.views.of(self.images.image(index), self.preprocess)


def _by_shape(views: Sequence[Sequence[Tensor]], batch_size: int) -> Iterator[tuple[list[int], Tensor]]:
    """Views of equal shape together, each with the number of its image; those of an image stay in order."""
    by_shape: dict[torch.Size, list[tuple[int, Tensor]]] = defaultdict(list)
    for number, of_an_image in enumerate(views):
        for view in of_an_image:
            by_shape[view.shape].append((number, view))
    for pairs in by_shape.values():
        for start in range(0, len(pairs), batch_size):
            owners, pixels = zip(*pairs[start : start + batch_size], strict=True)
            yield list(owners), torch.stack(pixels)


def _normalise(preprocess: Preprocess, pixels_BCHW: Tensor) -> Tensor:
    """As the preprocess does; a mean of each pixel is averaged over the pixels for images of another size."""
    if preprocess.mean_CHW.shape[1:] in ((1, 1), pixels_BCHW.shape[2:]):
        return preprocess.normalise(pixels_BCHW)
    mean_C11 = preprocess.mean_CHW.mean((1, 2), keepdim=True)
    return pixels_BCHW.float().sub_(mean_C11 * 255).mul_(1 / (preprocess.std_C11 * 255))


def _tensor(image: Image.Image, channels: int) -> Tensor:
    array = np.array(image.convert("L" if channels == 1 else "RGB"), dtype=np.uint8)
    return torch.from_numpy(array.reshape(image.height, image.width, channels)).permute(2, 0, 1)


def _places(height: int, width: int, crops: int) -> list[tuple[int, int]]:
    """Upper left corners of crops with this much room to move: the centre, or the corners and the centre."""
    centre = (round(height / 2), round(width / 2))
    return [centre] if crops == 1 else [(0, 0), (0, width), (height, 0), (height, width), centre]

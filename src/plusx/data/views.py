"""The views of a picture that a net's answer is averaged over: crops, scales, whole pictures, mirror images.

Ten crops: the four corners, the centre, and their mirror images; Krizhevsky et al. (2012), Sec. 4.1. Dense: the net
slides over the whole picture, at several scales; Simonyan and Zisserman (2014), Sec. 3.2, and He et al. (2015),
Sec. 3.4, whose scales are 224, 256, 384, 480 and 640. What is averaged is what the softmax gives.

Shapes: B pictures, C channels, H height, W width, K classes.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from plusx.data.batches import EvalBatches
from plusx.data.decode import MAX_PIXELS
from plusx.data.images import ImageSet
from plusx.data.preprocess import Preprocess

SCALE = 256 / 224
"""Shorter side over the crop's, where no scale is named; the papers' 256 for crops of 224."""


@dataclass(frozen=True)
class Views:
    """Which views; without any field, a picture is seen as in training's evaluation."""

    crops: int = 1
    """1, the centre, or 10, at each scale."""
    scales: tuple[int, ...] = ()
    """Pixels of the picture's shorter side; every scale is a view, or ten."""
    dense: bool = False
    """The whole picture at each scale, not crops of it."""
    flip: bool = False
    """Mirror images as well; ten crops have them."""

    def __post_init__(self) -> None:
        if self.crops not in (1, 10):
            raise ValueError(f"crops is {self.crops}; choose 1 or 10")
        if self.dense and self.crops == 10:
            raise ValueError("dense evaluation sees the whole picture; it takes no crops")
        if any(scale < 1 for scale in self.scales):
            raise ValueError(f"a scale is {min(self.scales)}; it is a number of pixels")

    @property
    def as_in_training(self) -> bool:
        """Whether one look by the run's own preprocessing is enough."""
        return self.crops == 1 and not self.scales and not self.dense

    def of(self, picture: Image.Image, preprocess: Preprocess) -> list[Tensor]:
        """The views of a picture as uint8, C x H x W, mirror images among them.

        Raises:
            ValueError: A scale is smaller than the crop, or makes the image too large.
        """
        height, width = preprocess.size
        filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
        found = []
        for scale in self.scales or (round(SCALE * min(height, width)),):
            if scale < max(height, width):
                raise ValueError(f"scale {scale} is smaller than the net's input, {height} x {width} pixels")
            ratio = scale / min(picture.size)
            size = tuple(scale if side == min(picture.size) else int(ratio * side) for side in picture.size)
            if size[0] * size[1] > MAX_PIXELS:
                raise ValueError(
                    f"an image of {picture.width} x {picture.height} pixels would have {size[0]} x {size[1]} at scale "
                    f"{scale}, more than the {MAX_PIXELS:,} allowed; crop it, or evaluate without --scales and --crops"
                )
            whole = _tensor(picture.resize((size[0], size[1]), filters[preprocess.interpolation]), preprocess.channels)
            for side in (whole, whole.flip(-1)) if self.flip or self.crops == 10 else (whole,):
                if self.dense:
                    found.append(side)
                    continue
                for top, left in _places(side.shape[1] - height, side.shape[2] - width, self.crops):
                    found.append(side[:, top : top + height, left : left + width])
        return found


def answers(
    forward: Callable[[Tensor], Tensor],
    images: ImageSet,
    preprocess: Preprocess,
    views: Views,
    run: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor],
    *,
    batch_size: int,
    workers: int,
    readers: int,
    watch: Callable[[int, int], None] | None = None,
) -> Iterator[Tensor]:
    """The logarithm of the mean softmax over each picture's views, batch by batch, B x K.

    Args:
        forward: B x C x H x W to logits: a net, placed and in evaluation mode, or its dense form where views are dense.
        images: Each is answered once, in order.
        preprocess: The net's.
        views: Which.
        run: (forward, x_BCHW) to logits on the CPU; where and in which precision.
        batch_size: Views at once.
        workers: Processes that read image files, of the run's own look.
        readers: Threads that read them.
        watch: Told how many images are done.

    Raises:
        ValueError: A scale is too small.
    """
    done = 0
    if views.as_in_training:
        for x_BCHW, _ in EvalBatches(images, preprocess, batch_size, workers, readers):
            yield mean_softmax([run(forward, x) for x in ((x_BCHW, x_BCHW.flip(-1)) if views.flip else (x_BCHW,))])
            done += len(x_BCHW)
            if watch:
                watch(done, len(images))
        return
    with ThreadPoolExecutor(readers) as pool:
        for start in range(0, len(images), batch_size):
            indices = range(start, min(start + batch_size, len(images)))
            looks = list(pool.map(lambda i: views.of(images.picture(i), preprocess), indices))
            found: list[list[Tensor]] = [[] for _ in indices]
            for owners, x_BCHW in _by_shape(looks, batch_size):
                for owner, logits_K in zip(owners, run(forward, _normalise(preprocess, x_BCHW)), strict=True):
                    found[owner].append(logits_K)
            yield mean_softmax([torch.stack(view) for view in zip(*found, strict=True)])
            if watch:
                watch(indices.stop, len(images))


def mean_softmax(views: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of softmaxes, B x K, from the logits of each view, B x K."""
    return torch.stack(list(views)).double().log_softmax(-1).logsumexp(0) - math.log(len(views))


def _by_shape(looks: Sequence[Sequence[Tensor]], batch_size: int) -> Iterator[tuple[list[int], Tensor]]:
    """Views of equal shape together, each with the number of its picture; a picture's stay in order."""
    by_shape: dict[torch.Size, list[tuple[int, Tensor]]] = defaultdict(list)
    for number, views in enumerate(looks):
        for view in views:
            by_shape[view.shape].append((number, view))
    for pairs in by_shape.values():
        for start in range(0, len(pairs), batch_size):
            owners, views = zip(*pairs[start : start + batch_size], strict=True)
            yield list(owners), torch.stack(views)


def _normalise(preprocess: Preprocess, pixels_BCHW: Tensor) -> Tensor:
    """As the preprocess; where the mean is of each pixel and the picture of another size, its mean over the pixels."""
    if preprocess.mean_CHW.shape[1:] in ((1, 1), pixels_BCHW.shape[2:]):
        return preprocess.normalise(pixels_BCHW)
    mean_C11 = preprocess.mean_CHW.mean((1, 2), keepdim=True)
    return pixels_BCHW.float().sub_(mean_C11 * 255).mul_(1 / (preprocess.std_C11 * 255))


def _tensor(picture: Image.Image, channels: int) -> Tensor:
    array = np.array(picture.convert("L" if channels == 1 else "RGB"), dtype=np.uint8)
    return torch.from_numpy(array.reshape(picture.height, picture.width, channels)).permute(2, 0, 1)


def _places(height: int, width: int, crops: int) -> list[tuple[int, int]]:
    """Upper left corners, with so many pixels to spare: the centre, or the corners and the centre."""
    centre = (round(height / 2), round(width / 2))
    return [centre] if crops == 1 else [(0, 0), (0, width), (height, 0), (height, width), centre]

"""Whether an exported file computes what the net does: real images through both, in batches of 1, 3 and 8.

The net computes in PyTorch, operator by operator and in fp32, from pixels that `Preprocess.normalise` normalises; the
file from the pixels themselves. So a graph that scales, normalises or orders channels in another way is found too.

Shapes: N images, B images in a batch, C channels, H height, W width, K classes.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import torch
from torch import Tensor, nn

from plusx.data.preprocess import Preprocess

TOLERANCE = 1e-3
"""Of a logit: what the file and the net may differ by; a thousandth of the largest logit where that is less than 1."""
ROUNDING = 1e-5
"""Of a logit: two classes that are closer than this are in the order that rounding gives them."""
ROUNDINGS = 4
"""How many times PyTorch's own error the two may differ by, in a net that makes much of rounding."""
SIZES = (1, 3, 8)
"""Images of the first batches; all others have as many as the last."""
DRAWN = 36
"""Images that are drawn where a run has none at hand."""

Logits = Callable[[Tensor], Tensor]
"""uint8 pixels, B x C x H x W, to float32 logits, B x K."""


class ExportRefusedError(Exception):
    """An exported file does not compute what the net does, or int8 costs more accuracy than allowed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


@dataclass(frozen=True)
class Verified:
    """What the net and the exported file computed of the same images."""

    images: int
    source: str
    """Which images: val, test, or drawn."""
    largest_difference: float
    """Of a logit."""
    largest_logit: float
    accuracy: float | None
    """Of the net; None for images without labels."""
    exported_accuracy: float | None
    runtimes: tuple[str, ...]
    """What ran the file; the first of them on all images."""

    @property
    def drop(self) -> float | None:
        """Percentage points of accuracy that the file lacks."""
        if self.accuracy is None or self.exported_accuracy is None:
            return None
        return 100 * (self.accuracy - self.exported_accuracy)


def verify(
    net: nn.Module,
    preprocess: Preprocess,
    runtimes: Mapping[str, Logits],
    pixels: Iterable[Tensor],
    labels: Sequence[int] | None,
    *,
    source: str,
    batch: int | None = None,
    max_drop: float | None = None,
    total: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Compare an exported file with the net that it was made of.

    Args:
        net: In evaluation mode, on the CPU.
        preprocess: The net's.
        runtimes: What runs the file, by name. The first is given all images, the others those of the first batches.
        pixels: Images after `Preprocess.pixels`, uint8, C x H x W.
        labels: Their classes, or None.
        source: Which images they are.
        batch: Images of a call, if the file takes no other number; the last batch is then filled up.
        max_drop: Percentage points of accuracy that int8 may cost; None compares the logits.
        total: How many images there are, for the progress.
        progress: Called with the images done and the images in all.

    Raises:
        ExportRefusedError: The logits differ by more than `TOLERANCE`, and by more than comes of rounding; or they are
            not finite; or the accuracy changes.
    """
    names, seen, worst, largest, rounding = list(runtimes), 0, 0.0, 0.0, 0.0
    right, exported_right, changed = 0, 0, 0
    for number, pixels_BCHW in enumerate(_batches(pixels, batch)):
        count = len(pixels_BCHW)
        x_BCHW = preprocess.normalise(pixels_BCHW)
        with torch.inference_mode():
            expected_BK = net(x_BCHW)
        given = pixels_BCHW
        if batch is not None and count < batch:
            given = torch.cat([pixels_BCHW, pixels_BCHW[-1:].expand(batch - count, -1, -1, -1)])
        for name in names if number < len(SIZES) else names[:1]:
            logits_BK = runtimes[name](given)[:count]
            if logits_BK.shape != expected_BK.shape:
                shapes = (" x ".join(map(str, each.shape)) for each in (logits_BK, expected_BK))
                raise ExportRefusedError("the file gives logits of {}, the net of {}".format(*shapes))
            if not expected_BK.isfinite().all():
                raise ExportRefusedError("the net itself gives logits that are not finite, so nothing can be compared")
            if not logits_BK.isfinite().all():
                raise ExportRefusedError(f"{name} gives logits that are not finite")
            difference = (logits_BK - expected_BK).abs().max().item()
            worst, largest = max(worst, difference), max(largest, expected_BK.abs().max().item())
            if max_drop is None and difference > (allowed := max(TOLERANCE * min(1.0, largest), rounding)):
                rounding = max(rounding, ROUNDINGS * _error(net, x_BCHW, expected_BK))
                if difference > rounding:
                    raise ExportRefusedError(
                        f"by {name}, logits differ by {difference:.2g} from PyTorch's, more than the {allowed:.2g} "
                        f"allowed, in image {seen + 1:,} to {seen + count:,} of {source}"
                    )
            if name == names[0] and labels is not None:
                labels_B = torch.tensor(labels[seen : seen + count])
                right_B, exported_right_B = expected_BK.argmax(1) == labels_B, logits_BK.argmax(1) == labels_B
                right, exported_right = right + int(right_B.sum()), exported_right + int(exported_right_B.sum())
                changed += int((right_B != exported_right_B)[_margins(expected_BK) > max(ROUNDING, rounding)].sum())
        seen += count
        if progress:
            progress(seen, total or seen)
    if not seen:
        raise ExportRefusedError(f"there is no image of {source} to compare the file with")
    accuracy, exported = (None, None) if labels is None else (right / seen, exported_right / seen)
    verified = Verified(seen, source, worst, largest, accuracy, exported, tuple(names))
    if max_drop is None and changed:
        raise ExportRefusedError(
            f"the accuracy on {source} changes: {changed:,} of {seen:,} images are right in one of PyTorch and "
            f"{names[0]} alone, though their logits differ by at most {worst:.2g}"
        )
    if max_drop is not None and (drop := verified.drop) is not None and drop > max_drop + 1e-9:
        raise ExportRefusedError(
            f"int8 costs {drop:.2f} percentage points of accuracy on {source} ({100 * right / seen:.2f} to "
            f"{100 * exported_right / seen:.2f} % of {seen:,} images), more than the {max_drop:g} allowed by --max-drop"
        )
    return verified


def drawn_images(shape: tuple[int, int, int], count: int = DRAWN) -> Iterator[Tensor]:
    """Images of blurred and plain noise, each of its own brightness, contrast and coarseness; uint8, C x H x W.

    Args:
        shape: Channels, height and width.
        count: How many; the same ones every time.
    """
    generator = torch.Generator().manual_seed(0)
    channels, height, width = shape
    for number in range(count):
        side = (height, height // 2, height // 4, 4)[number % 4]
        coarse = torch.rand(1, channels, max(1, side), max(1, side), generator=generator)
        smooth = nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)[0]
        contrast, brightness = torch.rand(2, generator=generator).tolist()
        image = (smooth - 0.5) * (0.2 + 0.8 * contrast) + 0.25 + 0.5 * brightness
        yield (255 * image.clamp(0, 1)).round().to(torch.uint8)


def _batches(pixels: Iterable[Tensor], batch: int | None) -> Iterator[Tensor]:
    every = iter(pixels)
    sizes = chain(SIZES, iter(lambda: SIZES[-1], None)) if batch is None else iter(lambda: batch, None)
    for size in sizes:
        images = list(islice(every, size))
        if not images:
            return
        yield torch.stack(images)


def _error(net: nn.Module, x_BCHW: Tensor, logits_BK: Tensor) -> float:
    """How far the logits are from those in double precision; deep nets without shortcuts make much of rounding."""
    with torch.inference_mode():
        return (copy.deepcopy(net).double()(x_BCHW.double()) - logits_BK).abs().max().item()


def _margins(logits_BK: Tensor) -> Tensor:
    """By how much the largest logit of each image exceeds the second."""
    if logits_BK.shape[1] < 2:
        return torch.full((len(logits_BK),), torch.inf)
    top_B2 = logits_BK.topk(2).values
    return top_B2[:, 0] - top_B2[:, 1]

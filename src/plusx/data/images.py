"""An image set: where the pixels are, what the labels are, what the classes are called.

Shapes: N images, C channels, H height, W width.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from plusx.data.decode import BY_FILE, FullScale, decode
from plusx.data.randomness import generator
from plusx.data.split import together


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of known classes: either pixels in memory, or files that are read when they are needed."""

    labels_N: Tensor
    """Class index of each image, int64."""
    class_names: tuple[str, ...]
    """Names in the order of the indices."""
    pixels_NCHW: Tensor | None = None
    """All pixels as uint8, or None when the images are files."""
    files: tuple[Path, ...] | None = None
    """One path per image, or None when the pixels are in memory."""
    digests: tuple[str, ...] | None = None
    """The hash of each file's content; None for images in memory."""
    full_scale: FullScale = BY_FILE
    """What is white in files whose format does not say so."""
    groups: tuple[str | None, ...] | None = None
    """The group of each file, which stays in one split; None for one that is in none, or where there are no groups."""

    def __post_init__(self) -> None:
        held = self.pixels_NCHW if self.pixels_NCHW is not None else self.files
        assert held is not None and len(held) == len(self.labels_N)
        assert self.digests is None or len(self.digests) == len(self.labels_N)

    def __len__(self) -> int:
        return len(self.labels_N)

    def __repr__(self) -> str:
        kind = "files" if self.pixels_NCHW is None else " x ".join(map(str, self.pixels_NCHW.shape[1:]))
        return f"<ImageSet of {len(self):,} images in {len(self.class_names):,} classes, {kind}>"

    @property
    def channels(self) -> int:
        """Channels of the pixels; files are read as RGB."""
        return 3 if self.pixels_NCHW is None else self.pixels_NCHW.shape[1]

    @property
    def size_bytes(self) -> int:
        """Bytes of the pixels in memory; files take none."""
        return 0 if self.pixels_NCHW is None else self.pixels_NCHW.numel()

    def to(self, device: str) -> "ImageSet":
        """The same images with labels and, where they are in memory, pixels on a device."""
        pixels_NCHW = None if self.pixels_NCHW is None else self.pixels_NCHW.to(device)
        return replace(self, labels_N=self.labels_N.to(device), pixels_NCHW=pixels_NCHW)

    def image(self, index: int) -> Image.Image:
        """The image at a position, as it is before any preprocessing; RGB, or grey.

        Raises:
            UndecodableError: The file cannot be read.
        """
        if self.files is not None:
            return decode(self.files[index], full_scale=self.full_scale)
        assert self.pixels_NCHW is not None
        pixels_HWC = self.pixels_NCHW[index].permute(1, 2, 0).numpy()
        return Image.fromarray(pixels_HWC if self.channels == 3 else pixels_HWC[..., 0])

    def take(self, indices: Sequence[int] | Tensor) -> "ImageSet":
        """The images at these positions, in this order."""
        picked = torch.as_tensor(indices, dtype=torch.int64)
        return replace(
            self,
            labels_N=self.labels_N[picked],
            pixels_NCHW=None if self.pixels_NCHW is None else self.pixels_NCHW[picked],
            files=None if self.files is None else tuple(self.files[i] for i in picked.tolist()),
            digests=None if self.digests is None else tuple(self.digests[i] for i in picked.tolist()),
            groups=None if self.groups is None else tuple(self.groups[i] for i in picked.tolist()),
        )


def select(splits: Mapping[str, ImageSet], expression: str | None) -> ImageSet | None:
    """The images that a recipe names, or None where there are none.

    Args:
        splits: Image sets by name.
        expression: A split, or a part of one in numbers or per cent: `train`, `train[:45000]`, `train[90%:]`.

    Raises:
        ValueError: The split is unknown or the expression cannot be read.

    Example:
        >>> labels = torch.arange(10)
        >>> digits = ImageSet(labels, tuple("0123456789"), torch.zeros(10, 1, 8, 8, dtype=torch.uint8))
        >>> select({"train": digits}, "train[80%:]").labels_N
        tensor([8, 9])
    """
    if expression is None:
        return None
    match = re.fullmatch(r"(\w+)(?:\[(\d+%?)?:(\d+%?)?\])?", expression)
    if match is None:
        raise ValueError(f"cannot read the split {expression!r}; write it as train, train[:45000] or train[90%:]")
    name, start, stop = match.groups()
    if name not in splits:
        raise ValueError(f"the data has no split {name!r}; it has {', '.join(splits)}")
    images = splits[name]
    if start or stop:
        cut = range(len(images))[_bound(start, len(images)) : _bound(stop, len(images))]
        images = images.take(cut if images.digests is None else _stratified(images, images.digests, start, stop))
    return images if len(images) else None


def _bound(text: str | None, length: int) -> int | None:
    if text is None:
        return None
    return round(length * int(text[:-1]) / 100) if text.endswith("%") else int(text)


def _stratified(images: ImageSet, digests: Sequence[str], start: str | None, stop: str | None) -> list[int]:
    """The positions of a slice of files, which are sorted by class: as much of every class.

    The images of a class are ordered by the hash of their content, and the one of rank r among n is put at
    (r + 1/2) / n of the whole. Per cents cut there: each class by itself, to half an image, whatever other classes
    there are. A number of images counts along that order. Copies of one image stand where the first of them does; a
    number that would part them stops before them. So do groups, which stand where the mean of their images does.
    """
    digests = together(digests, images.groups)
    ranked: list[list[int]] = [[] for _ in images.class_names]
    for place in sorted(range(len(images)), key=lambda place: digests[place]):
        ranked[images.labels_N[place]].append(place)
    shares: dict[str, list[float]] = defaultdict(list)
    for members in ranked:
        for rank, place in enumerate(members):
            shares[digests[place]].append((rank + 0.5) / len(members))
    where = {key: sum(its) / len(its) if images.groups else min(its) for key, its in shares.items()}
    order = sorted(range(len(images)), key=lambda place: (where[digests[place]], digests[place]))

    def cut(text: str | None, default: int) -> int:
        if text is None:
            return default
        if text.endswith("%"):
            return sum(where[digest] < int(text[:-1]) / 100 for digest in digests)
        count = min(int(text), len(order))
        while 0 < count < len(order) and digests[order[count - 1]] == digests[order[count]]:
            count -= 1
        return count

    return sorted(order[cut(start, 0) : cut(stop, len(order))])


def require_every_class(images: ImageSet, expression: str) -> None:
    """Raises ValueError when a class has no image in a training set of files, which would be learnt as never right.

    Args:
        images: What is to be trained on.
        expression: How it was chosen, as `train[:50%]`.
    """
    if images.files is not None and len(used := _names_in_use(images)) < len(images.class_names):
        lacking = [name for name in images.class_names if name not in used]
        raise ValueError(
            f"the {len(images):,} training images of data.train={expression} lack {listed(map(repr, lacking))}; "
            "take a larger slice or a larger data.limit"
        )


def normal_name(name: str) -> str:
    """A class name in the one form of Unicode (NFC) in which names are compared, stored and shown.

    macOS may write a letter and its accent, or the parts of a Korean syllable, as several characters where Linux writes
    one.

    Example:
        >>> len("e\u0301"), len(normal_name("e\u0301"))
        (2, 1)
    """
    return unicodedata.normalize("NFC", name)


def relabel(images: ImageSet, class_names: Sequence[str]) -> ImageSet:
    """The same images with the labels of another list of classes; an image keeps the name of its class.

    Args:
        images: Their classes may be fewer, or in another order.
        class_names: A net's, in the order of its outputs.

    Raises:
        ValueError: An image's class is not in the list, or is there twice.

    Example:
        >>> two = ImageSet(torch.tensor([0, 1]), ("ant", "bee"), torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
        >>> relabel(two, ("wasp", "bee", "ant")).labels_N
        tensor([2, 1])
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(class_names):
        places.setdefault(normal_name(name), []).append(place)
    used = {name: places.get(normal_name(name), []) for name in _names_in_use(images)}
    if unknown := [name for name, found in used.items() if not found]:
        verb = "class {} is" if len(unknown) == 1 else "classes {} are"
        them = verb.format(listed(map(repr, unknown)))
        raise ValueError(
            f"{them} none of the net's: {listed(class_names)}; rename the folders to the net's class names, or name "
            "the net's classes as the folders, in the order of its outputs: plusx convert FILE --classes FILE"
        )
    if double := [name for name, found in used.items() if len(found) > 1]:
        raise ValueError(f"the net has {len(used[double[0]])} classes named {double[0]!r}, so no label follows from it")
    new_K = torch.tensor([used.get(name, [-1])[0] for name in images.class_names], dtype=torch.int64)
    return replace(images, labels_N=new_K[images.labels_N], class_names=tuple(class_names))


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names in a sentence, of many the first few and how many more there are.

    Example:
        >>> listed("abcdefghij", most=3)
        'a, b, c ... and 7 more'
    """
    every = list(names)
    return ", ".join(every) if len(every) <= most else f"{', '.join(every[:most])} ... and {len(every) - most:,} more"


def _names_in_use(images: ImageSet) -> list[str]:
    """The classes that have an image, in the order of their indices."""
    return [images.class_names[label] for label in images.labels_N.unique().tolist()]


def spread(images: ImageSet, count: int) -> ImageSet:
    """At most `count` images, evenly spaced, so that every class of a sorted set stays present."""
    if len(images) <= count:
        return images
    return images.take(torch.linspace(0, len(images) - 1, count).round().to(torch.int64))


def epoch_order(length: int, *, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch visits the images: a permutation of 0 .. length - 1."""
    return torch.randperm(length, generator=generator(seed, "order", epoch))

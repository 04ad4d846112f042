"""One object that turns images into the net's input: the same in training, evaluation, prediction and serving.

x = (pixels / 255 - mean) / std, after the image has been fitted to the input's size. Shapes: B images, C channels,
H height, W width.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, assert_never

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from plusx.data.decode import BY_FILE, MAX_PIXELS, FullScale, ImageLike, decode
from plusx.data.images import ImageSet, spread
from plusx.recipes.data import PreprocessSpec

Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge, in shares of the image's width and height."""
CropBox = Callable[[int, int], Box]
"""An image's width and height to the box of it that becomes the input."""

_DEFAULT = PreprocessSpec()
STATISTICS_FILES = 512  # image files that mean and deviation are taken over: enough for two digits, read in seconds


@dataclass(frozen=True, eq=False)
class Preprocess:
    """Size, fit, interpolation, mean and deviation of a net's input."""

    size: tuple[int, int]
    """Height and width in pixels."""
    mean_CHW: Tensor
    """Mean of pixels / 255: C x 1 x 1 per channel, or C x H x W per pixel."""
    std_C11: Tensor
    """Standard deviation of pixels / 255, C x 1 x 1."""
    obtained: str
    """How mean and deviation were obtained."""
    fit: Literal["crop", "pad", "squash"] = "crop"
    crop_fraction: float = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    full_scale: FullScale = BY_FILE
    """What is white in files that do not say so, as in the images that were trained on."""

    @property
    def channels(self) -> int:
        return self.mean_CHW.shape[0]

    def __repr__(self) -> str:
        shape = " x ".join(map(str, (self.channels, *self.size)))
        mean, std = (
            ", ".join(f"{value:.4g}" for value in t.flatten(1).mean(1).tolist()) for t in (self.mean_CHW, self.std_C11)
        )
        return f"<Preprocess to {shape}, {self.fit}, {self.interpolation}, mean {mean}, deviation {std}>"

    def pixels(self, source: ImageLike, crop: CropBox | None = None) -> Tensor:
        """An image as uint8, C x H x W.

        Args:
            source: A file, the bytes of one, or an image of Pillow's.
            crop: Chooses the box that becomes the input: of the image or, where `fit` pads or squashes, of what that
                makes of it; None takes the whole image, or its centre, as `fit` says.

        Raises:
            UndecodableError: The image cannot be read.
        """
        height, width = self.size
        # A random crop may be half as wide as the image, and then needs twice the detail.
        image = decode(source, at_least=max(height, width) * (2 if crop else 1), full_scale=self.full_scale)
        if self.channels == 1:
            image = image.convert("L")
        box: Box = (0.0, 0.0, 1.0, 1.0)
        if crop is not None:
            box = crop(image.width, image.height) if self.fit == "crop" else crop(width, height)
        elif self.fit == "crop":
            box = _centre(image.width, image.height, width / height, self.crop_fraction)
        resample = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[self.interpolation]
        make = _padded if self.fit == "pad" else _resize
        small = make(image, (width, height), box, resample)
        array = np.array(small, dtype=np.uint8).reshape(height, width, self.channels)
        return torch.from_numpy(array).permute(2, 0, 1)

    def normalise(self, pixels_BCHW: Tensor) -> Tensor:
        """uint8 pixels to the net's float32 input."""
        return pixels_BCHW.to(torch.float32).sub_(self.mean_CHW * 255).mul_(1 / (self.std_C11 * 255))

    def to(self, device: str) -> "Preprocess":
        """The same, for pixels on a device."""
        return replace(self, mean_CHW=self.mean_CHW.to(device), std_C11=self.std_C11.to(device))

    def to_dict(self) -> dict[str, Any]:
        """JSON types; the inverse of `from_dict`, to the last bit."""
        return {
            "size": list(self.size),
            "channels": self.channels,
            "fit": self.fit,
            "crop_fraction": self.crop_fraction,
            "interpolation": self.interpolation,
            "full_scale": asdict(self.full_scale),
            "mean": _numbers(self.mean_CHW),
            "std": _numbers(self.std_C11),
            "obtained": self.obtained,
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> "Preprocess":
        """A preprocess from `to_dict`'s output."""
        return Preprocess(
            size=(int(fields["size"][0]), int(fields["size"][1])),
            mean_CHW=_tensor(fields["mean"]),
            std_C11=_tensor(fields["std"]),
            obtained=fields["obtained"],
            fit=fields["fit"],
            crop_fraction=fields["crop_fraction"],
            interpolation=fields["interpolation"],
            full_scale=FullScale(**fields.get("full_scale", {})),  # older cards have none
        )


def fit_preprocess(
    images: ImageSet, spec: PreprocessSpec = _DEFAULT, weights: "Preprocess | None" = None
) -> Preprocess:
    """A preprocess whose mean and deviation are computed from training images, or are those of somebody's weights.

    Args:
        images: The images that are trained on.
        spec: Size, fit, interpolation and normalisation.
        weights: What the weights that the net starts from were trained with; needed where `spec` normalises by it.

    Raises:
        ValueError: The size does not agree with images in memory, or is missing for image files; or `spec` asks for the
            normalisation of weights that do not tell theirs, or that have other channels.
    """
    no_mean, no_std = torch.zeros(images.channels, 1, 1), torch.ones(images.channels, 1, 1)
    size, scale = input_size(images, spec), images.full_scale
    raw = Preprocess(size, no_mean, no_std, "", spec.fit, spec.crop_fraction, spec.interpolation, scale)
    if spec.normalize == "weights":
        return _normalised_as(weights, raw)
    if images.pixels_NCHW is not None:
        pixels_NCHW, over = images.pixels_NCHW, f"all {len(images):,} training images"
    else:
        sample = spread(images, STATISTICS_FILES)
        assert sample.files is not None
        pixels_NCHW = torch.stack([raw.pixels(file) for file in sample.files])
        how_many = f"{len(sample):,} evenly spaced" if len(sample) < len(images) else f"all {len(images):,}"
        over = f"{how_many} training images"
    match spec.normalize:
        case "pixel-mean":
            mean = (pixels_NCHW.sum(0, dtype=torch.int64).double() / len(pixels_NCHW) / 255).float()
            std, what = no_std, "mean of each pixel"
        case "channel":
            moments = [_mean_and_std(pixels_NCHW[:, channel]) for channel in range(images.channels)]
            mean, std = (torch.tensor(values)[:, None, None] for values in zip(*moments, strict=True))
            what = "mean and deviation of each channel"
        case _:
            assert_never(spec.normalize)
    return replace(raw, mean_CHW=mean, std_C11=std, obtained=f"{what} over {over}")


def cropped_away(width: int, height: int, spec: PreprocessSpec = _DEFAULT) -> float:
    """The share of an image's pixels that are not in the square input.

    Args:
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        spec: How it is fitted.

    Example:
        >>> cropped_away(400, 300), cropped_away(400, 300, PreprocessSpec(fit="pad"))
        (0.25, 0.0)
    """
    if spec.fit != "crop":
        return 0.0
    left, upper, right, lower = _centre(width, height, 1.0, spec.crop_fraction)
    return 1 - (right - left) * (lower - upper)


def input_size(images: ImageSet, spec: PreprocessSpec) -> tuple[int, int]:
    """Height and width of the net's input in pixels.

    Raises:
        ValueError: The size does not agree with images in memory, or is missing for image files.
    """
    if images.pixels_NCHW is not None:
        height, width = images.pixels_NCHW.shape[2:]
        if spec.size is not None and (spec.size, spec.size) != (height, width):
            raise ValueError(f"preprocess.size is {spec.size}; these images are {height} x {width} and keep their size")
        return height, width
    if spec.size is None:
        raise ValueError("preprocess.size is none; image files need a size in pixels")
    return spec.size, spec.size


def _normalised_as(weights: Preprocess | None, raw: Preprocess) -> Preprocess:
    """The preprocess with the mean and deviation of the weights'."""
    if weights is None:
        raise ValueError(
            "preprocess.normalize is 'weights', but the net starts from random weights, or from weights that do not "
            "tell how their images were normalised; choose channel or pixel-mean"
        )
    if weights.channels != raw.channels:
        raise ValueError(
            f"preprocess.normalize is 'weights', which were trained on images of {weights.channels} channels; these "
            f"have {raw.channels}: choose channel or pixel-mean"
        )
    if weights.mean_CHW.shape[1:] not in ((1, 1), raw.size):
        raise ValueError(
            f"preprocess.normalize is 'weights', whose mean is of each pixel of {weights.size[0]} x {weights.size[1]}; "
            f"the input has {raw.size[0]} x {raw.size[1]}: choose channel or pixel-mean"
        )
    return replace(raw, mean_CHW=weights.mean_CHW, std_C11=weights.std_C11, obtained=weights.obtained)


def _mean_and_std(pixels: Tensor) -> tuple[float, float]:
    """Mean and deviation of pixels / 255, exact: from how often each value occurs, without a copy in float."""
    share_V = torch.bincount(pixels.flatten(), minlength=256).double() / pixels.numel()
    value_V = torch.arange(256, dtype=torch.float64) / 255
    mean = (share_V * value_V).sum()
    std = (share_V * (value_V - mean).square()).sum().sqrt()
    return mean.item(), max(std.item(), 1 / 255)  # a constant channel must not divide by zero


def _centre(width: int, height: int, aspect: float, fraction: float) -> Box:
    w = min(1.0, height * aspect / width) * fraction
    h = min(1.0, width / aspect / height) * fraction
    return ((1 - w) / 2, (1 - h) / 2, (1 + w) / 2, (1 + h) / 2)


def _resize(image: Image.Image, size: tuple[int, int], box: Box, resample: Image.Resampling) -> Image.Image:
    """A part of an image at another size."""
    left, upper, right, lower = box
    edges = (left * image.width, upper * image.height, right * image.width, lower * image.height)
    if size[0] * (edges[3] - edges[1]) > MAX_PIXELS:  # Pillow scales across first; so tall a part would fill the memory
        image = image.resize((image.width, size[1]), resample, box=(0, edges[1], image.width, edges[3]))
        edges = (edges[0], 0, edges[2], image.height)
    return image.resize(size, resample, box=edges)


def _padded(image: Image.Image, size: tuple[int, int], box: Box, resample: Image.Resampling) -> Image.Image:
    """A part of an image with black beside or above and below it, at another size.

    A part that is mostly black is moved until its middle is in the image: black alone shows no class.
    """
    scale = min(size[0] / image.width, size[1] / image.height)
    edges, inside, place = [], [], []
    for side, length, begin, end in zip(size, image.size, box[:2], box[2:], strict=True):
        whole = max(length, side / scale)  # of the image and the black, in pixels of the image
        border = (whole - length) / 2
        middle = min(max((begin + end) / 2 * whole - border, 0.0), length)
        half = (end - begin) / 2 * whole
        first, last = round(middle - half, 6), round(middle + half, 6)  # so that a whole image has its exact edges
        seen = (max(first, 0.0), min(last, float(length)))
        before, after = seen[0] - first, last - seen[1]
        count = min(side, max(1, round((seen[1] - seen[0]) * scale / (end - begin))))
        edges.append((seen[0] / length, seen[1] / length))
        inside.append(count)
        place.append(int((side - count) * before / (before + after) + 1e-6) if count < side and before + after else 0)
    small = Image.new(image.mode, size)
    (left, right), (upper, lower) = edges
    part = _resize(image, (inside[0], inside[1]), (left, upper, right, lower), resample)
    small.paste(part, (place[0], place[1]))
    return small


def _numbers(values_CHW: Tensor) -> list[Any]:
    """One number a channel, or a C x H x W list of lists; each in the fewest digits that give the same float32."""
    digits = np.array([float(str(value)) for value in values_CHW.to(torch.float32).numpy().flatten()])
    return digits.reshape(-1 if values_CHW.shape[1:] == (1, 1) else values_CHW.shape).tolist()


def _tensor(numbers: Any) -> Tensor:
    """The inverse of `_numbers`; the first cards have the bytes of the floats instead."""
    if isinstance(numbers, Mapping):
        raw = np.frombuffer(base64.b64decode(numbers["float32_base64"]), dtype="<f4").astype(np.float32)
        return torch.from_numpy(raw.reshape(numbers["shape"]).copy())
    values = torch.tensor(numbers, dtype=torch.float32)
    return values[:, None, None] if values.dim() == 1 else values

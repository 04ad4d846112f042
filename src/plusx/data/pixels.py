"""Augmentations of uint8 pixels: RandAugment, TrivialAugment and the jitter of colours, by torchvision's operations.

torchvision's own transforms draw from the global generator, which reader threads would share and whose state depends
on what ran before. Here the generator of each image decides what happens to it. The draws are made in torchvision's
order: seeded alike, both make the same image.

Shapes: B images, C channels, H height, W width.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

STRENGTHS = 31  # magnitudes 0 to 30
Operation = tuple[str, float]
"""What is done to an image, and how strongly."""
Space = Mapping[str, tuple[float, float] | None]
"""Each operation with its strength at magnitudes 0 and 30; None where it has but one. From 0, it goes both ways."""


def rand_augment(pixels_BCHW: Tensor, *, num_ops: int, magnitude: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Some operations of one magnitude, one after another, drawn for each image; Cubuk et al. (2019), Sec. 3.

    Args:
        pixels_BCHW: uint8, grey or RGB.
        num_ops: How many.
        magnitude: From 0 to 30.
        generators: One for each image.

    Example:
        >>> pixels = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
        >>> rand_augment(pixels, num_ops=2, magnitude=9, generators=[torch.Generator()]).shape
        torch.Size([1, 3, 8, 8])
    """
    height, width = pixels_BCHW.shape[2:]
    space = _space(shear=0.3, across=150 / 331 * width, down=150 / 331 * height, turn=30, enhance=0.9, bits=4)
    # DEVIATION Sec. 3: torchvision's scale, 0 to 30, for the same ranges; the paper's is 0 to 10.
    for _ in range(num_ops):
        pixels_BCHW = _each(pixels_BCHW, [_drawn(space, magnitude, rng) for rng in generators])
    return pixels_BCHW


def trivial_augment(pixels_BCHW: Tensor, *, generators: Sequence[torch.Generator]) -> Tensor:
    """One operation of any magnitude, drawn for each image; Müller and Hutter (2021), the wide space.

    Args:
        pixels_BCHW: uint8, grey or RGB.
        generators: One for each image.
    """
    space = _space(shear=0.99, across=32, down=32, turn=135, enhance=0.99, bits=2)
    return _each(pixels_BCHW, [_drawn(space, None, rng) for rng in generators])


def color_jitter(
    pixels_BCHW: Tensor,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Brightness, contrast, saturation and hue changed in an order drawn for each image; Howard (2013), Sec. 2.2.

    Args:
        pixels_BCHW: uint8; RGB where saturation or hue change.
        brightness: Largest change of its factor, up or down; 0 leaves it alone, as with the others.
        contrast: Of its factor.
        saturation: Of its factor.
        hue: Largest shift around the colour circle, of 1.
        generators: One for each image.
    """
    most = {"Brightness": brightness, "Contrast": contrast, "Color": saturation, "Hue": hue}
    drawn: list[list[Operation]] = []
    for rng in generators:
        order = torch.randperm(4, generator=rng).tolist()
        each = [(name, _shift(name, most[name], rng)) if most[name] else ("Identity", 0.0) for name in most]
        drawn.append([each[place] for place in order])
    for operations in zip(*drawn, strict=True):
        pixels_BCHW = _each(pixels_BCHW, operations)
    return pixels_BCHW


def _shift(name: str, most: float, rng: torch.Generator) -> float:
    """A change in [-most, most]; a factor, which is 1 more, stays above 0."""
    if name == "Hue":
        return torch.empty(1).uniform_(-most, most, generator=rng).item()
    return torch.empty(1).uniform_(max(0.0, 1 - most), 1 + most, generator=rng).item() - 1


def _space(*, shear: float, across: float, down: float, turn: float, enhance: float, bits: int) -> Space:
    """What RandAugment and TrivialAugment draw from, in torchvision's order."""
    return {
        "Identity": None,
        "ShearX": (0, shear),
        "ShearY": (0, shear),
        "TranslateX": (0, across),
        "TranslateY": (0, down),
        "Rotate": (0, turn),
        "Brightness": (0, enhance),
        "Color": (0, enhance),
        "Contrast": (0, enhance),
        "Sharpness": (0, enhance),
        "Posterize": (8, bits),
        "Solarize": (1, 0),
        "AutoContrast": None,
        "Equalize": None,
    }


def _drawn(space: Space, magnitude: int | None, rng: torch.Generator) -> Operation:
    """An operation, and where no magnitude is given one of these; each goes up or down, where it can."""
    name = list(space)[int(torch.randint(len(space), (), generator=rng))]
    ends = space[name]
    if ends is None:
        return name, 0.0
    if magnitude is None:
        magnitude = int(torch.randint(STRENGTHS, (), generator=rng))
    strength = float(torch.linspace(*ends, STRENGTHS)[magnitude])
    down = ends[0] == 0 and bool(torch.rand((), generator=rng) <= 0.5)
    return name, -strength if down else strength


def _each(pixels_BCHW: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Each image after its operation; those with the same one together, which gives the same pixels sooner."""
    alike: dict[Operation, list[int]] = {}
    for place, operation in enumerate(operations):
        alike.setdefault(operation, []).append(place)
    changed = pixels_BCHW.clone()
    for (name, strength), places in alike.items():
        if name != "Identity":
            at = torch.tensor(places).to(pixels_BCHW.device, non_blocking=True)
            changed[at] = operate(pixels_BCHW[at], name, strength)
    return changed


def operate(pixels_BCHW: Tensor, name: str, strength: float) -> Tensor:
    """An operation on uint8 images; what it leaves empty is black.

    Args:
        pixels_BCHW: Grey or RGB.
        name: As RandAugment calls it.
        strength: Pixels, degrees, bits, the slope of a shear, the share of white from which pixels are inverted, or
            what is added to a factor of 1.
    """
    from torchvision.transforms.v2 import functional as tv  # its import takes a second, and few runs need it

    match name:
        case "ShearX" | "ShearY":
            degrees = math.degrees(math.atan(strength))
            shear = [degrees, 0.0] if name == "ShearX" else [0.0, degrees]
            return tv.affine(pixels_BCHW, angle=0.0, translate=[0, 0], scale=1.0, shear=shear, center=[0, 0])
        case "TranslateX" | "TranslateY":
            move = [int(strength), 0] if name == "TranslateX" else [0, int(strength)]
            return tv.affine(pixels_BCHW, angle=0.0, translate=move, scale=1.0, shear=[0.0, 0.0])
        case "Rotate":
            return tv.rotate(pixels_BCHW, strength)
        case "Brightness":
            return tv.adjust_brightness(pixels_BCHW, 1 + strength)
        case "Color":
            return tv.adjust_saturation(pixels_BCHW, 1 + strength)
        case "Contrast":
            return _contrast(pixels_BCHW, 1 + strength)
        case "Sharpness":
            return tv.adjust_sharpness(pixels_BCHW, 1 + strength)
        case "Hue":
            return tv.adjust_hue(pixels_BCHW, strength)
        case "Posterize":
            return tv.posterize(pixels_BCHW, round(strength))
        case "Solarize":
            return tv.solarize(pixels_BCHW, 255 * strength)
        case "AutoContrast":
            return tv.autocontrast(pixels_BCHW)
        case "Equalize":
            return tv.equalize(pixels_BCHW)
        case "Identity":
            return pixels_BCHW
    raise ValueError(f"unknown operation {name!r}")


def _contrast(pixels_BCHW: Tensor, factor: float) -> Tensor:
    """torchvision's adjust_contrast, but for its mean, whose last bit depends on the number of threads above 2^16
    pixels, and so on whether a worker process made the batch."""
    from torchvision.transforms.v2 import functional as tv

    grey_B1HW = tv.rgb_to_grayscale(pixels_BCHW) if pixels_BCHW.shape[1] == 3 else pixels_BCHW
    sum_B111 = grey_B1HW.sum((1, 2, 3), keepdim=True, dtype=torch.int64)
    mean_B111 = sum_B111.float() / grey_B1HW[0].numel()
    return pixels_BCHW.float().mul_(factor).add_(mean_B111, alpha=1 - factor).clamp_(0, 255).to(torch.uint8)

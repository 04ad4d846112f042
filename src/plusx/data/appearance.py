"""What an image looks like, in few bytes: enough to tell the same pixels, and nearly the same, in any format."""

import hashlib
from typing import NamedTuple

import numpy as np

from plusx.data.alike import thumbnail
from plusx.data.decode import FullScale, Range, Trait, inspect


class Appearance(NamedTuple):
    """An image in few bytes."""

    width: int
    """In pixels, of the upright image."""
    height: int
    pixels: str
    """Hash of the size and the pixels: equal for copies in any format that loses nothing."""
    thumb_HW3: np.ndarray
    traits: frozenset[Trait]


def appearance_of(raw: bytes, full_scale: FullScale | None = None) -> tuple[Appearance, Range | None]:
    """What the file of an image looks like, and the range of its values where its format does not say what is white.

    Args:
        raw: The bytes of the file.
        full_scale: As for `inspect`.

    Raises:
        UndecodableError: As for `inspect`.
    """
    image, values, traits = inspect(raw, full_scale)
    digest = hashlib.blake2b(f"{image.width} x {image.height} ".encode(), digest_size=16)
    digest.update(image.tobytes())
    return Appearance(image.width, image.height, digest.hexdigest(), thumbnail(image), traits), values

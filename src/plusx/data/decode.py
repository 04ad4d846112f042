"""One image file to an RGB picture, whatever its colours and orientation, or one sentence why not.

Pillow alone decodes, for training, evaluation and prediction alike, so that a picture means the same pixels everywhere.
Its faults are turned into `UndecodableError`, and formats that start other programs (EPS) are left out.
"""

import io
from pathlib import Path

import numpy as np
from PIL import (  # the two plugins below register their formats; Pillow loads the others by itself
    Image,
    ImageOps,
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")  # JPEG opens the MPO of stereo cameras as well
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp")
    + (".ppm", ".pgm", ".pbm", ".pnm")
)
MAX_PIXELS = 100_000_000  # 300 MB as RGB: above any camera's usual picture, far below a decompression bomb


class UndecodableError(ValueError):
    """A picture cannot be read."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)  # both, so that a loader process can send it
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def decode(source: Path | bytes, *, at_least: int | None = None) -> Image.Image:
    """An upright RGB picture: the first frame, turned by its EXIF orientation, transparency laid on white.

    16-bit values are scaled to 8 bits, not clipped; CMYK and palettes are converted.

    Args:
        source: A file, or the bytes of one.
        at_least: If set, a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as its shorter
            side keeps twice this many pixels; several times faster on photographs.

    Raises:
        UndecodableError: The file is missing, empty, damaged, too large, or not an image.
    """
    try:
        return _decode(source.read_bytes() if isinstance(source, Path) else source, at_least)
    except _RefusedError as fault:
        reason = str(fault)
    except Image.DecompressionBombError:
        reason = f"more than the {MAX_PIXELS:,} pixels allowed"
    except UnidentifiedImageError:
        reason = "not an image that can be read"
    except FileNotFoundError:
        reason = "no such file"
    except OSError as fault:  # the system's, or Pillow's, which carry no error number
        reason = f"cannot be read ({fault.strerror})" if fault.strerror else f"damaged ({fault})"
    except Exception as fault:  # a damaged file can raise nearly anything inside a decoder
        reason = f"damaged ({fault or type(fault).__name__})"
    raise UndecodableError(str(source) if isinstance(source, Path) else "the image", reason)


class _RefusedError(Exception):
    """We do not want the picture, though Pillow might."""


def _decode(raw: bytes, at_least: int | None) -> Image.Image:
    if not raw:
        raise _RefusedError("the file is empty")
    with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _RefusedError(f"{width} x {height} pixels are more than the {MAX_PIXELS:,} allowed")
        if at_least is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, _draft_size(width, height, 2 * at_least))
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))


def _draft_size(width: int, height: int, shorter: int) -> tuple[int, int]:
    scale = min(1.0, shorter / min(width, height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(values_HW: np.ndarray) -> np.ndarray:
    """Integers are taken as 16 bits, real numbers as a share of 1 where none is larger, else of 65,535."""
    full = 1.0 if values_HW.dtype.kind == "f" and values_HW.max(initial=0) <= 1 else 65_535.0
    return np.clip(np.round(np.nan_to_num(values_HW.astype(np.float64)) / full * 255), 0, 255).astype(np.uint8)

"""One image to upright RGB, whatever its colours and its orientation, or one sentence that says why not.

Pillow alone decodes, for training, evaluation and prediction alike, so that an image means the same pixels everywhere.
Its exceptions are turned into `UndecodableError`, and formats that start other programs (EPS) are left out.

White is 255 in most files, and what the format says in others: 65,535, or 4,095 in a TIFF of 12 bits. 32-bit integers
and real numbers do not say what white is, and one dark file does not tell 0..1 from 0..255. A data set therefore has
one `FullScale`, which follows from the range of all its files, and a file that does not fit it is refused.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import (  # these plugins register their formats; Pillow loads the others by itself
    AvifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    Jpeg2KImagePlugin,  # noqa: F401
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
    features,
)

FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]  # JPEG opens the MPO of stereo cameras as well
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm"}
NOT_READ = dict.fromkeys((".heic", ".heif", ".hif"), "HEIC") | {".jxl": "JPEG XL"}
"""Suffixes of photographs that Pillow does not read, and what these are."""
for _feature, _format, _name, _suffixes in (
    ("avif", "AVIF", "AVIF", (".avif",)),
    ("jpg_2000", "JPEG2000", "JPEG 2000", (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx")),
):
    if features.check(_feature):
        FORMATS.append(_format)
        SUFFIXES.update(_suffixes)
    else:  # Pillow was built without
        NOT_READ |= dict.fromkeys(_suffixes, _name)

A_FOLDER = "a folder, not an image"
MAX_PIXELS = 100_000_000  # 300 MB as RGB: above any camera's usual image, far below a decompression bomb
WHITES = (1.0, 255.0, 65_535.0)
"""What white may be in files that do not say so."""
OVERSHOOT = 0.01  # of white, on either side: resampling leaves as much, and it is clipped
LEAST_USED = 1 / 16  # of 255 and 65,535: values that stay below are of another scale, such as 12 bits in 32
ORIENTATION = 0x0112
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation, what makes the image upright; 1, upright already, is left out."""

Kind = Literal["integers", "reals"]
Trait = Literal["turned", "CMYK", "16 bits", "32 bits", "transparent", "several frames"]
"""What a file may be beside an upright RGB image of 8 bits."""
ImageLike = Path | bytes | Image.Image
"""An image as it comes: a file, the bytes of one, or what Pillow opened or made."""
AnyImage = str | ImageLike | np.ndarray
"""An image file, the bytes of one, an image of Pillow's, or an array: uint8, H x W x 3, H x W x 1 or H x W."""


@dataclass(frozen=True)
class FullScale:
    """What is white in files whose format does not say so; None leaves it to the range of each file."""

    integers: float | None = None
    """White in files of 32-bit integers."""
    reals: float | None = None
    """White in files of real numbers."""


BY_FILE = FullScale()
"""Each file's own range decides."""


class Range(NamedTuple):
    """The values of a file whose format does not say what is white."""

    kind: Kind
    low: float
    high: float

    def white(self) -> float | None:
        """The scale that values of this range are on; None where they fit none.

        Example:
            >>> [Range("reals", 0, high).white() for high in (0.4, 1.001, 1.2, 255, 4095)]
            [1.0, 1.0, None, 255.0, None]
        """
        fitting = (white for white in WHITES if self.fits(white))
        return next((white for white in fitting if white == WHITES[0] or self.high > LEAST_USED * white), None)

    def fits(self, white: float) -> bool:
        """Whether no value lies beyond black or white by more than `OVERSHOOT`."""
        return -OVERSHOOT * white <= self.low and self.high <= (1 + OVERSHOOT) * white

    def __str__(self) -> str:
        what = "32-bit integers" if self.kind == "integers" else "real numbers"
        return f"{what} from {self.low:.6g} to {self.high:.6g}"


class Inspected(NamedTuple):
    """An image, and what its file says beside the pixels."""

    image: Image.Image
    """As `decode` gives it."""
    values: Range | None
    traits: frozenset[Trait]


class UndecodableError(ValueError):
    """An image cannot be read."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)  # both, so that a loader process can send it
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def decode(
    source: ImageLike,
    *,
    at_least: int | None = None,
    full_scale: FullScale = BY_FILE,
) -> Image.Image:
    """An upright RGB image: the first frame, turned by its EXIF orientation, transparency laid on white.

    Values of more than 8 bits are scaled to 8 bits, not clipped; CMYK and palettes are converted.

    Args:
        source: A file, the bytes of one, or an image of Pillow's, which keeps its pixels and its place. One that Pillow
            has opened and not loaded yet is read from its file again, one that was loaded gives the pixels it has.
        at_least: If set, a JPEG file may be decoded at a half, a quarter or an eighth of its size, as long as its
            shorter side keeps twice this many pixels; several times faster on photographs.
        full_scale: The data set's.

    Raises:
        UndecodableError: The file is missing, empty, damaged, too large, of another scale, or not an image.

    Example:
        >>> decode(Image.new("RGBA", (2, 1), (0, 0, 0, 0))).getpixel((0, 0))
        (255, 255, 255)
    """
    return _read(source, at_least, full_scale)[0]


def from_array(array: np.ndarray) -> Image.Image:
    """An image of Pillow's with the pixels of an array.

    Args:
        array: uint8, H x W x 3 in RGB, H x W x 1 or H x W.

    Raises:
        ValueError: The array has another type or shape.

    Example:
        >>> from_array(np.zeros((4, 6, 3), dtype=np.uint8)).size
        (6, 4)
        >>> from_array(np.zeros((4, 6, 4), dtype=np.uint8))
        Traceback (most recent call last):
        ValueError: an image as an array is height x width x 3 or height x width; this one is 4 x 6 x 4; pass ...
    """
    if array.dtype != np.uint8:
        way = ""
        if array.dtype.kind == "f":
            way = "; of values from 0 to 1, pass (255 * image).round().astype('uint8')"
        raise ValueError(f"an image as an array is uint8, 0 to 255; this one is {array.dtype}{way}")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))) or 0 in array.shape:
        shape = " x ".join(map(str, array.shape)) or "a single number"
        raise ValueError(
            f"an image as an array is height x width x 3 or height x width; this one is {shape}; pass several images "
            f"as a list, and an image with other channels as a PIL.Image"
        )
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def as_source(image: AnyImage) -> ImageLike:
    """An image that a user has passed, as it is read.

    Raises:
        ValueError: It is no image, or an array of another type or shape.

    Example:
        >>> as_source("cat.jpg").name, as_source(np.zeros((4, 6), dtype=np.uint8)).size
        ('cat.jpg', (6, 4))
    """
    if isinstance(image, np.ndarray):
        return from_array(image)
    if isinstance(image, str | Path):
        return Path(image)
    if isinstance(image, bytes | Image.Image):
        return image
    way = "name its file, or pass the file's bytes, a PIL.Image or a NumPy array"
    if type(image).__name__ == "Tensor":
        way = "pass its pixels, before any normalisation, as a NumPy array: uint8, height x width x 3"
    raise ValueError(f"an image is of type {type(image).__name__}; {way}")


def value_range(source: Path | bytes) -> Range | None:
    """The range of a file whose format does not say what is white, None for any other; decodes the whole file.

    Raises:
        UndecodableError: As for `decode`, but whatever the scale.
    """
    return _read(source, 1, None)[1]  # an eighth of a JPEG's size still reads its every byte


def inspect(raw: bytes, full_scale: FullScale | None = None) -> Inspected:
    """An image, and what its file says beside the pixels.

    Args:
        raw: The bytes of a file.
        full_scale: The data set's. While it is not known yet, images that have a range have no pixels worth looking at.

    Raises:
        UndecodableError: As for `decode`; without a full scale, whatever the scale.
    """
    traits: set[Trait] = set()
    files: list[Image.Image] = []

    def note(image: Image.Image) -> None:
        traits.update(_traits(image, raw))
        files.append(image)

    image, values = _read(raw, None, full_scale, note)
    if "transparent" in traits and files[-1].convert("RGBA").getchannel("A").getextrema()[0] == 255:
        traits.remove("transparent")  # it may be, and is not
    return Inspected(image, values, frozenset(traits))


def image_size(file: Path) -> tuple[int, int]:
    """Width and height of an image that can be read, upright, from the head of its file."""
    with Image.open(file, formats=FORMATS) as image:
        turned = _orientation(image) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else image.size


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its name, of a format that is read or of one that is not.

    Example:
        >>> is_image_name("cat.JPG"), is_image_name("cat.heic"), is_image_name("cat.txt")
        (True, True, False)
    """
    suffix = Path(name).suffix.lower()
    return suffix in SUFFIXES or suffix in NOT_READ


def not_read(name: str) -> str:
    """Why an image of a format that Pillow lacks is not read, and what to do.

    Example:
        >>> not_read("HEIC")
        'HEIC is not read; convert it to JPEG, as with ImageMagick: magick mogrify -format jpg *.heic'
    """
    suffix = next(suffix for suffix, its in NOT_READ.items() if its == name)
    return f"{name} is not read; convert it to JPEG, as with ImageMagick: magick mogrify -format jpg *{suffix}"


def _read(
    source: ImageLike,
    at_least: int | None,
    full_scale: FullScale | None,
    opened: Callable[[Image.Image], None] | None = None,
) -> tuple[Image.Image, Range | None]:
    """As `decode`; without a full scale, no range is refused.

    Args:
        source: As for `decode`.
        at_least: As for `decode`.
        full_scale: The data set's, if it is known.
        opened: Called with the image of a file before it is loaded.
    """
    raw: bytes | None = None
    try:
        raw = _bytes(source)
        if raw is None:
            assert isinstance(source, Image.Image)
            return _normalise(source, full_scale)
        try:
            return _decode(raw, at_least, full_scale, opened)
        except ValueError as fault:
            if "MAX_TEXT" not in str(fault):  # Pillow's bounds on what a PNG says beside its pixels
                raise
        return _decode(_without_texts(raw), at_least, full_scale, opened)
    except _RefusedError as fault:
        reason = str(fault)
    except Image.DecompressionBombError:
        reason = f"more than the {MAX_PIXELS:,} pixels allowed"
    except UnidentifiedImageError:
        is_heic = raw is not None and raw[4:11] in (b"ftyphei", b"ftyphev")
        reason = not_read("HEIC") if is_heic else "not an image that can be read"
    except FileNotFoundError:
        reason = "no such file"
    except IsADirectoryError:
        reason = A_FOLDER
    except OSError as fault:  # the system's, or Pillow's, which carry no error number
        reason = f"cannot be read ({fault.strerror})" if fault.strerror else f"damaged ({fault})"
    except Exception as fault:  # a damaged file can raise nearly anything inside a decoder
        reason = f"damaged ({fault or type(fault).__name__})"
    raise UndecodableError(name_of(source) or "the image", reason)


def name_of(source: ImageLike) -> str:
    """The name of an image's file; empty where it is not known.

    Example:
        >>> name_of(Path("cat.jpg")), name_of(Image.new("L", (1, 1)))
        ('cat.jpg', '')
    """
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", ""))
    return str(source) if isinstance(source, Path) else ""


def _bytes(source: ImageLike) -> bytes | None:
    """The file of an image; None for an image of Pillow's that is no longer, or never was, what its file says."""
    if isinstance(source, Path):
        return source.read_bytes()
    if not isinstance(source, Image.Image):
        return source
    if not (isinstance(source, ImageFile.ImageFile) and source.fp is not None and source.tile and source.tell() == 0):
        return None  # loaded, of another frame, or made in memory
    place = source.fp.tell()
    source.fp.seek(0)
    raw = source.fp.read()
    source.fp.seek(place)
    return raw


class _RefusedError(Exception):
    """We do not want the image, though Pillow might."""


def _decode(
    raw: bytes,
    at_least: int | None,
    full_scale: FullScale | None,
    opened: Callable[[Image.Image], None] | None,
) -> tuple[Image.Image, Range | None]:
    if not raw:
        raise _RefusedError("the file is empty")
    with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
        _require_bounded(image)
        if opened:
            opened(image)
        if at_least is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, _draft_size(*image.size, 2 * at_least))
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # Pillow turns it as it loads, if the other tags let it
            orientation, exif = _orientation(image), image.getexif()
            exif.clear()
            exif[ORIENTATION] = orientation
        return _normalise(image, full_scale)


def _normalise(image: Image.Image, full_scale: FullScale | None) -> tuple[Image.Image, Range | None]:
    """An image of Pillow's as upright RGB; its own pixels stay as they are."""
    _require_bounded(image)
    upright = _upright(image)
    if not (upright.mode.startswith("I") or upright.mode == "F"):
        return _to_rgb(upright), None
    values_HW, values, white = np.asarray(upright), None, _white(image)
    if white is None:
        kind: Kind = "integers" if upright.mode == "I" else "reals"
        finite = values_HW[np.isfinite(values_HW)]
        values = Range(kind, float(finite.min()), float(finite.max())) if finite.size else Range(kind, 0.0, 0.0)
        white = 1.0 if full_scale is None else _white_for(values, getattr(full_scale, kind))
    grey_HW = _to_8_bits(values_HW, white)
    if getattr(image, "tag_v2", {}).get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero
        grey_HW = 255 - grey_HW
    if "transparency" in upright.info:  # one value of a grey PNG
        grey_HW[values_HW == upright.info["transparency"]] = 255
    return Image.fromarray(grey_HW).convert("RGB"), values


def _require_bounded(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _RefusedError(f"{width} x {height} pixels are more than the {MAX_PIXELS:,} allowed")
    if width * height == 0:
        raise _RefusedError(f"{width} x {height} pixels are none")


def _draft_size(width: int, height: int, shorter: int) -> tuple[int, int]:
    scale = min(1.0, shorter / min(width, height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF says. Nothing else of the EXIF is read and none is written: much of it is wrong."""
    image.load()
    orientation = _orientation(image)
    return image.transpose(TRANSPOSITIONS[orientation]) if orientation in TRANSPOSITIONS else image


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ORIENTATION)
        return int(orientation) if orientation in TRANSPOSITIONS else 1
    except Exception:  # a damaged EXIF can raise nearly anything
        return 1


def _traits(image: Image.Image, raw: bytes) -> frozenset[Trait]:
    """What a file of Pillow's that is not loaded yet says of itself."""
    is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
    bits = getattr(image, "tag_v2", {}).get(TiffImagePlugin.BITSPERSAMPLE, (8,)) if is_tiff else (8,)
    deep = image.mode.startswith("I;16") or (image.mode == "I" and not is_tiff) or max(bits) == 16
    deep |= image.format == "PNG" and raw[24:25] == b"\x10"  # Pillow reads 16 bits of a channel as 8
    # Cameras put a second view or a map of the light behind the photograph (MPO), which is no animation.
    frames = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    found: dict[Trait, bool] = {
        "turned": _orientation(image) in TRANSPOSITIONS,
        "CMYK": image.mode == "CMYK",
        "16 bits": deep,
        "32 bits": image.mode == "F" or (image.mode == "I" and is_tiff),
        "transparent": image.has_transparency_data,
        "several frames": frames > 1,
    }
    return frozenset(trait for trait, is_so in found.items() if is_so)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if image.mode == "RGB" and isinstance(
        image, ImageFile.ImageFile
    ):  # a copy would take a tenth of the time of a JPEG
        return image
    return image.convert("RGB")


def _white(image: Image.Image) -> float | None:
    """The value of white by the file's own format; None where the format does not say."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.mode == "F" or (image.mode == "I" and image.format is None):
            return None
        return 65_535.0  # PNG, PGM and JPEG 2000, which Pillow widens to 16 bits, and arrays of 16 bits
    if not image.mode.startswith("I;16"):
        return None
    bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    return float(2**bits - 1)


def _white_for(values: Range, of_the_set: float | None) -> float:
    white = values.white() if of_the_set is None else of_the_set
    if white is None:
        raise _RefusedError(fits_none(values))
    if not values.fits(white):
        raise _RefusedError(f"{values}, where the images that were trained on have 0 to {white:,.0f}")
    return white


def fits_none(values: Range) -> str:
    """Why values of a range are refused, and what to do."""
    scales = ", ".join(f"0 to {white:,.0f}" for white in WHITES)
    return f"{values} are on no scale that is known ({scales}); convert the images to 8 or 16 bits"


def _to_8_bits(values_HW: np.ndarray, white: float) -> np.ndarray:
    return np.clip(np.round(np.nan_to_num(values_HW.astype(np.float64)) / white * 255), 0, 255).astype(np.uint8)


def _without_texts(png: bytes) -> bytes:
    """A PNG without its colour profile and its texts, which are of no use here, however large they are."""
    kept, place = [png[:8]], 8
    while place < len(png):
        end = place + 12 + int.from_bytes(png[place : place + 4])
        if png[place + 4 : place + 8] not in (b"iCCP", b"tEXt", b"zTXt", b"iTXt"):
            kept.append(png[place:end])
        place = end
    return b"".join(kept)

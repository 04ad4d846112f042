"""Odd image files: read rightly, or refused with one sentence, whichever way they come."""

import contextlib
import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from plusx.data import decode as module
from plusx.data.decode import SUFFIXES, FullScale, ImageLike, UndecodableError, from_array
from tests.conftest import save_image


def decode(source: Path | bytes, *, at_least: int | None = None, full_scale: FullScale = module.BY_FILE) -> Image.Image:
    """`decode` of a file; whatever a test reads, the file, its bytes and what Pillow opened of it are one image."""

    def read(each: ImageLike) -> np.ndarray | str:
        try:
            return np.asarray(module.decode(each, at_least=at_least, full_scale=full_scale))
        except UndecodableError as fault:
            return fault.reason

    expected = read(source)
    if not isinstance(source, Path) or source.is_file():
        raw = source if isinstance(source, bytes) else source.read_bytes()
        assert np.array_equal(read(raw), expected)
        with contextlib.suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # no image, to Pillow
            opened = Image.open(io.BytesIO(raw) if isinstance(source, bytes) else source)
            assert np.array_equal(read(opened), expected) and np.array_equal(read(opened), expected)
            if at_least is None:
                opened.load()
                before = opened.tobytes()
                assert np.array_equal(read(opened), expected)
                assert opened.tobytes() == before
    return module.decode(source, at_least=at_least, full_scale=full_scale)


def colours(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def test_cmyk_is_read_as_the_colours_it_means(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=95)
    assert np.abs(colours(decode(tmp_path / "red.jpg")) - (255, 0, 0)).max() <= 4


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65_535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    read = colours(decode(tmp_path / "ramp.png"))
    assert np.array_equal(read[..., 0], np.round(ramp / 65_535 * 255))
    assert np.array_equal(read[..., 0], read[..., 2])


def test_sixteen_bit_colour_is_read(tmp_path: Path) -> None:
    write_png(tmp_path / "rgb16.png", np.full((4, 4, 3), (65_535, 32_896, 0), dtype=">u2"))
    assert np.abs(colours(decode(tmp_path / "rgb16.png")) - (255, 128, 0)).max() <= 1


def test_real_numbers_are_read(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5], [1.0, 0.25]], dtype=np.float32)).save(tmp_path / "f.tif")
    assert colours(decode(tmp_path / "f.tif"))[..., 0].tolist() == [[0, 128], [255, 64]]


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.new("L", (5, 4), 77).save(tmp_path / "grey.png")
    assert (colours(decode(tmp_path / "grey.png")) == 77).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (10, 10, 10, 0))
    image.paste((10, 10, 10, 255), (0, 0, 2, 4))
    if mode == "P":
        image = image.quantize(4)
    image.convert(mode).save(tmp_path / "a.png")
    read = colours(decode(tmp_path / "a.png"))
    assert np.abs(read[:, :2] - 10).max() <= 1 and (read[:, 2:] == 255).all()


def test_all_eight_orientations_of_an_image_are_one(tmp_path: Path) -> None:
    upright = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(5, 4, 3))
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how a camera stores it, as PIL transposes
    for orientation, operation in undo.items():
        stored = upright if operation is None else upright.transpose(Image.Transpose(operation))
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored.save(tmp_path / f"{orientation}.png", exif=exif)
        assert np.array_equal(colours(decode(tmp_path / f"{orientation}.png")), colours(upright)), orientation


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), c) for c in ("red", "blue", "green")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (colours(decode(tmp_path / "a.gif")) == (255, 0, 0)).all()


def test_names_may_hold_spaces_and_korean_letters(tmp_path: Path) -> None:
    path = save_image(tmp_path / "새 폴더" / "고양이 사진 1.png")
    assert decode(path).size == (40, 30)


def test_a_large_jpeg_may_be_decoded_small_and_keeps_twice_what_is_asked(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 1200), "teal").save(tmp_path / "big.jpg")
    small = decode(tmp_path / "big.jpg", at_least=100)
    assert min(small.size) >= 200 and max(small.size) < 1600


def test_undecodable_files_are_refused_with_path_and_reason(tmp_path: Path) -> None:
    whole = save_image(tmp_path / "whole.jpg", size=(200, 200)).read_bytes()
    cases = {
        "truncated.jpg": (whole[: len(whole) // 2], "damaged"),
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"<html>404</html>", "not an image"),
        "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UndecodableError, match=reason) as fault:
            decode(tmp_path / name)
        assert str(tmp_path / name) in str(fault.value) and "\n" not in str(fault.value)
    with pytest.raises(UndecodableError, match="no such file"):
        decode(tmp_path / "absent.jpg")
    with pytest.raises(UndecodableError, match="a folder, not an image"):
        decode(tmp_path)
    (tmp_path / "circle.png").symlink_to("circle.png")
    with pytest.raises(UndecodableError, match=r"cannot be read \(Too many levels of symbolic links\)"):
        decode(tmp_path / "circle.png")


def test_a_decompression_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    side = 30_000  # 2.7 GB as RGB out of a file of a few kB
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(png([(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 10_000))]))
    with pytest.raises(UndecodableError, match="pixels"):
        decode(tmp_path / "bomb.png")
    side = 11_000  # beyond our bound, below Pillow's own
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    (tmp_path / "large.png").write_bytes(png([(b"IHDR", header), (b"IDAT", zlib.compress(b"\0"))]))
    with pytest.raises(UndecodableError, match="11000 x 11000 pixels are more than the 100,000,000 allowed"):
        decode(tmp_path / "large.png")


def exif(entries: list[tuple[int, int, int, bytes]], order: str = "<") -> bytes:
    """An EXIF block by hand, whatever the types: (tag, type, count, four bytes)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    body = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0" + head + body + b"\0" * 4 + struct.pack(f"{order}16H", *range(16))


def with_exif(upright: np.ndarray, block: bytes, container: str) -> bytes:
    """The image as a camera held upside down stores it."""
    file = io.BytesIO()
    Image.fromarray(upright[::-1, ::-1].copy()).save(file, container, exif=block, lossless=True)
    return file.getvalue()


UPRIGHT = np.arange(60, dtype=np.uint8).reshape(5, 4, 3) * 4


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of the EXIF
@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP"])
def test_exif_never_decides_whether_a_file_is_read(container: str) -> None:
    tags = [0x010E, 0x011A, 0x0128, 0x0132, 0x8769, 0x8825, 0x9286, 0x927C]  # texts, numbers, blocks of further tags
    expected = colours(decode(with_exif(UPRIGHT, exif([(0x0112, 3, 1, b"\3\0\0\0")]), container)))
    for order, upside_down in (("<", b"\3\0\0\0"), (">", b"\0\3\0\0")):
        for tag in tags:
            for kind in range(14):  # 13 types and one that is none
                for count in (1, 3):
                    block = exif([(0x0112, 3, 1, upside_down), (tag, kind, count, b"\6\xff\0\x30")], order)
                    way = decode if kind == 2 else module.decode  # texts, however they come; the others as bytes
                    read = colours(way(with_exif(UPRIGHT, block, container)))
                    assert np.array_equal(read, expected), (order, tag, kind, count)
    assert np.abs(expected - UPRIGHT).max() <= (40 if container == "JPEG" else 0)


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    block=st.binary(max_size=60),
    kind=st.integers(0, 20),
    count=st.integers(0, 2**32 - 1),
    value=st.binary(min_size=4, max_size=4),
)
@settings(max_examples=50, deadline=None)
def test_garbage_in_place_of_an_orientation_leaves_the_image_as_it_lies(
    block: bytes, kind: int, count: int, value: bytes
) -> None:
    lying = UPRIGHT[::-1, ::-1].astype(int)
    turned = [lying[::-1, ::-1], lying[:, ::-1], lying[::-1]]
    turned += [
        lying.transpose(1, 0, 2)[a, b]
        for a in (slice(None), slice(None, None, -1))
        for b in (slice(None), slice(None, None, -1))
    ]
    for garbage in (b"Exif\0\0" + block, exif([(0x0112, kind, count, value)])):
        read = colours(decode(with_exif(UPRIGHT, garbage, "PNG")))
        assert any(np.array_equal(read, way) for way in [lying, *turned])
    assert np.array_equal(colours(decode(with_exif(UPRIGHT, exif([(0x0112, 2, 4, b"abc\0")]), "PNG"))), lying)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_is_turned_whatever_its_other_tags(compression: str | None) -> None:
    odd = [(0x8769, 7), (0x8825, 2**31)] + [(0x010E, b"\xff"), (0x0132, 5)] * (compression is None)  # libtiff refuses
    for tag, value in odd:
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info[0x0112] = 6
        info.tagtype[tag] = 4 if isinstance(value, int) else 7
        info[tag] = value
        file = io.BytesIO()
        Image.fromarray(np.rot90(UPRIGHT).copy()).save(file, "TIFF", tiffinfo=info, compression=compression)
        assert np.array_equal(colours(decode(file.getvalue())), UPRIGHT), tag


@pytest.mark.parametrize("suffix", ["avif", "jp2", "j2k"])
def test_avif_and_jpeg_2000_are_read(tmp_path: Path, suffix: str) -> None:
    if f".{suffix}" not in SUFFIXES:
        pytest.skip("Pillow was built without")
    Image.new("RGB", (32, 24), (200, 100, 50)).save(tmp_path / f"a.{suffix}")
    assert np.abs(colours(decode(tmp_path / f"a.{suffix}")) - (200, 100, 50)).max() <= 6


def test_a_heic_under_another_name_is_refused_with_the_way_to_convert_it() -> None:
    with pytest.raises(UndecodableError, match="HEIC is not read; convert it to JPEG"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 50)


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("behind", [False, True])
def test_what_a_png_says_beside_its_pixels_may_be_of_any_size(kind: bytes, behind: bool) -> None:
    noise = zlib.compress(np.random.default_rng(0).bytes(3_000_000))
    chunk = (kind, b"name\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0") + noise)
    header = (b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, 0, 0, 0, 0))
    pixels = (b"IDAT", zlib.compress(b"\0\x10\x80"))
    raw = png([header, pixels, chunk] if behind else [header, chunk, pixels])
    assert colours(decode(raw))[0, :, 0].tolist() == [16, 128]


def test_twelve_bits_and_white_as_zero_are_read_as_the_tiff_says() -> None:
    def tiff(bits: int, photometric: int, row: bytes, width: int) -> bytes:
        tags = [(256, width), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 134), (277, 1), (278, 1)]
        tags += [(279, len(row))]
        body = struct.pack("<H", len(tags)) + b"".join(
            struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags
        )
        raw = b"II*\0" + struct.pack("<I", 8) + body + b"\0" * 4
        return raw.ljust(134, b"\0") + row

    assert colours(decode(tiff(12, 1, b"\x00\x0f\xff", 2)))[0, :, 0].tolist() == [0, 255]
    for photometric, expected in ((1, [0, 255, 128]), (0, [255, 0, 127])):
        row = struct.pack("<3H", 0, 65_535, 32_896)
        assert colours(decode(tiff(16, photometric, row, 3)))[0, :, 0].tolist() == expected


def test_a_transparent_grey_of_sixteen_bits_is_laid_on_white() -> None:
    header = (b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0))
    pixels = (b"IDAT", zlib.compress(b"\0" + struct.pack(">HH", 257, 514)))
    raw = png([header, (b"tRNS", struct.pack(">H", 257)), pixels])
    assert colours(decode(raw))[0, :, 0].tolist() == [255, 2]


@pytest.mark.parametrize(("dtype", "high"), [(np.float32, 1.2), (np.float32, 12), (np.int32, 4095), (np.float32, 1e9)])
def test_a_range_that_fits_no_scale_is_refused_with_the_range(tmp_path: Path, dtype: type, high: float) -> None:
    Image.fromarray(np.linspace(0, high, 16).reshape(4, 4).astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(UndecodableError, match=re.escape(f" from 0 to {high:.6g} are on no scale that is known")):
        decode(tmp_path / "a.tif")
    Image.fromarray(np.linspace(-300, 255, 16).reshape(4, 4).astype(dtype)).save(tmp_path / "b.tif")
    with pytest.raises(
        UndecodableError, match=r" from -300 to 255, where the images that were trained on have 0 to 255"
    ):
        decode(tmp_path / "b.tif", full_scale=FullScale(255, 255))


@pytest.mark.parametrize(("dtype", "high"), [(np.float32, 255), (np.float32, 1.001), (np.int32, 255)])
def test_every_grey_level_of_a_tiff_is_kept(tmp_path: Path, dtype: type, high: float) -> None:
    Image.fromarray((np.arange(256) / 255 * high).round(6).reshape(16, 16).astype(dtype)).save(tmp_path / "a.tif")
    levels = np.unique(colours(decode(tmp_path / "a.tif")))
    assert len(levels) >= 255 and levels[0] == 0 and levels[-1] == 255


def test_an_image_that_was_never_a_file_is_read_as_one() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    deep = [grey.astype(np.uint16) * 257, grey.astype(np.int32), (grey / 255).astype(np.float32)]
    for image in [Image.fromarray(grey), *map(Image.fromarray, deep)]:
        assert np.array_equal(colours(module.decode(image))[..., 0], grey), image.mode
    with pytest.raises(UndecodableError, match="the image: 0 x 5 pixels are none"):
        module.decode(Image.new("RGB", (0, 5)))


def test_another_frame_is_the_one_that_was_sought(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), c) for c in ("red", "blue", "green")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as animation:
        animation.seek(1)
        assert (colours(module.decode(animation)) == (0, 0, 255)).all() and animation.tell() == 1


def test_a_fault_names_the_file_that_pillow_opened(tmp_path: Path) -> None:
    whole = save_image(tmp_path / "whole.jpg", size=(200, 200)).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UndecodableError, match=r"half.jpg: damaged"), Image.open(tmp_path / "half.jpg") as image:
        module.decode(image)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3)])
def test_arrays_are_height_by_width_by_channels(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    rgb = np.broadcast_to(array.reshape(4, 6, -1), (4, 6, 3))
    assert np.array_equal(colours(module.decode(from_array(array))), rgb)
    assert np.array_equal(np.asarray(from_array(array[::2, ::-1])), np.asarray(from_array(array))[::2, ::-1])


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (
            np.ones((4, 6, 3), np.float32),
            r"this one is float32; of values from 0 to 1, pass \(255 \* image\)",
        ),
        (np.ones((4, 6, 3), np.int64), "uint8, 0 to 255; this one is int64$"),
        (np.ones((4, 6), bool), "this one is bool$"),
        (np.ones((4, 6, 4), np.uint8), "this one is 4 x 6 x 4; .* with other channels as a PIL.Image"),
        (np.ones((2, 4, 6, 3), np.uint8), "this one is 2 x 4 x 6 x 3; pass several images as a list"),
        (np.ones((3, 4, 6), np.uint8), "height x width x 3 or height x width; this one is 3 x 4 x 6"),
        (np.ones((0, 6, 3), np.uint8), "this one is 0 x 6 x 3"),
        (np.uint8(3) * np.ones((), np.uint8), "this one is a single number"),
    ],
)
def test_other_arrays_are_refused_with_what_to_pass(array: np.ndarray, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as fault:
        from_array(array)
    assert "\n" not in str(fault.value)


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in [*chunks, (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + body


def write_png(path: Path, rows_HWC: np.ndarray) -> None:
    """16 bits per channel, which Pillow cannot write."""
    height, width, _ = rows_HWC.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    raw = b"".join(b"\0" + row.tobytes() for row in rows_HWC)
    path.write_bytes(png([(b"IHDR", header), (b"IDAT", zlib.compress(raw))]))

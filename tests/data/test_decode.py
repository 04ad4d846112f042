"""Odd picture files: read rightly, or refused with one sentence."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plusx.data.decode import UndecodableError, decode
from tests.conftest import save_picture


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


def test_all_eight_orientations_of_a_picture_are_one(tmp_path: Path) -> None:
    upright = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(5, 4, 3))
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how a camera's picture is stored, as PIL transposes
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
    path = save_picture(tmp_path / "새 폴더" / "고양이 사진 1.png")
    assert decode(path).size == (40, 30)


def test_a_large_jpeg_may_be_decoded_small_and_keeps_twice_what_is_asked(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 1200), "teal").save(tmp_path / "big.jpg")
    small = decode(tmp_path / "big.jpg", at_least=100)
    assert min(small.size) >= 200 and max(small.size) < 1600


def test_undecodable_files_are_refused_with_path_and_reason(tmp_path: Path) -> None:
    whole = save_picture(tmp_path / "whole.jpg", size=(200, 200)).read_bytes()
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
    with pytest.raises(UndecodableError, match=r"cannot be read \(Is a directory\)"):
        decode(tmp_path)


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

"""A folder, and a table, with everything wrong that a check should find."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance


def photo(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A smooth image of many colours, with some noise, as a photograph has; each seed another one."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = rng.normal(0, 4, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """The file of an image."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def nearly(image: Image.Image) -> dict[str, bytes]:
    """Copies that are not equal: what a re-encoding, a smaller size and a gain leave."""
    smaller = image.resize((round(0.9 * image.width), round(0.9 * image.height)), Image.Resampling.LANCZOS)
    return {
        "re-encoded": encoded(image, "JPEG", quality=70),
        "smaller": encoded(smaller, "PNG"),
        "brighter": encoded(ImageEnhance.Brightness(image).enhance(1.03), "PNG"),
    }


def spoiled_folder(root: Path) -> Path:
    """Twelve ants, eight bees and one wasp to train on, some others, and what goes wrong in such folders."""
    files: dict[str, bytes] = {}
    for number in range(12):
        files[f"train/ant/{number}.jpg"] = encoded(photo(number), "JPEG", quality=90)
    for number in range(8):
        files[f"train/bee/{number}.png"] = encoded(photo(100 + number), "PNG")
    files["train/wasp/0.png"] = encoded(photo(200), "PNG")
    for number in range(4):
        files[f"val/{('ant', 'bee')[number % 2]}/{number}.png"] = encoded(photo(250 + number), "PNG")
        files[f"test/ant/{number}.png"] = encoded(photo(300 + number), "PNG")
        files[f"test/Bee/{number}.png"] = encoded(photo(400 + number), "PNG")
    for number in range(3):
        files[f"train/Bee/{number}.png"] = encoded(photo(500 + number), "PNG")
    files["train/ant/a bee.webp"] = encoded(photo(100), "WEBP", lossless=True)  # a label that is wrong
    files["train/bee/copy of 1.bmp"] = encoded(photo(101), "BMP")
    files["test/ant/leak, byte by byte.jpg"] = files["train/ant/0.jpg"]
    files["test/Bee/leak in another format.bmp"] = encoded(photo(500), "BMP")
    files["test/ant/near leak.jpg"] = nearly(photo(1))["re-encoded"]
    files["train/wasp/near ant.png"] = nearly(photo(2))["brighter"]
    files["train/bee/2, smaller.png"] = nearly(photo(102))["smaller"]
    files["train/ant/cut.jpg"] = files["train/ant/3.jpg"][:900]
    files["train/ant/empty.png"] = b""
    files["train/bee/page.jpg"] = b"<html>Not found</html>"
    files["train/bee/IMG_1.HEIC"] = b"\0\0\0\x18ftypheic"
    files["train/ant/<script>alert(1)<br>.png"] = encoded(photo(600), "PNG")
    turned = Image.Exif()
    turned[0x0112] = 6
    files["train/ant/turned.jpg"] = encoded(photo(601), "JPEG", exif=turned)
    files["train/ant/print.jpg"] = encoded(photo(602).convert("CMYK"), "JPEG")
    files["train/ant/deep.png"] = encoded(
        Image.fromarray(np.asarray(photo(603).convert("L")).astype(np.uint16) * 257), "PNG"
    )
    files["train/bee/sticker.png"] = encoded(photo(604).quantize(32), "PNG", transparency=0)
    files["train/bee/moving.gif"] = encoded(photo(605), "GIF", save_all=True, append_images=[photo(606)])
    files["train/bee/panorama.jpg"] = encoded(photo(607, (800, 100)), "JPEG")
    files["train/bee/tiny.png"] = encoded(photo(608, (20, 16)), "PNG")
    files["old/ant/1.png"] = encoded(photo(700), "PNG")
    files["train/bee/Thumbs.db"] = b"x"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "train/ant/gone.png").symlink_to(root / "nowhere.png")
    return root


def spoiled_table(root: Path) -> Path:
    """A table of images with everything wrong that its rows may have."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(16):
        photo(number).save(root / f"{number}.png")
    (root / "16.bmp").write_bytes(encoded(photo(1), "BMP"))
    (root / "cut.png").write_bytes((root / "3.png").read_bytes()[:2000])
    rows = [f"{number}.png,{('ant', 'bee')[number % 2]},train,g{number},x" for number in range(8)]
    rows += [f"{number}.png,{('ant', 'bee')[number % 2]},test,g{number},x" for number in range(8, 12)]
    rows += [
        "12.png, Ant,train,g12,x",  # line 14
        "13.png,ant,tset,g13,x",
        "14.png,,train,g14,x",
        "missing.png,bee,train,g15,x",
        "./0.png,bee,train,g0,x",
        "16.bmp,bee,test,g1,x",  # in the group and with the pixels of a training image
        "cut.png,ant,train,,x",
        "15.png,ant,,,x",
    ]
    table = root / "images.csv"
    table.write_text("\n".join(["path,label,split,group,photographer", *rows, ""]))
    return table

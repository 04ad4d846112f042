"""The one object that makes tensors of pictures."""

import base64
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from plusx.data.augment import random_box
from plusx.data.images import ImageSet
from plusx.data.preprocess import Box, Preprocess, fit_preprocess
from plusx.recipes.data import PreprocessSpec


def image_set(pixels_NCHW: torch.Tensor) -> ImageSet:
    return ImageSet(torch.zeros(len(pixels_NCHW), dtype=torch.int64), ("a", "b"), pixels_NCHW=pixels_NCHW)


def fitted(images: ImageSet, **changes: object) -> Preprocess:
    return fit_preprocess(images, PreprocessSpec(**changes))  # type: ignore[arg-type]


PIXELS = torch.randint(0, 256, (50, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_channels_come_out_with_mean_zero_and_deviation_one() -> None:
    x = fitted(image_set(PIXELS)).normalise(PIXELS).double()
    assert x.mean((0, 2, 3)).abs().max() < 1e-6
    assert (x.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-6


def test_the_pixel_mean_is_subtracted_and_nothing_scaled() -> None:
    preprocess = fitted(image_set(PIXELS), normalize="pixel-mean")
    expected = PIXELS.double() / 255 - PIXELS.double().mean(0) / 255
    torch.testing.assert_close(preprocess.normalise(PIXELS).double(), expected, rtol=0, atol=1e-6)


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    assert fitted(image_set(torch.full((4, 1, 5, 5), 9, dtype=torch.uint8))).normalise(PIXELS[:1, :1]).isfinite().all()


def test_constants_say_how_they_were_obtained() -> None:
    assert fitted(image_set(PIXELS)).obtained == "mean and deviation of each channel over all 50 training images"


@pytest.mark.parametrize("normalize", ["channel", "pixel-mean"])
def test_json_keeps_it_to_the_bit(normalize: str) -> None:
    before = fitted(image_set(PIXELS), normalize=normalize)
    after = Preprocess.from_dict(json.loads(json.dumps(before.to_dict())))
    assert torch.equal(before.normalise(PIXELS), after.normalise(PIXELS))
    assert before.to_dict() == after.to_dict()


def stripes(path: Path, width: int, height: int) -> Path:
    """Red on the left, green in the middle, blue on the right."""
    array = np.zeros((height, width, 3), np.uint8)
    for i in range(3):
        array[:, i * width // 3 : (i + 1) * width // 3, i] = 255
    Image.fromarray(array).save(path)
    return path


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=4))
def test_mean_and_deviation_are_plain_numbers_in_json_and_come_back_to_the_bit(values: list[float]) -> None:
    mean_C11 = torch.tensor(values, dtype=torch.float32)[:, None, None]
    fields = json.loads(json.dumps(Preprocess((8, 8), mean_C11, mean_C11, "given").to_dict()))
    assert all(isinstance(number, float) for number in fields["mean"]) and fields["mean"] == fields["std"]
    after = Preprocess.from_dict(fields)
    assert torch.equal(after.mean_CHW, mean_C11) and after.mean_CHW.shape == mean_C11.shape
    assert Preprocess((8, 8), torch.tensor([[[0.485]]]), mean_C11, "given").to_dict()["mean"] == [0.485]


def test_the_bytes_in_cards_of_the_first_versions_are_read() -> None:
    fields = Preprocess((2, 2), torch.zeros(2, 1, 1), torch.ones(2, 1, 1), "given").to_dict()
    for values in (torch.rand(2, 1, 1), torch.rand(2, 2, 2)):
        raw = base64.b64encode(values.numpy().astype("<f4").tobytes()).decode()
        old = {**fields, "mean": {"shape": list(values.shape), "float32_base64": raw}}
        assert torch.equal(Preprocess.from_dict(old).mean_CHW, values)


def test_fits_see_what_they_say(tmp_path: Path) -> None:
    picture = stripes(tmp_path / "wide.png", 90, 30)
    unit = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    crop, pad, squash = (
        Preprocess((30, 30), *unit, "", fit=fit).pixels(picture)
        for fit in ("crop", "pad", "squash")  # type: ignore[arg-type]
    )
    assert (crop[1] == 255).all() and (crop[0] == 0).all()  # the green middle
    assert (pad[:, :9] == 0).all() and (pad[:, 21:] == 0).all()  # black above and below
    assert [int(pad[i, 15, 5 + 10 * i]) for i in range(3)] == [255] * 3
    assert [int(squash[i, 15, 5 + 10 * i]) for i in range(3)] == [255] * 3


def test_padding_keeps_the_whole_image_and_its_shape(tmp_path: Path) -> None:
    unit = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    Image.new("RGB", (200, 50), "white").save(tmp_path / "wide.png")
    Image.new("RGB", (2, 900), "white").save(tmp_path / "line.png")
    wide = Preprocess((32, 64), *unit, "", fit="pad").pixels(tmp_path / "wide.png")
    assert (wide[:, 8:24] == 255).all() and (wide[:, :8] == 0).all() and (wide[:, 24:] == 0).all()
    line = Preprocess((30, 30), *unit, "", fit="pad").pixels(tmp_path / "line.png")
    assert (line == 255).sum() == 3 * 30  # a pixel at least


@pytest.mark.parametrize("fit", ["pad", "crop", "squash"])
@pytest.mark.parametrize("size", [(300, 26_000), (26_000, 300), (2, 1_000_000), (1_000_000, 2)])
def test_no_shape_of_an_image_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: Literal["pad", "crop", "squash"], size: tuple[int, int]
) -> None:
    Image.new("1", size, 1).save(tmp_path / "long.png")
    held, new, resize = [], Image.new, Image.Image.resize

    def watched_new(mode: str, size: tuple[int, int], *rest: object) -> Image.Image:
        held.append(size[0] * size[1])
        return new(mode, size, *rest)  # type: ignore[arg-type]

    def watched_resize(image: Image.Image, size: tuple[int, int], resample: int, box: Box) -> Image.Image:
        held.append(size[0] * round(box[3] - box[1]))  # Pillow scales across first
        return resize(image, size, resample, box=box)

    monkeypatch.setattr(Image, "new", watched_new)
    monkeypatch.setattr(Image.Image, "resize", watched_resize)
    preprocess = Preprocess((224, 224), torch.zeros(3, 1, 1), torch.ones(3, 1, 1), "", fit=fit)
    assert preprocess.pixels(tmp_path / "long.png").max() > 0
    assert max(held) <= 100_000_000


def test_a_crop_fraction_looks_at_the_middle(tmp_path: Path) -> None:
    array = np.zeros((100, 100, 3), np.uint8)
    array[25:75, 25:75] = 255
    Image.fromarray(array).save(tmp_path / "square.png")
    unit = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    seen = Preprocess((20, 20), *unit, "", crop_fraction=0.5).pixels(tmp_path / "square.png")
    assert (seen[:, 1:-1, 1:-1] == 255).all()
    assert (seen > 190).all()  # the filter of the outermost pixels reaches over the edge, as resizing before would


def test_bytes_and_path_give_the_same_pixels(tmp_path: Path) -> None:
    picture, preprocess = stripes(tmp_path / "a.png", 33, 20), fitted(image_set(PIXELS))
    assert torch.equal(preprocess.pixels(picture), preprocess.pixels(picture.read_bytes()))


def test_a_grey_net_sees_grey(tmp_path: Path) -> None:
    preprocess = fitted(image_set(PIXELS[:, :1]))
    assert preprocess.pixels(stripes(tmp_path / "a.png", 33, 20)).shape == (1, 6, 6)


def test_a_size_that_pixels_do_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="preprocess.size is 8; these images are 6 x 6"):
        fitted(image_set(PIXELS), size=8)


@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    seed=st.integers(0, 2**32),
    min_area=st.floats(0.05, 1),
    max_aspect=st.floats(1, 3),
)
def test_a_random_box_lies_inside_the_picture(
    width: int, height: int, seed: int, min_area: float, max_aspect: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    left, upper, right, lower = random_box(width, height, min_area=min_area, max_aspect=max_aspect, generator=rng)
    assert 0 <= left < right <= 1 + 1e-9 and 0 <= upper < lower <= 1 + 1e-9
    shape = (right - left) * width / ((lower - upper) * height)
    if right - left < 0.999 and lower - upper < 0.999:  # neither side was cut at the picture's edge
        assert 1 / max_aspect - 1e-6 <= shape <= max_aspect + 1e-6
        assert (right - left) * (lower - upper) >= min_area - 1e-6


FITS: tuple[Literal["crop", "pad", "squash"], ...] = ("crop", "pad", "squash")
shapes = st.tuples(st.integers(1, 90), st.integers(1, 90))


def plain(size: tuple[int, int], fit: Literal["crop", "pad", "squash"]) -> Preprocess:
    return Preprocess(size, torch.zeros(3, 1, 1), torch.ones(3, 1, 1), "", fit=fit)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8))


@given(shapes, shapes)
def test_a_whole_image_is_padded_as_it_always_was(shape: tuple[int, int], size: tuple[int, int]) -> None:
    image, (height, width) = noise(*shape), size
    scale = min(width / image.width, height / image.height)
    inside = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    expected = Image.new("RGB", (width, height))
    place = ((width - inside[0]) // 2, (height - inside[1]) // 2)
    expected.paste(image.resize(inside, Image.Resampling.BILINEAR), place)
    assert np.array_equal(plain(size, "pad").pixels(image).permute(1, 2, 0).numpy(), np.array(expected))


@given(shapes, st.sampled_from(["pad", "squash"]))
def test_a_crop_of_everything_is_what_evaluation_sees(shape: tuple[int, int], fit: Literal["pad", "squash"]) -> None:
    preprocess, image = plain((24, 24), fit), noise(*shape)
    assert torch.equal(preprocess.pixels(image, lambda width, height: (0.0, 0.0, 1.0, 1.0)), preprocess.pixels(image))


@given(shapes, st.tuples(*[st.floats(0, 0.9)] * 2), st.floats(0.1, 1), st.floats(0.1, 1))
def test_a_crop_of_a_padded_image_is_a_part_of_it_and_never_black_alone(
    shape: tuple[int, int], corner: tuple[float, float], w: float, h: float
) -> None:
    left, upper = corner[0] * (1 - w), corner[1] * (1 - h)
    pixels = plain((24, 24), "pad").pixels(noise(*shape), lambda width, height: (left, upper, left + w, upper + h))
    assert pixels.shape == (3, 24, 24)
    shown = pixels.sum(0) > 0
    assert shown.any()  # the image has no black of its own; where it is shown is a rectangle
    assert int(shown.sum()) == int(shown.any(0).sum()) * int(shown.any(1).sum())


def test_a_padded_crop_shows_what_a_crop_of_the_padded_image_shows() -> None:
    ramp = np.linspace(20, 250, 200)[None, :, None] * np.ones((100, 1, 3))
    image = Image.fromarray(ramp.astype(np.uint8))  # 200 x 100: black above and below
    canvas = Image.new("RGB", (200, 200))
    canvas.paste(image, (0, 50))
    box = (0.1, 0.1, 0.6, 0.6)
    expected = canvas.resize((50, 50), Image.Resampling.BILINEAR, box=tuple(200 * edge for edge in box))  # type: ignore[arg-type]
    found = plain((50, 50), "pad").pixels(image, lambda width, height: box).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - np.array(expected).astype(int))[16:].max() <= 1  # below the edge of the black
    assert found[:15].max() == 0

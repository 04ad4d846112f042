"""Random erasing: one rectangle, of an area and an aspect within bounds, and nothing else."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plusx.data.augment import make_augmentation, random_erasing
from plusx.data.preprocess import Preprocess
from plusx.recipes.augment import RandomErasing

PREPROCESS = Preprocess((16, 20), torch.full((3, 1, 1), 0.4), torch.tensor([0.2, 0.3, 0.5])[:, None, None], "")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


erase = partial(random_erasing, probability=1.0, min_area=0.02, max_area=0.4, max_aspect=1 / 0.3, noise=None)


def erased(out: Tensor, x: Tensor) -> list[tuple[int, int]]:
    """Height and width of what changed in each image, which must be one rectangle in all channels."""
    sides = []
    for after, before in zip(out, x, strict=True):
        gone = after != before
        rows, columns = gone[0].any(1), gone[0].any(0)
        assert torch.equal(gone, (rows[:, None] & columns).expand_as(gone))
        for line in (rows, columns):
            places = line.nonzero().flatten()
            assert len(places) == 0 or len(places) == places[-1] - places[0] + 1
        sides.append((int(rows.sum()), int(columns.sum())))
    return sides


@given(
    st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(1, 5), st.integers(0, 999)
)
@settings(deadline=None)
def test_one_rectangle_within_bounds_is_erased_and_the_rest_is_left(
    height: int, width: int, one: float, other: float, max_aspect: float, seed: int
) -> None:
    low, high = sorted((one, other))
    x = 1 + torch.rand(6, 2, height, width, generator=rng(1))
    out = erase(x, min_area=low, max_area=high, max_aspect=max_aspect, generator=rng(seed))
    for h, w in erased(out, x):
        assert 1 <= h <= height and 1 <= w <= width
        # Sides are whole pixels, at least one, and within one half of the real ones; what is too long is cut.
        assert (h - 0.5) * (w - 0.5) * (h > 1) * (w > 1) <= high * height * width + 1e-3
        if h < height and w < width:
            assert (h + 0.5) * (w + 0.5) >= low * height * width - 1e-3
        if 1 < h < height and 1 < w < width:
            assert max((h - 0.5) / (w + 0.5), (w - 0.5) / (h + 0.5)) <= max_aspect + 1e-3
    assert ((out == 0) | (out == x)).all()


def test_areas_and_places_fill_their_range() -> None:
    x = torch.ones(4000, 1, 60, 60)
    out = erase(x, generator=rng())
    areas = torch.tensor([h * w / 3600 for h, w in erased(out, x)])
    assert areas.min() < 0.03 and areas.max() > 0.38 and areas.mean().item() == pytest.approx(0.21, abs=0.015)
    assert (out == 0).any(0).all()  # corners too
    ratios = torch.tensor([math.log(h / w) for h, w in erased(out, x)])
    assert ratios.min() < -1 and ratios.max() > 1


def test_images_are_erased_with_their_probability() -> None:
    x = torch.ones(1000, 1, 16, 16)
    out = erase(x, probability=0.3, generator=rng())
    assert 250 < sum(h > 0 for h, _ in erased(out, x)) < 350
    assert torch.equal(erase(x, probability=0.0, generator=rng()), x)


@pytest.mark.parametrize("fill", ["mean", "noise"])
def test_it_repeats_and_leaves_its_input_and_the_global_generator_alone(fill: str) -> None:
    [change] = make_augmentation((RandomErasing(fill=fill),), PREPROCESS).change  # type: ignore[arg-type]
    x = torch.randn(16, 3, 16, 20, generator=rng(2))
    before, state = x.clone(), torch.get_rng_state()
    made = [change(x, generator=rng(seed)) for seed in (3, 3, 4)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert torch.equal(x, before) and torch.equal(state, torch.get_rng_state())
    assert (made[0] != x).any()


def test_noise_is_a_random_pixel_normalised_like_any_other() -> None:
    [change] = make_augmentation((RandomErasing(1.0, 0.3, 0.4, fill="noise"),), PREPROCESS).change
    x = torch.full((200, 3, 16, 20), 1000.0)
    out = change(x, generator=rng())
    for channel in range(3):
        drawn = out[:, channel][out[:, channel] != 1000]
        pixels = drawn * PREPROCESS.std_C11[channel].item() * 255 + 0.4 * 255
        torch.testing.assert_close(pixels, pixels.round(), rtol=0, atol=1e-3)
        assert pixels.min() > -0.5 and pixels.max() < 255.5 and len(pixels.round().unique()) == 256
        assert pixels.mean().item() == pytest.approx(127.5, abs=2)

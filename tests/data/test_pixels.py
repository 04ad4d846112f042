"""RandAugment, TrivialAugment and ColorJitter: torchvision's where they are seeded alike; each image as if alone."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2

from plusx.data.augment import make_augmentation
from plusx.data.batches import TrainBatches
from plusx.data.folder import load_folder
from plusx.data.images import ImageSet
from plusx.data.pixels import _space, color_jitter, operate, rand_augment, trivial_augment
from plusx.data.preprocess import Preprocess
from plusx.recipes.augment import ColorJitter, OfPixels, RandAugment, RandomErasing, RandomResizedCrop, TrivialAugment

SPECS = (RandAugment(num_ops=3, magnitude=17), TrivialAugment(), ColorJitter(0.5, 0.3, 0.7, 0.2))
NARROW = {"shear": 0.3, "across": 150 / 331 * 24, "down": 150 / 331 * 20, "turn": 30.0, "enhance": 0.9, "bits": 4}
WIDE = {"shear": 0.99, "across": 32.0, "down": 32.0, "turn": 135.0, "enhance": 0.99, "bits": 2}


def pictures(count: int, channels: int = 3, height: int = 20, width: int = 24, seed: int = 0) -> Tensor:
    """Shapes and noise, so that moving and colouring show."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 60, (count, channels, height, width), generator=rng)
    ramp = torch.linspace(20, 190, width).expand(count, channels, height, width)
    return (noise + ramp * torch.rand(count, channels, 1, 1, generator=rng)).to(torch.uint8)


def rngs(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(1000 * seed + n) for n in range(count)]


def changed(spec: OfPixels, pixels: Tensor, seed: int = 0) -> Tensor:
    """The images after one augmentation, as a recipe makes it."""
    preprocess = Preprocess((20, 24), torch.zeros(3, 1, 1), torch.ones(3, 1, 1), "")
    [change] = make_augmentation((spec,), preprocess).pixels
    return change(pixels, generators=rngs(len(pixels), seed))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (v2.RandAugment(2, 9), RandAugment()),
        (v2.RandAugment(4, 30), RandAugment(4, 30)),
        (v2.TrivialAugmentWide(), TrivialAugment()),
        (v2.ColorJitter(0.4, 0.4, 0.4, 0.0), ColorJitter()),
        (v2.ColorJitter(0.0, 1.5, 0.2, 0.5), ColorJitter(0.0, 1.5, 0.2, 0.5)),
    ],
    ids=str,
)
@pytest.mark.parametrize("channels", [1, 3])
def test_with_the_same_seed_torchvisions_own_transform_makes_the_same_pixels(
    theirs: Callable[[Tensor], Tensor], ours: OfPixels, channels: int
) -> None:
    pixels = pictures(60, channels)
    made = changed(ours, pixels)
    with torch.random.fork_rng(devices=[]):
        for n, image in enumerate(pixels):
            torch.manual_seed(n)
            assert torch.equal(made[n], theirs(image)), n
    assert sum(not torch.equal(a, b) for a, b in zip(made, pixels, strict=True)) > 30


@pytest.mark.parametrize(
    ("theirs", "ranges"), [(v2.RandAugment(), NARROW), (v2.TrivialAugmentWide(), WIDE)], ids=["narrow", "wide"]
)
def test_operations_and_their_strengths_are_torchvisions(theirs: v2.Transform, ranges: dict[str, float]) -> None:
    space = _space(**ranges)  # type: ignore[arg-type]
    assert list(space) == list(theirs._AUGMENTATION_SPACE)
    image = pictures(1)
    for name, (magnitudes, signed) in theirs._AUGMENTATION_SPACE.items():
        bins, ends = magnitudes(31, 20, 24), space[name]
        assert signed == (ends is not None and ends[0] == 0)
        strengths = [0.0] if ends is None else torch.linspace(*ends, 31).tolist()
        if ends is not None and name != "Posterize":
            assert torch.equal(torch.tensor(strengths), bins)
        for strength, bin_ in zip(strengths, [0.0] if bins is None else bins.tolist(), strict=True):
            for sign in (1, -1) if signed else (1,):
                expected = theirs._apply_image_or_video_transform(image, name, sign * bin_, "nearest", theirs._fill)
                assert torch.equal(operate(image, name, sign * strength), expected), (name, strength)


def test_an_unknown_operation_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown operation 'Swirl'"):
        operate(pictures(1), "Swirl", 0.5)


@given(st.sampled_from(SPECS), st.integers(0, 99), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_shape_and_type_stay_and_images_are_changed_as_if_each_were_alone(
    spec: OfPixels, seed: int, channels: int, height: int, width: int
) -> None:
    pixels = pictures(5, channels, height, width, seed)
    before, state = pixels.clone(), torch.get_rng_state()
    made = changed(spec, pixels, seed)
    assert made.shape == pixels.shape and made.dtype == torch.uint8
    assert torch.equal(pixels, before) and torch.equal(state, torch.get_rng_state())
    preprocess = Preprocess((height, width), torch.zeros(3, 1, 1), torch.ones(3, 1, 1), "")
    [change] = make_augmentation((spec,), preprocess).pixels
    alone = [change(pixels[n : n + 1], generators=rngs(5, seed)[n : n + 1])[0] for n in range(5)]
    assert torch.equal(made, torch.stack(alone))


def test_at_magnitude_0_no_operation_changes_anything_but_those_that_have_no_magnitude() -> None:
    pixels = pictures(4)
    for name, ends in _space(**NARROW).items():  # type: ignore[arg-type]
        if name == "Solarize":  # from white on, which here is nowhere
            assert pixels.max() < 255
        if ends is not None or name == "Identity":
            assert torch.equal(operate(pixels, name, 0.0 if ends is None else ends[0]), pixels), name
    made = rand_augment(pixels, num_ops=1, magnitude=0, generators=rngs(4))
    kinds = [pixels, operate(pixels, "AutoContrast", 0), operate(pixels, "Equalize", 0)]
    assert all(any(torch.equal(made[n], kind[n]) for kind in kinds) for n in range(4))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_another_seed_makes_other_images_and_images_differ(spec: OfPixels) -> None:
    pixels = pictures(1).repeat(12, 1, 1, 1)
    first, again, other = changed(spec, pixels), changed(spec, pixels), changed(spec, pixels, seed=1)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len({tuple(image.flatten().tolist()) for image in first}) > 6


def test_operations_go_both_ways_and_every_one_of_them_occurs() -> None:
    pixels = pictures(1).repeat(600, 1, 1, 1)
    made = {
        tuple(image.flatten().tolist()) for image in rand_augment(pixels, num_ops=1, magnitude=20, generators=rngs(600))
    }
    space = _space(**NARROW)  # type: ignore[arg-type]
    for name, ends in space.items():
        strength = 0.0 if ends is None else torch.linspace(*ends, 31)[20].item()
        for sign in (1, -1) if ends is not None and ends[0] == 0 else (1,):
            assert tuple(operate(pixels[:1], name, sign * strength).flatten().tolist()) in made, (name, sign)


def test_jitter_stays_within_its_bounds() -> None:
    grey = torch.full((400, 3, 2, 2), 100, dtype=torch.uint8)
    light = color_jitter(grey, brightness=0.3, contrast=0, saturation=0, hue=0, generators=rngs(400))[:, 0, 0, 0]
    assert 69 <= light.min() < 75 and 125 < light.max() <= 130
    red = torch.tensor([200, 20, 20], dtype=torch.uint8)[None, :, None, None].repeat(400, 1, 2, 2)
    hues = color_jitter(red, brightness=0, contrast=0, saturation=0, hue=0.1, generators=rngs(400))[:, :, 0, 0].double()
    angles = torch.atan2(math.sqrt(3) * (hues[:, 1] - hues[:, 2]), 2 * hues[:, 0] - hues[:, 1] - hues[:, 2])
    assert angles.min() < -0.5 and angles.max() > 0.5 and angles.abs().max() < 0.1 * 2 * math.pi + 0.03


@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_is_torchvisions_and_does_not_depend_on_the_number_of_threads(channels: int) -> None:
    small = pictures(3, channels)
    assert torch.equal(operate(small, "Contrast", 0.37), v2.functional.adjust_contrast(small, 1.37))
    large, threads, made = pictures(1, channels, 700, 700), torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            made.append(operate(large, "Contrast", 0.37))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])
    exact = (v2.functional.rgb_to_grayscale(large) if channels == 3 else large).double().mean()
    expected = (1.37 * large.double() - 0.37 * exact).clamp(0, 255)
    assert (made[0].double() - expected).abs().max() <= 1


def test_trivial_augment_reaches_its_strongest_and_weakest() -> None:
    pixels = pictures(1, height=40, width=40).repeat(3000, 1, 1, 1)
    made = trivial_augment(pixels, generators=rngs(3000))
    black_columns = (made == 0).all(1).all(1).sum(1)
    assert {0, 32} <= set(black_columns.tolist())


@pytest.mark.parametrize(("workers", "readers"), [(2, 1), (0, 3), (1, 2)])
def test_workers_threads_and_the_starting_step_change_no_pixel(
    class_folder: Callable[..., Path], workers: int, readers: int
) -> None:
    images = load_folder(class_folder(["train", "val"], {"ant": 5, "bee": 6})).splits["train"]
    preprocess = Preprocess((12, 12), torch.zeros(3, 1, 1), torch.ones(3, 1, 1), "")
    augmentation = make_augmentation((RandomResizedCrop(), *SPECS, RandomErasing(fill="noise")), preprocess)
    batches = TrainBatches(images, preprocess, augmentation, 4, seed=5)
    alone = [x for x, _ in batches.steps(0, 9)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(workers)
        others = [x for x, _ in replace(batches, readers=readers).steps(3, 9, workers=workers)]
    assert all(torch.equal(x, y) for x, y in zip(alone[3:], others, strict=True))
    assert not torch.equal(alone[0], replace(batches, seed=6)[0][0])


def test_what_happens_to_an_image_follows_from_its_epoch_whatever_batch_it_is_in() -> None:
    images = ImageSet(torch.zeros(6, dtype=torch.int64), ("all",), pictures(6))
    preprocess = Preprocess((20, 24), torch.zeros(3, 1, 1), torch.ones(3, 1, 1), "")
    augmentation = make_augmentation(SPECS, preprocess)
    streams = [
        torch.cat([x for x, _ in TrainBatches(images, preprocess, augmentation, size, seed=1).steps(0, 12 // size)])
        for size in (2, 3, 4)
    ]
    assert torch.equal(streams[0], streams[1]) and torch.equal(streams[0], streams[2])

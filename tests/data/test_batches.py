"""Augmentations, and batches as functions of (seed, step)."""

import dataclasses
import pickle
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.data.augment import (
    IMAGENET_EIGENVALUES,
    IMAGENET_EIGENVECTORS,
    alternating_flip,
    color_noise,
    flip_lr,
    make_augmentation,
    random_box,
    random_crop,
    shrink,
)
from plusx.data.batches import Augmentation, EvalBatches, TrainBatches, Visits
from plusx.data.decode import UndecodableError
from plusx.data.folder import load_folder
from plusx.data.images import ImageSet, select, spread
from plusx.data.preprocess import Preprocess
from plusx.recipes.augment import Augment, FlipLR, RandomCrop, RandomResizedCrop

NUMBERED = ImageSet(
    torch.arange(10) % 2, ("even", "odd"), pixels_NCHW=torch.arange(10, dtype=torch.uint8)[:, None, None, None]
)
AS_IT_IS = Preprocess((1, 1), torch.zeros(1, 1, 1), torch.full((1, 1, 1), 1 / 255), "")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_a_crop_is_a_window_of_the_padded_image(mode: Literal["zeros", "reflect"]) -> None:
    x = torch.randn(64, 2, 6, 5)
    out = random_crop(x, pad=2, mode=mode, generator=rng())
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="constant" if mode == "zeros" else mode)
    places = set()
    for image, source in zip(out, padded, strict=True):
        found = [(i, j) for i in range(5) for j in range(5) if torch.equal(source[:, i : i + 6, j : j + 5], image)]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 15  # of 25: the places differ from image to image


def test_half_of_the_images_are_mirrored() -> None:
    x = torch.randn(400, 1, 2, 3)
    out = flip_lr(x, generator=rng())
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(out, x, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(out, x, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 160 < sum(mirrored) < 240


TWO_WIDE = ImageSet(
    torch.zeros(200, dtype=torch.int64),
    ("all",),
    pixels_NCHW=torch.tensor([0, 1], dtype=torch.uint8).expand(200, 1, 1, 2) + torch.arange(200)[:, None, None, None],
)
"""Images of two pixels, n and n + 1; a mirrored one shows n + 1 first."""


def mirrored(batches: TrainBatches, epochs: int) -> dict[int, list[bool]]:
    """For each image, whether it was mirrored, epoch by epoch."""
    seen: dict[int, list[bool]] = {}
    length = len(batches.images)
    stream = torch.cat([x for x, _ in batches.steps(0, -(-epochs * length // batches.batch_size))])[: epochs * length]
    for first, second in stream[:, 0, 0].long().tolist():
        seen.setdefault(min(first, second), []).append(first > second)
    return seen


@given(batch_size=st.integers(1, 230), seed=st.integers(0, 50))
@settings(max_examples=10, deadline=None)
def test_an_alternating_flip_shows_both_views_in_any_two_epochs(batch_size: int, seed: int) -> None:
    batches = TrainBatches(TWO_WIDE, AS_IT_IS, Augmentation(by_epoch=(alternating_flip,)), batch_size, seed)
    seen = mirrored(batches, 4)
    assert len(seen) == 200 and all(views[0] != views[1] for views in seen.values())
    assert all(views[0] == views[2] and views[1] == views[3] for views in seen.values())
    assert 60 < sum(views[0] for views in seen.values()) < 140


def test_the_coins_of_an_alternating_flip_follow_from_the_seed_and_the_image_alone() -> None:
    def first(seed: int, batch_size: int) -> dict[int, bool]:
        batches = TrainBatches(TWO_WIDE, AS_IT_IS, Augmentation(by_epoch=(alternating_flip,)), batch_size, seed)
        return {picture: views[0] for picture, views in mirrored(batches, 1).items()}

    assert first(3, 200) == first(3, 7) != first(4, 200)


def test_smaller_images_are_parts_or_means_of_the_whole() -> None:
    x = torch.randn(40, 2, 8, 6)
    part = shrink(x, scale=0.5, by="crop", generator=rng())
    places = set()
    for image, source in zip(part, x, strict=True):
        found = [(i, j) for i in range(5) for j in range(4) if torch.equal(source[:, i : i + 4, j : j + 3], image)]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 12  # of 20
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    small = shrink(ramp, scale=0.5, by="resize", generator=rng())
    assert small.shape == (1, 1, 4, 4) and small.mean().item() == pytest.approx(0.5)
    assert (small.diff(dim=-1) > 0.2).all()
    checks = ((torch.arange(8) + torch.arange(8)[:, None]) % 2).float()[None, None]
    assert (shrink(checks, scale=0.5, by="resize", generator=rng()) - 0.5).abs().max() < 0.13  # antialiased


def test_the_first_steps_see_smaller_images_and_the_others_the_whole() -> None:
    pixels = torch.randint(0, 256, (10, 1, 8, 8), dtype=torch.uint8)
    images = dataclasses.replace(NUMBERED, pixels_NCHW=pixels)
    smaller = partial(shrink, scale=0.75, by="crop")
    batches = TrainBatches(images, AS_IT_IS, Augmentation(shrink=smaller, shrink_until=3), 4, seed=0)
    whole = TrainBatches(images, AS_IT_IS, Augmentation(), 4, seed=0)
    assert [x.shape[2:] for x, _ in batches.steps(0, 5)] == [(6, 6)] * 3 + [(8, 8)] * 2
    assert torch.equal(batches[4][0], whole[4][0]) and torch.equal(batches[2][1], whole[2][1])
    assert torch.equal(batches[2][0], batches[2][0])


def test_augmentations_leave_their_input_alone_and_repeat() -> None:
    x = torch.randn(8, 3, 4, 4)
    before = x.clone()
    noise = partial(color_noise, std=0.1, scale_C11=torch.full((3, 1, 1), 0.25))
    for change in (partial(random_crop, pad=1), flip_lr, noise):
        assert torch.equal(change(x, generator=rng(3)), change(x, generator=rng(3)))
    assert torch.equal(x, before)


SCALE_C11 = torch.tensor([0.2, 0.25, 0.4])[:, None, None]


def imagenet_covariance() -> torch.Tensor:
    axes, values = torch.tensor(IMAGENET_EIGENVECTORS).double(), torch.tensor(IMAGENET_EIGENVALUES).double()
    return axes @ values.diag() @ axes.T


def test_color_noise_moves_all_pixels_of_an_image_alike_and_each_image_otherwise() -> None:
    x = torch.randn(16, 3, 5, 4)
    offset = color_noise(x, std=0.1, scale_C11=SCALE_C11, generator=rng()) - x
    torch.testing.assert_close(offset, offset[:, :, :1, :1].expand_as(offset), rtol=0, atol=1e-6)
    assert len(offset[:, 0, 0, 0].unique()) == 16


def test_color_noise_is_drawn_anew_each_time_an_image_is_used() -> None:
    x, generator = torch.zeros(1, 3, 1, 1), rng()
    first, second = (color_noise(x, std=0.1, scale_C11=SCALE_C11, generator=generator) for _ in range(2))
    assert not torch.equal(first, second)


def test_color_noise_has_the_covariance_of_the_paper_in_normalised_units() -> None:
    offset = color_noise(torch.zeros(400_000, 3, 1, 1), std=0.1, scale_C11=SCALE_C11, generator=rng())
    axes, values = torch.tensor(IMAGENET_EIGENVECTORS), torch.tensor(IMAGENET_EIGENVALUES)
    scale = SCALE_C11.flatten()
    expected = axes @ (0.1 * values).square().diag() @ axes.T / (scale[:, None] * scale)
    torch.testing.assert_close(offset.flatten(1).T.cov(), expected, rtol=0.02, atol=1e-7)
    assert offset.mean((0, 2, 3)).abs().max() < 5e-4


def test_the_axes_of_color_noise_are_orthonormal_and_their_values_make_imagenets_deviations() -> None:
    axes = torch.tensor(IMAGENET_EIGENVECTORS)
    torch.testing.assert_close(axes.T @ axes, torch.eye(3), rtol=0, atol=5e-4)
    # ILSVRC 2012, pixels in [0, 1]: chatflip/CalculationMeanStd, README. Were the values roots, these would be 0.13.
    published = torch.tensor([0.2832, 0.2761, 0.2895]).double()
    torch.testing.assert_close(imagenet_covariance().diag().sqrt(), published, rtol=0, atol=1e-3)


@given(batch_size=st.integers(1, 23), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_every_image_is_seen_once_an_epoch(batch_size: int, seed: int) -> None:
    batches = TrainBatches(NUMBERED, AS_IT_IS, Augmentation(), batch_size, seed)
    stream = [int(v) for x, _ in batches.steps(0, 30) for v in x.flatten()]
    for epoch in range(len(stream) // 10):
        assert Counter(stream[10 * epoch : 10 * epoch + 10]) == Counter(range(10))


def test_batches_that_are_used_in_turn_or_sent_to_another_process_keep_their_own_order() -> None:
    mine, others = (TrainBatches(NUMBERED, AS_IT_IS, Augmentation(), 7, seed) for seed in (0, 1))
    expected = [[batches[step][0] for step in range(9)] for batches in (mine, others)]
    sent = pickle.loads(pickle.dumps(mine))
    assert not sent.visits._orders and len(mine.visits._orders) == Visits.KEPT
    for step in (8, 0, 3, 3, 7):
        for batches, steps in ((mine, expected[0]), (others, expected[1]), (sent, expected[0])):
            assert torch.equal(batches[step][0], steps[step])


def test_epochs_differ_and_seeds_differ() -> None:
    def order(seed: int) -> list[int]:
        batches = TrainBatches(NUMBERED, AS_IT_IS, Augmentation(), 10, seed)
        return [int(v) for x, _ in batches.steps(0, 2) for v in x.flatten()]

    assert order(0)[:10] != order(0)[10:] and order(0) != order(1) and order(0) == order(0)


def test_labels_go_with_their_images() -> None:
    for x, labels in TrainBatches(NUMBERED, AS_IT_IS, Augmentation(), 4, 0).steps(0, 5):
        assert torch.equal(x.flatten().long() % 2, labels)


@pytest.mark.parametrize(("workers", "readers"), [(1, 1), (2, 1), (0, 3), (1, 2)])
def test_workers_threads_and_the_starting_step_change_nothing(
    class_folder: Callable[..., Path], workers: int, readers: int
) -> None:
    splits = load_folder(class_folder(["train", "val"], {"ant": 5, "bee": 6})).splits
    preprocess = Preprocess((12, 12), torch.zeros(3, 1, 1), torch.ones(3, 1, 1), "")
    crop = partial(random_box, min_area=0.3, max_aspect=1.3)
    batches = TrainBatches(splits["train"], preprocess, Augmentation(crop, (flip_lr,)), 4, seed=5)
    alone = list(batches.steps(0, 9))
    others = list(dataclasses.replace(batches, readers=readers).steps(3, 9, workers=workers))
    for (x, labels), (y, other_labels) in zip(alone[3:], others, strict=True):
        assert torch.equal(x, y) and torch.equal(labels, other_labels)


def test_batches_leave_the_global_generator_alone(class_folder: Callable[..., Path]) -> None:
    splits = load_folder(class_folder(["train", "val"], {"ant": 5, "bee": 6})).splits
    preprocess = Preprocess((12, 12), torch.zeros(3, 1, 1), torch.ones(3, 1, 1), "")
    before = torch.get_rng_state()
    for workers in (0, 1):
        list(TrainBatches(splits["train"], preprocess, Augmentation(), 4, seed=5).steps(0, 2, workers=workers))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_counts_every_image_once_in_order(workers: int) -> None:
    batches = EvalBatches(NUMBERED, AS_IT_IS, 4, workers)
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert torch.cat([x.flatten() for x, _ in batches]).tolist() == list(range(10))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes_is_named(class_folder: Callable[..., Path], workers: int) -> None:
    root = class_folder(["train", "val"], {"ant": 2, "bee": 2})
    splits = load_folder(root).splits
    (root / "train" / "bee" / "0.png").unlink()
    preprocess = Preprocess((12, 12), torch.zeros(3, 1, 1), torch.ones(3, 1, 1), "")
    with pytest.raises(UndecodableError, match=r"bee/0.png: no such file"):
        list(TrainBatches(splits["train"], preprocess, Augmentation(), 4, seed=0).steps(0, 3, workers=workers))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("train", range(10)), ("train[:3]", range(3)), ("train[80%:]", (8, 9)), ("train[2:50%]", (2, 3, 4))],
)
def test_slices_are_read(expression: str, expected: range) -> None:
    images = select({"train": NUMBERED}, expression)
    assert images is not None and images.pixels_NCHW is not None
    assert images.pixels_NCHW.flatten().tolist() == list(expected)


def test_slices_that_cannot_be_read_are_refused() -> None:
    for wrong in ("tran", "train[1", "train[-3:]", "train[a:b]", "train[::2]"):
        with pytest.raises(ValueError, match="split"):
            select({"train": NUMBERED}, wrong)
    assert select({"train": NUMBERED}, None) is None
    assert select({"train": NUMBERED}, "train[10:]") is None


def test_spread_keeps_the_ends_and_the_order() -> None:
    picked = spread(NUMBERED, 4).pixels_NCHW
    assert picked is not None and picked.flatten().tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize("augment", [(FlipLR(),), (RandomCrop(1), FlipLR()), (FlipLR(), RandomCrop(1), FlipLR())])
@pytest.mark.parametrize("mean", ["channel", "pixel-mean"])
def test_a_flip_of_bytes_is_the_flip_of_what_is_normalised(augment: tuple[Augment, ...], mean: str) -> None:
    pixels = torch.randint(0, 256, (40, 3, 6, 6), dtype=torch.uint8)
    images = dataclasses.replace(TWO_WIDE.take(range(40)), pixels_NCHW=pixels)
    preprocess = Preprocess((6, 6), torch.rand(3, *((1, 1) if mean == "channel" else (6, 6))), torch.ones(3, 1, 1), "")
    made = make_augmentation(augment, preprocess)
    plain = [flip_lr if isinstance(item, FlipLR) else partial(random_crop, pad=1) for item in augment]
    assert made.mirror == (mean == "channel" and augment[0] == FlipLR())
    for step in (0, 3):
        x, _ = TrainBatches(images, preprocess, made, 16, seed=2)[step]
        expected, _ = TrainBatches(images, preprocess, Augmentation(change=tuple(plain)), 16, seed=2)[step]
        assert torch.equal(x, expected)
    assert torch.equal(images.pixels_NCHW, pixels)


@pytest.mark.parametrize("mean", ["channel", "pixel-mean"])
def test_reading_image_by_image_changes_no_bit(class_folder: Callable[..., Path], mean: str) -> None:
    images = load_folder(class_folder([], {"ant": 20, "bee": 20})).splits["train"]
    shape = (3, 1, 1) if mean == "channel" else (3, 16, 16)
    preprocess = Preprocess((16, 16), torch.rand(shape), torch.rand(3, 1, 1) + 0.2, "")
    made = make_augmentation((RandomResizedCrop(), FlipLR()), preprocess)
    as_pixels = dataclasses.replace(made, pixels=(lambda x, generators: x,))  # which take the batch's way
    for step in (0, 5):
        x, labels = TrainBatches(images, preprocess, as_pixels, 13, 4, fast=True)[step]
        for readers in (1, 2, 3):
            mine, its = TrainBatches(images, preprocess, made, 13, 4, readers, fast=True)[step]
            assert torch.equal(x, mine) and torch.equal(labels, its)
    mine, _ = next(iter(TrainBatches(images, preprocess, made, 13, 4, 2, fast=True).steps(5, 6, workers=2)))
    assert torch.equal(x, mine)

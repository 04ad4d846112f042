"""Folds: every image is held out once, classes are shared out evenly, groups and equal images stay whole."""

import random
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.data.folds import fold_splits, folds_of, pool
from plusx.data.images import ImageSet
from plusx.data.sources import load_digits, load_source
from tests.conftest import save_image


def image_set(labels: list[int], digests: list[str], groups: list[str | None] | None = None) -> ImageSet:
    return ImageSet(
        torch.tensor(labels),
        tuple("abcdef"[: max(labels) + 1]),
        files=tuple(Path(f"{label}/{place}") for place, label in enumerate(labels)),
        digests=tuple(digests),
        groups=None if groups is None else tuple(groups),
    )


@given(
    sizes=st.lists(st.integers(6, 30), min_size=2, max_size=4),
    folds=st.integers(2, 6),
    seed=st.integers(0, 10**9),
)
@settings(max_examples=60, deadline=None)
def test_each_fold_has_as_much_of_each_class_whatever_the_order(sizes: list[int], folds: int, seed: int) -> None:
    rng = random.Random(seed)
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    digests = [f"{rng.getrandbits(128):032x}" for _ in labels]
    found = folds_of(image_set(labels, digests), folds)
    for label in range(len(sizes)):
        counts = Counter(fold for fold, its in zip(found, labels, strict=True) if its == label)
        assert len(counts) == folds and max(counts.values()) - min(counts.values()) <= 1
    order = list(range(len(labels)))
    rng.shuffle(order)
    again = folds_of(image_set([labels[n] for n in order], [digests[n] for n in order]), folds)
    assert again == [found[n] for n in order]


@given(
    images=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 15)), min_size=20, max_size=60),
    folds=st.integers(2, 4),
)
@settings(max_examples=100, deadline=None)
def test_groups_and_equal_images_stay_whole_and_each_image_is_out_once(
    images: list[tuple[int, int, int]], folds: int
) -> None:
    labels = [min(label, max(it[0] for it in images)) for label, _, _ in images]
    digests = [f"{content:032x}" for _, content, _ in images]
    groups = [f"g{group}" if group else None for _, _, group in images]
    whole = image_set(labels, digests, groups)
    try:
        splits = [fold_splits({"train": whole, "val": whole.take([])}, f"{n + 1}/{folds}") for n in range(folds)]
    except ValueError as fault:  # too few groups of a class
        assert "folds" in str(fault)
        return
    out = Counter(file for each in splits for file in each["test"].files or ())
    assert out == Counter(whole.files)
    for each in splits:
        sides = [each[split] for split in ("train", "val", "test")]
        assert sum(map(len, sides)) == len(whole)
        for side in sides:
            others = [other for other in sides if other is not side]
            for what in ("digests", "groups", "files"):
                mine = {value for value in getattr(side, what) if value}
                assert not any(mine & {value for value in getattr(other, what) if value} for other in others)
        assert {*each["train"].labels_N.tolist()} == {*labels}


def test_the_folds_of_a_folder_take_its_validation_images_too_and_leave_its_test_images_aside(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for number in range(8):
            seed = 100 * ("train", "val", "test").index(split) + number
            save_image(tmp_path / split / "ab"[number % 2] / f"{number}.png", seed=seed)
    splits = load_source(str(tmp_path)).splits
    assert len(pool(splits)) == 16
    first, second = (fold_splits(splits, f"{n}/2") for n in (1, 2))
    assert set(first["test"].files or ()) | set(second["test"].files or ()) == set(pool(splits).files or ())
    assert all(
        "/test/" not in str(file) for each in (first, second) for its in each.values() for file in its.files or ()
    )


def test_images_in_memory_have_folds_too() -> None:
    splits = [fold_splits(load_digits(), f"{n}/3") for n in (1, 2, 3)]
    assert sum(len(each["test"]) for each in splits) == 1437 and all(set(each) == {"train", "test"} for each in splits)


@pytest.mark.parametrize(("size", "folds"), [(3, 4), (1, 2)])
def test_fewer_images_than_folds_is_one_sentence(size: int, folds: int) -> None:
    labels = [0] * 9 + [1] * size
    message = f"class 'b' has {size} images, fewer than {folds} folds; take fewer folds, or more images"
    with pytest.raises(ValueError, match=re.escape(message)):
        folds_of(image_set(labels, [f"{n:032x}" for n in range(len(labels))]), folds)
    with pytest.raises(ValueError, match="class 'b' has 2 groups of images, fewer than 3 folds"):
        folds_of(image_set([0] * 9 + [1] * 9, [f"{n:032x}" for n in range(18)], [None] * 9 + ["g", "h"] * 4 + ["h"]), 3)

"""Groups stay whole: laws of the split by content and by group."""

import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.data.folder import assign, load_folder
from plusx.data.images import ImageSet, select
from plusx.data.scan import LabelledFile
from plusx.data.sources import load_source
from plusx.data.split import group_of, held_back, together
from tests.conftest import save_image

DIGESTS = [hashlib.sha256(bytes([number])).hexdigest()[:32] for number in range(40)]
images = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 39), st.one_of(st.none(), st.sampled_from("pqrstuvw"))),
    min_size=1,
    max_size=40,
)


def files(drawn: list[tuple[str, int, str | None]]) -> list[LabelledFile]:
    return [
        LabelledFile((name, str(place)), "", name, DIGESTS[content], group)
        for place, (name, content, group) in enumerate(drawn)
    ]


def joined(drawn: list[LabelledFile]) -> list[set[LabelledFile]]:
    """What must stay together, found by merging sets until none meet; written without the code under test."""
    parts = [{image} for image in drawn]
    merged = True
    while merged:
        merged = False
        for one in parts:
            for other in parts:
                meets = any(a.digest == b.digest or (a.group and a.group == b.group) for a in one for b in other)
                if one is not other and meets:
                    one |= other
                    parts.remove(other)
                    merged = True
                    break
            if merged:
                break
    return parts


@given(images)
@settings(max_examples=200, deadline=None)
def test_no_group_and_no_content_is_in_two_splits_and_every_class_is_trained_on(
    drawn: list[tuple[str, int, str | None]],
) -> None:
    every = files(drawn)
    splits, copies = assign(every)
    assert not copies and Counter(splits["train"] + splits["val"]) == Counter(every)
    assert {image.class_name for image in splits["train"]} == {image.class_name for image in every}
    sides = [set(splits["train"]), set(splits["val"])]
    assert all(part <= sides[0] or part <= sides[1] for part in joined(every))
    keys = together([image.digest for image in every], [image.group for image in every])
    by_key = [{image for image, key in zip(every, keys, strict=True) if key == each} for each in set(keys)]
    assert sorted(map(sorted, by_key), key=str) == sorted(map(sorted, joined(every)), key=str)
    again, _ = assign(every[::-1])
    assert set(again["val"]) == sides[1]  # no order decides


@given(images, st.integers(0, 100), st.integers(0, 45))
@settings(max_examples=150, deadline=None)
def test_slices_keep_groups_whole(drawn: list[tuple[str, int, str | None]], per_cent: int, count: int) -> None:
    every = files(sorted(drawn, key=lambda each: each[0]))
    held = ImageSet(
        torch.tensor(["abc".index(image.class_name) for image in every]),
        tuple("abc"),
        files=tuple(Path(*image.parts) for image in every),
        digests=tuple(image.digest for image in every),
        groups=tuple(image.group for image in every),
    )
    for cut in (f"{per_cent}%", str(count)):
        sides = [select({"train": held}, f"train[{side}]") for side in (f":{cut}", f"{cut}:")]
        paths = [set(side.files or ()) if side else set() for side in sides]
        assert not paths[0] & paths[1] and paths[0] | paths[1] == set(held.files or ())
        for part in joined(every):
            assert {Path(*image.parts) for image in part} <= paths[0] or {
                Path(*image.parts) for image in part
            } <= paths[1]


@given(st.integers(0, 10**6), st.integers(4, 40), st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_the_split_is_stratified_where_groups_allow_it(seed: int, groups: int, largest: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    classes, names = [], []
    for class_name in "abc":
        for number in range(groups):
            size = int(torch.randint(1, largest + 1, (), generator=rng))
            classes += [class_name] * size
            names += [f"{seed} {class_name} {number}"] * size
    keys = together([f"{number:032x}" for number in range(len(names))], names)
    chosen = held_back(classes, keys, grouped=True)
    for class_name in "abc":
        sizes = Counter(key for its, key in zip(classes, keys, strict=True) if its == class_name)
        share = sum(sizes[key] for key in sizes.keys() & chosen) / sizes.total()
        assert 0 < share < 1
        step = max(sizes.values()) / sizes.total()  # what one group may move
        assert 0.1 - step < share < 0.4 + step


@given(st.integers(0, 10**6), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_images_and_groups_that_are_added_move_none(seed: int, more: int) -> None:
    names = [f"{seed} {number % 60}" for number in range(600)]
    digests = [f"{number:032x}" for number in range(600)]
    before = held_back(["a"] * 600, together(digests, names), grouped=True)
    names += [f"{seed} {number}" for number in range(more)] + [f"{seed} new {number}" for number in range(more)]
    digests += [f"{number:032x}" for number in range(600, 600 + 2 * more)]
    keys = together(digests, names)
    share = len([key for key in keys[:600] if key in before]) / 600
    if 0.15 < share < 0.35:  # far from where chance is corrected
        after = held_back(["a"] * len(keys), keys, grouped=True)
        assert before == after & set(keys[:600])


def test_frames_of_a_clip_stay_together(tmp_path: Path) -> None:
    for clip in range(12):
        for frame in range(5):
            name = ("ant", "bee")[clip % 2]
            save_image(tmp_path / name / f"clip{clip}_{frame}.png", seed=100 * clip + frame, hue=clip % 2)
    source = load_source(str(tmp_path), group=r"(clip\d+)_")
    clips = {split: {path.name.split("_")[0] for path in held.files or ()} for split, held in source.splits.items()}
    assert clips["train"] and clips["val"] and not clips["train"] & clips["val"]
    assert source.notes == ("12 groups, each in one split",)
    assert source.fingerprint == load_source(str(tmp_path)).fingerprint
    save_image(tmp_path / "ant" / "other.png", seed=9_999)
    assert load_source(str(tmp_path), group=r"(clip\d+)_").notes == (
        "12 groups, each in one split; 1 of 61 images are in none",
    )
    with pytest.raises(ValueError, match="gives no image of .* a group: it matches nothing in a path such as"):
        load_folder(tmp_path, group=r"(patient\d+)")
    with pytest.raises(ValueError, match="data.group is '.clip', which matches paths of files; digits has none"):
        load_source("digits", group="(clip")


def test_groups_that_were_put_into_two_splits_by_hand_are_refused(tmp_path: Path) -> None:
    for split, clip in (("train", 1), ("train", 2), ("val", 2), ("val", 3)):
        for number, name in enumerate(("ant", "bee")):
            save_image(tmp_path / split / name / f"c{clip}_{split}.png", seed=10 * clip + number + 5 * (split == "val"))
    message = "group 'c2' is in two splits, train (train/ant/c2_train.png) and val (val/ant/c2_val.png)"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_folder(tmp_path, group=r"(c\d)_")


def test_a_group_is_what_the_first_brackets_match() -> None:
    assert group_of(r"p(\d+)/(\w+)", "ant/p7/left.png") == "7"
    assert group_of(r"p(x)?", "p7.png") is None

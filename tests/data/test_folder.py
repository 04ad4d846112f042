"""Class folders: layouts, splits, and what is refused."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import plusx
from plusx.data.check import check_data
from plusx.data.decode import FullScale, UndecodableError
from plusx.data.folder import assign, load_folder
from plusx.data.images import relabel, select
from plusx.data.preprocess import Preprocess, fit_preprocess
from plusx.data.scan import LabelledFile, scan
from plusx.recipes.data import PreprocessSpec
from tests.conftest import save_image

Make = Callable[..., Path]


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_every_name_of_a_validation_folder_is_known(class_folder: Make, val: str) -> None:
    splits = load_folder(class_folder(["train", val], {"ant": 3, "bee": 2})).splits
    assert {name: len(images) for name, images in splits.items()} == {"train": 5, "val": 5, "test": 0}


def test_a_test_folder_decides_nothing(class_folder: Make) -> None:
    splits = load_folder(class_folder(["train", "test"], {"ant": 20, "bee": 20})).splits
    assert len(splits["test"]) == 40
    assert len(splits["val"]) > 0 and len(splits["train"]) + len(splits["val"]) == 40


def test_a_flat_folder_is_split_by_class(class_folder: Make) -> None:
    splits = load_folder(class_folder([], {"ant": 100, "bee": 60})).splits
    for index, count in enumerate((100, 60)):
        in_val = int((splits["val"].labels_N == index).sum())
        assert 0.08 * count < in_val < 0.35 * count
    files = {*splits["train"].files, *splits["val"].files}
    assert len(files) == 160


def test_adding_images_moves_none(class_folder: Make) -> None:
    root = class_folder([], {"ant": 40, "bee": 40})
    before = load_folder(root).splits
    for i in range(30):
        save_image(root / "ant" / f"new {i}.png", seed=9_000 + i)
        save_image(root / "cat" / f"{i}.png", seed=9_500 + i)
    after = load_folder(root).splits
    for split in ("train", "val"):
        assert set(before[split].files) <= set(after[split].files)


def test_copies_of_a_picture_stay_on_one_side(class_folder: Make) -> None:
    root = class_folder([], {"ant": 30, "bee": 30})
    for file in list(root.rglob("*.png")):
        shutil.copy(file, file.with_name(f"copy of {file.name}"))
    splits = load_folder(root).splits
    stems = {s: {f.parent.name + f.name.removeprefix("copy of ") for f in splits[s].files} for s in ("train", "val")}
    assert not stems["train"] & stems["val"]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_tiny_class_has_an_image_on_either_side(class_folder: Make, count: int) -> None:
    splits = load_folder(class_folder([], {"ant": count, "bee": count})).splits
    for split in ("train", "val"):
        assert set(splits[split].labels_N.tolist()) == {0, 1}


def test_undecodable_files_are_all_found_and_nothing_else(class_folder: Make) -> None:
    root = class_folder(["train", "val"], {"ant": 4, "bee": 4})
    whole = save_image(root / "whole.jpg", size=(200, 200))
    (root / "train" / "ant" / "truncated.jpg").write_bytes(whole.read_bytes()[:2000])
    whole.unlink()
    (root / "train" / "bee" / "empty.png").touch()
    (root / "val" / "bee" / "page.jpg").write_text("<html></html>")
    (root / "val" / "bee" / "notes.txt").write_text("not an image, and not said to be one")
    (root / "val" / "bee" / ".DS_Store").write_text("")
    found = check_data(root)
    assert [fault.path for fault in found.faults] == [
        "train/ant/truncated.jpg",
        "train/bee/empty.png",
        "val/bee/page.jpg",
    ]
    assert [each.path for each in found.left_out if not each.fault] == ["val/bee/notes.txt"]
    assert found.problem is None
    with pytest.raises(ValueError, match=r"truncated.jpg: damaged.*and 2 more"):
        load_folder(root)
    splits, _, _, left_out = load_folder(root, undecodable="skip")
    assert len(splits["train"]) == 8 and len(splits["val"]) == 8 and len(left_out) == 4


def test_folders_that_cannot_be_trained_on_are_refused(class_folder: Make, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a class named test" / "test").mkdir(parents=True)
    save_image(tmp_path / "a class named test" / "test" / "1.png")
    save_image(tmp_path / "file.png")
    cases = {
        tmp_path / "absent": "no such file or folder",
        tmp_path / "file.png": "is a file",
        tmp_path / "empty": "no class folder with images in",
        tmp_path / "a class named test": "no class folder with images in .*a class named test/test",
        class_folder(["val"], {"ant": 3, "bee": 3}, name="only val"): "has images in val/ but none in train/",
        class_folder([], {"ant": 3}, name="one"): "one class only, 'ant'",
    }
    for root, reason in cases.items():
        with pytest.raises(ValueError, match=reason):
            load_folder(root)


def test_a_class_that_train_lacks_is_refused_by_name(class_folder: Make) -> None:
    root = class_folder(["train", "val"], {"ant": 3, "bee": 3})
    save_image(root / "val" / "wasp" / "1.png")
    with pytest.raises(ValueError, match="class 'wasp' .* is not in train/"):
        load_folder(root)


def test_classes_are_matched_by_name_not_by_position(class_folder: Make) -> None:
    root = class_folder(["train", "val"], {"ant": 3, "bee": 3, "cat": 3})
    shutil.rmtree(root / "val" / "ant")
    splits = load_folder(root).splits
    assert sorted(splits["val"].labels_N.tolist()) == [1, 1, 1, 2, 2, 2]
    assert relabel(splits["val"], ("ant", "bee", "cat")).labels_N.tolist() == [1, 1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match="class 'cat' is none of the net's: ant, bee"):
        relabel(splits["val"], ("ant", "bee"))


def test_a_folder_of_val_alone_is_enough_to_measure_on(class_folder: Make) -> None:
    root = class_folder(["val"], {"ant": 3, "bee": 3})
    assert load_folder(root, to_train=False).as_found["val"].labels_N.tolist() == [0, 0, 0, 1, 1, 1]
    assert check_data(root).problem == f"{root} has images in val/ but none in train/"


def test_the_order_of_files_is_that_of_their_names(class_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folder([], {"ant": 8, "bee": 8})

    @contextlib.contextmanager
    def shuffled(folder: str) -> Iterator[list[os.DirEntry[str]]]:
        with listed(folder) as inside:
            entries = list(inside)
        yield random.sample(entries, k=len(entries))

    listed = os.scandir
    monkeypatch.setattr(os, "scandir", shuffled)
    assert [i.parts for i in scan(root).images] == sorted(i.parts for i in scan(root).images)


@pytest.mark.parametrize(
    "names", [("Train", "VAL", "Test"), ("training", "dev", "testing"), ("TRAIN", "valid", "test")]
)
def test_the_usual_names_of_splits_are_known_in_any_case(class_folder: Make, names: tuple[str, ...]) -> None:
    root = class_folder(list(names), {"ant": 3, "bee": 2})
    splits = load_folder(root).splits
    assert {split: len(images) for split, images in splits.items()} == {"train": 5, "val": 5, "test": 5}
    assert splits["train"].class_names == ("ant", "bee")


def test_two_folders_of_one_split_are_refused(class_folder: Make) -> None:
    with pytest.raises(ValueError, match=r"has both Train/ and training/, which are one split, train; keep one"):
        scan(class_folder(["Train", "training"], {"ant": 1, "bee": 1}))


@pytest.mark.parametrize("tops", [["2019", "2020"], ["fold1", "fold2", "fold3"], ["photos train", "photos test"]])
def test_folders_that_all_hold_the_same_folders_are_refused_with_the_layout_that_is_wanted(
    class_folder: Make, tops: list[str]
) -> None:
    root = class_folder(tops, {"cat": 2, "dog": 2})
    shutil.rmtree(root / tops[-1] / "cat")  # one may lack a class
    save_image(root / tops[-1] / "dog" / "deeper" / "x.png", seed=77)
    with pytest.raises(
        ValueError, match=r"hold the same folders \(cat, dog\).*lay them out as train/CLASS/..., val/CLASS"
    ):
        load_folder(root)
    whole = root.rename(root.with_name("classes"))
    (root / "train").parent.mkdir()
    whole.rename(root / "train")  # the way out that the message names
    assert load_folder(root).splits["train"].class_names == tuple(sorted(tops))


def test_folders_in_class_folders_are_part_of_the_class(class_folder: Make) -> None:
    root = class_folder([], {"ant": 2, "bee": 2})
    for name in ("left", "right"):
        save_image(root / "ant" / name / "1.png", seed=len(name))
    splits = load_folder(root).splits
    assert sum(map(len, splits.values())) == 6 and splits["train"].class_names == ("ant", "bee")


def test_a_folder_beside_those_of_the_splits_is_named_with_every_file_in_it(class_folder: Make) -> None:
    root = class_folder(["train", "test", "holdout"], {"ant": 5, "bee": 5})
    (root / "empty one").mkdir()
    found = check_data(root)
    assert found.unused == ("empty one", "holdout") and found.problem is None
    splits, _, _, left_out = load_folder(root)
    assert len(left_out) == 10 and sum(map(len, splits.values())) == 20
    assert left_out[0].path == "holdout/ant/0.png" and left_out[0].reason == (
        "in holdout/, which is not used beside train/ and test/"
    )


@pytest.mark.parametrize("names", [["train", "test"], ["train", "bus", "car"], ["valid", "invalid"]])
def test_classes_named_as_splits_are_refused_with_the_layout_that_is_wanted(
    class_folder: Make, names: list[str]
) -> None:
    root = class_folder([], dict.fromkeys(names, 2))
    with pytest.raises(ValueError, match=r"itself holds 2 images: if it is a class, put all class folders into"):
        load_folder(root)
    root.rename(root.with_name("all"))
    root.mkdir()
    root.with_name("all").rename(root / "train")
    assert load_folder(root).splits["train"].class_names == tuple(sorted(names))


@pytest.mark.parametrize("split", ["", "train"])
@pytest.mark.parametrize("content", [None, "notes.txt", "damaged.png", "IMG_1.HEIC"])
def test_a_class_with_no_readable_image_is_an_error(class_folder: Make, split: str, content: str | None) -> None:
    root = class_folder([split] if split else [], {"ant": 3, "bee": 3})
    (root / split / "cat").mkdir()
    if content is not None:
        (root / split / "cat" / content).write_text("no image")
    expected = r"class 'cat' has no readable training image \(.*cat\)"
    with pytest.raises(ValueError, match=expected):
        load_folder(root, undecodable="skip")
    problem = check_data(root).problem
    assert problem is not None and problem.startswith("class 'cat' has no readable training image")


def test_an_empty_class_folder_that_is_only_measured_on_is_said(class_folder: Make) -> None:
    root = class_folder(["train", "val"], {"ant": 3, "bee": 3})
    shutil.rmtree(root / "val" / "ant")
    (root / "val" / "ant").mkdir()
    load_folder(root)
    found = check_data(root)
    assert found.problem is None and found.notes == ("val/ant holds no image that can be read",)
    assert found.counts["val"] == {"ant": 0, "bee": 3}
    shutil.rmtree(root / "val" / "bee")
    assert check_data(root).notes[-1] == (
        "the validation folder holds no image that can be read; validation images are taken from train/"
    )


def test_links_are_followed_and_circles_end(class_folder: Make, tmp_path: Path) -> None:
    root = class_folder([], {"ant": 3, "bee": 3})
    elsewhere = tmp_path / "elsewhere"
    for i in range(4):
        save_image(elsewhere / "wasps" / f"{i}.png", seed=50 + i)
    (root / "wasp").symlink_to(elsewhere / "wasps")
    (root / "ant" / "linked.png").symlink_to(root / "bee" / "0.png")
    (elsewhere / "wasps" / "back").symlink_to(elsewhere)
    (root / "bee" / "up").symlink_to("..")
    (root / "bee" / "self").symlink_to("self")
    found = check_data(root)
    assert found.counts == {"all": {"ant": 4, "bee": 3, "wasp": 4}}
    assert {each.path: each.reason.split(" (")[0] for each in found.left_out} == {
        "wasp/back": "a link that leads back",
        "bee/up": "a link that leads back",
        "bee/self": "cannot be read",
    }


def test_broken_links_and_folders_that_cannot_be_read_are_faults_by_name(
    class_folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folder(["train", "val"], {"ant": 3, "bee": 3})
    (root / "train" / "ant" / "gone.png").symlink_to(root / "nowhere.png")
    (root / "train" / "ant" / "more").symlink_to(root / "nowhere")
    (root / "train" / "bee" / "locked").mkdir()
    listed = os.scandir

    def refusing(folder: str) -> object:  # root may read all
        if folder.endswith("locked"):
            raise PermissionError(13, "Permission denied", folder)
        return listed(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    found = check_data(root)
    assert [(fault.path, fault.reason.split(" (")[0]) for fault in found.faults] == [
        ("train/ant/gone.png", "a broken link"),
        ("train/ant/more", "a broken link"),
        ("train/bee/locked", "cannot be read"),
    ]
    with pytest.raises(ValueError, match=r"train/ant/gone.png: a broken link \(to .*nowhere.png\) \(and 2 more"):
        load_folder(root)
    assert len(load_folder(root, undecodable="skip").left_out) == 3


@pytest.mark.parametrize("name", ["val", "Validation"])
def test_a_split_that_is_a_broken_link_is_refused_not_replaced(class_folder: Make, name: str) -> None:
    root = class_folder(["train"], {"ant": 9, "bee": 9})
    (root / name).symlink_to("/not/mounted")
    with pytest.raises(ValueError, match=rf"{name}: a broken link \(to /not/mounted\)"):
        load_folder(root, undecodable="skip")


def test_a_class_that_is_a_broken_link_does_not_vanish(class_folder: Make) -> None:
    root = class_folder([], {"ant": 3, "bee": 3})
    (root / "wasp").symlink_to("/not/mounted/wasp")
    with pytest.raises(ValueError, match="class 'wasp' has no readable training image"):
        load_folder(root, undecodable="skip")


def test_a_pipe_is_left_out_and_never_opened(class_folder: Make) -> None:
    root = class_folder([], {"ant": 2, "bee": 2})
    os.mkfifo(root / "ant" / "pipe.png")
    assert [each[:2] for each in load_folder(root).left_out] == [("ant/pipe.png", "neither a file nor a folder")]


def test_photographs_that_pillow_does_not_read_are_faults_with_the_way_to_convert_them(class_folder: Make) -> None:
    root = class_folder([], {"ant": 3, "bee": 3})
    for number in range(3):
        (root / "ant" / f"IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (root / "bee" / "said to be.jpg").write_bytes(b"\0\0\0\x18ftypheic")
    found = check_data(root)
    ((reason, its),) = found.by_reason.items()
    assert len(its) == len(found.faults) == 4 and "HEIC is not read; convert it to JPEG" in reason
    with pytest.raises(ValueError, match="magick mogrify -format jpg"):
        load_folder(root)


def test_equal_content_goes_to_one_split_whichever_classes_it_lies_in(class_folder: Make) -> None:
    for name, sizes in {"tiny": {"ant": 1, "bee": 60}, "small": {"ant": 2, "bee": 60, "cat": 3}}.items():
        root = class_folder([], sizes, name=name)
        for number, file in enumerate(sorted((root / "bee").iterdir())):
            if number % 2:
                shutil.copy(file, root / "ant" / f"copy of {file.name}")
        train, val = (set(load_folder(root).splits[split].digests or ()) for split in ("train", "val"))
        assert train and val and not train & val


@given(classes=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=6), min_size=1, max_size=5))
@settings(max_examples=300, deadline=None)
def test_no_content_is_trained_on_and_held_out_and_every_class_is_trained_on(classes: list[list[int]]) -> None:
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(13)]
    images = [
        LabelledFile((str(name), str(place)), "", str(name), digests[content])
        for name, contents in enumerate(classes)
        for place, content in enumerate(contents)
    ]
    parts, copies = assign(images)
    assert not copies
    train, val = ({image.digest for image in parts[split]} for split in ("train", "val"))
    assert not train & val and len(parts["train"]) + len(parts["val"]) == len(images)
    assert {image.class_name for image in parts["train"]} == {image.class_name for image in images}
    renamed, _ = assign([image._replace(class_name=f"{9 - int(image.class_name)}") for image in images])
    assert {image.digest for image in renamed["val"]} == val  # no name decides


def test_ordinary_folders_are_split_as_they_were_before_copies_across_classes_counted(tmp_path: Path) -> None:
    """Fingerprint and split of commit 92492fa, of files whose bytes no library decides."""
    number = 0
    for name, count in {"ant": 2, "bee": 12, "강": 3}.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(count):
            content = b"P6 2 2 255\n" + hashlib.sha256(str(number).encode()).digest()[:12]
            (tmp_path / "data" / name / f"{i}.ppm").write_bytes(content)
            number += 1
    (tmp_path / "data").rename(tmp_path / "moved")
    splits, _, fingerprint, _ = load_folder(tmp_path / "moved")
    assert fingerprint == "94ca11bebc795b5b5da58b234e3fdd86"
    held_out = [file.relative_to(tmp_path / "moved").as_posix() for file in splits["val"].files or ()]
    assert held_out == [
        *("ant/1.ppm", "bee/0.ppm", "bee/1.ppm", "bee/2.ppm", "bee/4.ppm", "bee/8.ppm", "강/1.ppm", "강/2.ppm")
    ]


def test_copies_in_two_classes_or_two_splits_are_named(class_folder: Make) -> None:
    root = class_folder(["train", "val", "test"], {"ant": 4, "bee": 4})
    shutil.copy(root / "train" / "ant" / "0.png", root / "train" / "bee" / "copy.png")
    shutil.copy(root / "train" / "ant" / "1.png", root / "test" / "ant" / "leak.png")
    shutil.copy(root / "train" / "ant" / "2.png", root / "train" / "ant" / "again.png")
    found = check_data(root)
    assert found.copies.classes == (("train/ant/0.png", "train/bee/copy.png"),)
    assert found.copies.splits == (("train/ant/1.png", "test/ant/leak.png"),)
    assert found.problem is None and not found.faults


def test_a_class_name_in_two_forms_of_unicode_is_one_class(tmp_path: Path) -> None:
    root, nfc = tmp_path / "photos", "강아지"
    nfd = unicodedata.normalize("NFD", nfc)
    for place, name in enumerate([f"train/{nfc}", f"train/{nfd}", "train/고양이", f"test/{nfd}"]):
        for i in range(4):
            save_image(root / name / f"{i}.png", seed=10 * place + i)
    splits = load_folder(root).splits
    assert splits["train"].class_names == (nfc, "고양이")
    assert len(splits["train"]) + len(splits["val"]) == 12 and splits["test"].labels_N.tolist() == [0] * 4
    assert all(file.is_file() for file in splits["train"].files or ())  # by their own bytes
    assert any("are one class" in note for note in check_data(root).notes)
    for names in ((nfd, "고양이"), ("고양이", nfc)):
        images = relabel(splits["test"], names)
        assert {names[label] for label in images.labels_N.tolist()} == {n for n in names if n != "고양이"}


def test_class_names_that_differ_in_capitals_or_spaces_alone_are_said(class_folder: Make) -> None:
    root = class_folder([], {"Cat": 2, "cat": 2, "dog": 2, "dog ": 2})
    assert check_data(root).notes == (
        "classes 'Cat' and 'cat' differ only in capitals or spaces",
        "classes 'dog' and 'dog ' differ only in capitals or spaces",
    )


def test_a_name_that_is_not_utf8_is_a_fault_like_a_file_that_cannot_be_decoded(class_folder: Make) -> None:
    root = class_folder([], {"ant": 8, "bee": 8})
    shutil.copy(root / "ant" / "0.png", root / "ant" / os.fsdecode(b"caf\xe9.png"))
    assert [(fault.path, fault.reason[:21]) for fault in check_data(root).faults] == [
        ("ant/caf\\xe9.png", "its path is not UTF-8")
    ]
    with pytest.raises(ValueError, match=r"ant/caf\\xe9.png: its path is not UTF-8"):
        load_folder(root)
    out = root.parent / "run"
    overrides = {"data.undecodable": "skip", "steps": "1", "batch_size": "4", "net.name": "mlp", "preprocess.size": "8"}
    plusx.train(root, out=out, overrides=overrides)
    card = json.loads((out / "card.json").read_bytes())
    assert len(card["source"]["left_out"]) == 1 and card["source"]["left_out"][0].startswith("ant/caf\\xe9.png: ")
    assert sum(card["source"]["images"].values()) == 16
    (root / os.fsdecode(b"fa\xe7ade")).mkdir()  # a class
    shutil.copy(root / "ant" / "1.png", root / os.fsdecode(b"fa\xe7ade") / "1.png")
    with pytest.raises(ValueError, match=r"class 'fa\\\\xe7ade' has no readable training image"):
        load_folder(root, undecodable="skip")
    with pytest.raises(ValueError, match=r"the path of .*fa\\xe7ade is not UTF-8"):
        scan(root / os.fsdecode(b"fa\xe7ade"))


def test_slices_of_a_folder_hold_every_class(class_folder: Make) -> None:
    root = class_folder(["train"], {"ant": 10, "bee": 20, "cat": 7})
    whole = {"train": load_folder(root).splits["train"], "val": load_folder(root).splits["val"]}
    sides = [select(whole, expression) for expression in ("train[:50%]", "train[50%:]")]
    counts = torch.bincount(whole["train"].labels_N)
    for side in sides:
        assert side is not None
        assert ((torch.bincount(side.labels_N) - counts / 2).abs() <= 0.5).all()
    assert {*sides[0].files, *sides[1].files} == set(whole["train"].files)  # type: ignore[union-attr, misc]


def test_a_training_set_that_lacks_a_class_is_refused(class_folder: Make) -> None:
    root = class_folder(["train", "val"], {"ant": 40, "bee": 40, "cat": 2})
    for overrides, lacking in (({"data.train": "train[:20%]"}, "'cat'"), ({"data.limit": "2"}, "'bee'")):
        with pytest.raises(ValueError, match=rf"training images of data.train=train.* lack {lacking}; take a larger"):
            plusx.train(
                root, out=root.parent / "run", overrides={"net.name": "mlp", "preprocess.size": "8", **overrides}
            )


def test_many_names_are_cut_and_the_way_out_is_named(class_folder: Make) -> None:
    root = class_folder(["val"], {"n01440764": 1, "n01443537": 1})
    with pytest.raises(ValueError) as refused:
        relabel(load_folder(root, to_train=False).as_found["val"], [f"some class {i}" for i in range(1000)])
    assert "and 994 more" in str(refused.value) and "plusx convert FILE --classes FILE" in str(refused.value)
    assert len(str(refused.value)) < 500


def test_one_folder_too_high_is_said(class_folder: Make) -> None:
    root = class_folder(["train", "val"], {"ant": 2, "bee": 2}, name="unpacked/photos")
    with pytest.raises(ValueError, match=r"one class only, 'photos'.*if its folders train, val are the classes, name"):
        load_folder(root.parent)


def test_one_scale_is_found_for_a_whole_folder_and_a_range_that_fits_none_is_refused(tmp_path: Path) -> None:
    def write(name: str, high: float, dtype: type) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.linspace(0, high, 64).reshape(8, 8).astype(dtype)).save(path)

    for i, high in enumerate((255, 254.6, 0.9, 30)):  # dark ones are dark, not of another scale
        write(f"ant/{i}.tif", high, np.float32)
        write(f"bee/{i}.tif", high, np.int32)
    images = load_folder(tmp_path).splits["train"]
    assert images.full_scale == FullScale(integers=255.0, reals=255.0)
    preprocess = fit_preprocess(images, PreprocessSpec(size=8, fit="squash"))
    assert Preprocess.from_dict(preprocess.to_dict()).full_scale == images.full_scale
    assert preprocess.pixels(tmp_path / "ant" / "2.tif").max() == 1
    assert preprocess.pixels(tmp_path / "ant" / "0.tif").unique().numel() == 64
    write("ant/9.tif", 4095, np.float32)
    found = check_data(tmp_path)
    assert [fault.path for fault in found.faults] == [f"ant/{i}.tif" for i in (0, 1, 2, 3, 9)]
    with pytest.raises(
        ValueError, match=r"real numbers from 0 to 4095 are on no scale that is known \(0 to 1, 0 to 255"
    ):
        load_folder(tmp_path)
    with pytest.raises(UndecodableError, match=r"real numbers from 0 to 4095, where .* trained on have 0 to 255"):
        preprocess.pixels(tmp_path / "ant" / "9.tif")


def test_an_image_that_is_trained_on_is_never_in_another_split(class_folder: Make) -> None:
    root = class_folder(["train", "val", "test"], {"ant": 4, "bee": 4})
    shutil.copy(root / "train" / "ant" / "0.png", root / "test" / "ant" / "again.png")
    shutil.copy(root / "train" / "bee" / "1.png", root / "val" / "ant" / "mislabelled.png")
    found, checked = load_folder(root), check_data(root)
    assert {split: len(images) for split, images in found.splits.items()} == {"train": 8, "val": 8, "test": 8}
    assert [(each.path, each.reason) for each in found.left_out] == [
        ("test/ant/again.png", "a copy of an image that is trained on (train/ant/0.png)"),
        ("val/ant/mislabelled.png", "a copy of an image that is trained on (train/bee/1.png)"),
    ]
    assert checked.left_out == found.left_out and checked.assigned == {"train": 8, "val": 8, "test": 8}
    assert len(checked.copies.splits) == 2 and checked.files == 26
    shutil.rmtree(root / "test")
    shutil.copytree(root / "train", root / "test")
    with pytest.raises(ValueError, match="every image of test/ is in train/, too"):
        load_folder(root)
    assert check_data(root).problem == "every image of test/ is in train/, too"

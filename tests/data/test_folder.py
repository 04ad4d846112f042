"""Class folders: layouts, splits, and what is refused."""

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plusx.data.check import check
from plusx.data.folder import load_folder, load_labelled, scan
from tests.conftest import save_picture

Make = Callable[..., Path]


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_every_name_of_a_validation_folder_is_known(class_folder: Make, val: str) -> None:
    splits, _, _ = load_folder(class_folder(["train", val], {"ant": 3, "bee": 2}))
    assert {name: len(images) for name, images in splits.items()} == {"train": 5, "val": 5, "test": 0}


def test_a_test_folder_decides_nothing(class_folder: Make) -> None:
    splits, _, _ = load_folder(class_folder(["train", "test"], {"ant": 20, "bee": 20}))
    assert len(splits["test"]) == 40
    assert len(splits["val"]) > 0 and len(splits["train"]) + len(splits["val"]) == 40


def test_a_flat_folder_is_split_by_class(class_folder: Make) -> None:
    splits, _, _ = load_folder(class_folder([], {"ant": 100, "bee": 60}))
    for index, count in enumerate((100, 60)):
        in_val = int((splits["val"].labels_N == index).sum())
        assert 0.08 * count < in_val < 0.35 * count
    files = {*splits["train"].files, *splits["val"].files}
    assert len(files) == 160


def test_adding_images_moves_none(class_folder: Make) -> None:
    root = class_folder([], {"ant": 40, "bee": 40})
    before, _, _ = load_folder(root)
    for i in range(30):
        save_picture(root / "ant" / f"new {i}.png", seed=9_000 + i)
        save_picture(root / "cat" / f"{i}.png", seed=9_500 + i)
    after, _, _ = load_folder(root)
    for split in ("train", "val"):
        assert set(before[split].files) <= set(after[split].files)


def test_copies_of_a_picture_stay_on_one_side(class_folder: Make) -> None:
    root = class_folder([], {"ant": 30, "bee": 30})
    for file in list(root.rglob("*.png")):
        shutil.copy(file, file.with_name(f"copy of {file.name}"))
    splits, _, _ = load_folder(root)
    stems = {s: {f.parent.name + f.name.removeprefix("copy of ") for f in splits[s].files} for s in ("train", "val")}
    assert not stems["train"] & stems["val"]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_tiny_class_has_an_image_on_either_side(class_folder: Make, count: int) -> None:
    splits, _, _ = load_folder(class_folder([], {"ant": count, "bee": count}))
    for split in ("train", "val"):
        assert set(splits[split].labels_N.tolist()) == {0, 1}


def test_undecodable_files_are_all_found_and_nothing_else(class_folder: Make) -> None:
    root = class_folder(["train", "val"], {"ant": 4, "bee": 4})
    whole = save_picture(root / "whole.jpg", size=(200, 200))
    (root / "train" / "ant" / "truncated.jpg").write_bytes(whole.read_bytes()[:2000])
    whole.unlink()
    (root / "train" / "bee" / "empty.png").touch()
    (root / "val" / "bee" / "page.jpg").write_text("<html></html>")
    (root / "val" / "bee" / "notes.txt").write_text("not an image, and not said to be one")
    (root / "val" / "bee" / ".DS_Store").write_text("")
    found = check(root)
    assert [fault.path for fault in found.faults] == [
        "train/ant/truncated.jpg",
        "train/bee/empty.png",
        "val/bee/page.jpg",
    ]
    assert [each.path for each in found.left_out if not each.fault] == ["val/bee/notes.txt"]
    assert found.problem is None
    with pytest.raises(ValueError, match=r"truncated.jpg: damaged.*and 2 more"):
        load_folder(root)
    splits, _, left_out = load_folder(root, undecodable="skip")
    assert len(splits["train"]) == 8 and len(splits["val"]) == 8 and len(left_out) == 4


def test_folders_that_cannot_be_trained_on_are_refused(class_folder: Make, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a class named test" / "test").mkdir(parents=True)
    save_picture(tmp_path / "a class named test" / "test" / "1.png")
    save_picture(tmp_path / "file.png")
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
    save_picture(root / "val" / "wasp" / "1.png")
    with pytest.raises(ValueError, match="class 'wasp' .* is not in train/"):
        load_folder(root)


def test_classes_are_matched_by_name_not_by_position(class_folder: Make) -> None:
    root = class_folder(["train", "val"], {"ant": 3, "bee": 3, "cat": 3})
    shutil.rmtree(root / "val" / "ant")
    splits, _, _ = load_folder(root)
    assert sorted(splits["val"].labels_N.tolist()) == [1, 1, 1, 2, 2, 2]
    assert load_labelled(root / "val", ("ant", "bee", "cat")).labels_N.tolist() == [1, 1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match="class 'cat' is none of the net's: ant, bee"):
        load_labelled(root / "val", ("ant", "bee"))


def test_a_folder_of_val_alone_is_enough_to_measure_on(class_folder: Make) -> None:
    root = class_folder(["val"], {"ant": 3, "bee": 3})
    assert load_labelled(root, ("ant", "bee")).labels_N.tolist() == [0, 0, 0, 1, 1, 1]
    assert check(root).problem == f"{root} has images in val/ but none in train/"


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

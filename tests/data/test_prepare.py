"""Prepared folders: the same images, labels and splits; restarted, refused, and never half a one."""

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import plusx
from plusx.data import prepare
from plusx.data.augment import make_augmentation
from plusx.data.batches import EvalBatches, TrainBatches
from plusx.data.images import ImageSet
from plusx.data.prepare import prepare_data, smaller_sides
from plusx.data.prepared import INDEX, PIXELS, UNFINISHED, Prepared
from plusx.data.preprocess import fit_preprocess
from plusx.data.sources import Source, load_source
from plusx.data.views import ViewBatches, Views
from plusx.recipes import folder as folder_recipe
from plusx.recipes.augment import RandomResizedCrop
from plusx.recipes.data import PreprocessSpec
from plusx.runs.images import images_of
from tests.conftest import save_image

ClassFolder = Callable[..., Path]
COUNTS = {"ant": 30, "bee": 25}


def prepared_of(root: Path, **options: int) -> Source:
    out = root.with_name(f"{root.name}-prepared")
    prepare_data(root, out, progress=False, **options)
    return load_source(str(out))


def same_images(one: ImageSet, other: ImageSet) -> bool:
    """Whether two sets hold the same labels, names and digests in the same order."""
    mine, theirs = ((s.labels_N.tolist(), s.class_names, s.digests) for s in (one, other))
    return mine == theirs


@pytest.mark.parametrize("splits", [[], ["train", "val"], ["train", "test"]])
def test_classes_splits_and_tensors_are_those_of_the_folder(class_folder: ClassFolder, splits: list[str]) -> None:
    root = class_folder(splits, COUNTS)
    files, stored = load_source(str(root)), prepared_of(root)
    assert stored.splits.keys() == files.splits.keys() and stored.as_found.keys() == files.as_found.keys()
    assert stored.fingerprint != files.fingerprint
    preprocess = fit_preprocess(files.splits["train"], PreprocessSpec(size=24, crop_fraction=0.8))
    again = fit_preprocess(stored.splits["train"], PreprocessSpec(size=24, crop_fraction=0.8))
    assert preprocess.to_dict() == again.to_dict()
    augmentation = make_augmentation((RandomResizedCrop(),), preprocess)
    for split, images in files.splits.items():
        assert same_images(images, stored.splits[split])
        for (x, labels), (mine, its) in zip(
            EvalBatches(images, preprocess, 8), EvalBatches(stored.splits[split], preprocess, 8, readers=2), strict=True
        ):
            assert torch.equal(x, mine) and torch.equal(labels, its)
    for fast in (False, True):
        x, _ = TrainBatches(files.splits["train"], preprocess, augmentation, 16, 0, fast=fast)[1]
        mine, _ = TrainBatches(stored.splits["train"], preprocess, augmentation, 16, 0, fast=fast)[1]
        assert torch.equal(x, mine)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 512))
def test_what_is_made_smaller_keeps_its_shape(width: int, height: int, size: int) -> None:
    small = smaller_sides(width, height, size)
    if min(width, height) <= size:
        assert small == (width, height)
    else:
        lost = max(width, height) * size / min(width, height) - max(small)
        assert min(small) == size and 0 <= lost < 2 and (max(small) - size) % 2 == 0
        assert (small[0] < small[1]) <= (width < height) and (small[0] > small[1]) <= (width > height)


def test_larger_images_give_nearly_the_same_evaluation(tmp_path: Path) -> None:
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(0)
    for number in range(12):
        photo = load_sample_image(("china.jpg", "flower.jpg")[number % 2])
        top, left = int(rng.integers(0, 52)), int(rng.integers(0, 140))
        file = tmp_path / "photos" / ("china", "flower")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        window = photo[top : top + 375, left : left + 500]
        Image.fromarray(window if number % 3 else window.transpose(1, 0, 2).copy()).save(file, quality=92)
    files, stored = load_source(str(tmp_path / "photos")), prepared_of(tmp_path / "photos")
    for size, fraction, mean, most in ((224, 0.875, 0.001, 1), (128, 0.875, 1.5, 20), (96, 1.0, 1.5, 20)):
        preprocess = fit_preprocess(files.as_found[""], PreprocessSpec(size=size, crop_fraction=fraction))
        for one, other in zip(files.as_found[""].files or (), range(12), strict=True):
            exact, mine = preprocess.pixels(one).int(), preprocess.pixels(stored.as_found[""].source(other)).int()
            difference = (exact - mine).abs()
            assert difference.float().mean() <= mean and difference.max() <= most


def test_exif_colours_and_greys_are_stored_upright_in_rgb(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    turned, grey = root / "ant" / "turned.jpg", root / "ant" / "grey.png"
    save_image(root / "bee" / "0.png", seed=1)
    save_image(root / "bee" / "1.png", seed=2)
    save_image(turned, size=(60, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(turned).save(turned, exif=exif)
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(grey)
    stored = prepared_of(root, size=16).as_found[""]
    shapes = {file.name: stored.image(i).size for i, file in enumerate(stored.files or ())}
    assert shapes["turned.jpg"] == (16, 48) and shapes["grey.png"] == (24, 16)


def test_training_evaluation_and_resume_know_a_prepared_folder(class_folder: ClassFolder, tmp_path: Path) -> None:
    import dataclasses

    root = class_folder([], COUNTS)
    prepare_data(root, tmp_path / "small", progress=False)
    recipe = dataclasses.replace(folder_recipe().smoke(), batch_size=8)
    overrides = {"net.name": "resnet20", "preprocess.size": "16"}
    runs = [
        plusx.train(data, recipe=recipe, overrides=overrides, out=tmp_path / name, progress=False)
        for data, name in ((root, "of-files"), (tmp_path / "small", "of-stored"))
    ]
    weights = [(trained.run / "weights.safetensors").read_bytes() for trained in runs]
    assert weights[0] == weights[1]  # nothing was made smaller
    own = images_of(runs[1].run, runs[1].card)
    assert own.of_run and own.split == "val" and own.names[0].startswith("ant/")
    foreign = images_of(runs[1].run, runs[1].card, root)  # no image that was trained on
    assert len(foreign.images) == len(own.images)
    assert plusx.evaluate(runs[1].run, progress=False).split == "val"


def test_workers_map_the_pixels_themselves(class_folder: ClassFolder) -> None:
    images = prepared_of(class_folder([], COUNTS)).as_found[""]
    stored = images.stored
    assert isinstance(stored, Prepared) and len(pickle.dumps(stored)) < 1000
    assert images.files is not None
    again = pickle.loads(pickle.dumps(stored))
    assert all(np.array_equal(again(file), stored(file)) for file in images.files)


def interrupted(monkeypatch: pytest.MonkeyPatch, after: int, fault: BaseException) -> None:
    """Have writing fail at the `after`-th file that is flushed to the disk, before or after its bytes are there."""
    real, count = os.fsync, 0

    def fsync(handle: int) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise fault
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(prepare, "GROUP", 8)


@pytest.mark.parametrize("after", (1, 2, 3, 4, 9, 15, 16))
@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interruption_at_any_instant_is_gone_on_from(
    class_folder: ClassFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, after: int, fault: BaseException
) -> None:
    root, out, whole = class_folder([], COUNTS), tmp_path / "out", tmp_path / "whole"
    prepare_data(root, whole, size=24, progress=False)
    with monkeypatch.context() as patch:
        interrupted(patch, after, fault)
        with pytest.raises((KeyboardInterrupt, ValueError, OSError)):
            prepare_data(root, out, size=24, progress=False)
    if (out / UNFINISHED).exists():
        with pytest.raises(ValueError, match="is not finished; resume it with: plusx data prepare"):
            load_source(str(out))
        with (out / "done.jsonl").open("a") as file:
            file.write("[123, 4")  # a line that was being written
    made = prepare_data(root, out, size=24, progress=False)
    assert made.images == 55 and (made.kept > 0 or after < 4)
    assert (out / PIXELS).read_bytes() == (whole / PIXELS).read_bytes()
    assert sorted(path.name for path in out.iterdir()) == [PIXELS, INDEX]
    places = [json.loads((folder / INDEX).read_text())["places"] for folder in (out, whole)]
    assert places[0] == places[1]


def test_a_full_disk_is_known_before_anything_is_written(
    class_folder: ClassFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = class_folder([], COUNTS)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="has 0.00 GB free, and the images need 0.07 GB; choose"):
        prepare_data(root, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_is_one_sentence(
    class_folder: ClassFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    interrupted(monkeypatch, 4, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(ValueError, match="after 8 of 55 images: No space left on device; make room and run the same"):
        prepare_data(class_folder([], COUNTS), tmp_path / "out", progress=False)


def changed(root: Path) -> None:
    save_image(root / "ant" / "0.png", seed=99)


def rewritten(root: Path) -> None:
    """Other content of the same length, at the same path."""
    file = root / "ant" / "0.png"
    file.write_bytes(bytes(reversed(file.read_bytes())))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (changed, "where ant/0.png has changed since"),
        (rewritten, "where ant/0.png has changed since"),
        (lambda root: (root / "bee" / "0.png").unlink(), "where bee/0.png is gone since"),
        (lambda root: save_image(root / "bee" / "new.png"), "where bee/new.png is new since"),
        (lambda root: shutil.rmtree(root / "bee"), "where bee/0.png is gone since, and 24 more"),
    ],
)
def test_what_was_made_of_other_files_is_refused(
    class_folder: ClassFolder, change: Callable[[Path], None], reason: str
) -> None:
    root = class_folder([], COUNTS)
    source = prepared_of(root)
    (root / "ant" / "notes.txt").write_text("no image")
    os.utime(root / "ant" / "1.png")  # touched, and the same
    load_source(source.name)
    change(root)
    with pytest.raises(ValueError, match=reason):
        load_source(source.name)


def test_it_stands_for_itself_where_the_folder_is_gone(class_folder: ClassFolder) -> None:
    root = class_folder([], COUNTS)
    before = prepared_of(root)
    shutil.rmtree(root)
    assert load_source(before.name).fingerprint == before.fingerprint


def cut(out: Path) -> None:
    with (out / PIXELS).open("r+b") as file:
        file.truncate(1000)


def of_others(out: Path) -> None:
    pixels = np.fromfile(out / PIXELS, dtype=np.uint8)
    (255 - pixels).tofile(out / PIXELS)


def of_another_version(out: Path) -> None:
    index = json.loads((out / INDEX).read_text())
    (out / INDEX).write_text(json.dumps(index | {"version": 2}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "pixels.bin has 1,000 bytes of"),
        (of_others, "does not hold the images of its index; remove it and prepare it again"),
        (of_another_version, r"another version of plusx \(format 2, not 1\)"),
        (lambda out: (out / PIXELS).unlink(), "pixels.bin has 0 bytes of"),
        (lambda out: (out / INDEX).write_text("{}"), "prepared.json is not an index of prepared images"),
        (lambda out: (out / INDEX).write_text('{"format": "plus'), "prepared.json is not an index of prepared images"),
    ],
)
def test_what_is_damaged_is_refused(class_folder: ClassFolder, damage: Callable[[Path], None], reason: str) -> None:
    out = Path(prepared_of(class_folder([], COUNTS)).name)
    damage(out)
    with pytest.raises(ValueError, match=reason):
        load_source(str(out))


def test_an_input_of_more_detail_than_was_kept_is_refused(class_folder: ClassFolder) -> None:
    source = prepared_of(class_folder([], COUNTS), size=16)
    with pytest.raises(ValueError, match="--size 16; an input of 16 pixels needs 20: prepare .* again with --size 20"):
        fit_preprocess(source.splits["train"], PreprocessSpec(size=16, crop_fraction=0.8))
    preprocess = fit_preprocess(load_source("digits").splits["train"], PreprocessSpec())
    import dataclasses

    larger = dataclasses.replace(preprocess, size=(32, 32))
    with pytest.raises(ValueError, match="an input of 32 pixels needs 32"):
        EvalBatches(source.splits["train"], larger, 4)[0]
    with pytest.raises(ValueError, match="an input of 24 pixels needs 24"):
        ViewBatches(source.splits["train"], preprocess, Views(scales=(12, 24)), 4)[0]


def test_another_out_is_asked_for_where_it_would_mix(class_folder: ClassFolder, tmp_path: Path) -> None:
    root, out = class_folder([], COUNTS), tmp_path / "out"
    other = class_folder([], COUNTS, name="others")
    save_image(other / "bee" / "more.png", seed=7)
    made = prepare_data(root, out, progress=False)
    assert prepare_data(root, out, progress=False) == plusx.data.prepare.PreparedFolder(out, 55, made.size_bytes, 55)
    for source, options, reason in (
        (other, {}, "was prepared of other images or at another size"),
        (root, {"size": 20}, "was prepared of other images or at another size"),
        (out, {}, "is prepared already"),
    ):
        with pytest.raises(ValueError, match=reason):
            prepare_data(source, out, progress=False, **options)
    with pytest.raises(ValueError, match="lie in one another"):
        prepare_data(root, root / "cache", progress=False)
    with pytest.raises(ValueError, match="is not empty; choose another"):
        prepare_data(root, other, progress=False)
    (root / "ant" / "bad.png").write_bytes(b"")
    with pytest.raises(ValueError, match="bad.png: the file is empty; repair or remove it, or prepare without: --unde"):
        prepare_data(root, tmp_path / "new", progress=False)
    prepare_data(root, tmp_path / "new", undecodable="skip", progress=False)
    assert [each.path for each in load_source(str(tmp_path / "new")).left_out] == ["ant/bad.png"]


def test_a_folder_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "0.png").write_bytes(b"none")
    with pytest.raises(ValueError, match="holds no image that can be read"):
        prepare_data(tmp_path / "photos", tmp_path / "out", undecodable="skip", progress=False)
    assert not (tmp_path / "out").exists()

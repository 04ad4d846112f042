"""Shards: the files of a folder in tar archives, for webdataset and for training by offset."""

import errno
import io
import json
import os
import tarfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from plusx.data import shards
from plusx.data.augment import make_augmentation
from plusx.data.batches import TrainBatches
from plusx.data.prepare import prepare_data
from plusx.data.prepared import INDEX, UNFINISHED
from plusx.data.preprocess import fit_preprocess
from plusx.data.sources import load_source
from plusx.recipes.augment import FlipLR, RandomResizedCrop
from plusx.recipes.data import PreprocessSpec

ClassFolder = Callable[..., Path]
COUNTS = {"ant": 12, "bee": 9}


def samples(out: Path, split: str) -> list[dict[str, bytes]]:
    """The samples of a split by suffix, grouped as webdataset groups members: by what stands before the first dot."""
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    for file in sorted(out.glob(f"{split}-*.tar")):
        with tarfile.open(file) as archive:
            for member in archive:
                key, _, suffix = member.name.partition(".")
                opened = archive.extractfile(member)
                assert opened is not None
                found[key][suffix] = opened.read()
    return list(found.values())


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 20_000)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("splits", [[], ["train", "val"]])
def test_every_file_is_one_sample_with_its_class(class_folder: ClassFolder, tmp_path: Path, splits: list[str]) -> None:
    root, out = class_folder(splits, COUNTS), tmp_path / "shards"
    prepare_data(root, out, shards=True, progress=False)
    assert not (out / UNFINISHED).exists() and len(list(out.glob("*.tar"))) > 2
    for split in splits or ["all"]:
        its = samples(out, split)
        assert sorted(its[0]) == ["cls", "json", "png"]
        about = [json.loads(sample["json"]) for sample in its]
        assert [sorted(COUNTS)[int(sample["cls"])] for sample in its] == [each["class"] for each in about]
        assert [(root / each["path"]).read_bytes() for each in about] == [sample["png"] for sample in its]
        assert len({each["path"] for each in about}) == len(about) == 21
        assert len({each["class"] for each in about[:8]}) == 2  # mixed


@pytest.mark.usefixtures("small_shards")
def test_training_from_shards_is_training_from_the_folder(class_folder: ClassFolder, tmp_path: Path) -> None:
    root, out = class_folder([], COUNTS), tmp_path / "shards"
    prepare_data(root, out, shards=True, progress=False)
    files, stored = load_source(str(root)), load_source(str(out))
    assert files.fingerprint == stored.fingerprint
    preprocess = fit_preprocess(files.splits["train"], PreprocessSpec(size=16))
    assert fit_preprocess(stored.splits["train"], PreprocessSpec(size=16)).to_dict() == preprocess.to_dict()
    augmentation = make_augmentation((RandomResizedCrop(), FlipLR()), preprocess)
    of_files, of_shards = (
        TrainBatches(source.splits["train"], preprocess, augmentation, 5, 3, readers)
        for source, readers in ((files, 1), (stored, 2))
    )
    for step in (0, 7):
        assert torch.equal(of_files[step][0], of_shards[step][0]) and torch.equal(of_files[step][1], of_shards[step][1])
    (x, _), *_ = list(of_shards.steps(0, 2, workers=2))
    assert torch.equal(x, of_files[0][0])


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("after", [1, 2, 3, 4])
@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_interrupted_shards_are_gone_on_with(
    class_folder: ClassFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, after: int, fault: BaseException
) -> None:
    root, out, whole = class_folder([], COUNTS), tmp_path / "out", tmp_path / "whole"
    prepare_data(root, whole, shards=True, progress=False)
    real, calls = os.fsync, iter(range(1, 100))
    with monkeypatch.context() as patch:

        def fsync(handle: int) -> None:
            if next(calls) == after:
                raise fault
            real(handle)

        patch.setattr(os, "fsync", fsync)
        with pytest.raises((KeyboardInterrupt, OSError, ValueError)):
            prepare_data(root, out, shards=True, progress=False)
    made = prepare_data(root, out, shards=True, progress=False)
    assert made.images == 21 and (made.kept > 0) == (after > 2)
    names = sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in out.iterdir()) == names
    assert all((out / name).read_bytes() == (whole / name).read_bytes() for name in names if name != INDEX)


def test_cut_and_foreign_shards_are_refused(class_folder: ClassFolder, tmp_path: Path) -> None:
    root, out = class_folder([], COUNTS), tmp_path / "shards"
    prepare_data(root, out, shards=True, progress=False)
    file = out / "all-000000.tar"
    content = file.read_bytes()
    file.write_bytes(content[:-BLOCKS])
    with pytest.raises(ValueError, match=r"all-000000.tar has .* bytes of .*--shards"):
        load_source(str(out))
    file.write_bytes(bytes(255 - byte for byte in content))
    with pytest.raises(ValueError, match="does not hold the images of its index"):
        load_source(str(out))
    file.write_bytes(content)
    load_source(str(out))
    (root / "ant" / "0.png").unlink()
    with pytest.raises(ValueError, match="where ant/0.png is gone since"):
        load_source(str(out))
    with pytest.raises(ValueError, match="--size is 64, but --shards stores the files as they are"):
        prepare_data(root, tmp_path / "new", shards=True, size=64, progress=False)
    with pytest.raises(ValueError, match="prepared of other images or at another size"):
        prepare_data(root, out, progress=False)


BLOCKS = 512


def test_webdataset_reads_them(class_folder: ClassFolder, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    root, out = class_folder([], COUNTS), tmp_path / "shards"
    prepare_data(root, out, shards=True, progress=False)
    dataset = webdataset.WebDataset(str(out / "all-000000.tar"), shardshuffle=False)
    read = [(Image.open(io.BytesIO(sample["png"])).size, int(sample["cls"])) for sample in dataset]
    assert len(read) == 21 and {label for _, label in read} == {0, 1}

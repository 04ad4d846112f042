"""ImageNet from archives of the official layout, with three classes and tiny images."""

import csv
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from plusx.data import imagenet
from plusx.data.imagenet import DEVKIT, TRAIN, VAL, prepare_imagenet
from plusx.data.sources import load_source
from tests.cli.commands import plusx, refused, result

CLASSES = {3: ("n01440764", "tench, Tinca tinca"), 1: ("n02119789", "kit fox"), 2: ("n01443537", "goldfish, carp")}
"""By the devkit's number, which is in another order than WordNet's."""
ORDER = sorted(wnid for wnid, _ in CLASSES.values())


def truth_of(number: int) -> int:
    """The devkit's number of the class of a validation image."""
    return number * 7 % 3 + 1


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three archives."""
    root = tmp_path_factory.mktemp("archives")
    with tarfile.open(root / TRAIN, "w") as outer:
        for number, (wnid, _) in CLASSES.items():
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as archive:
                for image in range(4):
                    add(archive, f"{wnid}_{image}.JPEG", jpeg(1000 * number + image))
            add(outer, f"{wnid}.tar", inner.getvalue())
    with tarfile.open(root / VAL, "w") as archive:
        for number in range(1, 151):
            add(archive, f"ILSVRC2012_val_{number:08}.JPEG", jpeg(10_000 + number))
    rows = [(number, wnid, words, "", 0) for number, (wnid, words) in CLASSES.items()] + [
        (4, "n00001740", "all", "", 3)
    ]
    kinds = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")]
    mat = io.BytesIO()
    savemat(mat, {"synsets": np.array(rows, dtype=kinds)[:, None]})
    with tarfile.open(root / f"{DEVKIT}.tar.gz", "w:gz") as archive:
        add(archive, f"{DEVKIT}/data/meta.mat", mat.getvalue())
        lines = "".join(f"{truth_of(number)}\n" for number in range(1, 151))
        add(archive, f"{DEVKIT}/data/ILSVRC2012_validation_ground_truth.txt", lines.encode())
    return root


@pytest.fixture
def archives(official: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(official, tmp_path / "archives")


def require_whole(out: Path) -> None:
    """Every image in its class, in the standard order, with its name."""
    source = load_source(str(out))
    assert source.splits["train"].class_names == tuple(ORDER)
    assert {split: len(images) for split, images in source.splits.items()} == {"train": 12, "val": 150, "test": 0}
    for file in (out / "val").glob("*/*"):
        assert CLASSES[truth_of(int(file.stem[-8:]))][0] == file.parent.name
        assert file.read_bytes() == jpeg(10_000 + int(file.stem[-8:]))
    with (out / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["index"]), row["class"], row["name"]) for row in rows] == [
        (place, *names) for place, names in enumerate(sorted(CLASSES.values()))
    ]
    assert sorted(path.name for path in out.iterdir()) == ["classes.csv", "train", "val"]


def test_the_archives_become_class_folders(official: Path, tmp_path: Path) -> None:
    answer = result("data", "prepare", "imagenet", "--from", official, "--out", tmp_path / "out")
    assert answer == {"folder": str(tmp_path / "out"), "classes": 3, "train": 12, "val": 150}
    require_whole(tmp_path / "out")
    again = plusx("data", "prepare", "imagenet", "--from", official, "--out", tmp_path / "out")
    assert again.stdout == (
        "3 classes, 12 images to train on, 150 for validation\n"
        f"next: plusx train {tmp_path / 'out'} --recipe imagenet\n"
    )


@pytest.mark.parametrize("flat", [True, False])
def test_what_is_unpacked_is_linked_to(official: Path, tmp_path: Path, flat: bool) -> None:
    prepare_imagenet(official, tmp_path / "once", progress=False)
    tree = tmp_path / "tree"
    shutil.copytree(tmp_path / "once" / "train", tree / "train")
    if flat:
        (tree / "val").mkdir()
        for file in (tmp_path / "once" / "val").glob("*/*"):
            shutil.copy(file, tree / "val")
    else:
        shutil.copytree(tmp_path / "once" / "val", tree / "val")
    with tarfile.open(official / f"{DEVKIT}.tar.gz") as archive:
        archive.extractall(tree, filter="data")
    before = sorted(tree.rglob("*"))
    prepare_imagenet(tree, tmp_path / "out", progress=False)
    require_whole(tmp_path / "out")
    assert sorted(tree.rglob("*")) == before and (tmp_path / "out" / "train" / ORDER[0]).is_symlink()


@pytest.mark.parametrize("after", range(1, 5))
def test_an_interruption_is_gone_on_from(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    calls = iter(range(1, 100))

    def flush() -> None:
        if next(calls) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(imagenet, "_flush", flush)
        with pytest.raises(KeyboardInterrupt):
            prepare_imagenet(official, tmp_path / "out", progress=False)
    prepare_imagenet(official, tmp_path / "out", progress=False)
    require_whole(tmp_path / "out")


def rewritten(archives: Path, name: str, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    """An archive with each member changed, or left out."""
    with tarfile.open(archives / name) as old:
        members = [(m.name, old.extractfile(m).read()) for m in old if m.isfile()]  # type: ignore[union-attr]
    with tarfile.open(archives / name, "w:gz" if name.endswith("gz") else "w") as new:
        for member in members:
            if (kept := change(*member)) is not None:
                add(new, *kept)


def cut(archives: Path) -> None:
    content = (archives / TRAIN).read_bytes()
    (archives / TRAIN).write_bytes(content[: len(content) // 2])


def one_less(name: str, content: bytes) -> tuple[str, bytes] | None:
    return None if name.endswith("00000004.JPEG") else (name, content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda root: (root / f"{DEVKIT}.tar.gz").unlink(), "has neither ILSVRC2012_devkit_t12.tar.gz nor"),
        (lambda root: (root / VAL).unlink(), "has neither ILSVRC2012_img_val.tar nor val/"),
        (lambda root: (root / f"{DEVKIT}.tar.gz").write_bytes(b"no archive"), "tar.gz is damaged"),
        (cut, "is damaged|lack"),
        (lambda root: rewritten(root, VAL, one_less), "has 49 validation images; ImageNet has 50 of each"),
        (
            lambda root: rewritten(root, TRAIN, lambda name, content: ("../evil.tar", content)),
            "holds '../evil.tar', which is no archive of a class",
        ),
        (
            lambda root: rewritten(root, TRAIN, lambda name, content: ("n00000009.tar", content)),
            "which is no image of its class",
        ),
        (
            lambda root: rewritten(root, TRAIN, lambda name, it: None if name[:-4] == ORDER[1] else (name, it)),
            "the training images lack n01443537",
        ),
        (
            lambda root: rewritten(root, VAL, lambda name, it: (name.replace("00000004", "00009999"), it)),
            "'ILSVRC2012_val_00009999.JPEG' is none of the 150 validation images",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_one_sentence(
    archives: Path, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    damage(archives)
    with pytest.raises(ValueError, match=reason):
        prepare_imagenet(archives, tmp_path / "out", progress=False)
    assert not (tmp_path / "out" / "classes.csv").exists() and not (tmp_path / "evil.tar").exists()


def test_the_command_says_what_is_missing(official: Path, tmp_path: Path) -> None:
    assert "imagenet --from DIR" in refused("data", "prepare", "imagenet", "--out", "out", cwd=tmp_path)
    assert "--from goes with imagenet" in refused("data", "prepare", "x", "--from", official, "--out", tmp_path / "o")
    sized = ("data", "prepare", "imagenet", "--from", official, "--out", tmp_path / "o", "--size", "256")
    assert "--size and --shards go with a folder" in refused(*sized)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        prepare_imagenet(official, tmp_path / "full", progress=False)

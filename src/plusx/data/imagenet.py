"""ImageNet (ILSVRC 2012) as class folders, from the official archives or from what was unpacked of them.

    ILSVRC2012_img_train.tar         an archive for each class: n01440764.tar, of n01440764_10026.JPEG ...
    ILSVRC2012_img_val.tar           ILSVRC2012_val_00000001.JPEG ... in no folder
    ILSVRC2012_devkit_t12.tar.gz     data/meta.mat, the classes, and data/ILSVRC2012_validation_ground_truth.txt

In place of the archives, train/ and val/ may be there unpacked, val/ flat or in class folders; these are linked to, and
nothing is moved. A class folder is named by its WordNet number, whose order is the order of the classes everywhere.
"""

import csv
import io
import os
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from plusx.data.images import listed
from plusx.data.prepare import require_room
from plusx.progress import shown

TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12"
CLASSES = "classes.csv"
VAL_A_CLASS = 50
_VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_TRAIN_NAME = re.compile(r"(n\d{8})_\d+\.JPEG")


@dataclass(frozen=True)
class PreparedImageNet:
    """What `prepare_imagenet` left."""

    folder: Path
    classes: int
    train_images: int
    val_images: int

    def __repr__(self) -> str:
        counts = f"{self.train_images:,} training and {self.val_images:,} validation images"
        return f"<PreparedImageNet {self.folder} of {self.classes:,} classes, {counts}>"


@dataclass(frozen=True)
class _Devkit:
    names: dict[str, str]
    """What a class is called, by its WordNet number, in the order of the numbers."""
    truth: tuple[str, ...]
    """The class of each validation image."""


def prepare_imagenet(
    source: str | Path, out: str | Path, *, progress: bool | Callable[[int, int], None] = True
) -> PreparedImageNet:
    """Lay out ImageNet as train/CLASS/ and val/CLASS/, and the names of its classes in classes.csv, offline.

    Args:
        source: Folder with the official archives, or with train/ and val/ and the archive or folder of the devkit.
        out: New folder, or one that an interrupted call left, which is gone on with.
        progress: True shows a bar in a terminal or a notebook; a callable is called with the classes done and in all.

    Raises:
        ValueError: Something is missing, damaged, or not as the devkit says, or the disk is full.
    """
    source, out = Path(source).expanduser().resolve(), Path(out).expanduser().resolve()
    if not source.is_dir():
        raise ValueError(f"no such folder: {source}")
    if out.is_relative_to(source) or source.is_relative_to(out):
        raise ValueError(f"--out {out} and {source} lie in one another; choose another --out")
    devkit = _read_devkit(source)
    for archive, folder in ((TRAIN, "train"), (VAL, "val")):
        if not ((source / archive).is_file() or (source / folder).is_dir()):
            raise ValueError(f"{source} has neither {archive} nor {folder}/")
    if out.exists() and any(path.name not in (CLASSES, "train", "val", ".val.partial") for path in out.iterdir()):
        raise ValueError(f"--out {out} holds something else; choose another")
    require_room(out, _needed(source, out))
    total = len(devkit.names) + 1
    with shown(progress, "imagenet", unit="classes") as report:
        try:
            (out / "train").mkdir(parents=True, exist_ok=True)
            for done, class_name in enumerate(_train(source, out / "train"), 1):
                if class_name not in devkit.names:
                    raise ValueError(f"class {class_name} of the training images is none of the devkit's")
                report(min(done, total - 1), total)
            if missing := [name for name in devkit.names if not (out / "train" / name).is_dir()]:
                raise ValueError(f"the training images lack {listed(missing)}")
            if not (out / "val").exists():
                _val(source, out, devkit)
            report(total, total)
        except (tarfile.TarError, EOFError) as fault:
            raise ValueError(f"an archive in {source} is damaged: {fault}; fetch it again") from None
        except OSError as fault:
            raise ValueError(
                f"cannot write to {out}: {fault.strerror or fault}; run the same again, which goes on from there"
            ) from None
    counts = Counter({name: _images_in(out / "val" / name) for name in devkit.names})
    _require_fifty(counts)
    (out / CLASSES).write_text(_table(devkit), encoding="utf-8")
    train_images = sum(_images_in(out / "train" / name) for name in devkit.names)
    return PreparedImageNet(out, len(devkit.names), train_images, counts.total())


def _read_devkit(source: Path) -> _Devkit:
    folder, archive = source / DEVKIT / "data", source / f"{DEVKIT}.tar.gz"
    wanted = ("meta.mat", "ILSVRC2012_validation_ground_truth.txt")
    if folder.is_dir():
        found = {name: (folder / name).read_bytes() for name in wanted if (folder / name).is_file()}
    elif archive.is_file():
        found = {}
        try:
            with tarfile.open(archive) as opened:
                for member in opened:
                    if (name := Path(member.name).name) in wanted and (content := opened.extractfile(member)):
                        found[name] = content.read()
        except (tarfile.TarError, OSError, EOFError) as fault:
            raise ValueError(f"{archive} is damaged: {fault}; fetch it again") from None
    else:
        raise ValueError(f"{source} has neither {DEVKIT}.tar.gz nor {DEVKIT}/, which say what the images show")
    if lacking := [name for name in wanted if name not in found]:
        raise ValueError(f"the devkit in {source} lacks data/{lacking[0]}")
    by_id = _synsets(found["meta.mat"])
    try:
        truth = tuple(by_id[int(line)][0] for line in found[wanted[1]].split())
    except (KeyError, ValueError) as fault:
        raise ValueError(f"the devkit in {source} has no class {fault} for its validation images") from None
    return _Devkit(dict(sorted(by_id.values())), truth)


def _synsets(mat: bytes) -> dict[int, tuple[str, str]]:
    """WordNet number and name of each class without children, by its number in the devkit."""
    from scipy.io import loadmat  # scikit-learn brings it

    try:
        rows = loadmat(io.BytesIO(mat), squeeze_me=True)["synsets"]
        return {
            int(row["ILSVRC2012_ID"]): (str(row["WNID"]), str(row["words"]))
            for row in rows
            if int(row["num_children"]) == 0
        }
    except Exception as fault:  # a damaged file can raise nearly anything
        raise ValueError(f"the devkit's meta.mat cannot be read ({fault})") from None


def _train(source: Path, train: Path) -> Iterator[str]:
    """Lay out the training images class by class; a class whose folder is there is done."""
    if (source / TRAIN).is_file():
        with tarfile.open(source / TRAIN) as outer:
            for member in outer:
                name = Path(member.name).stem
                if not (train / name).exists():
                    content = outer.extractfile(member)
                    if content is None or not re.fullmatch(r"n\d{8}\.tar", member.name):
                        raise ValueError(f"{TRAIN} holds {member.name!r}, which is no archive of a class")
                    _unpack_class(content, train, name)
                yield name
        return
    for folder in sorted((source / "train").iterdir()):
        if folder.is_dir():
            if not (train / folder.name).exists():
                (train / folder.name).symlink_to(folder, target_is_directory=True)
            yield folder.name


def _unpack_class(content: IO[bytes], train: Path, name: str) -> None:
    """Unpack a class aside and rename its folder."""
    aside = train / f".{name}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    with tarfile.open(fileobj=content) as inner:
        for member in inner:
            match = _TRAIN_NAME.fullmatch(member.name)
            image = inner.extractfile(member)
            if image is None or match is None or match[1] != name:
                raise ValueError(f"{name}.tar holds {member.name!r}, which is no image of its class")
            (aside / member.name).write_bytes(image.read())
    _flush()
    aside.rename(train / name)


def _val(source: Path, out: Path, devkit: _Devkit) -> None:
    """Lay out the validation images aside, count them, and rename their folder."""
    aside, counts = out / ".val.partial", Counter(dict.fromkeys(devkit.names, 0))
    for name in devkit.names:
        (aside / name).mkdir(parents=True, exist_ok=True)
    for file, place in _val_images(source):
        class_name = place if isinstance(place, str) else _class_of(file.name, devkit)
        counts[class_name] += 1
        there = aside / class_name / file.name
        if isinstance(place, str) or place is None:
            if not there.is_symlink():
                there.symlink_to(file)
        elif not there.exists() or there.stat().st_size != len(place):
            there.write_bytes(place)
    if unknown := sorted(counts.keys() - devkit.names.keys()):
        raise ValueError(f"class {unknown[0]} of the validation images is none of the devkit's")
    _require_fifty(counts)
    _flush()
    aside.rename(out / "val")


def _val_images(source: Path) -> Iterator[tuple[Path, bytes | str | None]]:
    """The validation images: each with its content out of the archive, with its class, or, from a flat folder, None."""
    if (source / VAL).is_file():
        with tarfile.open(source / VAL) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    yield Path(Path(member.name).name), content.read()
        return
    for path in sorted((source / "val").iterdir()):
        if path.is_dir():
            yield from ((file, path.name) for file in sorted(path.iterdir()))
        else:
            yield path, None


def _class_of(name: str, devkit: _Devkit) -> str:
    match = _VAL_NAME.fullmatch(name)
    if match is None or not 1 <= int(match[1]) <= len(devkit.truth):
        raise ValueError(f"{name!r} is none of the {len(devkit.truth):,} validation images that the devkit knows")
    return devkit.truth[int(match[1]) - 1]


def _require_fifty(counts: Counter[str]) -> None:
    for name, count in counts.items():
        if count != VAL_A_CLASS:
            raise ValueError(f"class {name} has {count:,} validation images; ImageNet has {VAL_A_CLASS} of each")


def _images_in(folder: Path) -> int:
    return sum(file.suffix == ".JPEG" for file in folder.iterdir())


def _needed(source: Path, out: Path) -> int:
    """Bytes that are still to be unpacked; of archives that are begun, how much is left is not known."""
    begun = (out / "train").is_dir() and any((out / "train").iterdir())
    pending = [*([] if begun else [TRAIN]), *([] if (out / "val").exists() else [VAL])]
    return sum((source / name).stat().st_size for name in pending if (source / name).is_file())


def _table(devkit: _Devkit) -> str:
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("index", "class", "name"))
    rows.writerows((place, *names) for place, names in enumerate(devkit.names.items()))
    return text.getvalue()


def _flush() -> None:
    """Have the disk hold what was written before a rename says so."""
    if hasattr(os, "sync"):  # elsewhere a rename waits by itself
        os.sync()

"""Laws of data that hold for any tree of folders, links, names and files that these tests can draw."""

import io
import os
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from plusx.data.check import check_data
from plusx.data.decode import decode
from plusx.data.images import ImageSet, relabel, select
from plusx.data.preprocess import Preprocess
from plusx.data.scan import scan
from plusx.data.sources import load_source
from plusx.data.tree import printable


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


CONTENTS = [png(seed) for seed in range(40)]
NFC, NFD = "caf\u00e9", "cafe\u0301"
BYTES = os.fsdecode(b"caf\xe9")
CLASSES = ["ant", "bee", " cat", "Ant", "강아지", unicodedata.normalize("NFD", "강아지"), NFC, NFD, BYTES, ".hidden"]
FILES = ["1.png", "2.PNG", "3.png", f"{NFD}.png", f"{BYTES}.png", ".4.png", "ㅁ 5.png", "6.jpg"]
LAYOUTS = [
    ("",),
    ("train",),
    ("Train", "VAL"),
    ("training", "validation", "testing"),
    ("train", "test", "extra"),
]
ODD = ["damaged", "empty", "text", "heic", "broken", "back", "aside", "file", "loose", "folder", "hidden", "deep"]


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[str, str, object]]:
    """What to make, in order: (path, kind, content)."""
    made: list[tuple[str, str, object]] = []
    tops = draw(st.sampled_from(LAYOUTS))
    classes = draw(st.lists(st.sampled_from(CLASSES[:-2]), min_size=2, max_size=4, unique=True))
    number = st.integers(0, len(CONTENTS) - 1)
    for top in tops:
        for name in classes:
            for file in draw(
                st.lists(st.sampled_from(FILES), min_size=0 if draw(st.integers(0, 9)) == 0 else 1, max_size=5)
            ):
                made.append((f"{top}/{name}/{file}".lstrip("/"), "image", draw(number)))
    for place in range(draw(st.integers(0, 6))):
        inner = [draw(st.sampled_from(CLASSES))] if draw(st.integers(0, 4)) else []
        kind = draw(st.sampled_from(ODD))
        made.append(("/".join([draw(st.sampled_from(tops)), *inner, f"odd{place}"]).lstrip("/"), kind, draw(number)))
    return made


def make(root: Path, tree: list[tuple[str, str, object]]) -> None:
    (root / "..aside").mkdir()
    (root / "..aside" / "x.png").write_bytes(CONTENTS[0])
    for name, kind, content in tree:
        assert isinstance(content, int)
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match kind:
            case "image":
                path.write_bytes(CONTENTS[content])
            case "damaged":
                path.with_suffix(".png").write_bytes(CONTENTS[content][:60])
            case "empty":
                path.with_suffix(".jpg").touch()
            case "text":
                path.with_suffix(".txt").write_text("not an image")
            case "heic":
                path.with_suffix(".HEIC").write_bytes(b"\0\0\0\x18ftypheic")
            case "broken":
                path.with_suffix(".png").symlink_to(root / "nowhere")
            case "back":
                path.symlink_to(path.parent if content % 2 else root, target_is_directory=True)
            case "aside":
                path.symlink_to(root / "..aside", target_is_directory=True)
            case "file":
                path.with_suffix(".png").symlink_to(root / "..aside" / "x.png")
            case "loose":
                path.with_suffix(".gif").write_bytes(CONTENTS[content])
            case "folder":
                path.mkdir()
            case "hidden":
                path.with_name(f".{path.name}").mkdir()
                (path.with_name(f".{path.name}") / "1.png").write_bytes(CONTENTS[content])
            case "deep":
                (path / "deeper").mkdir(parents=True)
                (path / "deeper" / "1.png").write_bytes(CONTENTS[content])


def plain_walk(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Every file that is not hidden, every link that is none or leads back; written without the code under test."""
    above = (*above, folder.resolve())
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir() and not any(way == path.resolve() or path.resolve() in way.parents for way in above):
            yield from plain_walk(path, above)
        else:
            yield path


@given(tree=trees())
@settings(max_examples=60, deadline=None)
def test_nothing_vanishes(tree: list[tuple[str, str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "data"
        root.mkdir()
        make(root, tree)
        there = sorted(printable(path.relative_to(root).as_posix()) for path in plain_walk(root))
        try:
            found, read = check_data(root), scan(root)
        except ValueError:  # refused as a whole: nothing is used
            assume(False)
        left_out = [each.path for each in found.left_out]
        assert sorted({"/".join(image.parts) for image in read.images} | set(left_out)) == there
        assert len(left_out) == len(set(left_out))
        assert found.files == len(there) == found.images + len(left_out)
        assert not found.assigned or sum(found.assigned.values()) == found.images
        assert sum(map(len, found.by_reason.values())) == len(left_out)
        try:
            source = load_source(str(root), undecodable="skip")
        except ValueError as fault:
            assert found.problem == str(fault)
            return
        assert found.problem is None
        assert {split: len(images) for split, images in source.splits.items()} == found.assigned
        assert source.left_out == found.left_out
        files = [path for images in source.splits.values() for path in images.files or ()]
        assert sorted([path.relative_to(root).as_posix() for path in files] + left_out) == there
        for images in source.splits.values():
            for path, label in zip(images.files or (), images.labels_N.tolist(), strict=True):
                assert images.class_names[label] in unicodedata.normalize(
                    "NFC", path.relative_to(root).as_posix()
                ).split("/")
        assert set(source.splits["train"].labels_N.tolist()) == set(range(len(source.splits["train"].class_names)))
        train, val, test = (set(source.splits[split].digests or ()) for split in ("train", "val", "test"))
        assert not train & (val | test)  # what is trained on is measured nowhere else


images_of_a_class = st.lists(st.integers(0, 30), min_size=1, max_size=25)


@given(
    contents=st.lists(images_of_a_class, min_size=2, max_size=5),
    per_cent=st.integers(0, 100),
    count=st.integers(0, 130),
    shuffle=st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_a_slice_of_files_takes_as_much_of_every_class_and_parts_no_copies(
    contents: list[list[int]], per_cent: int, count: int, shuffle: object
) -> None:
    def image_set(classes: list[list[int]]) -> ImageSet:
        digests = [f"{hash((7, content)) % 2**64:016x}" for members in classes for content in members]
        labels = torch.tensor([label for label, members in enumerate(classes) for _ in members])
        files = tuple(map(Path, map(str, range(len(digests)))))
        return ImageSet(labels, tuple(map(str, range(len(classes)))), files=files, digests=tuple(digests))

    images = image_set(contents)
    for cut in (f"{per_cent}%", str(count)):
        sides = [select({"train": images}, f"train[{side}]") for side in (f":{cut}", f"{cut}:")]
        files = [set(side.files or ()) if side else set() for side in sides]
        digests = [set(side.digests or ()) if side else set() for side in sides]
        assert not files[0] & files[1] and files[0] | files[1] == set(images.files or ())
        assert not digests[0] & digests[1]
    distinct = [sorted(set(members)) for members in contents]
    alone = image_set([[100 * label + content for content in members] for label, members in enumerate(distinct)])
    taken = select({"train": alone}, f"train[:{per_cent}%]")
    for label, members in enumerate(distinct):
        its = int((taken.labels_N == label).sum()) if taken else 0
        assert abs(its - len(members) * per_cent / 100) <= 0.5
    exact = select({"train": alone}, f"train[:{count}]")
    assert (len(exact) if exact else 0) == min(count, len(alone))


@given(
    classes=st.lists(st.text("abcé강ä", min_size=1, max_size=4), min_size=1, max_size=6, unique=True),
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=10),
    more=st.lists(st.text("xyz", min_size=1, max_size=3), max_size=3, unique=True),
    form=st.sampled_from(["NFC", "NFD"]),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_labels_go_by_name(classes: list[str], labels: list[int], more: list[str], form: str, order: object) -> None:
    own = [unicodedata.normalize("NFC", name) for name in classes]
    images = ImageSet(
        torch.tensor([label % len(own) for label in labels]),
        tuple(own),
        torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8),
    )
    nets = [unicodedata.normalize(form, name) for name in own + more]  # type: ignore[arg-type]
    order.shuffle(nets)  # type: ignore[attr-defined]
    again = relabel(images, nets)
    before = [own[label] for label in images.labels_N.tolist()]
    assert [unicodedata.normalize("NFC", again.class_names[label]) for label in again.labels_N.tolist()] == before


@given(seed=st.integers(0, 10**6), names=st.permutations(["ant", "bee", "wasp", "새"]))
@settings(max_examples=15, deadline=None)
def test_renaming_class_folders_renames_the_labels_and_moves_no_image(seed: int, names: list[str]) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 8, 4)
    sides = []
    with tempfile.TemporaryDirectory() as folder:
        for renamed in (["ant", "bee", "wasp", "새"], names):
            root = Path(folder) / f"data{len(sides)}"
            number = 0
            for name, size in zip(renamed, sizes, strict=True):
                (root / name).mkdir(parents=True)
                for _ in range(size):
                    (root / name / f"{number}.png").write_bytes(CONTENTS[(number * 7 + seed) % len(CONTENTS)])
                    number += 1
            splits = load_source(str(root)).splits
            sides.append(
                {
                    (split, path.name, renamed.index(images.class_names[label]))
                    for split, images in splits.items()
                    for path, label in zip(images.files or (), images.labels_N.tolist(), strict=True)
                }
            )
    assert sides[0] == sides[1]


def written(grey_HW: np.ndarray, form: str, orientation: int) -> bytes:
    """A grey image in some container, mode and depth, stored turned where an orientation undoes it."""
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    container, _, depth = form.partition(" ")
    wide = grey_HW.astype(np.int64)
    arrays = {
        "16": (wide * 257).astype(np.uint16),
        "int255": wide.astype(np.int32),
        "int65535": (wide * 257).astype(np.int32),
        "float1": (wide / 255).astype(np.float32),
        "float1.001": (wide / 255 * 1.001).astype(np.float32),
        "float255": wide.astype(np.float32),
        "float65535": (wide * 257).astype(np.float32),
    }
    image = Image.fromarray(arrays.get(depth, grey_HW))
    if depth in ("RGB", "RGBA", "LA", "P", "CMYK", "L"):
        image = image.convert("RGB").convert("CMYK") if depth == "CMYK" else image.convert(depth)
    if undo is not None:
        image = image.transpose(Image.Transpose(undo))
    options: dict[str, object] = {}
    if orientation > 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    if container == "WEBP":
        options["lossless"] = True
    file = io.BytesIO()
    image.save(file, container, **options)
    return file.getvalue()


TURNED = ["PNG L", "PNG 16", "PNG RGB", "PNG RGBA", "PNG LA", "PNG P", "WEBP RGB", "TIFF L", "TIFF RGB", "TIFF 16"]
TURNED += [
    f"TIFF {depth}" for depth in ("CMYK", "int255", "int65535", "float1", "float1.001", "float255", "float65535")
]
UPRIGHT = ["BMP L", "BMP RGB", "GIF L", "PPM L", "PPM 16", "JPEG2000 L", "JPEG2000 RGB"]


@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    form=st.sampled_from(TURNED + UPRIGHT),
    orientation=st.integers(1, 8),
)
@settings(max_examples=150, deadline=None)
def test_equal_pixels_in_any_container_mode_and_depth_are_equal_tensors(
    seed: int, size: tuple[int, int], form: str, orientation: int
) -> None:
    grey_HW = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    grey_HW[0, 0], grey_HW[-1, -1] = 0, 255  # the range shows the scale
    raw = written(grey_HW, form, orientation if form in TURNED else 1)
    assert np.abs(np.asarray(decode(raw)).astype(int) - grey_HW[..., None]).max() <= ("1.001" in form)
    preprocess = Preprocess(size, torch.zeros(3, 1, 1), torch.ones(3, 1, 1), "", fit="squash")
    assert (preprocess.pixels(raw).int() - torch.from_numpy(grey_HW).int()).abs().max() <= ("1.001" in form)

"""What a check finds: all that was spoiled on purpose, every copy and nearly every near one, and nothing else."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import plusx.data.scan
from plusx.data import alike
from plusx.data.alike import near_pairs, thumbnail
from plusx.data.check import Check, check_data
from plusx.data.findings import Finding
from plusx.data.sources import load_source
from tests.conftest import save_image
from tests.data.spoiled import encoded, nearly, photo, spoiled_folder, spoiled_table

LOSSLESS = {"png": ("PNG", {}), "webp": ("WEBP", {"lossless": True}), "bmp": ("BMP", {}), "tif": ("TIFF", {})}


def of(check: Check, kind: str) -> Finding:
    (finding,) = (each for each in check.findings if each.kind == kind)
    return finding


def files(check: Check, kind: str) -> list[tuple[str, ...]]:
    return [item.files for item in of(check, kind).items]


def test_everything_that_was_spoiled_is_found_and_nothing_else(tmp_path: Path) -> None:
    check = check_data(spoiled_folder(tmp_path / "photos"))
    found = {finding.kind: [item.files for item in finding.items] for finding in check.findings}
    assert found == {
        "unreadable": [
            *[("train/ant/cut.jpg",), ("train/ant/empty.png",), ("train/ant/gone.png",)],
            *[("train/bee/IMG_1.HEIC",), ("train/bee/page.jpg",)],
        ],
        "labels": [("train/ant/a bee.webp", "train/bee/0.png")],
        "leaks": [
            ("train/Bee/0.png", "test/Bee/leak in another format.bmp"),
            ("train/ant/0.jpg", "test/ant/leak, byte by byte.jpg"),
        ],
        "near labels": [("train/ant/2.jpg", "train/wasp/near ant.png")],
        "near leaks": [("train/ant/1.jpg", "test/ant/near leak.jpg")],
        "names": [()],
        "unused": [("old/ant/1.png",)],
        "crop": [],
        "16 bits": [("train/ant/deep.png",)],
        "CMYK": [("train/ant/print.jpg",)],
        "long": [("train/bee/panorama.jpg",)],
        "several frames": [("train/bee/moving.gif",)],
        "tiny": [("train/bee/tiny.png",)],
        "transparent": [("train/bee/sticker.png",)],
        "turned": [("train/ant/turned.jpg",)],
        "copies": [("train/bee/1.png", "train/bee/copy of 1.bmp")],
        "near copies": [("train/bee/2, smaller.png", "train/bee/2.png")],
        "left out": [("train/bee/Thumbs.db",)],
    }  # fmt: skip
    levels = [finding.level for finding in check.findings]
    assert levels == sorted(levels, key=["fault", "warning", "note"].index) and levels.count("fault") == 1
    assert "left out by training: test/ant/leak, byte by byte.jpg" in of(check, "leaks").items[1].said
    assert check.verdict.startswith("photos cannot be trained on as it is: 1 fault, 7 warnings, 10 notes")


def test_every_row_of_a_table_that_is_wrong_is_named_by_its_line(tmp_path: Path) -> None:
    check = check_data(spoiled_table(tmp_path))
    assert [(item.files, item.said) for item in of(check, "rows").items] == [
        (("13.png",), "no split is called 'tset'; did you mean 'test'? (line 15)"),
        (("14.png",), "no label (line 16)"),
        (("./0.png",), "the file of line 2 again, there with the label 'ant' and here with 'bee' (line 18)"),
        (("15.png",), "no split (line 21)"),
    ]
    assert files(check, "unreadable") == [("cut.png",), ("missing.png",)]
    assert "missing (line 17)" in of(check, "unreadable").items[1].said
    assert "'ant' (line 2) and ' Ant' (line 14)" in of(check, "spellings").items[0].said
    assert files(check, "groups") == files(check, "leaks") == [("1.png", "16.bmp")]
    assert "'photographer'" in of(check, "columns").title
    assert check.files == 20 == check.images + len(check.left_out) and check.unit == "row"
    assert check.counts == {"train": {" Ant": 1, "ant": 4, "bee": 4}, "test": {"ant": 2, "bee": 3}}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["1.png,ant,val", "2.png,bee,val"], "has no row of the split train"),
        (["1.png,ant,train", "2.png,ant,train"], "has one label only, 'ant'"),
        (["1.png,ant,train", "2.png,bee,train", "3.png,wasp,test"], "line 4: label 'wasp' is of no training image"),
        (["1.png,ant,train", "no.png,bee,train", "3.png,ant,test"], "label 'bee' has no training image that can"),
        (["1.png,ant,train", "cut.png,bee,train", "3.png,ant,test"], "label 'bee' has no training image that can"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_trained_on_is_a_fault(tmp_path: Path, rows: list[str], problem: str) -> None:
    for number in range(4):
        save_image(tmp_path / f"{number}.png", seed=number)
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:200])
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    check = check_data(tmp_path / "list.csv")
    assert problem in of(check, "problem").title and check.findings[0].level == "fault"


def test_a_table_and_the_same_folder_have_the_same_copies(tmp_path: Path) -> None:
    root = spoiled_folder(tmp_path / "photos")
    folder = check_data(root)
    rows = [(path, place.class_name, path.split("/")[0]) for path, place in folder.places.items()]
    table = tmp_path / "photos" / "table.csv"
    table.write_text("\n".join(["path,label,split", *(",".join(f'"{cell}"' for cell in row) for row in rows)]))
    check = check_data(table)
    assert (check.copies, check.near, check.assigned) == (folder.copies, folder.near, folder.assigned)
    assert check.odd == folder.odd


def test_an_ordinary_folder_has_no_findings(class_folder: Callable[..., Path]) -> None:
    root = class_folder([], {"ant": 10, "bee": 10})
    for file in root.rglob("*.png"):
        photo(hash((file.parent.name, file.stem)) % 2**32, (60, 56)).save(file)
    check = check_data(root)
    assert check.findings == () and check.verdict == "photos can be trained on: nothing was found that is wrong."
    assert check.lines() == () and 0 < check.cropped_away < 0.1


@given(
    images=st.lists(
        st.lists(st.tuples(st.sampled_from(sorted(LOSSLESS)), st.sampled_from("abc")), min_size=1, max_size=5),
        min_size=2,
        max_size=7,
    )
)
@settings(max_examples=40, deadline=None)
def test_every_exact_copy_is_found_in_whatever_format_and_once(images: list[list[tuple[str, str]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, expected = Path(folder) / "data", defaultdict(set)
        for seed, copies in enumerate(images):
            for number, (suffix, name) in enumerate(copies):
                form, options = LOSSLESS[suffix]
                path = root / name / f"{seed} {number}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded(photo(seed, (30, 20)), form, **options))
                expected[seed].add(f"{name}/{path.name}")
        check = check_data(root)
        assert check.near == ((), (), ())
        groups = {*check.copies.classes, *check.copies.splits, *check.copies.within}
        assert sorted(map(sorted, groups)) == sorted(sorted(its) for its in expected.values() if len(its) > 1)
        listed = [file for group in groups for file in group]
        assert len(listed) == len({*listed})
        kinds = ("labels", "leaks", "copies")
        named = [file for f in check.findings if f.kind in kinds for item in f.items for file in item.files]
        assert sorted(named) == sorted(listed)
        sides = {path: place.split for path, place in check.places.items()}
        for group in groups:
            assert (group in check.copies.classes) == (len({file[0] for file in group}) > 1)
            assert (group in check.copies.splits) == (len({sides[file] for file in group}) > 1)
        if check.problem is None:
            splits = load_source(str(root)).splits
            trained = {file.relative_to(root).as_posix() for file in splits["train"].files or ()}
            assert {path for path, split in sides.items() if split == "train"} == trained


def test_equal_values_of_32_bits_are_copies_by_the_scale_of_the_whole_set(class_folder: Callable[..., Path]) -> None:
    root = class_folder([], {"ant": 3, "bee": 3})
    grey = np.asarray(photo(1, (30, 20)).convert("L")).astype(np.float32)
    for name, values in {"ant/1.tif": grey, "ant/2.tif": grey, "bee/dark.tif": grey / 300}.items():
        Image.fromarray(values).save(root / name)
    Image.fromarray(grey.astype(np.uint8)).save(root / "bee" / "copy.png")
    check = check_data(root)
    assert check.copies.classes == (("ant/1.tif", "ant/2.tif", "bee/copy.png"),)
    assert check.odd["32 bits"] == ("ant/1.tif", "ant/2.tif", "bee/dark.tif")


@given(seeds=st.lists(st.integers(0, 10**9), min_size=2, max_size=5, unique=True))
@settings(max_examples=30, deadline=None)
def test_near_copies_are_found_and_independent_images_are_not(seeds: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, expected = Path(folder), []
        for seed in seeds:
            copies = {"original": encoded(photo(seed), "PNG"), **nearly(photo(seed))}
            for name, content in copies.items():
                (root / f"{seed}").mkdir(exist_ok=True)
                (root / f"{seed}" / f"{name}.png").write_bytes(content)
            expected.append(sorted(f"{seed}/{name}.png" for name in copies))
        check = check_data(root)
        assert check.near is not None and not check.copies.within and not check.near.classes
        assert sorted(map(sorted, merged([*check.near.splits, *check.near.within]))) == sorted(expected)


def merged(groups: list[tuple[str, ...]]) -> list[set[str]]:
    result: list[set[str]] = []
    for group in groups:
        touching = [other for other in result if other.intersection(group)]
        result = [other for other in result if other not in touching] + [{*group}.union(*touching)]
    return result


@pytest.mark.parametrize("threads", [1, 5])
def test_the_number_of_threads_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    root = spoiled_folder(tmp_path)
    first = check_data(root)
    monkeypatch.setattr(plusx.data.scan, "usable_processors", lambda: threads)
    assert check_data(root) == first


def brute_force(thumbs: np.ndarray) -> list[list[int]]:
    """Every pair by itself, as the head of alike.py says it."""
    found = []
    for i, j in combinations(range(len(thumbs)), 2):
        (first, second), hashes = thumbs[[i, j]].astype(float), alike._bits(thumbs[[i, j]])
        means = first.mean((0, 1)), second.mean((0, 1))
        first, second = first - means[0], second - means[1]
        contrast = min(np.sqrt(np.square(first).mean()), np.sqrt(np.square(second).mean()))
        rest = np.sqrt(np.square(first - second).mean())
        is_near = (hashes[0] != hashes[1]).sum() <= alike.MOST_BITS and abs(
            means[0] - means[1]
        ).max() <= alike.MOST_SHIFT
        if is_near and rest <= max(alike.LEAST_REST, alike.MOST_REST * contrast):
            found.append([i, j])
    return found


@given(
    seed=st.integers(0, 10**6),
    kinds=st.lists(
        st.tuples(st.sampled_from(["noise", "flat", "slope"]), st.integers(0, 3), st.integers(0, 12)), max_size=40
    ),
)
@settings(max_examples=60, deadline=None)
def test_bands_find_what_comparing_all_pairs_finds(seed: int, kinds: list[tuple[str, int, int]]) -> None:
    rng = np.random.default_rng(seed)
    grounds = {
        "noise": lambda which: np.random.default_rng(which).integers(40, 200, (16, 18, 3)),
        "flat": lambda which: np.full((16, 18, 3), 60 * which + 10),
        "slope": lambda which: np.broadcast_to(np.linspace(30, 30 + 60 * which, 18)[:, None], (16, 18, 3)),
    }
    shaken = [grounds[kind](which) + rng.integers(-noise, noise + 1, (16, 18, 3)) for kind, which, noise in kinds]
    thumbs = [np.clip(each, 0, 255) for each in shaken]
    stacked = np.stack(thumbs).astype(np.uint8) if thumbs else np.empty((0, 16, 18, 3), np.uint8)
    pairs = near_pairs(stacked)
    assert pairs is not None and pairs.tolist() == brute_force(stacked)


def test_flat_images_are_near_only_where_their_colours_are() -> None:
    colours = ["black", "#040404", "white", "red", "green", "#f8ffff"]
    thumbs = np.stack([thumbnail(Image.new("RGB", (64, 48), colour)) for colour in colours])
    assert near_pairs(thumbs).tolist() == [[0, 1], [2, 5]]  # type: ignore[union-attr]


def test_a_set_that_is_all_alike_says_so_and_takes_no_memory(
    class_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alike, "TOO_MANY", 100)
    root = class_folder([], {"ant": 12, "bee": 12})
    for number, file in enumerate(root.rglob("*.png")):
        Image.new("RGB", (40, 40), (100, number % 5, number // 5)).save(file)
    check = check_data(root)
    assert check.near is None and of(check, "all alike").level == "note"
    assert json.dumps(check.near) == "null"


def test_uneven_classes_are_said_from_ten_to_one(class_folder: Callable[..., Path]) -> None:
    check = check_data(class_folder([], {"ant": 30, "bee": 3, "wasp": 4}))
    assert of(check, "imbalance").title == "class 'ant' has 30 images and 'bee' has 3, 10 times fewer"
    assert "imbalance" not in {f.kind for f in check_data(class_folder([], {"a": 29, "b": 3}, name="even")).findings}

"""Tables of labelled images: trained on as folders are, and refused where a row contradicts another one."""

import csv
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.data.folder import load_folder
from plusx.data.labelled import load_table
from plusx.data.sources import load_source
from tests.conftest import save_image

Make = Callable[..., Path]


def write(file: Path, rows: list[dict[str, str]], *, separator: str = ",", mark: str = "") -> Path:
    with file.open("w", encoding="utf-8", newline="") as opened:
        opened.write(mark)
        lines = csv.DictWriter(opened, list(rows[0]), delimiter=separator)
        lines.writeheader()
        lines.writerows(rows)
    return file


def listing(root: Path, *, splits: bool = False) -> list[dict[str, str]]:
    """A row for each image of a folder of class folders."""
    rows = []
    for file in sorted(root.rglob("*.png")):
        row = {"path": file.relative_to(root).as_posix(), "label": file.parent.name}
        rows.append(row | ({"split": file.parent.parent.name} if splits else {}))
    return rows


@pytest.mark.parametrize("splits", [[], ["train", "val"], ["train", "val", "test"]])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_gives_the_splits_of_the_folder_that_it_lists(
    class_folder: Make, splits: list[str], separator: str, mark: str
) -> None:
    root = class_folder(splits, {"ant": 12, "bee": 9})
    rows = listing(root, splits=bool(splits))
    random.Random(0).shuffle(rows)
    loaded, _ = load_table(write(root / "list.csv", rows, separator=separator, mark=mark))
    folder = load_folder(root)
    for split, images in folder.splits.items():
        assert loaded.splits[split].files == images.files
        assert loaded.splits[split].labels_N.tolist() == images.labels_N.tolist()
        assert loaded.splits[split].class_names == images.class_names == ("ant", "bee")
    again, _ = load_table(write(root / "sorted.csv", sorted(rows, key=str)))
    assert loaded.fingerprint == again.fingerprint
    changed = [dict(row) for row in rows]
    changed[0]["label"] = "bee" if rows[0]["label"] == "ant" else "ant"
    assert load_table(write(root / "changed.csv", changed))[0].fingerprint != again.fingerprint


@given(rows=st.randoms(use_true_random=False), groups=st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_groups_of_a_table_stay_whole_whatever_the_order_of_its_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: random.Random, groups: int
) -> None:
    root = tmp_path_factory.mktemp("table")
    every = [
        {"path": f"{number}.png", "label": "ab"[number % 2], "group": f"g{rows.randrange(groups)}" * (number % 5 > 0)}
        for number in range(20)
    ]
    for number in range(20):
        save_image(root / f"{number}.png", seed=rows.randrange(15))  # some are equal
    rows.shuffle(every)
    source = load_source(str(write(root / "list.csv", every)))
    group = {row["path"]: row["group"] for row in every}
    groups_of = {split: {group[p.name] for p in its.files or ()} - {""} for split, its in source.splits.items()}
    digests = {split: set(its.digests or ()) for split, its in source.splits.items()}
    assert not groups_of["train"] & groups_of["val"] and not digests["train"] & digests["val"]
    rows.shuffle(every)
    other = load_source(str(write(root / "list.csv", every)))
    assert {s: i.files for s, i in other.splits.items()} == {s: i.files for s, i in source.splits.items()}
    assert other.fingerprint == source.fingerprint


HEAD = "path,label\n"
GOOD = "a0.png,ant\na1.png,ant\nb0.png,bee\nb1.png,bee\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "list.csv is empty"),
        (HEAD, "list.csv names no image"),
        ("path\na0.png\n", "has no column 'label', which says what each image is"),
        ("path,class\na0.png,ant\n", "has no column 'label', which says what each image is; it has 'path', 'class'"),
        (HEAD + GOOD + "c.png,\nd.png, \n", "c.png: no label (line 6), d.png: no label (line 7); correct the table"),
        (
            HEAD + GOOD + "x.png,ant\ny.png,bee\n",
            "2 of 6 images cannot be read: x.png: missing (line 6), y.png: mis",
        ),
        (HEAD + GOOD + "sub,ant\n", "sub: a folder (line 6)"),
        (HEAD + GOOD + "list.csv,ant\n", "list.csv: "),
        (HEAD + GOOD + "./a0.png,ant\n", "./a0.png: the file of line 2 again (line 6); correct"),
        (
            HEAD + GOOD + "sub/../a0.png,bee\n",
            "the file of line 2 again, there with the label 'ant' and here with 'bee'",
        ),
        (HEAD + GOOD + "a2.png,Ant\n", "labels 'ant' (line 2) and 'Ant' (line 6) differ only in capitals or spaces"),
        (HEAD + GOOD + "a2.png, ant\n", "labels 'ant' (line 2) and ' ant' (line 6) differ only in capitals or spaces"),
        (HEAD + "a0.png,ant\na1.png,ant\n", "has one label only, 'ant'; a classifier needs two classes"),
        ("path,label,split\na0.png,ant,trian\n", "a0.png: no split is called 'trian'; did you mean 'train'? (line 2)"),
        ("path,label,split\na0.png,ant,fold 1\n", "no split is called 'fold 1'; write train, val, test (line 2)"),
        ("path,label,split\na0.png,ant,train\nb0.png,bee,\n", "b0.png: no split (line 3)"),
        ("path,label,split\na0.png,ant,val\nb0.png,bee,test\n", "has no row of the split train"),
        (
            "path,label,split\na0.png,ant,train\nb0.png,bee,train\na1.png,asp,val\n",
            "line 4: label 'asp' is of no training image; those have ant, bee",
        ),
        (
            "path,label,split,group\na0.png,ant,train,g\nb0.png,bee,train,h\na1.png,ant,val,g\n",
            "group 'g' is in two splits, train (a0.png) and val (a1.png)",
        ),
        ("path,label,group\na0.png,ant,G 1\nb0.png,bee,g 1\n", "groups 'G 1' (line 2) and 'g 1' (line 3) differ only"),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    for number, name in enumerate(("a0", "a1", "a2", "b0", "b1")):
        save_image(tmp_path / f"{name}.png", seed=number)
    (tmp_path / "sub").mkdir()
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError) as fault:
        load_table(tmp_path / "list.csv")
    assert complaint in str(fault.value) and "\n" not in str(fault.value)


def test_what_cannot_be_read_is_left_out_where_that_is_asked_for(class_folder: Make) -> None:
    root = class_folder([], {"ant": 6, "bee": 6})
    rows = [*listing(root), {"path": "gone.png", "label": "ant"}]
    (root / "bee" / "0.png").write_bytes(b"no image")
    loaded, _ = load_table(write(root / "list.csv", rows), undecodable="skip")
    assert sum(map(len, loaded.splits.values())) == 11
    assert [(each.path, each.fault) for each in loaded.left_out] == [("bee/0.png", True), ("gone.png", True)]


def test_names_of_splits_are_those_of_folders_and_files_may_lie_anywhere(tmp_path: Path) -> None:
    for number in range(4):
        save_image(tmp_path / "elsewhere" / f"{number}.png", seed=number)
    paths = [tmp_path / "elsewhere" / "0.png", "../elsewhere/1.png", "../elsewhere/2.png", "../elsewhere/3.png"]
    names = ["Training", "train", "VALID", "testing"]
    rows = [{"path": str(p), "label": "ab"[n % 2], "split": names[n]} for n, p in enumerate(paths)]
    (tmp_path / "here").mkdir()
    source = load_source(str(write(tmp_path / "here" / "list.csv", rows)))
    assert {split: len(images) for split, images in source.splits.items()} == {"train": 2, "val": 1, "test": 1}
    named = [source.name_of(file) for images in source.splits.values() for file in images.files or ()]
    assert sorted(named) == sorted(map(str, paths))

"""CSV tables of image files: as spreadsheets write them, and refused where a row could be lost or misread."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plusx.data.table import Row, read_table

FILES = ["a.jpg", "sub/b, c.png", 'say "d".png', "개미.png", "=1+1.png"]


def rows(tmp_path: Path, content: str | bytes) -> list[Row]:
    file = tmp_path / "list.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(file).rows


def refused(tmp_path: Path, content: str | bytes) -> str:
    with pytest.raises(ValueError) as fault:
        rows(tmp_path, content)
    assert "\n" not in str(fault.value) and "list.csv" in str(fault.value)
    return str(fault.value)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_a_table_is_the_same_however_its_text_is_written(tmp_path: Path, mark: str, end: str, last: bool) -> None:
    lines = ["Path, label", "a.jpg,ant", '"sub/b, c.png",bee', '"say ""d"".png",', "", "개미.png,개미"]
    found = rows(tmp_path, mark + end.join(lines) + end * last)
    assert [(row.file.relative_to(tmp_path).as_posix(), row.label) for row in found] == [
        ("a.jpg", "ant"), ("sub/b, c.png", "bee"), ('say "d".png', None), ("개미.png", "개미"),
    ]  # fmt: skip


def test_columns_are_taken_by_name_and_a_lone_one_whatever_its_name(tmp_path: Path) -> None:
    expected = [Row(tmp_path / "a.jpg", "ant"), Row(tmp_path / "b.jpg", "bee")]
    assert rows(tmp_path, "path,label\na.jpg,ant\nb.jpg,bee\n") == expected
    assert rows(tmp_path, "label,path\nant,a.jpg\nbee,b.jpg\n") == expected
    alone = [row._replace(label=None) for row in expected]
    for head in ("path\n", "file\n", "image\n", ""):  # without a head, the first line is an image like the others
        assert rows(tmp_path, f"{head}a.jpg\nb.jpg\n") == alone


def test_relative_paths_are_the_tables_and_absolute_ones_stay(tmp_path: Path) -> None:
    assert rows(tmp_path, f"path\n../a.jpg\n{tmp_path}/b.jpg\n") == [
        Row(tmp_path / "../a.jpg", None),
        Row(tmp_path / "b.jpg", None),
    ]


@given(st.lists(st.sampled_from(FILES), min_size=1), st.sampled_from(["\n", "\r\n"]))
def test_no_row_is_lost(tmp_path_factory: pytest.TempPathFactory, files: list[str], end: str) -> None:
    folder, quoted = tmp_path_factory.mktemp("rows"), ['"' + file.replace('"', '""') + '"' for file in files]
    assert rows(folder, end.join(["path", *quoted])) == [Row(folder / file, None) for file in files]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        ("path,label\n", "names no image"),
        ("path,lable\na.jpg,ant\n", "has a column 'lable', which is not used; did you mean 'label'?"),
        ("path,spilt\na.jpg,train\n", "has a column 'spilt', which is not used; did you mean 'split'?"),
        ("path,path\na.jpg,b.jpg\n", "has two columns 'path'; keep one"),
        ("file,label\na.jpg,ant\n", "has the columns 'file', 'label'; name the one of the image files 'path'"),
        ("file;label\na.jpg;ant\n", "has the columns 'file', 'label'; name the one of the image files 'path'"),
        ("path;label\na.jpg,ant\n", "line 2 has 1 cells where there are 2 columns"),
        ("path,label\na.jpg\n", "line 2 has 1 cells where there are 2 columns"),
        ("path,label\na.jpg,ant\nb,c.jpg,ant\n", "line 3 has 3 cells where there are 2 columns"),
        ("path,label\n,ant\n", "line 2 has no path"),
        ('path,label\n"a.jpg,ant\nb.jpg,ant\n', "unexpected end of data"),  # the open quote would swallow b.jpg
        ("path,label\na.jpg,개미\n".encode("cp949"), "is not UTF-8"),
        ("path\na.jpg\n".encode("utf-16"), "is not UTF-8"),
    ],
)
def test_what_could_be_misread_is_refused(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    assert complaint in refused(tmp_path, content)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file: .*list.csv"):
        read_table(tmp_path / "list.csv")


@given(
    st.lists(st.tuples(st.sampled_from(FILES), st.sampled_from(["ant", "a, b; c\td", '"'])), min_size=1),
    st.sampled_from([",", ";", "\t"]),
    st.permutations(["path", "label", "split", "group", "width; in cm", "by, whom"]),
)
def test_every_separator_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, images: list[tuple[str, str]], separator: str, columns: list[str]
) -> None:
    text = io.StringIO(newline="")
    lines = csv.writer(text, delimiter=separator)
    lines.writerow(columns)
    for path, label in images:
        cells = {"path": path, "label": label, "split": "val", "group": "", "width; in cm": "1,5", "by, whom": "me"}
        lines.writerow([cells[column] for column in columns])
    file = tmp_path_factory.mktemp("rows") / "list.csv"
    file.write_bytes(text.getvalue().encode())
    table = read_table(file)
    assert [(line.path, line.label, line.split, line.group) for line in table.lines] == [
        (path, label, "val", None) for path, label in images
    ]
    assert [line.number for line in table.lines] == list(range(2, len(images) + 2))
    assert set(table.unused) == {"width; in cm", "by, whom"} and len(table.notes) == 1


def test_columns_that_nothing_reads_are_named(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,camera\na.jpg,ant,leica\n,,\n")
    assert read_table(tmp_path / "list.csv").notes == ("the column 'camera' of list.csv is not used",)
    assert len(read_table(tmp_path / "list.csv").lines) == 1  # a row of empty cells is none

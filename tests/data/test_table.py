"""CSV tables of image files: as spreadsheets write them, and refused where a row could be lost or misread."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plusx.data.table import Row, read_table

FILES = ["a.jpg", "sub/b, c.png", 'say "d".png', "개미.png", "=1+1.png"]


def rows(tmp_path: Path, content: str | bytes) -> list[Row]:
    file = tmp_path / "list.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(file)


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
        ("path,split\na.jpg,train\n", "has a column 'split', which is not used; remove all but 'path' and 'label'"),
        ("path,path\na.jpg,b.jpg\n", "has two columns 'path'; keep one"),
        ("file,label\na.jpg,ant\n", "has the columns 'file', 'label'; name the one of the image files 'path'"),
        ("path;label\na.jpg;ant\n", "is separated by ';'; separate it by commas"),
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

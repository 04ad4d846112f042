"""Which files are meant: the order of the sources, nothing vanishes, no circle is followed."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.data.found import find_images

NAMES = st.sampled_from(
    ["a.png", "b.JPG", "c.heic", "d.txt", "e", ".f.png", ".DS_Store", os.fsdecode(b"caf\xe9.png"), "[g].png", "=h.png"]
)
FOLDERS = st.sampled_from(["cats", "dogs.png", ".hidden", "x,y", "new\nline"])
TREES = st.lists(st.tuples(st.lists(FOLDERS, max_size=3), NAMES), min_size=1, max_size=20)


def lay(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(root: Path, *sources: str | Path) -> list[str]:
    return [file.relative_to(root).as_posix() for file in find_images([root / source for source in sources]).files]


def refused(*sources: str | Path) -> str:
    with pytest.raises(ValueError) as fault:
        find_images(sources)
    return str(fault.value)


@settings(deadline=None)
@given(TREES)
def test_every_file_is_an_image_or_left_out(tree: list[tuple[list[str], str]]) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        lay(root, "one.png", *("/".join([*folders, name]) for folders, name in tree))
        met = set()
        for inside, folders, files in os.walk(root):
            met |= {Path(inside, name) for name in [*files, *(f for f in folders if f.startswith("."))]}
            folders[:] = [name for name in folders if not name.startswith(".")]
        found = find_images(root)
        assert set(found.files) <= met and len(found.files) + len(found.left_out) == len(met)
        assert list(found.files) == sorted(found.files, key=lambda file: file.parts)
        assert all(not part.startswith(".") for file in found.files for part in file.relative_to(root).parts)
        assert find_images(str(root / "**" / "*")).files == found.files


def test_the_order_is_that_of_the_sources_and_sorted_within_one(tmp_path: Path) -> None:
    lay(tmp_path, "z.png", "f/b.png", "f/a/c.png", "f/a.png", "g/2.png", "g/1.png", "g/sub/0.png")
    (tmp_path / "l.csv").write_text("path\ng/sub/0.png\nz.png\n")
    assert names(tmp_path, "z.png", "f", "g/*.png", "l.csv") == [
        *("z.png", "f/a/c.png", "f/a.png", "f/b.png", "g/1.png", "g/2.png", "g/sub/0.png"),
    ]
    assert names(tmp_path, "l.csv", "f") == ["g/sub/0.png", "z.png", "f/a/c.png", "f/a.png", "f/b.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["a.png"]),
        ("**/*.png", ["a.png", "f/b.png", "f/sub/c.png"]),
        ("f/**", ["f/b.png", "f/sub/c.png"]),
        ("f/**/c.*", ["f/sub/c.png"]),
        ("**/sub", ["f/sub/c.png"]),
        ("f*", ["f/b.png", "f/sub/c.png"]),  # a folder that matches gives its images, as where a shell expands it
        ("?.png", ["a.png"]),
        ("[ab].png", ["a.png"]),
        ("*/**/[bc].png", ["f/b.png", "f/sub/c.png"]),
    ],
)
def test_a_pattern_gives_what_matches_once(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    lay(tmp_path, "a.png", "f/b.png", "f/sub/c.png", "f/.d.png", "f/e.txt")
    assert names(tmp_path, pattern) == expected


def test_a_pattern_is_relative_to_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, "a.png", "f/b.png")
    monkeypatch.chdir(tmp_path)
    assert [str(file) for file in find_images("**/*.png").files] == ["a.png", str(Path("f/b.png"))]
    assert [str(file) for file in find_images(".").files] == ["a.png", str(Path("f/b.png"))]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    lay(tmp_path, "[ab].png", "a.png")
    assert names(tmp_path, "[ab].png") == ["[ab].png"]


def test_a_file_that_is_named_is_an_image_whatever_its_name_and_whether_it_is_there(tmp_path: Path) -> None:
    lay(tmp_path, "upload.tmp", ".hidden.png")
    assert names(tmp_path, "upload.tmp", ".hidden.png", "absent.png") == ["upload.tmp", ".hidden.png", "absent.png"]


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_circles_of_links_end_in_folders_and_in_patterns(tmp_path: Path) -> None:
    lay(tmp_path, "r/a.png", "r/b/c.png")
    for number in range(3):
        (tmp_path / "r" / f"loop{number}").symlink_to("..")
        (tmp_path / "r" / "b" / f"loop{number}").symlink_to("../..")
    (tmp_path / "r" / "self.png").symlink_to("self.png")
    for source in ("r", "r/**/*", "r/**"):
        found = find_images(str(tmp_path / source))
        assert [file.name for file in found.files] == ["a.png", "c.png"]
    whole = find_images(tmp_path / "r").left_out
    assert [each.fault for each in whole if each.path.endswith("self.png")] == [True]
    assert sum(each.reason.startswith("a link that leads back") for each in whole) == 6


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_two_ways_to_one_file_are_two_files_and_two_spellings_of_a_way_are_one(tmp_path: Path) -> None:
    lay(tmp_path, "a.png", "f/b.png")
    (tmp_path / "link.png").symlink_to("a.png")
    found = find_images([tmp_path / "a.png", tmp_path / "link.png", tmp_path / "f" / ".." / "a.png"])
    assert found.files == (tmp_path / "a.png", tmp_path / "link.png")
    assert found.repeated == (tmp_path / "a.png",)


def test_a_file_named_twice_is_one_and_keeps_its_label(tmp_path: Path) -> None:
    lay(tmp_path, "f/a.png", "f/b.png")
    (tmp_path / "l.csv").write_text("path,label\nf/b.png,e\u0301\nf/b.png,\u00e9\nf/a.png,\n")
    for sources in (["f", "l.csv"], ["l.csv", "f"]):
        found = find_images([tmp_path / source for source in sources])
        assert sorted(found.files) == [tmp_path / "f/a.png", tmp_path / "f/b.png"]
        assert found.labels == {tmp_path / "f/b.png": "\u00e9"}  # one name, however Unicode writes it
        assert set(found.repeated) == set(found.files)
    (tmp_path / "l.csv").write_text("path,label\nf/b.png,ant\nf/b.png,bee\n")
    assert "b.png is labelled both 'ant' and 'bee'" in refused(tmp_path / "l.csv")


def test_nothing_found_is_a_sentence_that_says_what_was_met(tmp_path: Path) -> None:
    lay(tmp_path, "f/a.txt", "f/b.txt", "f/.c.png")
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty") == f"no image in {tmp_path}/empty"
    assert refused(tmp_path / "f") == f"no image in {tmp_path}/f; left out: 2 not an image by its name, 1 hidden"
    assert refused(f"{tmp_path}/f/*.jpg") == f"no file matches '{tmp_path}/f/*.jpg'"
    assert refused(f"{tmp_path}/f/*.txt") == (
        f"no image matches '{tmp_path}/f/*.txt'; left out: 2 not an image by its name"
    )
    assert refused(f"{tmp_path}/nowhere/**/*.jpg") == f"no file matches '{tmp_path}/nowhere/**/*.jpg'"
    assert "a source is empty" in refused("")


def test_a_name_that_the_system_refuses_is_left_to_the_reader(tmp_path: Path) -> None:
    lay(tmp_path, "a.png")
    assert len(names(tmp_path, "x" * 300, "a.png")) == 2


def test_a_folder_that_cannot_be_entered_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, "f/a.png", "f/shut/b.png")
    scandir = os.scandir

    def guarded(path: str | int) -> object:  # as root may enter every folder
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    for source in ("f", "f/**/*.png"):
        found = find_images(str(tmp_path / source))
        (fault,) = [each for each in found.left_out if each.fault]
        assert fault.path.endswith("shut") and "Permission denied" in fault.reason and len(found.files) == 1
    assert "cannot read" in refused(tmp_path / "f" / "shut")

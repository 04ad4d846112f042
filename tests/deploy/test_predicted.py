"""Files predicted by a run: the same however they are named, none lost, by name and never by position."""

import csv
import dataclasses
import errno
import html
import io
import os
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.deploy import predicted as module
from plusx.deploy import predictor
from plusx.deploy.predicted import PredictedFiles, predict_files
from plusx.deploy.predictor import predict
from plusx.report.sheet import MOST
from plusx.runs import files as writing
from tests.report.test_run import Links

EVIL = "<img src=x onerror=alert(1)>.png"


@pytest.fixture
def photos(digits_files: Path, tmp_path: Path) -> Path:
    """A folder with the first test digits, in folders of their classes."""
    for file in sorted(digits_files.glob("*/*.png"), key=lambda file: int(file.stem))[:40]:
        copy = tmp_path / "photos" / file.parent.name / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, copy)
    return tmp_path / "photos"


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def labelled(photos: Path) -> Path:
    """A table beside the folder, whose labels are the folders' names."""
    rows = [f"{file.relative_to(photos.parent)},{file.parent.name}\n" for file in sorted(photos.glob("*/*.png"))]
    (photos.parent / "l.csv").write_text("path,label\n" + "".join(rows))
    return photos.parent / "l.csv"


def test_a_file_is_predicted_alike_however_it_is_named(digits_run: Path, photos: Path) -> None:
    files = sorted(photos.glob("*/*.png"))
    expected = tuple(predict(digits_run, files))
    for sources in (files, photos, f"{photos}/**/*.png", [str(photos / "*" / "*.png")], labelled(photos)):
        assert predict_files(digits_run, sources).predictions == expected
    backwards = predict_files(digits_run, files[::-1], precision="fp32").predictions
    for each, other in zip(expected, backwards[::-1], strict=True):
        assert each.file == other.file and each.classes[0] == other.classes[0]


@settings(deadline=None, max_examples=10)
@given(st.lists(st.sampled_from(["good.png", "bad.jpg", "none.gif", "text.txt", ".good.png", "e"]), min_size=1))
def test_no_file_vanishes(
    digits_run: Path, digits_files: Path, tmp_path_factory: pytest.TempPathFactory, tree: list[str]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    good = next(digits_files.glob("*/*.png"))
    for number, name in enumerate(["good.png", *tree]):
        (root / f"{number}" / "inner").mkdir(parents=True)
        content = good.read_bytes() if "good" in name else b"" if "none" in name else b"no image"
        (root / f"{number}" / "inner" / name).write_bytes(content)
    found = predict_files(digits_run, root)
    count = Counter(["good.png", *tree])
    assert len(found.predictions) == count["good.png"] == sum(found.counts.values())
    assert len(found.unread) == count["bad.jpg"] + count["none.gif"]
    assert len(found.left_out) == count["text.txt"] + count[".good.png"] + count["e"]


def test_files_are_read_as_they_are_needed(
    digits_run: Path, digits_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, reads, before_first = next(digits_files.glob("*/*.png")), [0], []
    (tmp_path / "many").mkdir()
    for number in range(1000):
        os.link(good, tmp_path / "many" / f"{number:04}.png")
    read = predictor._read

    def counted(*arguments: object) -> object:
        reads[0] += 1
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(predictor, "_read", counted)
    found = predict_files(digits_run, tmp_path / "many", each=lambda result: before_first.append(reads[0]))
    assert before_first[0] < 500 and before_first[-1] == 1000 == len(found.predictions)


def test_labels_go_by_name(digits_run: Path, photos: Path, tmp_path: Path) -> None:
    found = predict_files(digits_run, labelled(photos), out=tmp_path / "out")
    assert found.right == sum(each.classes[0] == Path(each.file).parent.name for each in found.predictions) > 30
    assert f"{found.right} right of 40 images with a label" in found.findings[1]
    rows = table(tmp_path / "out")
    assert [row["right"] for row in rows] == ["yes" if row["label"] == row["class1"] else "no" for row in rows]
    assert [row["label"] for row in rows] == [Path(row["path"]).parent.name for row in rows]
    lines = labelled(photos).read_text().splitlines()
    (tmp_path / "l.csv").write_text("\n".join([lines[0], *sorted(lines[1:], key=lambda line: line[::-1])]))
    assert predict_files(digits_run, tmp_path / "l.csv").right == found.right


def test_a_label_that_the_run_does_not_know_is_named_before_anything_is_read(digits_run: Path, photos: Path) -> None:
    (photos.parent / "l.csv").write_text("path,label\nphotos/a.png,seven\nphotos/b.png,7\n")
    seen: list[object] = []
    complaint = (
        r"label 'seven' of .*photos/a.png is none of the run's classes; they are 0, 1, 2, 3, 4, 5 ... and 4 more"
    )
    with pytest.raises(ValueError, match=complaint):
        predict_files(digits_run, photos.parent / "l.csv", each=seen.append)
    assert not seen


def test_several_unknown_labels_are_all_named_and_the_nearest_class_is_offered() -> None:
    found = module.Found((), {Path("a.png"): "cta", Path("b.png"): "dog", Path("c.png"): "cow"}, (), ())
    with pytest.raises(ValueError) as fault:
        module._labels(found, ["cat", "dog"])
    assert str(fault.value) == ("label 'cta' of a.png is none of the run's classes, nor are 'cow'; did you mean 'cat'?")


def test_a_label_of_two_classes_says_nothing() -> None:
    found = module.Found((Path("a"),), {Path("a"): "\u00e9"}, (), ())
    assert module._labels(found, ["e", "e\u0301"]) == {"a": "e\u0301"}
    with pytest.raises(ValueError, match="has 2 classes named 'é', so no label says which"):
        module._labels(found, ["e\u0301", "\u00e9"])


def test_the_table_has_every_prediction_to_the_last_bit(digits_run: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_bytes(b"no")
    found = predict_files(digits_run, photos, out=tmp_path / "out", top_k=3)
    rows = table(tmp_path / "out")
    assert list(rows[0]) == ["path", "class1", "probability1", "class2", "probability2", "class3", "probability3"]
    for row, each in zip(rows, found.predictions, strict=True):
        assert row["path"] == each.file and [row[f"class{rank}"] for rank in (1, 2, 3)] == list(each.classes)
        assert [float(row[f"probability{rank}"]) for rank in (1, 2, 3)] == list(each.probabilities)
    assert Counter(row["class1"] for row in rows) == found.counts


def sheet(folder: Path) -> tuple[str, list[tuple[str, float, float]]]:
    """The page, and the file and the two probabilities of each image on it."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    shown = []
    for caption in captions:
        first, second = re.findall(r"([\d.]+) %", caption)
        shown.append((html.unescape(re.findall(r'title="(.*?)"', caption, re.DOTALL)[0]), float(first), float(second)))
    return page, shown


def test_the_sheet_begins_with_the_most_doubtful(digits_run: Path, photos: Path, tmp_path: Path) -> None:
    found = predict_files(digits_run, photos, out=tmp_path / "out", top_k=1)  # doubt is of two classes all the same
    page, shown = sheet(tmp_path / "out")
    by_file = {each.file: each.probabilities for each in found.predictions}
    margins = [by_file[file][0] - by_file[file][1] for file, *_ in shown]
    assert margins == sorted(margins) and len(margins) == 40 and "All 40 images are shown." in page
    assert all(by_file[file][0] == pytest.approx(first / 100, abs=6e-4) for file, first, _ in shown)


def test_a_long_sheet_says_how_many_more_there_are(
    digits_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plusx.report.sheet.MOST", 7)
    predict_files(digits_run, photos, out=tmp_path / "out")
    page, shown = sheet(tmp_path / "out")
    assert len(shown) == 7 and "The 7 most doubtful images are shown; 33 more are in predictions.csv." in page
    assert MOST == 200


def test_names_are_text_on_the_page_and_in_the_table(digits_run: Path, photos: Path, tmp_path: Path) -> None:
    good = next(photos.glob("*/*.png"))
    strange = [EVIL, "=1+1.png", "개미.png", os.fsdecode(b"caf\xe9.png"), "new\nline.png", '"><script>.png']
    for name in strange:
        os.link(good, photos / name)
    (photos / f"bad{EVIL}").write_bytes(b"no")
    (photos / f"{EVIL}.txt").touch()
    found = predict_files(digits_run, photos, out=tmp_path / "out")
    assert {Path(each.file).name for each in found.predictions} >= set(strange)
    page, shown = sheet(tmp_path / "out")
    links = Links()
    links.feed(page)
    assert all(link.startswith("data:image/") for link in links.fetched) and len(links.fetched) == 46 == len(shown)
    assert "script" not in links.tags and "<img src=x" not in page and page.count("&lt;img src=x") > 2
    assert f"bad{html.escape(EVIL)}" in page and "caf\\xe9.png" in page
    paths = {Path(row["path"]).name for row in table(tmp_path / "out")}
    assert {EVIL, "=1+1.png", "개미.png", "caf\\xe9.png", "new\nline.png"} <= paths


def test_what_cannot_be_read_is_on_the_page(digits_run: Path, photos: Path, tmp_path: Path) -> None:
    for number in range(9):
        (photos / f"bad{number}.png").write_bytes(b"no" * (number > 0))
    (photos / "notes.txt").touch()
    page = re.sub(
        r"<[^>]+>", "", Path(write(digits_run, [photos, tmp_path / "absent.png"], tmp_path / "out")).read_text()
    )
    assert "Files that cannot be read (10)" in page and "bad0.png the file is empty" in page and "5 more" in page
    assert "absent.png no such file" in page and "notes.txt not an image by its name" in page


def write(run: Path, sources: list[Path], out: Path) -> Path:
    predict_files(run, sources, out=out)
    return out / "report.html"


def test_nothing_but_unreadable_files_is_still_a_page(digits_run: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").touch()
    found = predict_files(digits_run, tmp_path, out=tmp_path / "out")
    assert found.findings == ("0 images predicted, 1 cannot be read.",)
    assert table(tmp_path / "out") == [] and "bad.png" in (tmp_path / "out" / "report.html").read_text()


def test_an_image_that_is_gone_when_the_sheet_is_made_keeps_its_place(digits_run: Path, photos: Path) -> None:
    out, first = photos.parent / "out", min(photos.glob("*/*.png"))
    predict_files(digits_run, photos, out=out, each=lambda result: first.unlink(missing_ok=True))
    page, shown = sheet(out)
    assert len(shown) == 40 and "<p>no such file</p>" in page


def test_a_stopped_run_says_so(digits_run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "unfinished", lambda *_: "not finished: these weights")
    assert "not finished: these weights" in write(digits_run, [photos], photos.parent / "out").read_text()


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_nothing_and_keeps_the_predictions(
    digits_run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    out, write_synced = photos.parent / "out", writing.write_synced
    if there:
        out.mkdir()
    before = sorted(photos.parent.iterdir())

    def full(path: Path, content: bytes) -> None:
        write_synced(path, content[:100])
        if path.name == "report.html":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing, "write_synced", full)
    found = predict_files(digits_run, photos, out=out)
    assert found.out is None and len(found.predictions) == 40
    assert found.problem == f"cannot write {out}: No space left on device; choose another --out"
    assert sorted(photos.parent.iterdir()) == before and (not there or not list(out.iterdir()))


def test_a_folder_that_is_taken_is_refused_before_anything_is_read(digits_run: Path, photos: Path) -> None:
    for out in (photos, next(photos.glob("*/*.png"))):
        with pytest.raises(ValueError, match="exists; choose another --out"):
            predict_files(digits_run, photos, out=out)


def test_progress_counts_the_images(digits_run: Path, photos: Path) -> None:
    counts: list[tuple[int, int]] = []
    (photos / "bad.png").touch()
    predict_files(digits_run, photos, progress=lambda done, total: counts.append((done, total)))
    assert counts == [(number, 41) for number in range(1, 42)]


def test_the_findings_are_whole_sentences() -> None:
    empty = PredictedFiles(Path("r"), (), (), (), {}, (), None)
    one = predictor.Prediction("a.png", ("ant", "bee"), (0.75, 0.25))
    assert empty.findings == ("0 images predicted.",)
    some = dataclasses.replace(empty, predictions=(one,), labels={"a.png": "bee"}, repeated=("a.png",))
    assert some.findings == (
        "1 image predicted.",
        "0 right of 1 image with a label (0.00 %).",
        "Named more than once, and predicted once: a.png.",
    )
    assert some.table() == [["predicted class", "images", "with a label", "right"], ["ant", "1", "1", "0"]]
    assert module._csv(some).decode() == (
        "path,label,right,class1,probability1,class2,probability2\na.png,bee,no,ant,0.75,bee,0.25\n"
    )
    assert next(csv.reader(io.StringIO(module._csv(empty).decode()))) == ["path"]

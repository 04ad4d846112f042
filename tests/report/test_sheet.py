"""The contact sheet by itself: its order, what it folds away, and what it says of a label."""

import re

from PIL import Image

from plusx.report.sheet import CLASSES, FILES, Cell, sheet


def cell(file: str, *shares: float, label: str | None = None) -> Cell:
    classes = tuple("abcdef"[: len(shares)])
    return Cell(file, classes, shares, label, lambda: Image.new("RGB", (300, 200)))


def page(*cells: Cell, classes: int = 1, unread: int = 0, left_out: int = 0) -> str:
    counts = [["predicted class", "images"], *([f"class{number}", "1"] for number in range(classes))]
    return sheet(
        "title",
        ["One finding."],
        cells,
        counts,
        unread=[(f"unread{number}", "why") for number in range(unread)],
        left_out=[(f"left_out{number}", "why") for number in range(left_out)],
    ).decode()


def test_doubt_is_the_margin_and_not_the_probability() -> None:
    sure, torn, vague = cell("sure", 0.5, 0.1, 0.1), cell("torn", 0.51, 0.49), cell("vague", 0.3, 0.2)
    assert re.findall(r'title="(\w+)"', page(sure, torn, vague)) == ["torn", "vague", "sure"]
    assert cell("alone", 1.0).margin == 1.0  # a net of one class


def test_equal_doubt_keeps_the_order() -> None:
    assert re.findall(r'title="(\w+)"', page(*(cell(name, 0.6, 0.4) for name in "zayb"))) == list("zayb")


def test_a_label_is_right_or_stands_out() -> None:
    text = page(cell("x/1.png", 0.6, 0.4, label="a"), cell("x/2.png", 0.7, 0.3, label="b"), cell("x/3.png", 0.9, 0.1))
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    plain = [re.sub(r"<(?!br)[^>]+>", "", caption) for caption in captions]
    assert plain == [
        "a 60.0 %<br>b 40.0 %<br>right<br>1.png",
        "a 70.0 %<br>b 30.0 %<br>is b<br>2.png",
        "a 90.0 %<br>b 10.0 %<br>3.png",
    ]
    assert [captions.index(caption) for caption in captions if 'class="wrong"' in caption] == [1]


def test_long_lists_are_folded_and_whole() -> None:
    text = page(cell("a", 1.0), classes=CLASSES + 3, unread=FILES + 2, left_out=FILES)
    assert text.count("<details>") == 2 and "3 more classes" in text and "2 more" in text
    assert all(f"class{number}<" in text for number in range(CLASSES + 3))
    assert all(f"unread{number} " in text for number in range(FILES + 2))
    assert text.index("unread0 ") < text.index('class="sheet"') < text.index("left_out0 ")


def test_a_page_without_images_has_no_sheet() -> None:
    text = page(classes=0, unread=1)
    assert 'class="sheet"' not in text and "Predicted classes" not in text and "One finding." in text

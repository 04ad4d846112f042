"""The report: whole, true, and readable with no network."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from plusx.engine.training import train
from plusx.recipes import digits_degradation
from plusx.runs.report import write_report
from plusx.runs.store import read_card, read_metrics


class Links(HTMLParser):
    """Everything that a browser would fetch, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            outside = name in ("src", "href", "xlink:href", "srcset", "action") and not (value or "").startswith("#")
            if outside:
                self.fetched.append(value or "")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, made = tmp_path_factory.mktemp("four"), []
    for net in ("plain20", "plain56", "resnet20", "resnet56"):
        made.append(train("digits", recipe=digits_degradation(net).smoke(), out=folder / net).run)
    return made


def test_a_page_fetches_nothing(runs: list[Path], digits_run: Path, tmp_path: Path) -> None:
    write_report(runs, tmp_path / "four.html", title="Four nets")
    for page in (tmp_path / "four.html", digits_run / "report.html"):
        links = Links()
        links.feed(page.read_text())
        assert links.fetched == [] and "script" not in links.tags and "svg" in links.tags
        assert "@import" not in page.read_text() and not re.search(r"url\((?!#)", page.read_text())


def test_the_table_holds_the_measured_numbers(runs: list[Path], tmp_path: Path) -> None:
    write_report(runs, tmp_path / "four.html", title="Four nets", findings=["A sentence."])
    text = re.sub(r"<[^>]+>", " ", (tmp_path / "four.html").read_text())
    assert "A sentence." in text
    for run in runs:
        results = read_card(run).results
        assert f"{100 * results['train_error']:.2f} %" in text and f"{results['params']:,}" in text


def test_curves_end_at_the_measured_error(digits_run: Path) -> None:
    last = [r["value"] for r in read_metrics(digits_run) if r["name"] == "test_error"][-1]
    assert f"test  {100 * last:.1f}" in (digits_run / "report.html").read_text()


def test_names_cannot_put_markup_into_the_page(digits_run: Path, tmp_path: Path) -> None:
    import shutil

    from plusx.runs.store import write_card

    run = shutil.copytree(digits_run, tmp_path / "run")
    card = read_card(run)
    write_card(run, dataclasses.replace(card, source={**card.source, "name": "<script>alert(1)</script>"}))
    write_report([run], tmp_path / "page.html", title="<b>bold</b>")
    page = (tmp_path / "page.html").read_text()
    assert "<script>" not in page and "<b>" not in page

"""The report: whole, true, and readable with no network."""

import dataclasses
import html
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from plusx.engine.training import train
from plusx.recipes import RECIPES, digits_degradation
from plusx.report.run import write_report
from plusx.runs.metrics import read_metrics
from plusx.runs.store import read_card, write_card


class Links(HTMLParser):
    """Everything that a browser would fetch, where a click leads, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.lead_to: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            outside = name in ("src", "href", "xlink:href", "srcset", "action") and not (value or "").startswith("#")
            if outside:
                (self.lead_to if tag == "a" else self.fetched).append(value or "")


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


def test_a_comparison_leads_to_the_report_of_each_run(runs: list[Path], tmp_path: Path) -> None:
    write_report(runs, tmp_path / "four.html", title="Four nets")
    links = Links()
    links.feed((tmp_path / "four.html").read_text())
    assert [(tmp_path / link).resolve() for link in links.lead_to] == [run / "report.html" for run in runs]


def test_a_comparison_says_its_seed(runs: list[Path], tmp_path: Path) -> None:
    write_report(runs, tmp_path / "four.html", title="Four nets")
    assert (tmp_path / "four.html").read_text().count("error, seed 0<") == 2


def test_two_runs_of_a_net_stay_two(runs: list[Path], tmp_path: Path) -> None:
    other = shutil.copytree(runs[0], tmp_path / "plain20-again")
    card = read_card(other)
    write_card(other, dataclasses.replace(card, recipe=dataclasses.replace(card.recipe, seed=7)))
    write_report([runs[0], other], tmp_path / "two.html", title="Two seeds")
    page = (tmp_path / "two.html").read_text()
    assert page.count("error, seeds 0, 7<") == 2 and page.count(">plain20-again") == 3  # row and two curves


def test_the_table_holds_the_measured_numbers(runs: list[Path], tmp_path: Path) -> None:
    write_report(runs, tmp_path / "four.html", title="Four nets", findings=["A sentence."])
    text = re.sub(r"<[^>]+>", " ", (tmp_path / "four.html").read_text())
    assert "A sentence." in text
    for run in runs:
        results = read_card(run).results
        assert f"{100 * results['train_error']:.2f} %" in text and f"{results['params']:,}" in text
        assert f"{100 * (1 - results['test_error']):.2f} %" in text


def test_curves_end_at_the_measured_error(digits_run: Path) -> None:
    last = [r["value"] for r in read_metrics(digits_run) if r["name"] == "test_error"][-1]
    assert f"test  {100 * last:.1f}" in (digits_run / "report.html").read_text()


@pytest.mark.parametrize("name", ["cifar10-94", "imagenet"])  # tests/recipes has every part in words
def test_a_recipe_is_told_in_words(name: str, digits_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    write_card(run, dataclasses.replace(read_card(run), recipe=RECIPES[name]()))
    write_report([run], tmp_path / "page.html", title="A run")
    text = html.unescape(
        re.sub(r"<style>.*?</style>|<[^>]+>", " ", (tmp_path / "page.html").read_text(), flags=re.DOTALL)
    )
    assert not re.search(r"\w\(\w+=|True|False|None|lambda|<\w+ object", text)


def test_panels_stack_on_a_narrow_screen_and_tables_show_that_they_scroll(runs: list[Path], tmp_path: Path) -> None:
    write_report(runs, tmp_path / "four.html", title="Four nets")
    page = (tmp_path / "four.html").read_text()
    [panels] = re.findall(r'<div class="panels"[^>]*>(.*?)</div>', page, re.DOTALL)
    assert panels.count("<svg") == 2  # one each, not one that shrinks
    [least] = re.findall(r"repeat\(auto-fit, minmax\(min\(100%, (\d+)rem\), 1fr\)\)", page)
    assert 16 * (2 * int(least) + 1.5) > 600 - 2 * 20  # two do not fit beside each other on 600 pixels
    tables = re.findall(r"(<div[^>]*>)<table", page)
    assert tables and all(box == '<div class="scroll" tabindex="0">' for box in tables)
    assert re.search(r"\.scroll {[^}]*overflow-x: auto[^}]*local[^}]*scroll;", page)


@pytest.mark.parametrize("before", [0, 1])
def test_curves_show_where_the_kept_weights_were(before: int, digits_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    card = read_card(run)
    write_card(run, dataclasses.replace(card, results={**card.results, "kept_step": card.results["steps"] - before}))
    write_report([run], tmp_path / "page.html", title="A run")
    assert ("The dotted line is where the kept weights were." in (tmp_path / "page.html").read_text()) is bool(before)


def test_columns_rows_and_figures_say_what_they_are(runs: list[Path], tmp_path: Path) -> None:
    write_report(runs, tmp_path / "four.html", title="Four nets")
    page = (tmp_path / "four.html").read_text()
    assert all(head.startswith(' scope="') for head in re.findall(r"<th\b([^>]*)>", page))
    assert page.count("<tr>") == page.count('<th scope="row"') + 1  # and the head
    assert re.search(r'role="img" aria-label="Error after each epoch', page)


def test_names_cannot_put_markup_into_the_page(digits_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    card = read_card(run)
    write_card(run, dataclasses.replace(card, source={**card.source, "name": "<script>alert(1)</script>"}))
    write_report([run], tmp_path / "page.html", title="<b>bold</b>")
    page = (tmp_path / "page.html").read_text()
    assert "<script>" not in page and "<b>" not in page

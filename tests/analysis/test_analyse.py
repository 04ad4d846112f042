"""Questions to a run: each leaves a figure and its numbers."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

import plusx
from plusx.analysis.analyse import IMAGE_QUESTIONS, QUESTIONS, untrained
from plusx.engine.training import train

HEADS = {
    "responses": ("layer", "deviation of its response"),
    "gradients": ("layer", "norm of its weights' gradient"),
    "lesions": ("block taken away", "error (%)"),
    "shuffling": ("blocks taken away", "error (%)"),
    "paths": ("branches passed", "norm of a path's gradient", "share of all gradient (%)"),
    "shortcuts": ("block", "|S(x)| / |F(x)|", "error without S (%)"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_is_a_figure_with_its_numbers_and_tables_with_units(digits_run: Path, question: str) -> None:
    heard: list[tuple[int, int]] = []
    found = plusx.analyse(digits_run, question, progress=lambda done, total: heard.append((done, total)))
    svg = found.figure.read_text()
    assert found.figure == digits_run / "figures" / f"{question}.svg" and svg.startswith("<svg")
    assert "prefers-color-scheme" in svg and "black" not in re.sub(r"<!--.*?-->", "", svg)
    told = json.loads(found.figure.with_suffix(".json").read_text())
    assert told["series"] == {name: [m._asdict() for m in each] for name, each in found.series.items()}
    assert all(told["series"].values()) and told["images"] == found.images > 0

    (total,) = {total for _, total in heard}  # every image that is read, and every image that the net looks at
    done = [done for done, _ in heard]
    assert done == sorted(set(done)) and done[-1] == total and total % found.images == 0

    assert [table.title for table in found.tables()] == list(found.series)
    first, series = found.tables()[0], next(iter(found.series.values()))
    assert first.head == HEADS[question] and all(len(row) == len(first.head) for row in first.rows)
    shares = [head.endswith("(%)") for head in first.head[1:]]
    shown = [(cell, share) for row in first.rows for cell, share in zip(row[1:], shares, strict=True) if cell]
    for (cell, share), m in zip(shown, series, strict=True):
        assert float(cell) == pytest.approx(100 * m.value if share else m.value, rel=1e-3, abs=0.006 if share else 0)


@pytest.mark.parametrize("question", IMAGE_QUESTIONS)
def test_an_image_is_a_png(digits_run: Path, question: str) -> None:
    with Image.open(plusx.analyse(digits_run, question).figure) as image:
        assert image.format == "PNG" and min(image.size) > 50


def test_a_misspelt_question_is_answered_with_the_nearest(digits_run: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'responses'"):
        plusx.analyse(digits_run, "response")


def test_the_untrained_net_is_the_one_that_the_run_began_with(tmp_path: Path) -> None:
    began = train("digits", overrides={"steps": "0"}, out=tmp_path / "run", seed=5)
    weights = plusx.load(began.run)[0].state_dict()
    assert all((value == weights[name]).all() for name, value in untrained(began.card).state_dict().items())
